// The table of f32 convolution kernels by ISA.
#include "kernels/conv/conv_kernel.h"

#define SX_SIMD_SOURCE "kernels/conv/conv_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(ConvKernel, kConvKernel)
}  // namespace

const ConvKernel& conv_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
