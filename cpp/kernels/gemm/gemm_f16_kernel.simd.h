// The multiply-adds of the GEMM with B in f16, and its panel packing, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_half.h"
#include "kernels/vec_transpose.h"

#include "kernels/gemm/gemm_tile.simd.h"

namespace gemm_f16 {

using namespace gemm_tile;

struct Words {
  static constexpr int kWordsOfA = 2;
  template <int kM, int kV>
  static SX_INLINE void add(const float* a, const float* b, int64_t panel_step, F (&acc)[kM][kV]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      F bv[kV];
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        H halves;
        __builtin_memcpy(&halves, b + v / kVectors * panel_step + v % kVectors * kLanes + half * kLanes / 2,
                         sizeof(halves));
        bv[v] = widen_f16(halves);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kM; ++i) {
        const F av = splat(a[half * kM + i]);
#pragma GCC unroll 8
        for (int v = 0; v < kV; ++v) acc[i][v] = fma(av, bv[v], acc[i][v]);
      }
    }
  }
};

SX_INLINE void store_step(float* words, F even, F odd) {
  const H halves[2] = {narrow_f16(even), narrow_f16(odd)};
  __builtin_memcpy(words, halves, sizeof(halves));
}

void pack_a_panel(int64_t k, int rows, const float* a, int64_t lda, bool transposed, float* packed) {
  pack_a_of_two(k, rows, a, lda, transposed, packed);
}

void pack_b_panel(int64_t k, int columns, const float* b, int64_t ldb, bool transposed, float* packed) {
  const int vectors = (columns + kLanes - 1) / kLanes;
  const int width = vectors * kLanes;
  if (!transposed) {
    for (; k > 0; k -= 2, b += 2 * ldb, packed += width) {
      for (int v = 0; v < vectors; ++v) {
        const F odd = k > 1 ? load_part(b + ldb, v, vectors, columns) : F{};
        store_step(packed + v * kLanes, load_part(b, v, vectors, columns), odd);
      }
    }
    return;
  }
  for (int64_t k0 = 0; k0 < k; k0 += kLanes) {
    const int depth = static_cast<int>(k - k0 < kLanes ? k - k0 : kLanes);
    for (int v = 0; v < vectors; ++v) {
      const int left = columns - v * kLanes;
      F block[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        block[i] = F{};
        if (i >= left) continue;
        const float* row = b + (v * kLanes + i) * ldb + k0;
        block[i] = depth == kLanes ? load(row) : load_n(row, depth);
      }
      transpose(block);
      float* to = packed + k0 / 2 * width + v * kLanes;
      // The rows behind the last element of K are zero.
      for (int s = 0; s < depth; s += 2) store_step(to + s / 2 * width, block[s], block[s + 1]);
    }
  }
}

void widen_panel(int64_t steps, int64_t width, const float* packed, float* panel) {
  for (; steps > 0; --steps, packed += width, panel += 2 * width) {
    for (int64_t i = 0; i < width; i += kLanes) {
      H halves[2];
      __builtin_memcpy(halves, packed + i, sizeof(halves));
      store(panel + i, widen_f16(halves[0]));
      store(panel + width + i, widen_f16(halves[1]));
    }
  }
}

}  // namespace gemm_f16

// A takes as much memory as in f32, B half as much.
constexpr GemmKernel kGemmF16Kernel = {gemm_tile::kRows,
                                       gemm_tile::kColumns,
                                       kLanes,
                                       2,
                                       gemm_f16::Words::kWordsOfA,
                                       gemm_tile::kDepthBlock / 2,
                                       gemm_tile::kRowBlock,
                                       gemm_tile::kColumnBlock,
                                       gemm_tile::kTiles<gemm_f16::Words>,
                                       gemm_tile::kWidePanels,
                                       gemm_tile::kWideTiles<gemm_f16::Words>,
                                       gemm_f16::pack_a_panel,
                                       gemm_f16::pack_b_panel,
                                       gemm_f16::widen_panel};

}  // namespace SX_ISA
}  // namespace sx
