// The table of kernels for stacked data by ISA.
#include "kernels/conv/stacked_kernel.h"

#define SX_SIMD_SOURCE "kernels/conv/stacked_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(StackedKernel, kStackedKernel)
}  // namespace

const StackedKernel& stacked_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
