// Conversions between f32 and the other float types, tensor by tensor.
#include "ops/float_io.h"

#include "kernels/unary.h"

namespace sx {

Tensor to_f32(const Tensor& x) {
  if (x.dtype() == DType::kFloat32) return x;
  Tensor y(DType::kFloat32, x.shape());
  float* to = y.data<float>();
  switch (x.dtype()) {
    case DType::kFloat16: convert(x.data<Float16>(), to, x.size()); break;
    case DType::kBFloat16: convert(x.data<BFloat16>(), to, x.size()); break;
    case DType::kFloat64: {
      const double* from = x.data<double>();
      for (int64_t i = 0; i < x.size(); ++i) to[i] = static_cast<float>(from[i]);
      break;
    }
    default: fail(ErrorKind::kInvalidArgument, "floats expected, found ", name_of(x.dtype()), x.shape().str());
  }
  return y;
}

void store_f32(const float* from, const Tensor& to) {
  switch (to.dtype()) {
    case DType::kFloat32: {
      float* y = to.data<float>();
      for (int64_t i = 0; i < to.size(); ++i) y[i] = from[i];
      break;
    }
    case DType::kFloat16: convert(from, to.data<Float16>(), to.size()); break;
    case DType::kBFloat16: convert(from, to.data<BFloat16>(), to.size()); break;
    case DType::kFloat64: {
      double* y = to.data<double>();
      for (int64_t i = 0; i < to.size(); ++i) y[i] = from[i];
      break;
    }
    default: fail(ErrorKind::kInvalidArgument, "floats expected, found ", name_of(to.dtype()), to.shape().str());
  }
}

}  // namespace sx
