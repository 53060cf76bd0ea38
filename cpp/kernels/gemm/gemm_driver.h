// The blocked f32 GEMM over a list of products, with B read from memory, from packed panels, or made by a function.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_kernel.h"

namespace sx {

// What one product of a list uses; `shape` gives the rest.
struct GemmOperands {
  const float* a;
  const float* packed_a;
  const float* b;
  const float* packed_b;
  float* c;
  const float* residual;
  const float* row_bias;
};

using OperandsOf = FunctionRef<GemmOperands(int64_t item)>;
// Writes rows [k0, k0 + k) of the panel of `columns` columns that begins at column j of a product's B, laid out as by
// GemmKernel::pack_b_panel; it may write up to kPanelSlack floats past its end. This is how a convolution makes its
// columns without storing the matrix of them.
constexpr int64_t kPanelSlack = 16;
using MakePanel = FunctionRef<void(int64_t item, int64_t k0, int64_t k, int64_t j, int columns, float* packed)>;
// Runs `count` products of the shape of `shape`, which says all but the operands. Where make_panel is set, it stands
// for b and packed_b.
void run_gemms(const Gemm& shape, int64_t count, OperandsOf operands, const MakePanel* make_panel, Isa isa);

}  // namespace sx
