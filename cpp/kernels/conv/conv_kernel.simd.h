// Column packing and depthwise convolution for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace conv_f32 {

SX_INLINE void copy_some(const float* from, float* to, int count) {
  if (count == kLanes) {
    store(to, load(from));
    return;
  }
#if SX_ISA_LEVEL == 1
  // What this writes past the count is written again by the next segment or row.
  store(to, load_n(from, count));
#else
  store_n(to, load_n(from, count), count);
#endif
}

SX_INLINE void fill(float* out, int64_t count, float value) {
  const F v = splat(value);
  for (int64_t i = 0; i < count; i += kLanes) {
    if (count - i >= kLanes) {
      store(out + i, v);
    } else {
      store_n(out + i, v, static_cast<int>(count - i));
    }
  }
}

template <int... kLane>
SX_INLINE F even_lanes(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (2 * kLane)...);
}

void copy_row(const float* in, float* out, int64_t size, int64_t begin, int64_t end, int64_t stride, float pad) {
#if SX_ISA_LEVEL >= 2
  if (stride == 1) {
    // Lanes outside [begin, end) are masked off, so the load touches nothing before or after the row.
    const uintptr_t first = reinterpret_cast<uintptr_t>(in) - static_cast<uintptr_t>(begin) * sizeof(float);
    for (int64_t i = 0; i < size; i += kLanes) {
      const int64_t from = begin - i, to = end - i;
      if (from <= 0 && to >= kLanes) {
        store(out + i, load(in + (i - begin)));
        continue;
      }
      const uint32_t below_to = to >= kLanes ? 0xffffu : (to <= 0 ? 0u : (1u << to) - 1);
      const uint32_t below_from = from >= kLanes ? 0xffffu : (from <= 0 ? 0u : (1u << from) - 1);
      const float* p = reinterpret_cast<const float*>(first + static_cast<uintptr_t>(i) * sizeof(float));
      const F v = _mm512_mask_loadu_ps(splat(pad), static_cast<__mmask16>(below_to & ~below_from), p);
      store_n(out + i, v, static_cast<int>(size - i < kLanes ? size - i : kLanes));
    }
    return;
  }
#endif
  fill(out, begin, pad);
  fill(out + end, size - end, pad);
  out += begin;
  const int64_t count = end - begin;
  int64_t i = 0;
  if (stride == 1) {
    for (; i + kLanes <= count; i += kLanes) store(out + i, load(in + i));
    if (i < count) store_n(out + i, load_n(in + i, static_cast<int>(count - i)), static_cast<int>(count - i));
    return;
  }
  if (stride == 2) {
    // The second vector ends one past the last element that is used, so one output fewer is made at a time.
    for (; i + kLanes < count; i += kLanes) {
      const F first = load(in + 2 * i), second = load(in + 2 * i + kLanes);
      store(out + i, even_lanes(first, second, std::make_integer_sequence<int, kLanes>()));
    }
  }
  for (; i < count; ++i) out[i] = in[i * stride];
}

void pack_segments(const float* x, const int64_t* k_offsets, int64_t k, const Segment* segments, int count, int width,
                   float* packed) {
  for (int64_t i = 0; i < k; ++i, packed += width) {
    const float* row = x + k_offsets[i];
    for (int s = 0; s < count; ++s) {
      copy_some(row + segments[s].offset, packed + segments[s].lane, segments[s].count);
    }
  }
}

SX_INLINE F load_some(const float* p, int count) { return count == kLanes ? load(p) : load_n(p, count); }
SX_INLINE void store_some(float* p, F v, int count) {
  if (count == kLanes) {
    store(p, v);
  } else {
    store_n(p, v, count);
  }
}

// The sums of kR rows under a kSize x kSize window whose rows lie as far apart as the rows of the output: every vector
// of x is loaded once for all outputs that it goes to. Each sum still takes the taps in their order.
template <int kR, int kSize, bool kPartial>
SX_INLINE void sum_square_window(const float* x, const float* weights, const int64_t* offsets, int64_t row_step,
                                 int count, F (&acc)[kR]) {
#pragma GCC unroll 16
  for (int row = 0; row < kR + kSize - 1; ++row) {
    const float* from = x + row * row_step;
#pragma GCC unroll 5
    for (int column = 0; column < kSize; ++column) {
      const F v = kPartial ? load_n(from + offsets[column], count) : load(from + offsets[column]);
#pragma GCC unroll 5
      for (int tap = 0; tap < kSize; ++tap) {
        const int to = row - tap;
        if (to >= 0 && to < kR) acc[to] = fma(splat(weights[tap * kSize + column]), v, acc[to]);
      }
    }
  }
}

