// The table of f32 GEMM kernels by ISA.
#include "kernels/gemm/gemm_kernel.h"

#include "kernels/gemm/gemm_bf16_kernel.h"

#define SX_SIMD_SOURCE "kernels/gemm/gemm_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(GemmKernel, kGemmKernel)
}  // namespace

const GemmKernel& gemm_kernel(Isa isa, Precision precision) {
  return precision == Precision::kBf16 ? gemm_bf16_kernel(isa) : for_isa(isa);
}

}  // namespace sx
