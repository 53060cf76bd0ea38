// The table of bf16 GEMM kernels by ISA.
#include "kernels/gemm/gemm_bf16_kernel.h"

#include "base/float_types.h"

#define SX_SIMD_BF16
#define SX_SIMD_SOURCE "kernels/gemm/gemm_bf16_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(GemmKernel, kGemmBf16Kernel)
}  // namespace

const GemmKernel& gemm_bf16_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
