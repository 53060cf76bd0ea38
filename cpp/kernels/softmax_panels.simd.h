// Exponentials of rows of scores, transposed into one panel, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_math.h"
#include "kernels/vec_transpose.h"

namespace softmax_packed {

constexpr float kInfinity = __builtin_inff();

// The first `count` elements, -inf behind them.
SX_INLINE F load_scores(const float* p, int count) {
  if (count == kLanes) return load(p);
  float lanes[kLanes];
  store(lanes, splat(-kInfinity));
  for (int i = 0; i < count; ++i) lanes[i] = p[i];
  return load(lanes);
}

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

void pack(int64_t n, int rows, const float* x, int64_t stride, const float* sinks, float* packed, float* factors) {
  for (int i0 = 0; i0 < rows; i0 += kLanes) {
    const int count = rows - i0 < kLanes ? rows - i0 : kLanes;
    const float* from = x + i0 * stride;
    float tops[kLanes];
    F sums[kLanes];
    for (int i = 0; i < count; ++i) {
      tops[i] = largest(from + i * stride, n, sinks ? sinks[i0 + i] : -kInfinity);
      sums[i] = F{};
    }
    for (int64_t k = 0; k < n; k += kLanes) {
      const int depth = lanes_left(n, k);
      F block[kLanes];
      for (int i = 0; i < count; ++i) {
        block[i] = exp(load_scores(from + i * stride + k, depth) - splat(tops[i]));
        sums[i] = sums[i] + block[i];
      }
      for (int i = count; i < kLanes; ++i) block[i] = F{};
      transpose(block);
      float* to = packed + k * rows + i0;
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

}  // namespace softmax_packed

constexpr SoftmaxPanelsTable kSoftmaxPanels{softmax_packed::pack};

}  // namespace SX_ISA
}  // namespace sx
