// Pools without places: windows joined row by row, f32 by vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/scratch.h"
#include "kernels/pool.h"
#include "ops/elementwise.h"
#include "ops/pool.h"

namespace sx::pools {

inline int64_t ceil_quotient(int64_t a, int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; }

// How elements are taken in (as they are with kTakesAsIs), joined and, with kCounts, turned into the result by the
// number of them. kJoinRows joins rows of f32.
template <typename T>
struct MaxOf {
  T none() const {
    return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                : std::numeric_limits<T>::lowest();
  }
  T take(T x) const { return x; }
  // NaN wins.
  T join(T a, T b) const { return b > a || b != b ? b : a; }
  static constexpr bool kCounts = false;
  static constexpr bool kTakesAsIs = true;
  static constexpr auto kJoinRows = &PoolKernel::maximum;
  static constexpr auto kJoinDown = &PoolKernel::maxima_down;
  static constexpr auto kJoinAcross = &PoolKernel::maxima_across;
};
template <typename T>
struct MeanOf {
  T none() const { return 0; }
  T take(T x) const { return x; }
  T join(T a, T b) const { return a + b; }
  static constexpr bool kCounts = true;
  static constexpr bool kTakesAsIs = true;
  static constexpr auto kJoinRows = &PoolKernel::sum;
  static constexpr auto kJoinDown = &PoolKernel::sums_down;
  static constexpr auto kJoinAcross = &PoolKernel::sums_across;
  static constexpr bool kDivides = true;  // finish(x, count) is x / count
  T finish(T x, int64_t count) const { return count == 0 ? T{0} : x / static_cast<T>(count); }
};
template <typename T>
struct SumOf : MeanOf<T> {
  static constexpr bool kCounts = false;
};
template <typename T>
struct NormOf {
  int64_t p;
  T none() const { return 0; }
  T take(T x) const { return p == 2 ? x * x : p == 1 ? std::abs(x) : std::pow(std::abs(x), static_cast<T>(p)); }
  T join(T a, T b) const { return a + b; }
  static constexpr bool kCounts = true;
  static constexpr bool kTakesAsIs = false;
  static constexpr auto kJoinRows = &PoolKernel::sum;
  static constexpr bool kDivides = false;
  T finish(T x, int64_t) const { return p == 2 ? std::sqrt(x) : p == 1 ? x : std::pow(x, T{1} / static_cast<T>(p)); }
};

// Windows of all axes but the last are joined row by row into one row, whose elements are then joined along it.
template <typename T, typename Op>
class RowPool {
 public:
  RowPool(const PoolShape& shape, const Op& op, bool count_padding)
      : s_(shape), op_(op), count_padding_(count_padding) {}

  void run(const T* x, T* y) const {
    const int last = s_.rank - 1;
    const int64_t rows = s_.out_size() / s_.out[last];
    int64_t cost = s_.most_taps(last) * s_.out[last];
    for (int axis = 0; axis < last; ++axis) cost += s_.most_taps(axis) * s_.in[last];
    const std::vector<float> counts = padded_ > 0 && Op::kCounts ? column_counts() : std::vector<float>();
    parallel_for(s_.planes * rows, std::max<int64_t>(1, 32768 / (cost + s_.in[last])), [&](int64_t from, int64_t to) {
      const auto width = static_cast<size_t>(s_.in[last]);
      if (padded_ > 0) return join_bands(x, rows, from, to, counts.data(), y);
      auto* joined = static_cast<T*>(thread_scratch(ScratchSlot::kOperator, (width + 1) * sizeof(T)));
      for (int64_t i = from; i < to; ++i) {
        const int64_t count = join_rows(x + i / rows * s_.in_size(), i % rows, joined);
        finish_row(joined, count, y + i * s_.out[last]);
      }
    });
  }

 private:
  // Rows of f32 are joined a band at a time, first down and then across: what the second loop reads has long been
  // written. Their elements stand between padding that joins with no effect, so that every window is whole.
  static constexpr int64_t kBandBytes = 16384;
  static constexpr int64_t kMostRows = 64;
  // The length of such a row; 0 where results are not made this way.
  static int64_t padded_width(const PoolShape& s) {
    const int last = s.rank - 1;
    int64_t taps = 1;
    for (int axis = 0; axis < last; ++axis) taps = std::min(taps * std::min(s.kernel[axis], kMostRows), kMostRows + 1);
    if (!std::is_same_v<T, float> || !Op::kTakesAsIs || taps > kMostRows || s.stride[last] > 2) return 0;
    const int64_t reach = (s.out[last] - 1) * s.stride[last] + (s.kernel[last] - 1) * s.dilation[last] + 1;
    const int64_t width = std::max(reach, s.pad_begin[last] + s.in[last]);
    return width <= 2 * s.in[last] + 64 ? width : 0;
  }
  // For each window of a row how many columns count, at least 1.
  std::vector<float> column_counts() const {
    const int last = s_.rank - 1;
    std::vector<float> counts(static_cast<size_t>(s_.out[last]));
    for (size_t j = 0; j < counts.size(); ++j) {
      const PoolTaps taps = pool_taps(s_, last, static_cast<int64_t>(j), count_padding_ ? s_.pad_begin[last] : 0,
                                      count_padding_ ? s_.pad_end[last] : 0);
      counts[j] = static_cast<float>(std::max<int64_t>(1, taps.last - taps.first));
    }
    return counts;
  }

