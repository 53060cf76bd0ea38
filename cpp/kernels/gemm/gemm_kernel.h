// The per-ISA functions under the f32 GEMM: the microkernel and the packing of panels.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// The part of an epilogue that concerns one tile, with pointers moved to the tile's first element.
struct TileTail {
  bool first = true;  // sums start at 0, else at `partial`
  bool last = true;   // the epilogue is applied and the result goes to c, else the sums go to `partial`
  float* partial = nullptr;
  int64_t partial_stride = 0;
  float scale = 1.0f;
  const float* row_bias = nullptr;
  const float* column_bias = nullptr;
  const float* residual = nullptr;
  int64_t residual_stride = 0;
  float residual_scale = 1.0f;
  bool residual_last = false;
  bool clip = false;  // relu and clip are done in registers: min(max(x, low), high)
  float low = 0.0f, high = 0.0f;
  // Any other activation, over an array; null if none.
  void (*activate)(const float* x, float* y, int64_t n, float alpha, float beta) = nullptr;
  float alpha = 0.0f, beta = 0.0f;
};

// c[rows x columns] for one panel of A ([k][rows]) and one panel of B (row k at b + k * b_step), or several panels that
// stand panel_step apart.
using TileFunction = void (*)(int64_t k, const float* a, const float* b, int64_t b_step, int64_t panel_step, float* c,
                              int64_t ldc, int columns, const TileTail& tail);

// A panel of op(A) is `mr` rows (fewer in the last one) by K, stored [k][rows]. A panel of op(B) is `nr` columns by K,
// stored [k][width], where the width of the last panel is its columns rounded up to `lanes`, filled up with zeros.
struct GemmKernel {
  int mr, nr, lanes;
  int64_t kc, mc, nc;  // block sizes; mc is a multiple of mr and nc of nr
  // tiles[rows - 1][vectors - 1] for 1 <= rows <= mr and 1 <= vectors <= nr / lanes.
  const TileFunction (*tiles)[2];
  // One row by wide_panels whole panels.
  int64_t wide_panels;
  TileFunction wide_tile;
  // One panel of `rows` rows, k columns: element (i, k) at a[i * lda + k], or a[k * lda + i] when transposed.
  void (*pack_a_panel)(int64_t k, int rows, const float* a, int64_t lda, bool transposed, float* packed);
  // One panel of `columns` columns: element (k, j) at b[k * ldb + j], or b[j * ldb + k] when transposed.
  void (*pack_b_panel)(int64_t k, int columns, const float* b, int64_t ldb, bool transposed, float* packed);
};

const GemmKernel& gemm_kernel(Isa isa);

}  // namespace sx