// Whether the rows of the window, `size` taps wide, lie as far apart as the rows of the output.
SX_INLINE bool rows_overlap(const int64_t* offsets, int64_t taps, int64_t row_step, int size) {
  if (taps != size * size) return false;
  for (int64_t t = size; t < taps; ++t) {
    if (offsets[t] - offsets[t - size] != row_step) return false;
  }
  return true;
}

template <int kR>
SX_INLINE void add_residual(F (&acc)[kR], const float* residual, int64_t columns, int count, float scale) {
  const F by = splat(scale);
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) acc[r] = acc[r] + by * load_some(residual + r * columns, count);
}

// kR rows of `count` columns; y and residual stand at the first one. `size` is 3 or 5 for a square window whose rows
// overlap, else 0.
template <int kR>
SX_INLINE void depthwise_block(const float* x, const float* weights, const int64_t* offsets, int64_t taps,
                               int64_t columns, int64_t row_step, int size, int count, float* y, const float* residual,
                               const FilterTail& tail) {
  F acc[kR];
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) acc[r] = F{};
  if (kR == 7 && size == 3) {
    if (count == kLanes) {
      sum_square_window<kR, 3, false>(x, weights, offsets, row_step, count, acc);
    } else {
      sum_square_window<kR, 3, true>(x, weights, offsets, row_step, count, acc);
    }
  } else if (kR == 7 && size == 5) {
    if (count == kLanes) {
      sum_square_window<kR, 5, false>(x, weights, offsets, row_step, count, acc);
    } else {
      sum_square_window<kR, 5, true>(x, weights, offsets, row_step, count, acc);
    }
  } else if (count == kLanes) {
    for (int64_t t = 0; t < taps; ++t) {
      const F w = splat(weights[t]);
      const float* from = x + offsets[t];
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r) acc[r] = fma(w, load(from + r * row_step), acc[r]);
    }
  } else {
    for (int64_t t = 0; t < taps; ++t) {
      const F w = splat(weights[t]);
      const float* from = x + offsets[t];
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r) acc[r] = fma(w, load_n(from + r * row_step, count), acc[r]);
    }
  }
  const F scale = splat(tail.scale);
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) acc[r] = acc[r] * scale;
  if (tail.has_bias) {
    const F bias = splat(tail.bias);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) acc[r] = acc[r] + bias;
  }
  if (residual && !tail.residual_last) add_residual<kR>(acc, residual, columns, count, tail.residual_scale);
  if (tail.clip) {
    const F low = splat(tail.low), high = splat(tail.high);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) acc[r] = min(high, max(low, acc[r]));
  } else if (tail.activate) {
    float values[kR * kLanes];
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) store(values + r * kLanes, acc[r]);
    tail.activate(values, values, kR * kLanes, tail.alpha, tail.beta);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) acc[r] = load(values + r * kLanes);
  }
  if (residual && tail.residual_last) add_residual<kR>(acc, residual, columns, count, tail.residual_scale);
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) store_some(y + r * columns, acc[r], count);
}

template <int kR>
SX_INLINE void depthwise_rows(const float* x, const float* weights, const int64_t* offsets, int64_t taps,
                              int64_t columns, int64_t row_step, int size, float* y, const float* residual,
                              const FilterTail& tail) {
  for (int64_t column = 0; column < columns; column += kLanes) {
    const int count = static_cast<int>(columns - column < kLanes ? columns - column : kLanes);
    depthwise_block<kR>(x + column, weights, offsets, taps, columns, row_step, size, count, y + column,
                        residual ? residual + column : nullptr, tail);
  }
}

void depthwise(const float* x, const float* weights, const int64_t* offsets, int64_t taps, int64_t rows,
               int64_t columns, int64_t row_step, float* y, const FilterTail& tail) {
  const float* residual = tail.residual;
  const int size = rows_overlap(offsets, taps, row_step, 3) ? 3 : (rows_overlap(offsets, taps, row_step, 5) ? 5 : 0);
  int64_t row = 0;
  for (; row + 7 <= rows; row += 7) {
    depthwise_rows<7>(x + row * row_step, weights, offsets, taps, columns, row_step, size, y + row * columns,
                      residual ? residual + row * columns : nullptr, tail);
  }
  for (; row + 3 <= rows; row += 3) {
    depthwise_rows<3>(x + row * row_step, weights, offsets, taps, columns, row_step, size, y + row * columns,
                      residual ? residual + row * columns : nullptr, tail);
  }
  for (; row < rows; ++row) {
    depthwise_rows<1>(x + row * row_step, weights, offsets, taps, columns, row_step, size, y + row * columns,
                      residual ? residual + row * columns : nullptr, tail);
  }
}

