// The Winograd transforms for one ISA, of f32 data or of bf16 where blocks hold it; every lane is a channel.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_bf16.h"

namespace winograd {

#if SX_ISA_LEVEL >= 4
using Element = BFloat16;
#else
using Element = float;
#endif

constexpr float kA = kWinogradA, kB = kWinogradB;
constexpr float kA2 = kA * kA, kB2 = kB * kB, kA3 = kA2 * kA, kB3 = kB2 * kB;

// The elements of a window along one axis, `step` apart, times B^T.
template <int kOut>
SX_INLINE void times_bt(F* d, int step) {
  const F d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
  if constexpr (kOut == 2) {
    d[0] = d2 - d0;
    d[step] = d2 + d1;
    d[2 * step] = d2 - d1;
    d[3 * step] = d3 - d1;
  } else {
    const F d4 = d[4 * step], d5 = d[5 * step];
    const F even_a = fma(splat(-kB2), d2, d4), odd_a = fma(splat(-kB2), d1, d3);
    const F even_b = fma(splat(-kA2), d2, d4), odd_b = fma(splat(-kA2), d1, d3);
    d[0] = fma(splat(kA2 * kB2), d0, fma(splat(-(kA2 + kB2)), d2, d4));
    d[step] = fma(splat(kA), odd_a, even_a);
    d[2 * step] = fma(splat(-kA), odd_a, even_a);
    d[3 * step] = fma(splat(kB), odd_b, even_b);
    d[4 * step] = fma(splat(-kB), odd_b, even_b);
    d[5 * step] = fma(splat(kA2 * kB2), d1, fma(splat(-(kA2 + kB2)), d3, d5));
  }
}

// The elements of a product along one axis, `step` apart, times A^T: the first kOut become the result.
template <int kOut>
SX_INLINE void times_at(F* m, int step) {
  const F sum_a = m[step] + m[2 * step], difference_a = m[step] - m[2 * step];
  if constexpr (kOut == 2) {
    m[0] = m[0] + sum_a;
    m[step] = difference_a + m[3 * step];
  } else {
    const F sum_b = m[3 * step] + m[4 * step], difference_b = m[3 * step] - m[4 * step];
    m[0] = m[0] + sum_a + sum_b;
    m[step] = fma(splat(kA), difference_a, splat(kB) * difference_b);
    m[2 * step] = fma(splat(kA2), sum_a, splat(kB2) * sum_b);
    m[3 * step] = fma(splat(kA3), difference_a, fma(splat(kB3), difference_b, m[5 * step]));
  }
}

template <int kOut>
void transform_input(const WinogradInput<Element>& in, void* to, int64_t v_step) {
  auto* v = static_cast<WinogradFactor<Element, kOut>*>(to);
  constexpr int kIn = kOut + 2;
  F d[kIn * kIn];
  if (in.row_begin == 0 && in.row_end == kIn && in.column_begin == 0 && in.column_end == kIn) {
#pragma GCC unroll 6
    for (int i = 0; i < kIn; ++i) {
#pragma GCC unroll 6
      for (int j = 0; j < kIn; ++j) d[i * kIn + j] = load(in.x + i * in.row_step + j * in.column_step);
    }
  } else {
    // Addresses of the part that holds data only: the others may lie outside of any object.
    for (int i = 0; i < kIn * kIn; ++i) d[i] = F{};
    for (int i = in.row_begin; i < in.row_end; ++i) {
      const uintptr_t row =
          reinterpret_cast<uintptr_t>(in.x) + static_cast<uintptr_t>(i * in.row_step) * sizeof(Element);
      for (int j = in.column_begin; j < in.column_end; ++j)
        d[i * kIn + j] =
            load(reinterpret_cast<const Element*>(row + static_cast<uintptr_t>(j * in.column_step) * sizeof(Element)));
    }
  }
#pragma GCC unroll 6
  for (int j = 0; j < kIn; ++j) times_bt<kOut>(d + j, kIn);
#pragma GCC unroll 6
  for (int i = 0; i < kIn; ++i) {
    times_bt<kOut>(d + i * kIn, 1);
#pragma GCC unroll 6
    for (int j = 0; j < kIn; ++j) store(v + (i * kIn + j) * v_step, d[i * kIn + j]);
  }
}

// The maxima of 2 x 2 results, those of a tile standing kOut + 2 apart; NaN where there is one.
SX_INLINE F larger(F a, F b) { return a != a ? a : max(a, b); }
template <int kOut>
SX_INLINE void store_maxima(const F* d, const WinogradOutput<Element>& out) {
  constexpr int kIn = kOut + 2;
  for (int i = 0; i < out.rows; ++i) {
    for (int j = 0; j < out.columns; ++j) {
      const F *top = d + 2 * i * kIn + 2 * j, *bottom = top + kIn;
      store(out.y + i * out.row_step + j * out.column_step,
            larger(larger(top[0], top[1]), larger(bottom[0], bottom[1])));
    }
  }
}

template <int kOut>
void transform_output(const float* m, int64_t m_step, const WinogradOutput<Element>& out, const FilterTail& tail) {
  constexpr int kIn = kOut + 2;
  F d[kIn * kIn];
#pragma GCC unroll 6
  for (int j = 0; j < kIn; ++j) {
#pragma GCC unroll 6
    for (int i = 0; i < kIn; ++i) d[i * kIn + j] = load(m + (i * kIn + j) * m_step);
    times_at<kOut>(d + j, kIn);
  }
  const F bias = out.bias ? load(out.bias) : F{};
  const F low = splat(tail.low), high = splat(tail.high), by = splat(tail.residual_scale);
  // An activation is called for all results at once.
  float values[kOut * kOut * kLanes];
  const int rows = out.maxima ? 2 * out.rows : out.rows;
#pragma GCC unroll 4
  for (int i = 0; i < kOut; ++i) {
    if (i >= rows) break;
    times_at<kOut>(d + i * kIn, 1);
    Element* y = out.y + i * out.row_step;
    const Element* residual = out.residual ? out.residual + i * out.row_step : nullptr;
#pragma GCC unroll 4
    for (int j = 0; j < kOut; ++j) {
      F v = d[i * kIn + j] + bias;
      if (j < out.columns && residual && !tail.residual_last) v = v + by * load(residual + j * out.column_step);
      if (tail.clip) {
        v = min(high, max(low, v));
      } else if (tail.activate) {
        store(values + (i * kOut + j) * kLanes, v);
        continue;
      }
      if (out.maxima) d[i * kIn + j] = v;
      if (out.maxima || j >= out.columns) continue;
      if (residual && tail.residual_last) v = v + by * load(residual + j * out.column_step);
      store(y + j * out.column_step, v);
    }
  }
  if (tail.activate && !tail.clip) {
    tail.activate(values, values, static_cast<int64_t>(rows) * kOut * kLanes, tail.alpha, tail.beta);
    for (int i = 0; out.maxima && i < rows; ++i)
      for (int j = 0; j < kOut; ++j) d[i * kIn + j] = load(values + (i * kOut + j) * kLanes);
  }
  if (out.maxima) return store_maxima<kOut>(d, out);
  if (!tail.activate || tail.clip) return;
  for (int i = 0; i < out.rows; ++i) {
    for (int j = 0; j < out.columns; ++j) {
      F v = load(values + (i * kOut + j) * kLanes);
      if (out.residual && tail.residual_last) v = v + by * load(out.residual + i * out.row_step + j * out.column_step);
      store(out.y + i * out.row_step + j * out.column_step, v);
    }
  }
}

// Three weights along one axis times G.
template <int kOut>
SX_INLINE void times_g(F a, F b, F c, F (&u)[kOut + 2]) {
  if constexpr (kOut == 2) {
    const F even = (a + c) * 0.5f, odd = b * 0.5f;
    u[0] = -a;
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = c;
  } else {
    constexpr float kOfA = 1 / (2 * kA2 * (kA2 - kB2)), kOfB = 1 / (2 * kB2 * (kB2 - kA2));
    const F even_a = fma(splat(kA2), c, a) * kOfA, odd_a = b * (kA * kOfA);
    const F even_b = fma(splat(kB2), c, a) * kOfB, odd_b = b * (kB * kOfB);
    u[0] = a * (1 / (kA2 * kB2));
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = c;
  }
}

template <int kOut>
void transform_weights(const float* w, int64_t w_step, float* u, int64_t u_step) {
  constexpr int kIn = kOut + 2;
  F half[3][kIn];  // columns of the weights, times G
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j)
    times_g<kOut>(load(w + j * w_step), load(w + (3 + j) * w_step), load(w + (6 + j) * w_step), half[j]);
#pragma GCC unroll 6
  for (int i = 0; i < kIn; ++i) {
    F row[kIn];
    times_g<kOut>(half[0][i], half[1][i], half[2][i], row);
#pragma GCC unroll 6
    for (int j = 0; j < kIn; ++j) store(u + (i * kIn + j) * u_step, row[j]);
  }
}

template <int kOut>
constexpr WinogradKernel<Element> kTransforms = {transform_input<kOut>, transform_output<kOut>,
                                                 transform_weights<kOut>};
constexpr WinogradKernels<Element> kKernels = {kTransforms<2>, kTransforms<4>};

}  // namespace winograd

#if SX_ISA_LEVEL >= 4
constexpr const WinogradKernels<BFloat16>& kWinogradBf16Kernels = winograd::kKernels;
using avx512::kWinogradKernels;
#else
constexpr const WinogradKernels<float>& kWinogradKernels = winograd::kKernels;
#endif

}  // namespace SX_ISA
}  // namespace sx
