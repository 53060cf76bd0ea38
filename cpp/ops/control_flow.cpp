// Joining types over branches and iterations, and stacking the results of iterations.
#include "ops/control_flow.h"

#include <algorithm>
#include <cstring>

namespace sx {
namespace {

// The first block of memory of a Stack is at most this large.
constexpr int64_t kFirstReserve = int64_t{1} << 20;
// Widening stops by itself; this many rounds without rest mean that shapes grow in every one.
constexpr int kMaxRounds = 16;

bool same_dim(const Dim& a, const Dim& b) { return a == b || (a.unknown() && b.unknown()); }

}  // namespace

Type join_types(const NodeView& node, const Type& a, const Type& b, const std::string& what) {
  if (a.kind == Type::Kind::kUnknown) return b;
  if (b.kind == Type::Kind::kUnknown) return a;
  // An optional covers the values of its element type.
  if (a.kind == Type::Kind::kOptional && b.kind != Type::Kind::kOptional)
    return Type::optional(join_types(node, *a.element, b, what));
  if (b.kind == Type::Kind::kOptional && a.kind != Type::Kind::kOptional)
    return Type::optional(join_types(node, a, *b.element, what));
  const bool scalar_kinds = a.kind == b.kind && a.dtype == b.dtype && a.key == b.key;
  SX_CHECK(node, scalar_kinds, what, " is ", a.str(), " in one place and ", b.str(),
           " in another; both must have one type");
  if (a.element) {
    Type joined = a;
    joined.element = std::make_shared<const Type>(join_types(node, *a.element, *b.element, what));
    return joined;
  }
  if (!a.is_tensor()) return a;
  if (!a.shape || !b.shape || a.shape->size() != b.shape->size()) return Type::tensor(a.dtype);
  SymShape shape;
  for (size_t i = 0; i < a.shape->size(); ++i) shape.push_back((*a.shape)[i] == (*b.shape)[i] ? (*a.shape)[i] : Dim());
  return Type::tensor(a.dtype, shape);
}

bool same_type(const Type& a, const Type& b) {
  if (a.kind != b.kind || a.dtype != b.dtype || a.key != b.key) return false;
  if ((a.element != nullptr) != (b.element != nullptr)) return false;
  if (a.element && !same_type(*a.element, *b.element)) return false;
  if (a.shape.has_value() != b.shape.has_value()) return false;
  return !a.shape || std::equal(a.shape->begin(), a.shape->end(), b.shape->begin(), b.shape->end(), same_dim);
}

std::vector<Facts> infer_iterated(const InferContext& c, const std::string& attribute, std::vector<Facts>& inputs,
                                  size_t first, size_t first_output, size_t count) {
  for (int round = 0;; ++round) {
    std::vector<Facts> results = c.infer_body(attribute, inputs);
    SX_CHECK(c, results.size() >= first_output + count, "its body gives ", results.size(), " outputs; at least ",
             first_output + count, " expected");
    bool stable = true;
    for (size_t i = 0; i < count; ++i) {
      Type& input = inputs[first + i].type;
      const std::string what =
          join("the value that its body carries from output ", first_output + i, " to input ", first + i);
      Type joined = join_types(c, input, results[first_output + i].type, what);
      if (round >= kMaxRounds && joined.is_tensor()) joined.shape = std::nullopt;
      if (same_type(joined, input)) continue;
      stable = false;
      input = std::move(joined);
    }
    if (stable) return results;
  }
}

void Stack::add(const Run& run, const Tensor& item, const char* what, size_t k) {
  if (capacity_ == 0) {
    const int64_t bytes = std::max<int64_t>(1, static_cast<int64_t>(item.bytes()));
    capacity_ = std::max<int64_t>(1, std::min(limit_, kFirstReserve / bytes));
    item_ = item.shape();
    Shape shape = item_;
    shape.insert(0, capacity_);
    memory_ = Tensor(item.dtype(), shape);
  }
  SX_CHECK(run, item.dtype() == memory_.dtype() && item.shape() == item_, what, ' ', k, " is ", name_of(item.dtype()),
           item.shape().str(), " in iteration ", count_, " and ", name_of(memory_.dtype()), item_.str(),
           " in the first; all iterations must give one shape");
  if (count_ == capacity_) {
    capacity_ = std::min(limit_, checked_mul(capacity_, 2));
    Shape shape = item_;
    shape.insert(0, capacity_);
    Tensor larger(memory_.dtype(), shape);
    copy_elements(memory_, 0, larger, 0, memory_.size());
    memory_ = std::move(larger);
  }
  copy_elements(item, 0, memory_, count_ * item.size(), item.size());
  ++count_;
}

Tensor Stack::take() const {
  Shape shape = item_;
  shape.insert(0, count_);
  return Tensor(memory_.dtype(), shape, memory_.buffer());
}

void copy_elements(const Tensor& from, int64_t from_index, const Tensor& to, int64_t to_index, int64_t count) {
  if (count == 0) return;
  if (from.dtype() == DType::kString) {
    std::copy_n(from.data<std::string>() + from_index, count, to.data<std::string>() + to_index);
    return;
  }
  const size_t width = size_of(from.dtype());
  std::memcpy(static_cast<char*>(to.raw()) + static_cast<size_t>(to_index) * width,
              static_cast<const char*>(from.raw()) + static_cast<size_t>(from_index) * width,
              static_cast<size_t>(count) * width);
}

Tensor item_of(const Tensor& x, int64_t index) {
  Shape shape = x.shape();
  shape.erase(0);
  const auto start =
      static_cast<size_t>(static_cast<const char*>(x.raw()) - static_cast<const char*>(x.buffer()->data()));
  const size_t bytes = static_cast<size_t>(shape.size()) * size_of(x.dtype());
  return Tensor(x.dtype(), shape, x.buffer(), start + static_cast<size_t>(index) * bytes);
}

Tensor moved_axis(const Tensor& x, int from, int to) {
  Shape shape = x.shape();
  const int64_t extent = shape[from];
  shape.erase(from);
  shape.insert(to, extent);
  Tensor y(x.dtype(), shape);
  if (x.size() == 0) return y;
  // Between the two places lies one block of axes that changes sides with the moved axis.
  const int low = std::min(from, to);
  const int high = std::max(from, to);
  const int64_t outer = x.shape().size(0, low);
  const int64_t inner = x.shape().size(high + 1, x.rank());
  const int64_t block = x.shape().size(low, high + 1) / extent;
  const int64_t rows = from < to ? extent : block;
  const int64_t columns = from < to ? block : extent;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        copy_elements(x, ((o * rows + r) * columns + c) * inner, y, ((o * columns + c) * rows + r) * inner, inner);
  return y;
}

Shape empty_shape(const Type& type, size_t skip) {
  Shape shape;
  if (!type.shape) return shape;
  for (size_t i = skip; i < type.shape->size(); ++i) {
    const Dim& dim = (*type.shape)[i];
    shape.push_back(dim.known() ? dim.value() : 0);
  }
  return shape;
}

bool condition_of(const Run& run, const Datum& value, const char* what) {
  SX_CHECK(run, value.kind == Datum::Kind::kTensor && value.tensor.dtype() == DType::kBool && value.tensor.size() == 1,
           what, " must be one boolean");
  return *value.tensor.data<bool>();
}

}  // namespace sx