// The vectors of a tile of so many filters: sums that hide the latency of a multiply-add and fit the registers.
#if SX_ISA_LEVEL >= 2
constexpr int most_vectors(int filters) { return filters == 1 ? 8 : filters == 2 ? 6 : filters == 4 ? 4 : 3; }
#else
constexpr int most_vectors(int filters) { return filters == 1 ? 8 : filters == 2 ? 4 : filters == 4 ? 2 : 1; }
#endif

template <int kFilters, int kV>
SX_INLINE void add_residual(F (&acc)[kFilters][kV], const FewFilters& work, const VectorPlace* places) {
  const F by = splat(work.tail->residual_scale);
#pragma GCC unroll 8
  for (int f = 0; f < kFilters; ++f) {
    if (f >= work.filters) break;
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      const float* from = work.residual + f * work.y_step + places[v].y;
      float lanes[kLanes] = {};
      if (places[v].skip > 0) {
        // Where the residual is the output, another thread may be writing the rest.
        for (int lane = places[v].skip; lane < kLanes; ++lane) lanes[lane] = from[lane];
        from = lanes;
      }
      acc[f][v] = acc[f][v] + by * load(from);
    }
  }
}

template <int kFilters, int kV>
void filters_tile(const FewFilters& work, const VectorPlace* places) {
  const FilterTail& tail = *work.tail;
  F acc[kFilters][kV];
  const float* x[kV];
#pragma GCC unroll 8
  for (int v = 0; v < kV; ++v) {
    x[v] = work.x + places[v].x;
#pragma GCC unroll 8
    for (int f = 0; f < kFilters; ++f) acc[f][v] = F{};
  }
  const float* w = work.weights;
  for (int64_t t = 0; t < work.taps; ++t, w += kFilters) {
    const int64_t offset = work.offsets[t];
    F xv[kV];
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) xv[v] = load(x[v] + offset);
#pragma GCC unroll 8
    for (int f = 0; f < kFilters; ++f) {
      const F weight = splat(w[f]);
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[f][v] = fma(weight, xv[v], acc[f][v]);
    }
  }
  const F scale = splat(tail.scale);
#pragma GCC unroll 8
  for (int f = 0; f < kFilters; ++f) {
    const F bias = work.bias && f < work.filters ? splat(work.bias[f]) : F{};
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) acc[f][v] = acc[f][v] * scale + bias;
  }
  if (work.residual && !tail.residual_last) add_residual<kFilters, kV>(acc, work, places);
  if (tail.clip) {
    const F low = splat(tail.low), high = splat(tail.high);
#pragma GCC unroll 8
    for (int f = 0; f < kFilters; ++f) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[f][v] = min(high, max(low, acc[f][v]));
    }
  } else if (tail.activate) {
    float values[kFilters * kV * kLanes];
#pragma GCC unroll 8
    for (int f = 0; f < kFilters; ++f) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) store(values + (f * kV + v) * kLanes, acc[f][v]);
    }
    tail.activate(values, values, static_cast<int64_t>(work.filters) * kV * kLanes, tail.alpha, tail.beta);
#pragma GCC unroll 8
    for (int f = 0; f < kFilters; ++f) {
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[f][v] = load(values + (f * kV + v) * kLanes);
    }
  }
  if (work.residual && tail.residual_last) add_residual<kFilters, kV>(acc, work, places);
#pragma GCC unroll 8
  for (int f = 0; f < kFilters; ++f) {
    if (f >= work.filters) break;
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      float* to = work.y + f * work.y_step + places[v].y;
      if (places[v].skip == 0) {
        store(to, acc[f][v]);
        continue;
      }
      float lanes[kLanes];
      store(lanes, acc[f][v]);
      for (int lane = places[v].skip; lane < kLanes; ++lane) to[lane] = lanes[lane];
    }
  }
}

// All vectors, by tiles of kV and then of fewer.
template <int kFilters, int kV>
SX_INLINE void filters_tiles(const FewFilters& work, const VectorPlace* places, int64_t count) {
  for (; count >= kV; count -= kV, places += kV) filters_tile<kFilters, kV>(work, places);
  if constexpr (kV > 1) filters_tiles<kFilters, kV - 1>(work, places, count);
}

void few_filters(const FewFilters& work, const VectorPlace* places, int64_t count) {
  switch (work.width) {
    case 1: return filters_tiles<1, most_vectors(1)>(work, places, count);
    case 2: return filters_tiles<2, most_vectors(2)>(work, places, count);
    case 4: return filters_tiles<4, most_vectors(4)>(work, places, count);
    default: return filters_tiles<8, most_vectors(8)>(work, places, count);
  }
}

}  // namespace conv_f32

constexpr ConvKernel kConvKernel = {conv_f32::copy_row, conv_f32::pack_segments, conv_f32::depthwise,
                                    conv_f32::few_filters};

}  // namespace SX_ISA
}  // namespace sx
