// The table of functions that compute in f64 by ISA.
#include "kernels/f64.h"

namespace sx {
namespace {
struct F64Kernel {
  struct Entry {
    Activation kind;
    DoubleFunction function;
  };
  Entry functions[14];
  // Forms: both arrays, b scalar, a scalar, both scalar.
  void (*power[4])(const float* a, const float* b, float* y, int64_t n);
  void (*remainder[4])(const float* a, const float* b, float* y, int64_t n);
  void (*divide[3][4])(const int32_t* a, const int32_t* b, int32_t* y, int64_t n);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/f64.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(F64Kernel, kF64Kernel)
}  // namespace

DoubleFunction double_function(Activation function, Isa isa) {
  for (const F64Kernel::Entry& entry : for_isa(isa).functions)
    if (entry.kind == function) return entry.function;
  return nullptr;
}

void power(const float* a, bool a_scalar, const float* b, bool b_scalar, float* y, int64_t n, Isa isa) {
  for_isa(isa).power[(a_scalar ? 2 : 0) + (b_scalar ? 1 : 0)](a, b, y, n);
}

void remainder(const float* a, bool a_scalar, const float* b, bool b_scalar, float* y, int64_t n, Isa isa) {
  for_isa(isa).remainder[(a_scalar ? 2 : 0) + (b_scalar ? 1 : 0)](a, b, y, n);
}

void divide(IntegerDivision kind, const int32_t* a, bool a_scalar, const int32_t* b, bool b_scalar, int32_t* y,
            int64_t n, Isa isa) {
  for_isa(isa).divide[static_cast<int>(kind)][(a_scalar ? 2 : 0) + (b_scalar ? 1 : 0)](a, b, y, n);
}

}  // namespace sx
