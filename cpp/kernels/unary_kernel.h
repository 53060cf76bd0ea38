// The per-ISA functions under the binary operations and the half-precision conversions.
#pragma once

#include <cstdint>

#include "base/float_types.h"
#include "kernels/unary.h"

namespace sx {

constexpr int kBinaryCount = static_cast<int>(Binary::kMin) + 1;

// y[i] = a[i] op b[i]; a form with a scalar reads one value of that side.
using BinaryFunction = void (*)(const float* a, const float* b, float* y, int64_t n);

struct UnaryKernel {
  // forms: both arrays, b scalar, a scalar, both scalar.
  BinaryFunction binary[kBinaryCount][4];
  // y[i] = condition[i] ? a[i] : b[i], 32 bits each; forms as above.
  void (*choose[4])(const bool* condition, const int32_t* a, const int32_t* b, int32_t* y, int64_t n);
  void (*find_nan)(const float* x, bool* y, int64_t n);
  void (*find_infinity)(const float* x, bool negative, bool positive, bool* y, int64_t n);
  void (*from_f16)(const Float16* x, float* y, int64_t n);
  void (*from_bf16)(const BFloat16* x, float* y, int64_t n);
  void (*to_f16)(const float* x, Float16* y, int64_t n);
  void (*to_bf16)(const float* x, BFloat16* y, int64_t n);
};
const UnaryKernel& unary_kernel(Isa isa);

}  // namespace sx
