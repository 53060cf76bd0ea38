// Bins of features, leaves of trees and sums of their values for blocks of rows, for one ISA.
namespace sx {
namespace SX_ISA {
namespace tree_rows {

#if SX_ISA_LEVEL >= 2
constexpr int kVector = 64;
#elif SX_ISA_LEVEL == 1
constexpr int kVector = 32;
#else
constexpr int kVector = 16;
#endif
constexpr int kBlock = 4 * kVector;

// --- Bins

// places[row] = the number of splits below x[row], for kBlock rows; NaN counts none.
template <typename T>
SX_INLINE void search(const T* splits, int64_t count, const T* x, int32_t* places) {
  for (int r = 0; r < kBlock; ++r) places[r] = 0;
  for (int64_t left = count; left > 1;) {
    const auto half = static_cast<int32_t>(left / 2);
    const T* middle = splits + half - 1;
    for (int r = 0; r < kBlock; ++r) places[r] += middle[places[r]] < x[r] ? half : 0;
    left -= half;
  }
  for (int r = 0; r < kBlock; ++r) places[r] += splits[places[r]] < x[r] ? 1 : 0;
}

#if SX_ISA_LEVEL >= 2
SX_INLINE void search(const float* splits, int64_t count, const float* x, int32_t* places) {
  const __mmask16 all = 0xffff;
  for (int r = 0; r < kBlock; r += 64) {
    __m512i at[4];
    __m512 value[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      at[v] = _mm512_setzero_si512();
      value[v] = _mm512_loadu_ps(x + r + v * 16);
    }
    for (int64_t left = count; left > 0;) {
      const int64_t half = left > 1 ? left / 2 : 1;
      const __m512i step = _mm512_set1_epi32(static_cast<int32_t>(half));
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        const __m512 split = _mm512_mask_i32gather_ps(value[v], all, at[v], splits + half - 1, 4);
        at[v] = _mm512_mask_add_epi32(at[v], _mm512_cmp_ps_mask(split, value[v], _CMP_LT_OQ), at[v], step);
      }
      left = left > 1 ? left - half : 0;
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) _mm512_storeu_si512(places + r + v * 16, at[v]);
  }
}
#endif

template <typename T>
SX_INLINE void bins(const T* splits, int64_t count, bool nan_low, const T* x, int64_t stride, int64_t rows,
                    int8_t* to) {
  alignas(64) T values[kBlock];
  alignas(64) int32_t places[kBlock];
  for (int64_t r = 0; r < rows; ++r) values[r] = x[r * stride];
  for (int64_t r = rows; r < kBlock; ++r) values[r] = 0;
  search(splits, count, values, places);
  if (!nan_low) {
    const auto above = static_cast<int32_t>(count);
    for (int r = 0; r < kBlock; ++r) places[r] = values[r] != values[r] ? above : places[r];
  }
  for (int64_t below = 0; below < count; below += kSplitsPerColumn, to += kBlock) {
    const auto first = static_cast<int32_t>(below);
    for (int r = 0; r < kBlock; ++r) {
      int32_t bin = places[r] - first;
      bin = bin < 0 ? 0 : bin;
      bin = bin > kSplitsPerColumn ? kSplitsPerColumn : bin;
      to[r] = static_cast<int8_t>(bin - 128);
    }
  }
}

void bins_f32(const float* splits, int64_t count, bool nan_low, const float* x, int64_t stride, int64_t rows,
              int8_t* to) {
  bins(splits, count, nan_low, x, stride, rows, to);
}
void bins_f64(const double* splits, int64_t count, bool nan_low, const double* x, int64_t stride, int64_t rows,
              int8_t* to) {
  bins(splits, count, nan_low, x, stride, rows, to);
}

// --- Leaves

#if SX_ISA_LEVEL >= 2
template <int kVectors>
SX_INLINE void descend(const TreeStep* steps, int64_t count, const int8_t* bins, uint8_t* leaf) {
  __m512i at[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) at[v] = _mm512_setzero_si512();
  for (int64_t s = 0; s < count; ++s) {
    const int8_t* x = bins + static_cast<size_t>(steps[s].column) * kBlock;
    const __m512i bin = _mm512_set1_epi8(steps[s].bin);
    const __m512i from = _mm512_set1_epi8(static_cast<char>(steps[s].from));
    const __m512i to = _mm512_set1_epi8(static_cast<char>(steps[s].to));
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __mmask64 above = _mm512_cmpgt_epi8_mask(_mm512_loadu_si512(x + v * 64), bin);
      at[v] = _mm512_mask_mov_epi8(at[v], _mm512_mask_cmpeq_epi8_mask(above, at[v], from), to);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) _mm512_storeu_si512(leaf + v * 64, at[v]);
}
#else
typedef int8_t Bytes __attribute__((vector_size(kVector)));
typedef int8_t UnalignedBytes __attribute__((vector_size(kVector), aligned(1), may_alias));

template <int kVectors>
SX_INLINE void descend(const TreeStep* steps, int64_t count, const int8_t* bins, uint8_t* leaf) {
  Bytes at[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) at[v] = Bytes{};
  for (int64_t s = 0; s < count; ++s) {
    const int8_t* x = bins + static_cast<size_t>(steps[s].column) * kBlock;
    const Bytes bin = Bytes{} + steps[s].bin;
    const Bytes from = Bytes{} + static_cast<int8_t>(steps[s].from);
    const Bytes change = Bytes{} + static_cast<int8_t>(steps[s].from ^ steps[s].to);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const Bytes above = *reinterpret_cast<const UnalignedBytes*>(x + v * kVector) > bin;
      at[v] ^= above & (at[v] == from) & change;
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) *reinterpret_cast<UnalignedBytes*>(leaf + v * kVector) = at[v];
}
#endif

void leaves(const TreeStep* steps, int64_t count, const int8_t* bins, int64_t rows, uint8_t* leaf) {
  if (rows > 2 * kVector) descend<4>(steps, count, bins, leaf);
  else if (rows > kVector) descend<2>(steps, count, bins, leaf);
  else descend<1>(steps, count, bins, leaf);
}

// --- Leaves of one row, a tree to a lane

// A lookup of 16 bytes gives 0 for an index above 127: c - 16 t + 112 without wrapping is one outside of table t.
#if SX_ISA_LEVEL >= 2
constexpr int kTreeLanes = 64;

void lane_leaves(const uint8_t* steps, int64_t count, const int8_t* bins, int64_t columns, uint8_t* leaf) {
  __m512i at = _mm512_setzero_si512();
  const __m512i lift = _mm512_set1_epi8(112), sixteen = _mm512_set1_epi8(16);
  for (int64_t s = 0; s < count; ++s, steps += kLaneFields * kTreeLanes) {
    __m512i column = _mm512_loadu_si512(steps);
    __m512i x = _mm512_setzero_si512();
    for (int64_t t = 0; t < columns; t += 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bins + t));
      const __m512i table = _mm512_maskz_broadcast_i32x4(0xffff, bytes);
      x = _mm512_or_si512(x, _mm512_shuffle_epi8(table, _mm512_adds_epu8(column, lift)));
      column = _mm512_sub_epi8(column, sixteen);
    }
    const __mmask64 above = _mm512_cmpgt_epi8_mask(x, _mm512_loadu_si512(steps + kTreeLanes));
    const __mmask64 here = _mm512_mask_cmpeq_epi8_mask(above, at, _mm512_loadu_si512(steps + 2 * kTreeLanes));
    at = _mm512_mask_loadu_epi8(at, here, steps + 3 * kTreeLanes);
  }
  _mm512_storeu_si512(leaf, at);
}
#elif SX_ISA_LEVEL == 1
constexpr int kTreeLanes = 32;

