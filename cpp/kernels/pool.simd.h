// Row joins for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_bf16.h"

namespace pool_f32 {

struct Maximum {
#if SX_ISA_LEVEL >= 2
  // The instruction gives b where b is NaN; where a is, a stays.
  SX_INLINE F operator()(F a, F b) const { return _mm512_mask_max_ps(a, _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b); }
#else
  SX_INLINE F operator()(F a, F b) const { return ((b > a) | (b != b)) ? b : a; }
#endif
  SX_INLINE float operator()(float a, float b) const { return b > a || b != b ? b : a; }
};
struct Total {
  SX_INLINE F operator()(F a, F b) const { return a + b; }
  SX_INLINE float operator()(float a, float b) const { return a + b; }
};

template <int... kLane>
SX_INLINE F even_lanes(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (2 * kLane)...);
}

template <typename Join>
void join(const float* x, int64_t step, float* y, int64_t n) {
  const Join both;
  int64_t i = 0;
  if (step == 1) {
    for (; i + kLanes <= n; i += kLanes) store(y + i, both(load(y + i), load(x + i)));
    if (i < n) {
      const int count = static_cast<int>(n - i);
      store_n(y + i, both(load_n(y + i, count), load_n(x + i, count)), count);
    }
    return;
  }
  if (step == 2) {
    constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
    // The second vector ends one past the last element that is used.
    for (; i + kLanes < n; i += kLanes)
      store(y + i, both(load(y + i), even_lanes(load(x + 2 * i), load(x + 2 * i + kLanes), lanes)));
    if (i < n) {
      const int count = static_cast<int>(n - i), used = 2 * count - 1;
      const F low = load_n(x + 2 * i, used < kLanes ? used : kLanes);
      const F high = used > kLanes ? load_n(x + 2 * i + kLanes, used - kLanes) : F{};
      store_n(y + i, both(load_n(y + i, count), even_lanes(low, high, lanes)), count);
    }
    return;
  }
  for (; i < n; ++i) y[i] = both(y[i], x[i * step]);
}

// kStep 1 or 2: the elements p[i * kStep] for i < count.
template <int kStep>
SX_INLINE F load_steps(const float* p, int count) {
  if constexpr (kStep == 1) return count == kLanes ? load(p) : load_n(p, count);
  const int used = 2 * count - 1;
  const F low = used >= kLanes ? load(p) : load_n(p, used);
  const F high = used > kLanes ? load_n(p + kLanes, used - kLanes) : F{};
  return even_lanes(low, high, std::make_integer_sequence<int, kLanes>());
}
// kV vectors of which the last has `count` lanes, each the join of what lies at `at` of kRows rows, or of row_count.
template <typename Join, int kV, int kRows>
SX_INLINE void some_down(const float* const* rows, int64_t row_count, int64_t at, float* y, int count) {
  const Join both;
  F joined[kV];
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) joined[v] = load_steps<1>(rows[0] + at + v * kLanes, kV > 1 ? kLanes : count);
#pragma GCC unroll 4
  for (int64_t row = 1; row < (kRows > 0 ? kRows : row_count); ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v)
      joined[v] = both(joined[v], load_steps<1>(rows[row] + at + v * kLanes, kV > 1 ? kLanes : count));
  }
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    if (kV > 1 || count == kLanes) store(y + at + v * kLanes, joined[v]);
    else store_n(y + at, joined[v], count);
  }
}
template <typename Join, int kRows>
SX_INLINE void down_by_rows(const float* const* rows, int64_t row_count, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) some_down<Join, 4, kRows>(rows, row_count, i, y, kLanes);
  for (; i < n; i += kLanes)
    some_down<Join, 1, kRows>(rows, row_count, i, y, static_cast<int>(n - i < kLanes ? n - i : kLanes));
}
template <typename Join>
void down(const float* const* rows, int64_t row_count, float* y, int64_t n) {
  if (row_count == 2) return down_by_rows<Join, 2>(rows, row_count, y, n);
  if (row_count == 3) return down_by_rows<Join, 3>(rows, row_count, y, n);
  down_by_rows<Join, 0>(rows, row_count, y, n);
}

// The same along a row, for kTaps taps, or `taps`.
template <typename Join, int kV, int kStep, int kTaps>
SX_INLINE void some_across(const float* x, int64_t taps, int64_t dilation, F none, float* y, int count) {
  const Join both;
  F joined[kV];
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) joined[v] = none;
#pragma GCC unroll 4
  for (int64_t tap = 0; tap < (kTaps > 0 ? kTaps : taps); ++tap) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v)
      joined[v] = both(joined[v], load_steps<kStep>(x + tap * dilation + v * kLanes * kStep, kV > 1 ? kLanes : count));
  }
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    if (kV > 1 || count == kLanes) store(y + v * kLanes, joined[v]);
    else store_n(y, joined[v], count);
  }
}
template <typename Join, int kStep, int kTaps>
SX_INLINE void across_by_taps(const float* x, int64_t taps, int64_t dilation, float none, float* y, int64_t n) {
  const F start = splat(none);
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    some_across<Join, 4, kStep, kTaps>(x + i * kStep, taps, dilation, start, y + i, kLanes);
  for (; i < n; i += kLanes)
    some_across<Join, 1, kStep, kTaps>(x + i * kStep, taps, dilation, start, y + i,
                                       static_cast<int>(n - i < kLanes ? n - i : kLanes));
}
template <typename Join>
void across(const float* x, int64_t taps, int64_t dilation, int64_t step, float none, float* y, int64_t n) {
  if (step == 1 && taps == 3) return across_by_taps<Join, 1, 3>(x, taps, dilation, none, y, n);
  if (step == 1) return across_by_taps<Join, 1, 0>(x, taps, dilation, none, y, n);
  across_by_taps<Join, 2, 0>(x, taps, dilation, none, y, n);
}

