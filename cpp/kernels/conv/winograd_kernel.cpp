// The table of Winograd transforms by ISA.
#include "kernels/conv/winograd_kernel.h"

namespace sx {
namespace {
struct WinogradKernels {
  WinogradKernel two, four;
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/conv/winograd_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(WinogradKernels, kWinogradKernels)
}  // namespace

const WinogradKernel& winograd_kernel(Isa isa, int out) {
  const WinogradKernels& kernels = for_isa(isa);
  return out == 4 ? kernels.four : kernels.two;
}

}  // namespace sx
