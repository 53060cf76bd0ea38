// The f32 GEMM's multiply-adds and panel packing for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_transpose.h"

#include "kernels/gemm/gemm_tile.simd.h"

namespace gemm_f32 {

using namespace gemm_tile;

struct Words {
  static constexpr int kWordsOfA = 1;
  static constexpr bool kWidens = false;
  template <int kM, int kV>
  static SX_INLINE void add(const float* a, const float* b, int64_t panel_step, F (&acc)[kM][kV]) {
    F bv[kV];
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) bv[v] = load(b + v / kVectors * panel_step + v % kVectors * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      const F av = splat(a[i]);
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[i][v] = fma(av, bv[v], acc[i][v]);
    }
  }
};

void pack_a_panel(int64_t k, int rows, const float* a, int64_t lda, bool transposed, float* packed) {
  if (!transposed) {
    pack_transposed<false>(k, rows, a, lda, rows, packed);
    return;
  }
  const int whole = rows / kLanes * kLanes;
  for (; k > 0; --k, a += lda, packed += rows) {
    for (int i = 0; i < whole; i += kLanes) store(packed + i, load(a + i));
    if (whole < rows) store_n(packed + whole, load_n(a + whole, rows - whole), rows - whole);
  }
}

// So many rows of B are on their way while one is packed.
constexpr int kRowsAhead = 24;

void pack_b_panel(int64_t k, int columns, const float* b, int64_t ldb, bool transposed, float* packed) {
  const int vectors = (columns + kLanes - 1) / kLanes;
  const int width = vectors * kLanes;
  if (transposed) {
    pack_transposed<true>(k, columns, b, ldb, width, packed);
    return;
  }
  for (; k > 0; --k, b += ldb, packed += width) {
    for (int v = 0; v < vectors; ++v) ask_for(b + v * kLanes, kRowsAhead * ldb);
    for (int v = 0; v < vectors; ++v) store(packed + v * kLanes, load_part(b, v, vectors, columns));
  }
}

}  // namespace gemm_f32

constexpr GemmKernel kGemmKernel = {gemm_tile::kRows,
                                    gemm_tile::kColumns,
                                    kLanes,
                                    1,
                                    gemm_f32::Words::kWordsOfA,
                                    gemm_tile::kDepthBlock,
                                    gemm_tile::kRowBlock,
                                    gemm_tile::kColumnBlock,
                                    gemm_tile::kTiles<gemm_f32::Words>,
                                    gemm_tile::kWidePanels,
                                    gemm_tile::kWideTiles<gemm_f32::Words>,
                                    gemm_f32::pack_a_panel,
                                    gemm_f32::pack_b_panel};

}  // namespace SX_ISA
}  // namespace sx
