// Softmax, normalization and reduction of one row for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_math.h"

namespace rows_f32 {

constexpr float kInfinity = __builtin_inff();

SX_INLINE int lanes_left(int64_t n, int64_t i) { return static_cast<int>(n - i < kLanes ? n - i : kLanes); }

SX_INLINE void store_some(float* p, F v, int count) {
  if (count == kLanes) {
    store(p, v);
  } else {
    store_n(p, v, count);
  }
}

// Sums with four vectors in flight: element i goes to lane i % (4 * kLanes).
template <typename Term>
SX_INLINE float sum_terms(int64_t n, const Term& term) {
  F acc[4] = {F{}, F{}, F{}, F{}};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) acc[v] = acc[v] + term.at(i + v * kLanes, kLanes);
  }
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const int64_t at = i + v * kLanes;
    if (at < n) acc[v] = acc[v] + term.at(at, lanes_left(n, at));
  }
  return sum_lanes((acc[0] + acc[1]) + (acc[2] + acc[3]));
}

struct Values {
  const float* x;
  SX_INLINE F at(int64_t i, int count) const { return count == kLanes ? load(x + i) : load_n(x + i, count); }
};
struct Magnitudes {
  const float* x;
  SX_INLINE F at(int64_t i, int count) const { return abs(load_or(x + i, count, 0.0f)); }
};
struct SquaresFrom {
  const float* x;
  float shift;
  SX_INLINE F at(int64_t i, int count) const {
    const F d = load_or(x + i, count, shift) - splat(shift);
    return d * d;
  }
};
struct Exponentials {
  const float* x;
  float shift;
  SX_INLINE F at(int64_t i, int count) const { return exp(load_or(x + i, count, -kInfinity) - splat(shift)); }
};
// The same where no element is above `top`.
struct ExponentialsBelow {
  const float* x;
  float top;
  SX_INLINE F at(int64_t i, int count) const { return exp_below(load_or(x + i, count, -kInfinity) - splat(top)); }
};

float sum(const float* x, int64_t n) { return sum_terms(n, Values{x}); }
float sum_square(const float* x, int64_t n, float shift) { return sum_terms(n, SquaresFrom{x, shift}); }

// A step of a running extreme that keeps NaN once it has met one.
struct Larger {
  static constexpr float kStart = -kInfinity;
  template <typename V>
  static SX_INLINE V step(V acc, V x) {
    return (x > acc) | (x != x) ? x : acc;
  }
  static SX_INLINE F fast(F acc, F x) { return max(acc, x); }
  template <typename V>
  static SX_INLINE auto beats(V x, V best) {
    return (x > best) | ((x != x) & (best == best));
  }
};
struct Smaller {
  static constexpr float kStart = kInfinity;
  template <typename V>
  static SX_INLINE V step(V acc, V x) {
    return (x < acc) | (x != x) ? x : acc;
  }
  static SX_INLINE F fast(F acc, F x) { return min(acc, x); }
  template <typename V>
  static SX_INLINE auto beats(V x, V best) {
    return (x < best) | ((x != x) & (best == best));
  }
};

template <int kBy, int... kLane>
SX_INLINE F rotate_lanes(F v, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(v, v, ((kLane + kBy) % kLanes)...);
}
template <typename Order>
SX_INLINE float fold_fast(F v) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
#if SX_ISA_LEVEL >= 2
  v = Order::fast(v, rotate_lanes<8>(v, lanes));
#endif
#if SX_ISA_LEVEL >= 1
  v = Order::fast(v, rotate_lanes<4>(v, lanes));
#endif
  v = Order::fast(v, rotate_lanes<2>(v, lanes));
  return Order::fast(v, rotate_lanes<1>(v, lanes))[0];
}

