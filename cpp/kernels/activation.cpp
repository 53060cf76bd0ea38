// The table of activation functions by ISA, and the gradient of Gelu.
#include "kernels/activation.h"

#include "base/thread_pool.h"
#include "kernels/gelu_gradient.h"

namespace sx {
namespace {
struct ActivationTable {
  ActivationFunction functions[kActivationCount];
  ActivationFunction coarse_gelu, coarse_gelu_tanh, coarse_swish;
  void (*gelu_gradient)(const float* x, const float* dy, float* dx, int64_t n);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/activation.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(ActivationTable, kActivations)
}  // namespace

ActivationFunction activation_function(Activation activation, Isa isa, Precision precision) {
  const ActivationTable& table = for_isa(isa);
  if (precision == Precision::kBf16 && activation == Activation::kGelu) return table.coarse_gelu;
  if (precision == Precision::kBf16 && activation == Activation::kGeluTanh) return table.coarse_gelu_tanh;
  if (precision == Precision::kBf16 && activation == Activation::kSwish) return table.coarse_swish;
  return table.functions[static_cast<int>(activation)];
}

void gelu_gradient(const float* x, const float* dy, float* dx, int64_t n, Isa isa) {
  constexpr int64_t kGrain = 8192;
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    for_isa(isa).gelu_gradient(x + begin, dy + begin, dx + begin, end - begin);
  });
}

}  // namespace sx
