// Dot products of a few rows with many, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace dots {

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

}  // namespace dots

constexpr DotRowsTable kDotRows{dots::dot_rows};

}  // namespace SX_ISA
}  // namespace sx
