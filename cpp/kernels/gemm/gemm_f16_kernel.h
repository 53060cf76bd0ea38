// The f16 kernels of the GEMM, which gemm_kernel() hands out.
#pragma once

#include "kernels/gemm/gemm_kernel.h"

namespace sx {

const GemmKernel& gemm_f16_kernel(Isa isa);

}  // namespace sx