void divide(float by, const float* counts, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(y + i) / (by * load(counts + i)));
  for (; i < n; ++i) y[i] /= by * counts[i];
}

// The taps [first, last) of window `output` along an axis that lie in [-before, in + behind).
SX_INLINE void taps_of(const BlockedPool& pool, int axis, int64_t output, int64_t before, int64_t behind,
                       int64_t* first, int64_t* last) {
  const int64_t start = output * pool.stride[axis] - pool.pad_begin[axis];
  const int64_t most = pool.kernel[axis], d = pool.dilation[axis];
  const int64_t missing = -before - start, room = pool.in[axis] + behind - start;
  const int64_t from = missing <= 0 ? 0 : (missing + d - 1) / d, to = room <= 0 ? 0 : (room + d - 1) / d;
  *first = from < most ? from : most;
  *last = to < *first ? *first : to < most ? to : most;
}

// kP neighbouring outputs whose windows have the same taps, the first of them at x.
template <int kP, typename T>
SX_INLINE void blocked_outputs(const BlockedPool& pool, const T* x, int64_t rows, int64_t columns, int64_t count,
                               T* y) {
  const int64_t step = pool.stride[1] * kLanes;
  F joined[kP];
#pragma GCC unroll 4
  for (int p = 0; p < kP; ++p) joined[p] = splat(pool.mean ? 0.0f : -__builtin_inff());
  for (int64_t i = 0; i < rows; ++i) {
    const T* from = x + i * pool.dilation[0] * pool.in[1] * kLanes;
    for (int64_t j = 0; j < columns; ++j, from += pool.dilation[1] * kLanes) {
#pragma GCC unroll 4
      for (int p = 0; p < kP; ++p) {
        const F v = load(from + p * step);
        joined[p] = pool.mean ? joined[p] + v : Maximum()(joined[p], v);
      }
    }
  }
  const F by = splat(static_cast<float>(count));
#pragma GCC unroll 4
  for (int p = 0; p < kP; ++p) {
    if (pool.mean) joined[p] = count == 0 ? F{} : joined[p] / by;
    store(y + p * kLanes, joined[p]);
  }
}

template <typename T>
void blocked_row(const BlockedPool& pool, const T* x, int64_t row, T* y) {
  int64_t row_first, row_last, counted_first, counted_last;
  taps_of(pool, 0, row, 0, 0, &row_first, &row_last);
  taps_of(pool, 0, row, pool.pad_begin[0], pool.pad_end[0], &counted_first, &counted_last);
  const int64_t top = row * pool.stride[0] - pool.pad_begin[0] + row_first * pool.dilation[0];
  const int64_t rows = row_last - row_first;
  const int64_t counted_rows = pool.count_padding ? counted_last - counted_first : rows;
  const int64_t span = (pool.kernel[1] - 1) * pool.dilation[1];
  for (int64_t column = 0; column < pool.out[1];) {
    const int64_t left = column * pool.stride[1] - pool.pad_begin[1];
    T* to = y + column * kLanes;
    if (left >= 0 && left + span < pool.in[1]) {
      const T* from = rows > 0 ? x + (top * pool.in[1] + left) * kLanes : x;
      const int64_t count = counted_rows * pool.kernel[1];
      const bool several = column + 4 <= pool.out[1] && left + 3 * pool.stride[1] + span < pool.in[1];
      if (several) blocked_outputs<4>(pool, from, rows, pool.kernel[1], count, to);
      else blocked_outputs<1>(pool, from, rows, pool.kernel[1], count, to);
      column += several ? 4 : 1;
      continue;
    }
    int64_t first, last;
    taps_of(pool, 1, column, 0, 0, &first, &last);
    taps_of(pool, 1, column, pool.pad_begin[1], pool.pad_end[1], &counted_first, &counted_last);
    const int64_t count = counted_rows * (pool.count_padding ? counted_last - counted_first : last - first);
    const bool empty = rows <= 0 || first >= last;
    blocked_outputs<1>(pool, empty ? x : x + (top * pool.in[1] + left + first * pool.dilation[1]) * kLanes,
                       empty ? 0 : rows, last - first, count, to);
    ++column;
  }
}

void maxima_of_pairs(const float* top, const float* bottom, int64_t n, float* y) {
  const Maximum both;
  for (; n > 0; --n, top += 2 * kLanes, bottom += 2 * kLanes, y += kLanes)
    store(y, both(both(load(top), load(top + kLanes)), both(load(bottom), load(bottom + kLanes))));
}

}  // namespace pool_f32

constexpr PoolKernel kPoolKernel = {pool_f32::join<pool_f32::Maximum>,
                                    pool_f32::join<pool_f32::Total>,
                                    pool_f32::down<pool_f32::Maximum>,
                                    pool_f32::down<pool_f32::Total>,
                                    pool_f32::across<pool_f32::Maximum>,
                                    pool_f32::across<pool_f32::Total>,
                                    pool_f32::divide,
                                    pool_f32::blocked_row<float>,
                                    pool_f32::blocked_row<BFloat16>,
                                    pool_f32::maxima_of_pairs};

}  // namespace SX_ISA
}  // namespace sx