// The extreme of a row that may hold NaN, which is the result then. Most rows hold none, nor an infinity: 0 * x, added
// up, tells them from the others.
template <typename Order>
float extreme(const float* x, int64_t n) {
  F acc[4], odd[2] = {F{}, F{}};
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) acc[v] = splat(Order::kStart);
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const F a = load(x + i + v * kLanes);
      acc[v] = Order::fast(acc[v], a);
      odd[v % 2] = fma(a, F{}, odd[v % 2]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const int64_t at = i + v * kLanes;
    if (at < n) {
      acc[v] = Order::fast(acc[v], load_or(x + at, lanes_left(n, at), Order::kStart));
      odd[0] = fma(load_or(x + at, lanes_left(n, at), 0.0f), F{}, odd[0]);
    }
  }
  const F sum = odd[0] + odd[1];
  if (!any_lane(sum != sum)) {
    return fold_fast<Order>(Order::fast(Order::fast(acc[0], acc[1]), Order::fast(acc[2], acc[3])));
  }
  F exact = splat(Order::kStart);
  for (i = 0; i < n; i += kLanes) exact = Order::step(exact, load_or(x + i, lanes_left(n, i), Order::kStart));
  return fold_lanes<Order>(exact);
}

float product(const float* x, int64_t n) {
  F a = splat(1.0f);
  for (int64_t i = 0; i < n; i += kLanes) a = a * load_or(x + i, lanes_left(n, i), 1.0f);
  return prod_lanes(a);
}

// Where the extreme of a row stands, the first or the last of equals.
template <typename Order, bool kLast>
int64_t place(const float* x, int64_t n) {
  const float best = extreme<Order>(x, n);
  const bool is_nan = best != best;
  const F wanted = splat(best);
  constexpr int64_t kGroup = 4 * kLanes;
  const int64_t groups = (n + kGroup - 1) / kGroup;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t i = (kLast ? groups - 1 - g : g) * kGroup;
    uint64_t matches = 0;
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const int64_t at = i + v * kLanes;
      if (at >= n) continue;
      const int count = lanes_left(n, at);
      const F a = load_or(x + at, count, 0.0f);
      const uint64_t found = lane_bits(is_nan ? a != a : a == wanted) & ((uint64_t{1} << count) - 1);
      matches |= found << (v * kLanes);
    }
    if (matches != 0) return i + (kLast ? 63 - __builtin_clzll(matches) : __builtin_ctzll(matches));
  }
  return 0;
}

template <typename Order, bool kLast, int kV>
SX_INLINE void place_some_columns(const float* x, int64_t n, int64_t stride, int count, int64_t* y) {
  F best[kV];
  I at[kV];
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    best[v] = load_or(x + v * kLanes, count, 0.0f);
    at[v] = I{};
  }
  for (int64_t j = 1; j < n; ++j) {
    const I here = splat(static_cast<int32_t>(j));
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      const F a = load_or(x + j * stride + v * kLanes, count, 0.0f);
      const I wins = kLast ? Order::beats(a, best[v]) | (a == best[v]) | (a != a) : Order::beats(a, best[v]);
      best[v] = wins ? a : best[v];
      at[v] = wins ? here : at[v];
    }
  }
  for (int v = 0; v < kV; ++v) {
    int32_t lanes[kLanes];
    store(lanes, at[v]);
    for (int lane = 0; lane < count; ++lane) y[v * kLanes + lane] = lanes[lane];
  }
}

// The same down columns; n < 2^31.
template <typename Order, bool kLast>
void place_columns(const float* x, int64_t n, int64_t stride, int64_t columns, int64_t* y) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= columns; i += 4 * kLanes)
    place_some_columns<Order, kLast, 4>(x + i, n, stride, kLanes, y + i);
  for (; i < columns; i += kLanes) place_some_columns<Order, kLast, 1>(x + i, n, stride, lanes_left(columns, i), y + i);
}

// The first place from i on, below n, of an element that is not behind `bar` in the order, or n.
template <typename Order>
int64_t next_not_behind(const float* x, int64_t i, int64_t n, float bar) {
  const F limit = splat(bar);
  for (; i < n; i += kLanes) {
    const int count = lanes_left(n, i);
    const F v = load_or(x + i, count, bar);
    const uint32_t stays = lane_bits((v != v) | Order::beats(v, limit));
    if (stays != 0) return i + __builtin_ctz(stays);
  }
  return n;
}

