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

// The largest score, 0 where all are -inf.
SX_INLINE float largest(const float* x, int64_t n, float start) {
  F top[4] = {splat(start), splat(start), splat(start), splat(start)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) top[v] = max(load(x + i + v * kLanes), top[v]);
  }
  for (; i < n; i += kLanes) top[0] = max(load_scores(x + i, lanes_left(n, i)), top[0]);
  const float found = max_lanes(max(max(top[0], top[1]), max(top[2], top[3])));
  return found == -kInfinity ? 0.0f : found;
}

// exp(x - top) of up to kLanes scores, 0 behind them.
SX_INLINE F weights(const float* p, int count, float top) { return exp(load_scores(p, count) - splat(top)); }

// kPairs: words of two weights in bf16; else a word is one weight.
template <bool kPairs>
SX_INLINE void pack_weights(int64_t n, int rows, const float* x, int64_t stride, const float* sinks, float* packed,
                            float* factors) {
  for (int i0 = 0; i0 < rows; i0 += kLanes) {
    const int count = rows - i0 < kLanes ? rows - i0 : kLanes;
    const float* from = x + i0 * stride;
    float tops[kLanes];
    F sums[kLanes];
    for (int i = 0; i < count; ++i) {
      tops[i] = largest(from + i * stride, n, sinks ? sinks[i0 + i] : -kInfinity);
      sums[i] = F{};
    }
    constexpr int weights_each = kPairs ? 2 : 1;
    for (int64_t k = 0; k < n; k += weights_each * kLanes) {
      const int depth = lanes_left((n + weights_each - 1) / weights_each, k / weights_each);
      F block[kLanes];
      for (int i = 0; i < count; ++i) {
        const float* row = from + i * stride + k;
        block[i] = weights(row, lanes_left(n, k), tops[i]);
        sums[i] = sums[i] + block[i];
        if constexpr (kPairs) {
          const int64_t more = k + kLanes;
          const F second = more < n ? weights(row + kLanes, lanes_left(n, more), tops[i]) : F{};
          sums[i] = sums[i] + second;
          block[i] = from_bits(pairs_of_row(block[i], second));
        }
      }
      for (int i = count; i < kLanes; ++i) block[i] = F{};
      transpose(block);
      float* to = packed + k / weights_each * rows + i0;
      if (count == kLanes) {
        for (int j = 0; j < depth; ++j) store(to + j * rows, block[j]);
      } else {
        for (int j = 0; j < depth; ++j) store_n(to + j * rows, block[j], count);
      }
    }
    for (int i = 0; i < count; ++i) {
      float sum = sum_lanes(sums[i]);
      if (sinks) sum += exp(splat(sinks[i0 + i]) - splat(tops[i]))[0];
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