SX_INLINE __m256i lane_load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

void lane_leaves(const uint8_t* steps, int64_t count, const int8_t* bins, int64_t columns, uint8_t* leaf) {
  __m256i at = _mm256_setzero_si256();
  const __m256i lift = _mm256_set1_epi8(112), sixteen = _mm256_set1_epi8(16);
  for (int64_t s = 0; s < count; ++s, steps += kLaneFields * kTreeLanes) {
    __m256i column = lane_load(steps);
    __m256i x = _mm256_setzero_si256();
    for (int64_t t = 0; t < columns; t += 16) {
      const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bins + t)));
      x = _mm256_or_si256(x, _mm256_shuffle_epi8(table, _mm256_adds_epu8(column, lift)));
      column = _mm256_sub_epi8(column, sixteen);
    }
    const __m256i above = _mm256_cmpgt_epi8(x, lane_load(steps + kTreeLanes));
    const __m256i here = _mm256_cmpeq_epi8(at, lane_load(steps + 2 * kTreeLanes));
    at = _mm256_blendv_epi8(at, lane_load(steps + 3 * kTreeLanes), _mm256_and_si256(above, here));
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(leaf), at);
}
#else
constexpr int kTreeLanes = 0;

void lane_leaves(const uint8_t*, int64_t, const int8_t*, int64_t, uint8_t*) {}
#endif

