// Rows of depthwise convolutions of channel-blocked data for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace blocked_depthwise {

// Outputs of a tile: as many sums as hide the latency of a multiply-add, beside the weights of a row of taps.
constexpr int kTile = 8;
// Outputs that go through an activation at a time; they are in the nearest cache still.
constexpr int64_t kActivated = 4096;

// What the outputs of a row have in common.
struct Row {
  const float* x;        // the first row of taps that meets data, at column 0
  const float* weights;  // of that row
  int64_t taps;          // rows of taps that meet data
  int64_t x_row, x_column, x_step;
  int64_t columns;  // of the kernel
  const float* residual;
  float* y;
};

// The taps [first, last) of an axis that meet data, with the window's begin at `start`.
SX_INLINE void taps_on(int64_t start, int64_t extent, int64_t kernel, int64_t dilation, int64_t* first, int64_t* last) {
  const int64_t room = extent - start;
  if (dilation == 1) {
    *first = start >= 0 ? 0 : -start;
    *last = room < kernel ? room : kernel;
  } else {
    *first = start >= 0 ? 0 : (dilation - 1 - start) / dilation;
    *last = room <= 0 ? 0 : (room + dilation - 1) / dilation;
  }
  if (*last > kernel) *last = kernel;
  if (*first > kernel) *first = kernel;
  if (*last < *first) *last = *first;
}

template <int kP>
SX_INLINE void finish(F (&acc)[kP], const DepthwiseRows& work, const Row& row, int64_t at) {
  const FilterTail& tail = *work.tail;
  if (work.bias) {
    const F b = load(work.bias);
#pragma GCC unroll 8
    for (int p = 0; p < kP; ++p) acc[p] = acc[p] + b;
  }
  const F by = splat(tail.residual_scale);
  if (row.residual && !tail.residual_last) {
#pragma GCC unroll 8
    for (int p = 0; p < kP; ++p) acc[p] = acc[p] + by * load(row.residual + (at + p) * kLanes);
  }
  if (tail.clip) {
    const F low = splat(tail.low), high = splat(tail.high);
#pragma GCC unroll 8
    for (int p = 0; p < kP; ++p) acc[p] = min(high, max(low, acc[p]));
  }
  if (row.residual && tail.residual_last) {
    if (tail.activate) {
      float values[kP * kLanes];
#pragma GCC unroll 8
      for (int p = 0; p < kP; ++p) store(values + p * kLanes, acc[p]);
      tail.activate(values, values, kP * kLanes, tail.alpha, tail.beta);
#pragma GCC unroll 8
      for (int p = 0; p < kP; ++p) acc[p] = load(values + p * kLanes);
    }
#pragma GCC unroll 8
    for (int p = 0; p < kP; ++p) acc[p] = acc[p] + by * load(row.residual + (at + p) * kLanes);
  }
#pragma GCC unroll 8
  for (int p = 0; p < kP; ++p) store(row.y + (at + p) * kLanes, acc[p]);
}

// Outputs [at, at + kP), whose windows begin at x and lie within the data. kColumns = 0: the row says how many there
// are, and how far apart.
template <int kColumns, int kStride, int kP>
SX_INLINE void tile(const DepthwiseRows& work, const Row& row, const float* x, int64_t at) {
  F acc[kP];
#pragma GCC unroll 8
  for (int p = 0; p < kP; ++p) acc[p] = F{};
  const float* w = row.weights;
  for (int64_t i = 0; i < row.taps; ++i) {
    if constexpr (kColumns > 0) {
      F weights[kColumns];
#pragma GCC unroll 8
      for (int j = 0; j < kColumns; ++j) weights[j] = load(w + j * kLanes);
#pragma GCC unroll 8
      for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 8
        for (int j = 0; j < kColumns; ++j) acc[p] = fma(weights[j], load(x + (p * kStride + j) * kLanes), acc[p]);
      }
      w += kColumns * kLanes;
    } else {
      const float* from = x;
      for (int64_t j = 0; j < row.columns; ++j) {
        const F weight = load(w);
#pragma GCC unroll 8
        for (int p = 0; p < kP; ++p) acc[p] = fma(weight, load(from + p * row.x_step), acc[p]);
        from += row.x_column;
        w += kLanes;
      }
    }
    x += row.x_row;
  }
  finish<kP>(acc, work, row, at);
}

// An output whose window sticks out of the data.
SX_INLINE void edge(const DepthwiseRows& work, const Row& row, int64_t at) {
  const ConvShape& s = *work.shape;
  int64_t first, last;
  const int64_t start = at * s.stride[1] - s.pad_begin[1];
  taps_on(start, s.in[1], row.columns, s.dilation[1], &first, &last);
  F acc[1] = {F{}};
  for (int64_t i = 0; i < row.taps && first < last; ++i) {
    const float* x = row.x + i * row.x_row + (start + first * s.dilation[1]) * kLanes;
    const float* w = row.weights + (i * row.columns + first) * kLanes;
    for (int64_t j = first; j < last; ++j) {
      acc[0] = fma(load(w), load(x), acc[0]);
      x += row.x_column;
      w += kLanes;
    }
  }
  finish<1>(acc, work, row, at);
}

// Whether as many outputs as half a kernel stick out on either side, and none on both.
template <int kColumns>
SX_INLINE bool even_edges(const DepthwiseRows& work) {
  const ConvShape& s = *work.shape;
  constexpr int64_t kEdges = kColumns / 2;
  return s.pad_begin[1] == kEdges && s.out[1] == s.in[1] && s.in[1] >= 2 * kEdges && work.inner_begin == kEdges &&
         work.inner_end == s.out[1] - kEdges;
}

