// The tables of channel-blocked convolution kernels by ISA.
#include "kernels/conv/blocked_kernel.h"

#include "base/error.h"
#include "kernels/conv/blocked.h"

#define SX_SIMD_BF16
#define SX_SIMD_SOURCE "kernels/conv/blocked_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(BlockedKernel, kBlockedKernel)
}  // namespace

template <>
const BlockedKernel& blocked_kernel<float>(Isa isa) {
  return for_isa(isa);
}

#if defined(__x86_64__)
bool has_bf16_blocks(Isa isa) { return isa >= Isa::kAvx512Bf16; }

template <>
const BlockedKernelOf<BFloat16>& blocked_kernel(Isa isa) {
  SX_ASSERT(has_bf16_blocks(isa));
  return bf16::kBlockedBf16Kernel;
}
#else
bool has_bf16_blocks(Isa) { return false; }

template <>
const BlockedKernelOf<BFloat16>& blocked_kernel(Isa) {
  assertion_failed("has_bf16_blocks(isa)", __FILE__, __LINE__);
}
#endif

}  // namespace sx
