// The table of 8-bit GEMM kernels by ISA.
#include "kernels/gemm/gemm_int8_kernel.h"

#define SX_SIMD_VNNI
#define SX_SIMD_SOURCE "kernels/gemm/gemm_int8_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(GemmInt8Kernel, kGemmInt8Kernel)
}  // namespace

const GemmInt8Kernel& gemm_int8_kernel(Isa isa) { return for_isa(isa); }

}  // namespace sx
