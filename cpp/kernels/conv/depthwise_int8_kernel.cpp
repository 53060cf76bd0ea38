// The table of 8-bit depthwise kernels by ISA.
#include "kernels/conv/depthwise_int8_kernel.h"

#define SX_SIMD_SOURCE "kernels/conv/depthwise_int8_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(DepthwiseInt8Kernel, kDepthwiseInt8Kernel)
}  // namespace

const DepthwiseInt8Kernel& depthwise_int8_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
