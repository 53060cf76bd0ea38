// The Winograd transforms for one ISA; every lane is a tile.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace winograd_f32 {

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

template <int... kLane>
SX_INLINE F even_lanes(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (2 * kLane)...);
}
template <int... kLane>
SX_INLINE F odd_lanes(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (2 * kLane + 1)...);
}
// The lanes of a from the second on, then the first of b.
template <int... kLane>
SX_INLINE F next_lanes(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (kLane + 1)...);
}
// Lane k of the first (second) half of the result is lane k / 2, counted from there, of a or b in turn.
template <int... kLane>
SX_INLINE F zip_low(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (kLane / 2 + kLane % 2 * kLanes)...);
}
template <int... kLane>
SX_INLINE F zip_high(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (kLanes / 2 + kLane / 2 + kLane % 2 * kLanes)...);
}
constexpr auto kLaneNumbers = std::make_integer_sequence<int, kLanes>();

// p[i] for from <= i < to, and 0 in the other lanes; reads nothing else.
SX_INLINE F load_between(const float* p, int64_t from, int64_t to) {
  if (from <= 0 && to >= kLanes) return load(p);
  if (to <= 0 || from >= kLanes || from >= to) return F{};
#if SX_ISA_LEVEL >= 2
  const uint32_t below_to = to >= kLanes ? 0xffffu : (1u << to) - 1;
  const uint32_t below_from = from <= 0 ? 0u : (1u << from) - 1;
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(below_to & ~below_from), p);
#else
  F v{};
  for (int i = from > 0 ? static_cast<int>(from) : 0; i < kLanes && i < to; ++i) v[i] = p[i];
  return v;
#endif
}

template <int kOut>
void transform_input(const WinogradInput& in, float* v, int64_t v_step) {
  constexpr int kIn = kOut + 2;
  // Vectors of columns that a run of tiles reads: those of the tiles themselves, and one for the two columns beyond.
  constexpr int kParts = kOut + 1;
  F rows[kIn][kParts];
  const bool inside = in.top >= 0 && in.top + kIn <= in.height && in.left >= 0 && in.left + kParts * kLanes <= in.width;
  if (inside) {
#pragma GCC unroll 6
    for (int i = 0; i < kIn; ++i) {
      const float* row = in.plane + (in.top + i) * in.width + in.left;
#pragma GCC unroll 5
      for (int k = 0; k < kParts; ++k) rows[i][k] = load(row + k * kLanes);
    }
  } else {
    const int64_t begin = -in.left;
    const int64_t rest = in.width - in.left, needed = kOut * in.tiles + 2;
    const int64_t end = rest < needed ? rest : needed;
#pragma GCC unroll 6
    for (int i = 0; i < kIn; ++i) {
      const int64_t at = in.top + i;
      const bool exists = at >= 0 && at < in.height;
      // An address that may lie before the row is never read from: its lanes are masked off.
      const uintptr_t row = reinterpret_cast<uintptr_t>(in.plane) +
                            static_cast<uintptr_t>((exists ? at : 0) * in.width + in.left) * sizeof(float);
#pragma GCC unroll 5
      for (int k = 0; k < kParts; ++k) {
        rows[i][k] = exists ? load_between(reinterpret_cast<const float*>(row + k * kLanes * sizeof(float)),
                                           begin - k * kLanes, end - k * kLanes)
                            : F{};
      }
    }
  }
#pragma GCC unroll 5
  for (int k = 0; k < kParts; ++k) times_bt<kOut>(&rows[0][k], kParts);
  const bool whole = in.tiles == kLanes;
#pragma GCC unroll 6
  for (int i = 0; i < kIn; ++i) {
    const F* row = rows[i];
    F d[kIn];
    if constexpr (kOut == 2) {
      d[0] = even_lanes(row[0], row[1], kLaneNumbers);
      d[1] = odd_lanes(row[0], row[1], kLaneNumbers);
    } else {
      const F even_low = even_lanes(row[0], row[1], kLaneNumbers), odd_low = odd_lanes(row[0], row[1], kLaneNumbers);
      const F even_high = even_lanes(row[2], row[3], kLaneNumbers), odd_high = odd_lanes(row[2], row[3], kLaneNumbers);
      d[0] = even_lanes(even_low, even_high, kLaneNumbers);
      d[1] = even_lanes(odd_low, odd_high, kLaneNumbers);
      d[2] = odd_lanes(even_low, even_high, kLaneNumbers);
      d[3] = odd_lanes(odd_low, odd_high, kLaneNumbers);
    }
    d[kOut] = next_lanes(d[0], row[kOut], kLaneNumbers);
    d[kOut + 1] = next_lanes(d[1], splat(row[kOut][1]), kLaneNumbers);
    times_bt<kOut>(d, 1);
    float* to = v + i * kIn * v_step;
#pragma GCC unroll 6
    for (int j = 0; j < kIn; ++j) {
      if (whole) store(to + j * v_step, d[j]);
      else store_n(to + j * v_step, d[j], in.tiles);
    }
  }
}

