// The table of activation functions by ISA.
#include "kernels/activation.h"

namespace sx {
namespace {
struct ActivationTable {
  ActivationFunction functions[kActivationCount];
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/activation.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(ActivationTable, kActivations)
}  // namespace

ActivationFunction activation_function(Activation activation, Isa isa) {
  return for_isa(isa).functions[static_cast<int>(activation)];
}

}  // namespace sx