  // The rows [from, to) of all planes' results.
  void join_bands(const T* x, int64_t rows, int64_t from, int64_t to, const float* counts, T* y) const {
    if constexpr (std::is_same_v<T, float> && Op::kTakesAsIs) {
      const int last = s_.rank - 1;
      const int64_t width = s_.in[last], out = s_.out[last], left = s_.pad_begin[last];
      const int64_t most = std::clamp<int64_t>(kBandBytes / static_cast<int64_t>(sizeof(float)) / padded_, 1, 64);
      auto* band = static_cast<float*>(
          thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(most * padded_) * sizeof(float)));
      std::fill(band, band + most * padded_, op_.none());
      const float* plane = x + from / rows * s_.in_size();
      int64_t row = from % rows;
      for (int64_t i = from; i < to;) {
        const int64_t height = std::min(most, to - i);
        int64_t row_counts[64];
        for (int64_t k = 0; k < height; ++k) {
          float* joined = band + k * padded_ + left;
          const float* under[kMostRows];
          int64_t found = 0;
          row_counts[k] = rows_under(row, [&](int64_t, int64_t from_row, int64_t present) {
            if (present > 0) under[found++] = plane + from_row * width;
          });
          if (found == 0) std::fill(joined, joined + width, op_.none());
          else (kernel_.*Op::kJoinDown)(under, found, joined, width);
          if (++row == rows) {
            row = 0;
            plane += s_.in_size();
          }
        }
        for (int64_t k = 0; k < height; ++k) {
          const float* joined = band + k * padded_;
          float* result = y + (i + k) * out;
          (kernel_.*Op::kJoinAcross)(joined, s_.kernel[last], s_.dilation[last], s_.stride[last], op_.none(), result,
                                     out);
          if constexpr (Op::kCounts)
            kernel_.divide(static_cast<float>(std::max<int64_t>(1, row_counts[k])), counts, result, out);
        }
        i += height;
      }
    }
  }

  // y[j] = join(y[j], x[j * step]) for j < n.
  void join(const T* x, int64_t step, T* y, int64_t n) const {
    if constexpr (std::is_same_v<T, float>) {
      (kernel_.*Op::kJoinRows)(x, step, y, n);
    } else {
      for (int64_t j = 0; j < n; ++j) y[j] = op_.join(y[j], x[step * j]);
    }
  }

  // Calls body(tap, row, present) for each row of data under the windows of output row `row`, or once with none where
  // there is none; the number of rows that count.
  template <typename Body>
  int64_t rows_under(int64_t row, Body body) const {
    const int last = s_.rank - 1;
    if (s_.rank == 2) {
      const PoolTaps taps = pool_taps(s_, 0, row);
      const int64_t present = taps.last - taps.first;
      if (present == 0) body(0, 0, 0);
      for (int64_t tap = 0; tap < present; ++tap) body(tap, taps.start + (taps.first + tap) * s_.dilation[0], present);
      if (!count_padding_) return present;
      const PoolTaps counted = pool_taps(s_, 0, row, s_.pad_begin[0], s_.pad_end[0]);
      return counted.last - counted.first;
    }
    PoolTaps taps[kMaxSpatialRank];
    int64_t count = 1, present = 1;
    for (int axis = last - 1; axis >= 0; --axis) {
      const int64_t index = row % s_.out[axis];
      row /= s_.out[axis];
      taps[axis] = pool_taps(s_, axis, index);
      present *= taps[axis].last - taps[axis].first;
      const PoolTaps counted =
          count_padding_ ? pool_taps(s_, axis, index, s_.pad_begin[axis], s_.pad_end[axis]) : taps[axis];
      count *= counted.last - counted.first;
    }
    if (present == 0) body(0, 0, 0);
    int64_t at[kMaxSpatialRank];
    for (int axis = 0; axis < last; ++axis) at[axis] = taps[axis].first;
    for (int64_t tap = 0; tap < present; ++tap) {
      int64_t from_row = 0;
      for (int axis = 0; axis < last; ++axis)
        from_row = from_row * s_.in[axis] + taps[axis].start + at[axis] * s_.dilation[axis];
      body(tap, from_row, present);
      for (int axis = last - 1; axis >= 0 && ++at[axis] == taps[axis].last; --axis) at[axis] = taps[axis].first;
    }
    return count;
  }