// --- Sums

#if SX_ISA_LEVEL >= 2
// Values of 16 rows' leaves: from registers where they fit.
SX_INLINE __m512 values_of(const TreeValues& tree, const uint8_t* leaf) {
  const __m512i at = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(leaf)));
  const float* v = tree.values;
  if (tree.leaves > 64) return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, at, v, 4);
  const __m512 low = _mm512_permutex2var_ps(_mm512_loadu_ps(v), at, _mm512_loadu_ps(v + 16));
  if (tree.leaves <= 32) return low;
  const __m512 high = _mm512_permutex2var_ps(_mm512_loadu_ps(v + 32), at, _mm512_loadu_ps(v + 48));
  return _mm512_mask_mov_ps(low, _mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), high);
}

void add(const TreeValues* trees, int64_t count, const uint8_t* leaf, int64_t rows, double* sums) {
  for (int64_t r = 0; r < rows; r += 32) {
    __m512d sum[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sum[v] = _mm512_loadu_pd(sums + r + v * 8);
    for (int64_t t = 0; t < count; ++t) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m512 value = values_of(trees[t], leaf + t * kBlock + r + v * 16);
        const __m256 lower = _mm512_maskz_extractf32x8_ps(0xff, value, 0);
        const __m256 upper = _mm512_maskz_extractf32x8_ps(0xff, value, 1);
        sum[2 * v] = _mm512_add_pd(sum[2 * v], _mm512_maskz_cvtps_pd(0xff, lower));
        sum[2 * v + 1] = _mm512_add_pd(sum[2 * v + 1], _mm512_maskz_cvtps_pd(0xff, upper));
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) _mm512_storeu_pd(sums + r + v * 8, sum[v]);
  }
}
#else
void add(const TreeValues* trees, int64_t count, const uint8_t* leaf, int64_t rows, double* sums) {
  for (int64_t t = 0; t < count; ++t, leaf += kBlock) {
    const float* values = trees[t].values;
    for (int64_t r = 0; r < rows; ++r) sums[r] += static_cast<double>(values[leaf[r]]);
  }
}
#endif

}  // namespace tree_rows

constexpr TreeTable kTrees{SX_ISA_LEVEL > 0 ? 256 : 96, tree_rows::kVector,     tree_rows::kBlock,
                           tree_rows::bins_f32,         tree_rows::bins_f64,    tree_rows::leaves,
                           tree_rows::kTreeLanes,       tree_rows::lane_leaves, tree_rows::add};

}  // namespace SX_ISA
}  // namespace sx
