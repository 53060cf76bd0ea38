// The per-ISA functions under the GEMM: the microkernel and the packing of panels.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/precision.h"

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
  // Memory that is read next, for which tiles of several rows ask, next_step floats a step; or null.
  const float* next_b = nullptr;
  int64_t next_step = 0;
  float* widened = nullptr;  // of a tile that widens
};

// c[rows x columns] for one panel of A and one panel of B (step s at b + s * b_step), or several panels that stand
// panel_step apart.
using TileFunction = void (*)(int64_t steps, const float* a, const float* b, int64_t b_step, int64_t panel_step,
                              float* c, int64_t ldc, int columns, const TileTail& tail);

// Panels consist of words of four bytes, passed as floats, and of steps: with f32 a word is one element and a step one
// of K; with bf16 a word of B is two elements of a column, the first in its low half, and a step two of K, the last
// filled up with zeros. A takes a_words words for each row and step: one that holds two elements as well where the ISA
// multiplies such words, else two of f32. With f16 the same, but `lanes` words of B hold as many elements of the
// step's first row of B and then those of its second, and A is f32.
//
// A panel of op(A) is `mr` rows (fewer in the last one), stored [step][a_words][rows]. A panel of op(B) is `nr`
// columns, stored [step][width], where the width of the last panel is its columns rounded up to `lanes`, filled up with
// zeros.
struct GemmKernel {
  int mr, nr, lanes;
  int step;  // of K
  int a_words;
  int64_t kc, mc, nc;  // block sizes; kc in steps, mc a multiple of mr and nc of nr
  // tiles[rows - 1][vectors - 1] for 1 <= rows <= mr and 1 <= vectors <= nr / lanes.
  const TileFunction (*tiles)[2];
  // One row by p whole panels: wide_tiles[p - 2] for 2 <= p <= wide_panels.
  int64_t wide_panels;
  const TileFunction* wide_tiles;
  // One panel of `rows` rows, k columns: element (i, k) at a[i * lda + k], or a[k * lda + i] when transposed.
  void (*pack_a_panel)(int64_t k, int rows, const float* a, int64_t lda, bool transposed, float* packed);
  // One panel of `columns` columns: element (k, j) at b[k * ldb + j], or b[j * ldb + k] when transposed.
  void (*pack_b_panel)(int64_t k, int columns, const float* b, int64_t ldb, bool transposed, float* packed);
  // widening_tiles[vectors - 1]: tiles of mr rows that leave the panel of B at `widened` as that of the f32 kernel,
  // which multiplies the same panels of A; for blocks of more than so many rows, of which all others read it there.
  // Null where there is no such panel.
  const TileFunction* widening_tiles = nullptr;
  int64_t most_converting_rows = 0;
};

const GemmKernel& gemm_kernel(Isa isa, Precision precision = Precision::kF32);

}  // namespace sx
