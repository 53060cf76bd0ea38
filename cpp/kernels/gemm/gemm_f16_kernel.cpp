// The table of GEMM kernels with B in f16 by ISA.
#include "kernels/gemm/gemm_f16_kernel.h"

#include "base/float_types.h"

#define SX_SIMD_SOURCE "kernels/gemm/gemm_f16_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(GemmKernel, kGemmF16Kernel)
}  // namespace

const GemmKernel& gemm_f16_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