SX_INLINE F load_some(const float* p, int count) { return count >= kLanes ? load(p) : load_n(p, count); }

// Up to kLanes outputs: the tail, and the store.
SX_INLINE void finish(F v, int count, float* y, const float* residual, const FilterTail& tail) {
  v = v * splat(tail.scale);
  if (tail.has_bias) v = v + splat(tail.bias);
  if (residual && !tail.residual_last) v = v + splat(tail.residual_scale) * load_some(residual, count);
  if (tail.clip) {
    v = min(splat(tail.high), max(splat(tail.low), v));
  } else if (tail.activate) {
    float values[kLanes];
    store(values, v);
    tail.activate(values, values, kLanes, tail.alpha, tail.beta);
    v = load(values);
  }
  if (residual && tail.residual_last) v = v + splat(tail.residual_scale) * load_some(residual, count);
  if (count >= kLanes) store(y, v);
  else store_n(y, v, count);
}

template <int kOut>
void transform_output(const float* m, int64_t m_step, const WinogradOutput& out, const FilterTail& tail) {
  constexpr int kIn = kOut + 2;
  F d[kIn * kIn];
#pragma GCC unroll 6
  for (int j = 0; j < kIn; ++j) {
#pragma GCC unroll 6
    for (int i = 0; i < kIn; ++i) d[i * kIn + j] = load(m + (i * kIn + j) * m_step);
    times_at<kOut>(d + j, kIn);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kOut; ++i) {
    if (i >= out.rows) return;
    F* row = d + i * kIn;
    times_at<kOut>(row, 1);
    F parts[kOut];
    if constexpr (kOut == 2) {
      parts[0] = zip_low(row[0], row[1], kLaneNumbers);
      parts[1] = zip_high(row[0], row[1], kLaneNumbers);
    } else {
      const F even_low = zip_low(row[0], row[2], kLaneNumbers), odd_low = zip_low(row[1], row[3], kLaneNumbers);
      const F even_high = zip_high(row[0], row[2], kLaneNumbers), odd_high = zip_high(row[1], row[3], kLaneNumbers);
      parts[0] = zip_low(even_low, odd_low, kLaneNumbers);
      parts[1] = zip_high(even_low, odd_low, kLaneNumbers);
      parts[2] = zip_low(even_high, odd_high, kLaneNumbers);
      parts[3] = zip_high(even_high, odd_high, kLaneNumbers);
    }
    float* y = out.y + i * out.stride;
    const float* residual = out.residual ? out.residual + i * out.stride : nullptr;
#pragma GCC unroll 4
    for (int k = 0; k < kOut; ++k) {
      if (out.columns > k * kLanes)
        finish(parts[k], out.columns - k * kLanes, y + k * kLanes, residual ? residual + k * kLanes : nullptr, tail);
    }
  }
}

}  // namespace winograd_f32

constexpr WinogradKernels kWinogradKernels = {{winograd_f32::transform_input<2>, winograd_f32::transform_output<2>},
                                              {winograd_f32::transform_input<4>, winograd_f32::transform_output<4>}};

}  // namespace SX_ISA
}  // namespace sx