// The shift that keeps exponentials in range; an infinite extreme is no shift.
SX_INLINE float finite_or_zero(float x) { return x - x == 0.0f ? x : 0.0f; }

template <Reduction kKind>
float reduce(const float* x, int64_t n) {
  if constexpr (kKind == Reduction::kSum) return sum(x, n);
  if constexpr (kKind == Reduction::kMean) return sum(x, n) / static_cast<float>(n);
  if constexpr (kKind == Reduction::kMax) return extreme<Larger>(x, n);
  if constexpr (kKind == Reduction::kMin) return extreme<Smaller>(x, n);
  if constexpr (kKind == Reduction::kProd) return product(x, n);
  if constexpr (kKind == Reduction::kSumSquare) return sum_square(x, n, 0.0f);
  if constexpr (kKind == Reduction::kL1) return sum_terms(n, Magnitudes{x});
  if constexpr (kKind == Reduction::kL2) return __builtin_sqrtf(sum_square(x, n, 0.0f));
  if constexpr (kKind == Reduction::kLogSumExp) {
    const float shift = finite_or_zero(extreme<Larger>(x, n));
    return log(splat(sum_terms(n, Exponentials{x, shift})))[0] + shift;
  }
}

template <Reduction kKind>
SX_INLINE F step(F acc, F x) {
  if constexpr (kKind == Reduction::kMax) return Larger::step(acc, x);
  if constexpr (kKind == Reduction::kMin) return Smaller::step(acc, x);
  if constexpr (kKind == Reduction::kProd) return acc * x;
  if constexpr (kKind == Reduction::kSumSquare || kKind == Reduction::kL2) return acc + x * x;
  if constexpr (kKind == Reduction::kL1) return acc + abs(x);
  return acc + x;
}

template <Reduction kKind>
constexpr float start_of() {
  return kKind == Reduction::kMax    ? -kInfinity
         : kKind == Reduction::kMin  ? kInfinity
         : kKind == Reduction::kProd ? 1.0f
                                     : 0.0f;
}

template <Reduction kKind, int kV>
SX_INLINE void reduce_some_columns(const float* x, int64_t n, int64_t stride, int count, float* y) {
  F acc[kV];
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) acc[v] = splat(start_of<kKind>());
  if constexpr (kKind == Reduction::kLogSumExp) {
    F shift[kV];
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) shift[v] = splat(-kInfinity);
    for (int64_t j = 0; j < n; ++j) {
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) {
        shift[v] = Larger::step(shift[v], load_or(x + j * stride + v * kLanes, count, -kInfinity));
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) shift[v] = shift[v] - shift[v] == 0.0f ? shift[v] : F{};
    for (int64_t j = 0; j < n; ++j) {
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) acc[v] = acc[v] + exp(load_or(x + j * stride + v * kLanes, count, 0.0f) - shift[v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) store_some(y + v * kLanes, log(acc[v]) + shift[v], count);
    return;
  }
  for (int64_t j = 0; j < n; ++j) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      const float* from = x + j * stride + v * kLanes;
      acc[v] = step<kKind>(acc[v], count == kLanes ? load(from) : load_n(from, count));
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    if constexpr (kKind == Reduction::kMean) acc[v] = acc[v] / static_cast<float>(n);
    if constexpr (kKind == Reduction::kL2) acc[v] = sqrt(acc[v]);
    store_some(y + v * kLanes, acc[v], count);
  }
}

