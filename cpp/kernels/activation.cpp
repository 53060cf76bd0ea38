// The table of activation functions by ISA.
#include "kernels/activation.h"

namespace sx {
namespace {
struct ActivationTable {
  ActivationFunction functions[kActivationCount];
  ActivationFunction coarse_gelu, coarse_gelu_tanh, coarse_swish;
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

}  // namespace sx
