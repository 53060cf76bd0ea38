// The table of f32 GEMM kernels by ISA.
#include "kernels/gemm/gemm_kernel.h"

#include "kernels/gemm/gemm_bf16_kernel.h"
#include "kernels/gemm/gemm_f16_kernel.h"

#define SX_SIMD_SOURCE "kernels/gemm/gemm_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(GemmKernel, kGemmKernel)
}  // namespace

const GemmKernel& gemm_kernel(Isa isa, Precision precision) {
  switch (precision) {
    case Precision::kBf16: return gemm_bf16_kernel(isa);
    case Precision::kF16: return gemm_f16_kernel(isa);
    default: return for_isa(isa);
  }
}

}  // namespace sx