// Whole rows meet y, four at a time, so that memory is read in order.
template <Reduction kKind>
SX_INLINE void reduce_long_rows(const float* x, int64_t n, int64_t stride, int64_t columns, float* y) {
  int64_t i = 0;
  for (int64_t j = 0; j < n;) {
    const int64_t rows = n - j >= 4 ? 4 : 1;
    const float* from = x + j * stride;
    for (i = 0; i < columns; i += kLanes) {
      const int count = lanes_left(columns, i);
      F acc = j == 0 ? splat(start_of<kKind>()) : load_or(y + i, count, 0.0f);
      acc = step<kKind>(acc, load_or(from + i, count, 0.0f));
      if (rows == 4) {
        acc = step<kKind>(acc, load_or(from + stride + i, count, 0.0f));
        acc = step<kKind>(acc, load_or(from + 2 * stride + i, count, 0.0f));
        acc = step<kKind>(acc, load_or(from + 3 * stride + i, count, 0.0f));
      }
      store_some(y + i, acc, count);
    }
    j += rows;
  }
  if (n > 0 && kKind != Reduction::kMean && kKind != Reduction::kL2) return;
  for (i = 0; i < columns; i += kLanes) {
    const int count = lanes_left(columns, i);
    F acc = n > 0 ? load_or(y + i, count, 0.0f) : splat(start_of<kKind>());
    if constexpr (kKind == Reduction::kMean) acc = acc / static_cast<float>(n);
    if constexpr (kKind == Reduction::kL2) acc = sqrt(acc);
    store_some(y + i, acc, count);
  }
}

template <Reduction kKind>
void reduce_columns(const float* x, int64_t n, int64_t stride, int64_t columns, float* y) {
  constexpr int64_t kLong = 1024;
  if (columns >= kLong && kKind != Reduction::kLogSumExp) return reduce_long_rows<kKind>(x, n, stride, columns, y);
  int64_t i = 0;
  for (; i + 4 * kLanes <= columns; i += 4 * kLanes) reduce_some_columns<kKind, 4>(x + i, n, stride, kLanes, y + i);
  for (; i < columns; i += kLanes) reduce_some_columns<kKind, 1>(x + i, n, stride, lanes_left(columns, i), y + i);
}

// One row of up to kLanes elements, neither scaled nor masked.
SX_INLINE void softmax_vector(const float* x, float* y, int count) {
  const F v = load_or(x, count, -kInfinity);
  const F e = exp_below(v - splat(max_lanes(v)));
  store_some(y, e * (1.0f / splat(sum_lanes(e))), count);
}

// The greatest of n elements; NaN may be passed over.
SX_INLINE float top_of(const float* x, int64_t n) {
  F tops[2] = {splat(-kInfinity), splat(-kInfinity)};
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    tops[0] = max(tops[0], load(x + i));
    tops[1] = max(tops[1], load(x + i + kLanes));
  }
  for (; i < n; i += kLanes) tops[0] = max(tops[0], load_or(x + i, lanes_left(n, i), -kInfinity));
  return max_lanes(max(tops[0], tops[1]));
}

// Rows neither scaled nor masked. Of short ones the logarithms of several are taken together.
void log_softmax(const float* x, float* y, int64_t rows, int64_t n) {
  const int64_t group = n <= 512 ? kLanes : 1;
  for (int64_t first = 0; first < rows; first += group) {
    const int64_t count = rows - first < group ? rows - first : group;
    float tops[kLanes], totals[kLanes] = {};
    for (int64_t k = 0; k < count; ++k) {
      const float* row = x + (first + k) * n;
      tops[k] = top_of(row, n);
      totals[k] = sum_terms(n, ExponentialsBelow{row, tops[k]});
    }
    store(totals, log(load(totals)));
    for (int64_t k = 0; k < count; ++k) {
      const F shift = splat(tops[k]), total = splat(totals[k]);
      const int64_t at = (first + k) * n;
      for (int64_t i = 0; i < n; i += kLanes) {
        const int left = lanes_left(n, i);
        store_some(y + at + i, (load_or(x + at + i, left, 0.0f) - shift) - total, left);
      }
    }
  }
}

