// Outputs of kernels: planned places, fresh memory or existing values.
#include "ops/kernel.h"

namespace sx {

Tensor Prepare::shared(const std::string& tag, FunctionRef<Tensor()> make) const {
  for (int i = 0; i < inputs(); ++i)
    if (constant(i) != nullptr && !host_->lasting(node().inputs[static_cast<size_t>(i)])) return make();
  return host_->shared(join(id_, '/', tag), make);
}

std::shared_ptr<const BodyRunner> Prepare::body_runner(const std::string& attribute) const {
  for (size_t i = 0; i < node().bodies.size(); ++i)
    if (node().bodies[i].attribute == attribute) return host_->body(node(), i);
  error("has no body '", attribute, "'");
}

Tensor& Run::out(int i, const Shape& shape) { return out(i, outputs_[static_cast<size_t>(i)].dtype, shape); }

Tensor& Run::out(int i, DType dtype, const Shape& shape) {
  OutputSlot& slot = outputs_[static_cast<size_t>(i)];
  Datum& datum = *slot.datum;
  datum.kind = Datum::Kind::kTensor;
  if (slot.arena != nullptr) {
    const auto bytes = static_cast<size_t>(checked_mul(shape.size(), static_cast<int64_t>(size_of(dtype))));
    if (bytes <= slot.capacity) {
      // A steady run finds the tensor of the run before.
      const char* place = static_cast<char*>((*slot.arena)->data()) + slot.offset;
      if (datum.tensor.raw() != place || datum.tensor.dtype() != dtype || datum.tensor.shape() != shape)
        datum.tensor = Tensor(dtype, shape, *slot.arena, slot.offset);
      return datum.tensor;
    }
  }
  const bool donated =
      slot.donor != nullptr && slot.donor->tensor.dtype() == dtype && slot.donor->tensor.shape() == shape;
  datum.tensor = donated ? slot.donor->tensor : Tensor(dtype, shape);
  return datum.tensor;
}

void Run::set(int i, Datum value) {
  if (wants(i)) *outputs_[static_cast<size_t>(i)].datum = std::move(value);
}

}  // namespace sx
