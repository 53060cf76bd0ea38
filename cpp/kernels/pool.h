// Pooling: rows joined element by element, and windows of channel-blocked data. In a maximum NaN wins.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/cpu.h"
#include "base/float_types.h"

namespace sx {

// A pool over channel-blocked data.
struct BlockedPool {
  int64_t in[2], out[2], kernel[2], stride[2], dilation[2], pad_begin[2], pad_end[2];
  bool mean;           // of the elements, else the maximum
  bool count_padding;  // a mean counts the padding as zeros
};

// The taps [first, last) of a window along an axis that lie in [-before, in + behind); tap k stands at
// start + k * dilation. A window may have far more taps than there are data.
struct PoolTaps {
  int64_t first, last, start;
};
template <typename Pool>
PoolTaps pool_taps(const Pool& pool, int axis, int64_t output, int64_t before = 0, int64_t behind = 0) {
  const int64_t start = output * pool.stride[axis] - pool.pad_begin[axis], dilation = pool.dilation[axis];
  const auto ceil_quotient = [&](int64_t a) { return a <= 0 ? 0 : dilation == 1 ? a : (a + dilation - 1) / dilation; };
  const int64_t first = std::min(pool.kernel[axis], ceil_quotient(-before - start));
  const int64_t last = std::min(pool.kernel[axis], ceil_quotient(pool.in[axis] + behind - start));
  return {first, std::max(first, last), start};
}

struct PoolKernel {
  // y[i] = join(y[i], x[i * step]) for i < n; x and y do not overlap.
  void (*maximum)(const float* x, int64_t step, float* y, int64_t n);
  void (*sum)(const float* x, int64_t step, float* y, int64_t n);
  // y[i] = the join of rows[row][i] over rows, at least one, for i < n; y overlaps none of them.
  using Down = void (*)(const float* const* rows, int64_t row_count, float* y, int64_t n);
  Down maxima_down, sums_down;
  // y[i] = the join of none and of x[i * step + tap * dilation] over taps, for i < n; step is 1 or 2.
  using Across = void (*)(const float* x, int64_t taps, int64_t dilation, int64_t step, float none, float* y,
                          int64_t n);
  Across maxima_across, sums_across;
  // y[i] /= by * counts[i]
  void (*divide)(float by, const float* counts, float* y, int64_t n);
  // One row of outputs of one block of channels, whose plane is x.
  void (*blocked_row)(const BlockedPool& pool, const float* x, int64_t row, float* y);
  void (*blocked_row_bf16)(const BlockedPool& pool, const BFloat16* x, int64_t row, BFloat16* y);
  // y[i] = the maximum of pixels 2 * i and 2 * i + 1 of two rows of blocks, for i < n.
  void (*maxima_of_pairs)(const float* top, const float* bottom, int64_t n, float* y);
};

const PoolKernel& pool_kernel(Isa isa = active_isa());

}  // namespace sx