void softmax(const float* x, const float* mask, float* y, int64_t n, float scale, bool log_result, bool zero_dead) {
  const bool plain = mask == nullptr && scale == 1.0f;
  if (plain && !zero_dead && !log_result && n <= kLanes) return softmax_vector(x, y, static_cast<int>(n));
  float top;
  int64_t i = 0;
  if (plain) {
    top = top_of(x, n);
  } else {
    F tops = splat(-kInfinity);
    const F by = splat(scale);
    for (; i < n; i += kLanes) {
      const int count = lanes_left(n, i);
      F v = load_or(x + i, count, -kInfinity) * by;
      if (mask) v = v + load_or(mask + i, count, 0.0f);
      store_some(y + i, v, count);
      // A negative scale turns the lanes past the end around.
      if (count < kLanes) v = load_or(y + i, count, -kInfinity);
      tops = max(tops, v);
    }
    top = max_lanes(max(tops, splat(-kInfinity)));
  }
  const float* values = plain ? x : y;
  if (top == -kInfinity && zero_dead) {
    for (i = 0; i < n; ++i) y[i] = log_result ? -kInfinity : 0.0f;
    return;
  }
  const F shift = splat(top);
  if (log_result) {
    const F total = log(splat(sum_terms(n, ExponentialsBelow{values, top})));
    for (i = 0; i < n; i += kLanes) {
      const int count = lanes_left(n, i);
      store_some(y + i, (load_or(values + i, count, 0.0f) - shift) - total, count);
    }
    return;
  }
  F total = F{};
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const F e = exp_below(load(values + i) - shift);
    store(y + i, e);
    total = total + e;
  }
  if (i < n) {
    const int count = lanes_left(n, i);
    const F e = exp_below(load_or(values + i, count, -kInfinity) - shift);
    store_n(y + i, e, count);
    total = total + load_n(y + i, count);
  }
  const F inverse = splat(1.0f / sum_lanes(total));
  for (i = 0; i + kLanes <= n; i += kLanes) store(y + i, load(y + i) * inverse);
  if (i < n) {
    const int count = lanes_left(n, i);
    store_n(y + i, load_n(y + i, count) * inverse, count);
  }
}

// kV vectors of neighbouring columns, of which the last has `count` lanes. What was read is held at `held`, kV vectors
// a row or, where that is y, rows of `held_stride` elements.
template <int kV>
SX_INLINE void softmax_some_columns(const float* x, float* y, int64_t n, int64_t stride, int count, bool log_result,
                                    float* held, int64_t held_stride) {
  F top[kV], total[kV];
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) {
    top[v] = splat(-kInfinity);
    total[v] = F{};
  }
  for (int64_t j = 0; j < n; ++j) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      const F a = load_or(x + j * stride + v * kLanes, count, 0.0f);
      store_some(held + j * held_stride + v * kLanes, a, count);
      top[v] = max(top[v], a);
    }
  }
  for (int64_t j = 0; j < n; ++j) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      float* at = held + j * held_stride + v * kLanes;
      const F below = load_or(at, count, 0.0f) - top[v];
      const F e = exp_below(below);
      store_some(at, log_result ? below : e, count);
      total[v] = total[v] + e;
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) total[v] = log_result ? log(total[v]) : 1.0f / total[v];
  for (int64_t j = 0; j < n; ++j) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      const F a = load_or(held + j * held_stride + v * kLanes, count, 0.0f);
      store_some(y + j * stride + v * kLanes, log_result ? a - total[v] : a * total[v], count);
    }
  }
}

void softmax_columns(const float* x, float* y, int64_t n, int64_t stride, int64_t columns, bool log_result,
                     float* scratch) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= columns; i += 4 * kLanes) {
    softmax_some_columns<4>(x + i, y + i, n, stride, kLanes, log_result, scratch ? scratch : y + i,
                            scratch ? 4 * kLanes : stride);
  }
  for (; i < columns; i += kLanes) {
    softmax_some_columns<1>(x + i, y + i, n, stride, lanes_left(columns, i), log_result, scratch ? scratch : y + i,
                            scratch ? kLanes : stride);
  }
}

