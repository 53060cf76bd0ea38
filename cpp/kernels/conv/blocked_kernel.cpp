// The table of channel-blocked convolution kernels by ISA.
#include "kernels/conv/blocked_kernel.h"

#define SX_SIMD_SOURCE "kernels/conv/blocked_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(BlockedKernel, kBlockedKernel)
}  // namespace

const BlockedKernel& blocked_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
