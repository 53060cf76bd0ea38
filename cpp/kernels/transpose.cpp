// The table of transposes by ISA.
#include "kernels/transpose.h"

#define SX_SIMD_SOURCE "kernels/transpose.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(TransposeKernel, kTransposeKernel)
}  // namespace

const TransposeKernel& transpose_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