void add_skip(const float* x, const float* skip, const float* bias, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = lanes_left(n, i);
    F v = load_or(x + i, count, 0.0f) + load_or(skip + i, count, 0.0f);
    if (bias) v = v + load_or(bias + i, count, 0.0f);
    store_some(out + i, v, count);
  }
}

void normalize(const float* x, float* y, int64_t n, float mean, float inv_std, const float* scale, const float* bias) {
  const F m = splat(mean), s = splat(inv_std);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = lanes_left(n, i);
    F v = (load_or(x + i, count, 0.0f) - m) * s;
    if (scale) v = v * load_or(scale + i, count, 0.0f);
    if (bias) v = v + load_or(bias + i, count, 0.0f);
    store_some(y + i, v, count);
  }
}

void affine(const float* x, float* y, int64_t n, float scale, float bias) {
  const F s = splat(scale), b = splat(bias);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = lanes_left(n, i);
    store_some(y + i, fma(load_or(x + i, count, 0.0f), s, b), count);
  }
}

struct Products {
  const float* a;
  const float* b;
  SX_INLINE F at(int64_t i, int count) const { return load_or(a + i, count, 0.0f) * load_or(b + i, count, 0.0f); }
};

void softmax_gradient(const float* y, const float* dy, float* dx, int64_t n) {
  const F total = splat(sum_terms(n, Products{y, dy}));
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = lanes_left(n, i);
    store_some(dx + i, (load_or(dy + i, count, 0.0f) - total) * load_or(y + i, count, 0.0f), count);
  }
}

// dy scale (x - mean) inv_std
struct ScaledProducts {
  const float* x;
  const float* scale;
  const float* dy;
  float mean, inv_std;
  SX_INLINE F at(int64_t i, int count) const {
    const F h = (load_or(x + i, count, mean) - splat(mean)) * splat(inv_std);
    return load_or(dy + i, count, 0.0f) * load_or(scale + i, count, 0.0f) * h;
  }
};

void normalize_gradient(const NormGradientRows& p, int64_t row, float mean, float inv_std) {
  const int64_t n = p.n;
  const float* x = p.x + row * n;
  const float* dy = p.dy + row * n;
  float* dx = p.dx + row * n;
  float* product = p.product + row * n;
  const float count = static_cast<float>(n);
  const F mean_g = splat(sum_terms(n, Products{dy, p.scale}) / count);
  const F mean_gh = splat(sum_terms(n, ScaledProducts{x, p.scale, dy, mean, inv_std}) / count);
  const F m = splat(mean), s = splat(inv_std);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int lanes = lanes_left(n, i);
    const F h = (load_or(x + i, lanes, 0.0f) - m) * s;
    const F d = load_or(dy + i, lanes, 0.0f);
    const F g = d * load_or(p.scale + i, lanes, 0.0f);
    store_some(dx + i, s * (g - mean_g - h * mean_gh), lanes);
    store_some(product + i, d * h, lanes);
  }
}

template <int... kKind>
constexpr RowsKernel make_table(std::integer_sequence<int, kKind...>) {
  return {softmax,
          log_softmax,
          softmax_columns,
          add_skip,
          sum,
          sum_square,
          normalize,
          affine,
          softmax_gradient,
          normalize_gradient,
          {reduce<static_cast<Reduction>(kKind)>...},
          {reduce_columns<static_cast<Reduction>(kKind)>...},
          {{place<Smaller, false>, place<Smaller, true>}, {place<Larger, false>, place<Larger, true>}},
          {{place_columns<Smaller, false>, place_columns<Smaller, true>},
           {place_columns<Larger, false>, place_columns<Larger, true>}},
          {next_not_behind<Smaller>, next_not_behind<Larger>}};
}

}  // namespace rows_f32

constexpr RowsKernel kRowsKernel = rows_f32::make_table(std::make_integer_sequence<int, kReductionCount>());

}  // namespace SX_ISA
}  // namespace sx