// All of those of a row, windows moving by 1.
template <int kColumns>
SX_INLINE void both_edges(const DepthwiseRows& work, const Row& row) {
  constexpr int kEdges = kColumns / 2;
  const ConvShape& s = *work.shape;
  F left[kEdges], right[kEdges];
#pragma GCC unroll 2
  for (int e = 0; e < kEdges; ++e) left[e] = right[e] = F{};
  const float* begin = row.x;
  const float* end = row.x + s.in[1] * kLanes;
  const float* w = row.weights;
  for (int64_t i = 0; i < row.taps; ++i) {
    F weights[kColumns];
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) weights[j] = load(w + j * kLanes);
#pragma GCC unroll 2
    for (int e = 0; e < kEdges; ++e) {
#pragma GCC unroll 8
      for (int j = 0; j < kColumns; ++j) {
        if (j >= kEdges - e) left[e] = fma(weights[j], load(begin + (e - kEdges + j) * kLanes), left[e]);
        if (j < 2 * kEdges - e) right[e] = fma(weights[j], load(end + (e - 2 * kEdges + j) * kLanes), right[e]);
      }
    }
    begin += row.x_row;
    end += row.x_row;
    w += kColumns * kLanes;
  }
  finish<kEdges>(left, work, row, 0);
  finish<kEdges>(right, work, row, s.out[1] - kEdges);
}

template <int kColumns, int kStride>
SX_INLINE void inner(const DepthwiseRows& work, const Row& row) {
  const ConvShape& s = *work.shape;
  int64_t at = work.inner_begin;
  const float* x = row.x + (at * s.stride[1] - s.pad_begin[1]) * kLanes;
  for (; at + kTile <= work.inner_end; at += kTile, x += kTile * row.x_step) {
    tile<kColumns, kStride, kTile>(work, row, x, at);
  }
  switch (work.inner_end - at) {
    case 7: return tile<kColumns, kStride, 7>(work, row, x, at);
    case 6: return tile<kColumns, kStride, 6>(work, row, x, at);
    case 5: return tile<kColumns, kStride, 5>(work, row, x, at);
    case 4: return tile<kColumns, kStride, 4>(work, row, x, at);
    case 3: return tile<kColumns, kStride, 3>(work, row, x, at);
    case 2: return tile<kColumns, kStride, 2>(work, row, x, at);
    case 1: return tile<kColumns, kStride, 1>(work, row, x, at);
    default: return;
  }
}

// kEdges: those that even_edges() says there are, or 0 for any.
template <int kColumns, int kStride, int kEdges>
void rows(const DepthwiseRows& work) {
  const ConvShape& s = *work.shape;
  const FilterTail& tail = *work.tail;
  const int64_t length = s.out[1] * kLanes;
  Row row;
  row.columns = s.kernel[1];
  row.x_row = s.dilation[0] * s.in[1] * kLanes;
  row.x_column = s.dilation[1] * kLanes;
  row.x_step = s.stride[1] * kLanes;
  row.y = work.y;
  row.residual = work.residual;
  float* raw = work.y;  // from where on outputs wait for their activation
  for (int64_t r = work.row_begin; r < work.row_end; ++r) {
    const int64_t start = r * s.stride[0] - s.pad_begin[0];
    int64_t first, last;
    taps_on(start, s.in[0], s.kernel[0], s.dilation[0], &first, &last);
    row.taps = last - first;
    row.x = row.taps > 0 ? work.x + (start + first * s.dilation[0] - work.x_begin) * s.in[1] * kLanes : work.x;
    row.weights = work.weights + first * row.columns * kLanes;
    if constexpr (kEdges > 0) {
      both_edges<kColumns>(work, row);
    } else {
      for (int64_t at = 0; at < work.inner_begin; ++at) edge(work, row, at);
      for (int64_t at = work.inner_end; at < s.out[1]; ++at) edge(work, row, at);
    }
    inner<kColumns, kStride>(work, row);
    row.y += length;
    if (row.residual) row.residual += length;
    if (tail.activate && !(work.residual && tail.residual_last) &&
        (row.y - raw >= kActivated || r + 1 == work.row_end)) {
      tail.activate(raw, raw, row.y - raw, tail.alpha, tail.beta);
      raw = row.y;
    }
  }
}

template <int kColumns>
void rows_of_kernel(const DepthwiseRows& work) {
  if (work.shape->stride[1] == 2) return rows<kColumns, 2, 0>(work);
  if (work.shape->stride[1] != 1) return rows<0, 0, 0>(work);
  return even_edges<kColumns>(work) ? rows<kColumns, 1, kColumns / 2>(work) : rows<kColumns, 1, 0>(work);
}

void any_rows(const DepthwiseRows& work) {
  const bool dense = work.shape->dilation[1] == 1;
  if (dense && work.shape->kernel[1] == 3) return rows_of_kernel<3>(work);
  if (dense && work.shape->kernel[1] == 5) return rows_of_kernel<5>(work);
  return rows<0, 0, 0>(work);
}

}  // namespace blocked_depthwise

constexpr BlockedDepthwiseKernel kBlockedDepthwiseKernel = {blocked_depthwise::any_rows};

}  // namespace SX_ISA
}  // namespace sx
