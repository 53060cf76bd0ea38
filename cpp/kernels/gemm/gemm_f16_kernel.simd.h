// The multiply-adds of the GEMM with B in f16, and its panel packing, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_half.h"
#include "kernels/vec_transpose.h"

#include "kernels/gemm/gemm_tile.simd.h"

namespace gemm_f16 {

using namespace gemm_tile;

// A conversion costs no multiply-add where each of those takes its factor of A from memory: with three registers to
// read they leave nothing over. Elements of A that came from one address would be loaded once, so each vector of a
// panel has an address of its own.
template <int kM, int kV>
SX_INLINE void add_row(const float* a, const F (&bv)[kV], F (&acc)[kM][kV]) {
#if SX_ISA_LEVEL >= 2
  if constexpr (kM > 1 && kV == kVectors) {
    const float* others = a;
    asm("" : "+r"(others));
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      acc[i][0] = fma(splat(a[i]), bv[0], acc[i][0]);
      acc[i][1] = fma(splat(others[i]), bv[1], acc[i][1]);
    }
    return;
  }
#endif
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
    const F av = splat(a[i]);
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) acc[i][v] = fma(av, bv[v], acc[i][v]);
  }
}

SX_INLINE F load_f16(const float* words) {
  H halves;
  __builtin_memcpy(&halves, words, sizeof(halves));
  return widen_f16(halves);
}

struct Words {
  static constexpr int kWordsOfA = 2;
  static constexpr bool kWidens = false;
  template <int kM, int kV>
  static SX_INLINE void add(const float* a, const float* b, int64_t panel_step, F (&acc)[kM][kV]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      F bv[kV];
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        bv[v] = load_f16(b + v / kVectors * panel_step + v % kVectors * kLanes + half * kLanes / 2);
      }
      add_row(a + half * kM, bv, acc);
    }
  }
};

// The same for one panel, of which each step is left as two of the f32 kernel's.
struct WideningWords {
  static constexpr int kWordsOfA = Words::kWordsOfA;
  static constexpr bool kWidens = true;
  template <int kM, int kV>
  static SX_INLINE void add(const float* a, const float* b, float* widened, F (&acc)[kM][kV]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      F bv[kV];
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        bv[v] = load_f16(b + v * kLanes + half * kLanes / 2);
        store(widened + (half * kV + v) * kLanes, bv[v]);
      }
      add_row(a + half * kM, bv, acc);
    }
  }
};

// Where there is an instruction for it, converting again for each few rows is no slower than to store and load.
#if SX_ISA_LEVEL >= 1
constexpr int64_t kMostConvertingRows = 4 * kRows;
#else
constexpr int64_t kMostConvertingRows = kRows;
#endif
constexpr TileFunction kWideningTiles[kVectors] = {tile<WideningWords, kRows, 1>, tile<WideningWords, kRows, 2>};

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
                                       gemm_f16::kWideningTiles,
                                       gemm_f16::kMostConvertingRows};

}  // namespace SX_ISA
}  // namespace sx
