// Exponentials of rows of scores, transposed into one panel, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_bf16.h"
#include "kernels/vec_math.h"
#include "kernels/vec_transpose.h"

namespace softmax_packed {

constexpr float kInfinity = __builtin_inff();

// The first `count` elements, -inf behind them.
SX_INLINE F load_scores(const float* p, int count) { return load_or(p, count, -kInfinity); }

SX_INLINE int lanes_left(int64_t n, int64_t i) { return static_cast<int>(n - i < kLanes ? n - i : kLanes); }

// Four rows are worked on at a time, so that their elements can leave as columns.
struct FourRows {
  const float* row[kQuarter];
};

// The largest score of each row and `start`, 0 where all are -inf.
SX_INLINE Quarter largest(const FourRows& x, int64_t n, Quarter start) {
  F top[kQuarter];
#pragma GCC unroll 4
  for (int i = 0; i < kQuarter; ++i) top[i] = splat(start[i]);
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < kQuarter; ++i) top[i] = max(load(x.row[i] + k), top[i]);
  }
  if (k < n) {
#pragma GCC unroll 4
    for (int i = 0; i < kQuarter; ++i) top[i] = max(load_scores(x.row[i] + k, lanes_left(n, k)), top[i]);
  }
  transpose_quarters(top);
  const F all = max(max(top[0], top[1]), max(top[2], top[3]));
  Quarter found = quarter(all, 0);
#pragma GCC unroll 4
  for (int q = 1; q < kLanes / kQuarter; ++q) found = quarter(all, q) > found ? quarter(all, q) : found;
  return found == -kInfinity ? Quarter{} : found;
}

SX_INLINE Quarter sum_each(F (&rows)[kQuarter]) {
  transpose_quarters(rows);
  const F all = (rows[0] + rows[1]) + (rows[2] + rows[3]);
  Quarter sum = quarter(all, 0);
#pragma GCC unroll 4
  for (int q = 1; q < kLanes / kQuarter; ++q) sum = sum + quarter(all, q);
  return sum;
}

// exp(x - top) of up to kLanes scores, 0 behind them.
SX_INLINE F weights(const float* p, int count, float top) { return coarse_exp(load_scores(p, count) - splat(top)); }

// The words of kLanes columns, or with kPairs of twice as many, of which `left` are there: the first `rows` of each
// column go to to[j * step].
template <bool kPairs>
SX_INLINE void pack_columns(const FourRows& x, int64_t k, int64_t left, Quarter tops, F (&sums)[kQuarter], int rows,
                            float* to, int64_t step) {
  F words[kQuarter];
#pragma GCC unroll 4
  for (int i = 0; i < kQuarter; ++i) {
    words[i] = weights(x.row[i] + k, lanes_left(left, 0), tops[i]);
    sums[i] = sums[i] + words[i];
    if constexpr (kPairs) {
      const F second = left > kLanes ? weights(x.row[i] + k + kLanes, lanes_left(left, kLanes), tops[i]) : F{};
      sums[i] = sums[i] + second;
      words[i] = from_bits(pairs_of_row(words[i], second));
    }
  }
  transpose_quarters(words);
  const int depth = lanes_left(kPairs ? (left + 1) / 2 : left, 0);
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j) {
    if (j >= depth) break;
    const Quarter column = quarter(words[j % kQuarter], j / kQuarter);
    if (rows == kQuarter) {
      __builtin_memcpy(to + j * step, &column, sizeof(column));
    } else {
      for (int i = 0; i < rows; ++i) to[j * step + i] = column[i];
    }
  }
}

// kPairs: words of two weights in bf16; else a word is one weight.
template <bool kPairs>
SX_INLINE void pack_weights(int64_t n, int rows, const float* x, int64_t stride, const float* sinks, float* packed,
                            float* factors) {
  constexpr int kWeights = kPairs ? 2 : 1;
  for (int i0 = 0; i0 < rows; i0 += kQuarter) {
    const int count = rows - i0 < kQuarter ? rows - i0 : kQuarter;
    // In place of rows that are not there, the first is read.
    FourRows from;
    Quarter start = Quarter{} - kInfinity;
    for (int i = 0; i < kQuarter; ++i) {
      const int row = i < count ? i0 + i : i0;
      from.row[i] = x + row * stride;
      if (sinks) start[i] = sinks[row];
    }
    const Quarter tops = largest(from, n, start);
    F sums[kQuarter] = {};
    int64_t k = 0;
    float* to = packed + i0;
    if (count == kQuarter) {
      for (; k + kWeights * kLanes <= n; k += kWeights * kLanes, to += kLanes * rows)
        pack_columns<kPairs>(from, k, kWeights * kLanes, tops, sums, kQuarter, to, rows);
    }
    for (; k < n; k += kWeights * kLanes, to += kLanes * rows)
      pack_columns<kPairs>(from, k, n - k, tops, sums, count, to, rows);
    const Quarter all = sum_each(sums);
    for (int i = 0; i < count; ++i) {
      const float sink = sinks ? coarse_exp(splat(start[i]) - splat(tops[i]))[0] : 0.0f;
      const float sum = all[i] + sink;
      factors[i0 + i] = sum == 0.0f ? 0.0f : 1.0f / sum;
    }
  }
}

void pack(int64_t n, int rows, const float* x, int64_t stride, const float* sinks, float* packed, float* factors) {
  pack_weights<false>(n, rows, x, stride, sinks, packed, factors);
}

void pack_bf16(int64_t n, int rows, const float* x, int64_t stride, const float* sinks, float* packed, float* factors) {
#if SX_ISA_LEVEL >= 4
  pack_weights<true>(n, rows, x, stride, sinks, packed, factors);
#else
  pack_weights<false>(n, rows, x, stride, sinks, packed, factors);
  for (int i = 0; n % 2 != 0 && i < rows; ++i) packed[n * rows + i] = 0.0f;
#endif
}

}  // namespace softmax_packed

constexpr SoftmaxPanelsTable kSoftmaxPanels{softmax_packed::pack, softmax_packed::pack_bf16};

}  // namespace SX_ISA
}  // namespace sx