  // Joins the rows under the windows of output row `row`; the number of rows that count.
  int64_t join_rows(const T* plane, int64_t row, T* joined) const {
    const int64_t width = s_.in[s_.rank - 1];
    return rows_under(row, [&](int64_t tap, int64_t from_row, int64_t present) {
      const T* from = plane + from_row * width;
      if (present == 0) {
        std::fill(joined, joined + width, op_.none());
      } else if (tap == 0) {
        for (int64_t j = 0; j < width; ++j) joined[j] = op_.take(from[j]);
      } else if (Op::kTakesAsIs) {
        join(from, 1, joined, width);
      } else {
        for (int64_t j = 0; j < width; ++j) joined[j] = op_.join(joined[j], op_.take(from[j]));
      }
    });
  }

  void finish_row(const T* joined, int64_t row_count, T* y) const {
    const int last = s_.rank - 1;
    std::fill(y, y + s_.out[last], op_.none());
    if (s_.kernel[last] > s_.in[last]) join_windows(joined, y);
    else join_taps(joined, y);
    if constexpr (Op::kCounts) divide_row(row_count, y);
  }

  // Every tap in turn, for all windows where it meets data.
  void join_taps(const T* joined, T* y) const {
    const int last = s_.rank - 1;
    const int64_t width = s_.out[last], step = s_.stride[last];
    for (int64_t tap = 0; tap < s_.kernel[last]; ++tap) {
      const int64_t shift = tap * s_.dilation[last] - s_.pad_begin[last];
      const int64_t begin = std::min(width, ceil_quotient(-shift, step));
      const int64_t end = std::min(width, ceil_quotient(s_.in[last] - shift, step));
      if (begin < end) join(joined + begin * step + shift, step, y + begin, end - begin);
    }
  }
  // Every window in turn, with the taps that meet data.
  void join_windows(const T* joined, T* y) const {
    const int last = s_.rank - 1;
    for (int64_t j = 0; j < s_.out[last]; ++j) {
      const PoolTaps taps = pool_taps(s_, last, j);
      for (int64_t tap = taps.first; tap < taps.last; ++tap)
        y[j] = op_.join(y[j], joined[taps.start + tap * s_.dilation[last]]);
    }
  }

  void divide_row(int64_t row_count, T* y) const {
    const int last = s_.rank - 1;
    const int64_t width = s_.out[last];
    const int64_t before = count_padding_ ? s_.pad_begin[last] : 0;
    const int64_t behind = count_padding_ ? s_.pad_end[last] : 0;
    // Windows that lie inside have all their taps; the others are few.
    const int64_t span = (s_.kernel[last] - 1) * s_.dilation[last];
    const int64_t room = s_.in[last] + behind - span + s_.pad_begin[last];  // where starts are no longer inside
    const int64_t begin = std::min(width, ceil_quotient(s_.pad_begin[last] - before, s_.stride[last]));
    const int64_t end = std::max(begin, std::min(width, ceil_quotient(room, s_.stride[last])));
    const auto divide = [&](int64_t j) {
      const PoolTaps taps = pool_taps(s_, last, j, before, behind);
      y[j] = op_.finish(y[j], row_count * (taps.last - taps.first));
    };
    for (int64_t j = 0; j < begin; ++j) divide(j);
    for (int64_t j = end; j < width; ++j) divide(j);
    const int64_t count = row_count * s_.kernel[last];
    T* inside = y + begin;
    if (Op::kDivides && count > 0) {
      const T by = static_cast<T>(count);
      return generate(inside, end - begin, [inside, by](int64_t j) { return inside[j] / by; });
    }
    for (int64_t j = 0; j < end - begin; ++j) inside[j] = op_.finish(inside[j], count);
  }

  const PoolShape& s_;
  const PoolKernel& kernel_ = pool_kernel();
  Op op_;
  bool count_padding_;
  int64_t padded_ = padded_width(s_);
};

template <typename T, template <typename> class Op>
void pool_rows(const PoolShape& s, const Op<T>& op, bool count_padding, const T* x, T* y) {
  RowPool<T, Op<T>>(s, op, count_padding).run(x, y);
}

}  // namespace sx::pools
