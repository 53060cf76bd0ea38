// The tables of Winograd transforms by ISA.
#include "kernels/conv/winograd_kernel.h"

#include "base/error.h"
#include "kernels/conv/blocked.h"

namespace sx {
namespace {
template <typename T>
struct WinogradKernels {
  WinogradKernel<T> two, four;
};
}  // namespace
}  // namespace sx

#define SX_SIMD_BF16
#define SX_SIMD_SOURCE "kernels/conv/winograd_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(WinogradKernels<float>, kWinogradKernels)
}  // namespace

template <>
const WinogradKernel<float>& winograd_kernel(Isa isa, int out) {
  const WinogradKernels<float>& kernels = for_isa(isa);
  return out == 4 ? kernels.four : kernels.two;
}

#if defined(__x86_64__)
template <>
const WinogradKernel<BFloat16>& winograd_kernel(Isa isa, int out) {
  SX_ASSERT(has_bf16_blocks(isa));
  return out == 4 ? bf16::kWinogradBf16Kernels.four : bf16::kWinogradBf16Kernels.two;
}
#else
template <>
const WinogradKernel<BFloat16>& winograd_kernel(Isa, int) {
  assertion_failed("has_bf16_blocks(isa)", __FILE__, __LINE__);
}
#endif

}  // namespace sx
