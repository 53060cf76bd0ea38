// The bf16 GEMM's multiply-adds and panel packing for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_bf16.h"
#include "kernels/vec_transpose.h"

#include "kernels/gemm/gemm_tile.simd.h"

namespace gemm_bf16 {

using namespace gemm_tile;

SX_INLINE I load_words(const float* p) { return bits(load(p)); }

struct Words {
#if SX_ISA_LEVEL >= 4
  static constexpr int kWordsOfA = 1;
  static constexpr bool kWidens = false;
  template <int kM, int kV>
  static SX_INLINE void add(const float* a, const float* b, int64_t panel_step, F (&acc)[kM][kV]) {
    I bv[kV];
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) bv[v] = load_words(b + v / kVectors * panel_step + v % kVectors * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      int32_t word;
      __builtin_memcpy(&word, a + i, sizeof(word));
      const I av = splat(word);
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        acc[i][v] = _mm512_dpbf16_ps(acc[i][v], reinterpret_cast<__m512bh>(av), reinterpret_cast<__m512bh>(bv[v]));
      }
    }
  }
#else
  static constexpr int kWordsOfA = 2;
  static constexpr bool kWidens = false;
  template <int kM, int kV>
  static SX_INLINE void add(const float* a, const float* b, int64_t panel_step, F (&acc)[kM][kV]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      F bv[kV];
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        const I words = load_words(b + v / kVectors * panel_step + v % kVectors * kLanes);
        bv[v] = half == 0 ? even_of_pairs(words) : odd_of_pairs(words);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kM; ++i) {
        const F av = splat(a[half * kM + i]);
#pragma GCC unroll 8
        for (int v = 0; v < kV; ++v) acc[i][v] = fma(av, bv[v], acc[i][v]);
      }
    }
  }
#endif
};

// The first `left` of kLanes elements, 0 behind them; none where left <= 0.
SX_INLINE F load_left(const float* p, int64_t left) {
  if (left >= kLanes) return load(p);
  return left > 0 ? load_n(p, static_cast<int>(left)) : F{};
}

// packed[s][i] = the pair of src[i * stride + 2 s] and the element behind it for i < rows, in rows of `width` words.
// With kPad, width is a multiple of kLanes and the words past `rows` become 0.
template <bool kPad>
SX_INLINE void pack_pairs_of_rows(int64_t k, int rows, const float* src, int64_t stride, int width, float* packed) {
  for (int64_t k0 = 0; k0 < k; k0 += 2 * kLanes) {
    const int64_t left = k - k0;
    const int steps = static_cast<int>(left < 2 * kLanes ? (left + 1) / 2 : kLanes);
    for (int i0 = 0; i0 < rows; i0 += kLanes) {
      const int count = rows - i0 < kLanes ? rows - i0 : kLanes;
      const float* from = src + i0 * stride + k0;
      F block[kLanes];
      for (int i = 0; i < count; ++i) {
        const float* row = from + i * stride;
        block[i] = from_bits(pairs_of_row(load_left(row, left), load_left(row + kLanes, left - kLanes)));
      }
      for (int i = count; i < kLanes; ++i) block[i] = F{};
      transpose(block);
      float* to = packed + k0 / 2 * width + i0;
      if (kPad || count == kLanes) {
        for (int s = 0; s < steps; ++s) store(to + s * width, block[s]);
      } else {
        for (int s = 0; s < steps; ++s) store_n(to + s * width, block[s], count);
      }
    }
  }
}

SX_INLINE F load_columns(const float* p, int count) { return count == kLanes ? load(p) : load_n(p, count); }

// packed[s][j] = the pair of b[2 s * ldb + j] and b[(2 s + 1) * ldb + j] for j < columns, in rows of `width` words.
template <bool kPad>
SX_INLINE void pack_pairs_of_columns(int64_t k, int columns, const float* b, int64_t ldb, int width, float* packed) {
  for (; k > 0; k -= 2, b += 2 * ldb, packed += width) {
    for (int j = 0; j < columns; j += kLanes) {
      const int count = columns - j < kLanes ? columns - j : kLanes;
      const F odd = k > 1 ? load_columns(b + ldb + j, count) : F{};
      const F words = from_bits(pairs_of_rows(load_columns(b + j, count), odd));
      if (kPad || count == kLanes) {
        store(packed + j, words);
      } else {
        store_n(packed + j, words, count);
      }
    }
  }
}

#if SX_ISA_LEVEL >= 4
void pack_a_panel(int64_t k, int rows, const float* a, int64_t lda, bool transposed, float* packed) {
  if (transposed) {
    pack_pairs_of_columns<false>(k, rows, a, lda, rows, packed);
  } else {
    pack_pairs_of_rows<false>(k, rows, a, lda, rows, packed);
  }
}
#else
void pack_a_panel(int64_t k, int rows, const float* a, int64_t lda, bool transposed, float* packed) {
  pack_a_of_two(k, rows, a, lda, transposed, packed);
}
#endif

void pack_b_panel(int64_t k, int columns, const float* b, int64_t ldb, bool transposed, float* packed) {
  const int width = (columns + kLanes - 1) / kLanes * kLanes;
  if (transposed) {
    pack_pairs_of_rows<true>(k, columns, b, ldb, width, packed);
  } else {
    pack_pairs_of_columns<true>(k, columns, b, ldb, width, packed);
  }
}

}  // namespace gemm_bf16

// Blocks of twice the depth of f32's take the same memory.
constexpr int64_t kBf16DepthBlock = 2 * gemm_tile::kDepthBlock, kBf16RowBlock = gemm_tile::kRowBlock / 2;
constexpr GemmKernel kGemmBf16Kernel = {gemm_tile::kRows,
                                        gemm_tile::kColumns,
                                        kLanes,
                                        2,
                                        gemm_bf16::Words::kWordsOfA,
                                        kBf16DepthBlock,
                                        kBf16RowBlock,
                                        gemm_tile::kColumnBlock,
                                        gemm_tile::kTiles<gemm_bf16::Words>,
                                        gemm_tile::kWidePanels,
                                        gemm_tile::kWideTiles<gemm_bf16::Words>,
                                        gemm_bf16::pack_a_panel,
                                        gemm_bf16::pack_b_panel};

}  // namespace SX_ISA
}  // namespace sx
