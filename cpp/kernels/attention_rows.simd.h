// Dot products of a few rows with many, masks and factors of rows, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace attention_rows {

// `count` rows of b against one row of a; the tail of k is padded with zeros.
template <int count>
SX_INLINE void dot_some(const float* a, const float* b, int64_t b_row, int64_t k, float scale, float* y) {
  F sums[count];
#pragma GCC unroll 4
  for (int j = 0; j < count; ++j) sums[j] = F{};
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    const F x = load(a + i);
#pragma GCC unroll 4
    for (int j = 0; j < count; ++j) sums[j] = fma(x, load(b + j * b_row + i), sums[j]);
  }
  if (i < k) {
    const int rest = static_cast<int>(k - i);
    const F x = load_n(a + i, rest);
#pragma GCC unroll 4
    for (int j = 0; j < count; ++j) sums[j] = fma(x, load_n(b + j * b_row + i, rest), sums[j]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < count; ++j) y[j] = scale * sum_lanes(sums[j]);
}

void dot_rows(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, const float* b, int64_t b_row, float* y,
              int64_t y_row, float scale) {
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    for (int64_t i = 0; i < m; ++i) dot_some<4>(a + i * a_row, b + j * b_row, b_row, k, scale, y + i * y_row + j);
  }
  for (; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) dot_some<1>(a + i * a_row, b + j * b_row, b_row, k, scale, y + i * y_row + j);
  }
}

SX_INLINE F masked(F score, F mask) {
  const F hidden = splat(-__builtin_inff());
  return mask == hidden ? hidden : score + mask;
}

void add_mask(const float* mask, float* scores, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(scores + i, masked(load(scores + i), load(mask + i)));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    store_n(scores + i, masked(load_n(scores + i, rest), load_n(mask + i, rest)), rest);
  }
}

void scale_rows(float* y, int64_t rows, int64_t n, int64_t stride, const float* factors) {
  for (int64_t row = 0; row < rows; ++row, y += stride) {
    const F factor = splat(factors[row]);
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(y + i, load(y + i) * factor);
    if (i < n) {
      const int rest = static_cast<int>(n - i);
      store_n(y + i, load_n(y + i, rest) * factor, rest);
    }
  }
}

}  // namespace attention_rows

constexpr AttentionRowsTable kAttentionRows{attention_rows::dot_rows, attention_rows::add_mask,
                                            attention_rows::scale_rows};

}  // namespace SX_ISA
}  // namespace sx
