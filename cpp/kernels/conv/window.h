// Where the elements under a convolution window stand: in the input itself, or in a copy with its padding written out.
#pragma once

#include <cstdint>

#include "kernels/conv/conv_shape.h"

namespace sx {

// out[i] = in[(i - begin) * stride] for begin <= i < end, and `pad` for the other i < size.
template <typename T>
using RowCopy = void (*)(const T* in, T* out, int64_t size, int64_t begin, int64_t end, int64_t stride, T pad);
template <typename T>
void copy_row_plainly(const T* in, T* out, int64_t size, int64_t begin, int64_t end, int64_t stride, T pad);

// In a window layout the element that output position o and kernel position k meet is
// plane[output_offset(o) + kernel_offset(k)], without any test of borders, and outputs that are neighbours along the
// last axis read neighbours. For this, rows of a copy hold the columns in the order of their remainder by the stride:
// first all multiples of it, then those one further, and so on.
class WindowLayout {
 public:
  explicit WindowLayout(const ConvShape& given);

  // Whether the input can be read where it stands.
  bool in_place() const { return in_place_; }
  // Elements of one channel's plane.
  int64_t plane_size() const { return plane_size_; }
  // Elements between output positions that differ by one along an axis.
  int64_t output_step(int axis) const { return output_step_[axis]; }
  int64_t output_offset(const int64_t* position) const;
  int64_t kernel_offset(const int64_t* position) const;
  // The offset of every kernel position, in row-major order.
  void kernel_offsets(int64_t* offsets) const;

  // Writes the copy of one channel's plane; padding gets the value `pad`.
  template <typename T>
  void copy_plane(const T* in, T* out, T pad, RowCopy<T> copy_row) const {
    copy_rows(0, in, out, true, pad, copy_row);
  }

 private:
  template <typename T>
  void copy_rows(int axis, const T* in, T* out, bool inside, T pad, RowCopy<T> copy_row) const;
  bool row_is_used(int axis, int64_t row) const;

  // The columns whose remainder by the stride is `remainder`: those in [begin, end) come from input columns
  // first, first + stride ..., the others are padding. Unused ones, which no tap reads, are not filled in.
  struct Phase {
    bool used;
    int64_t begin, end, first;
  };
  Phase phase_of(int64_t remainder) const;
  static constexpr int kKeptPhases = 4;

  const ConvShape shape_;
  bool in_place_;
  int64_t extent_[kMaxSpatialRank];  // rows of the layout along each axis but the last
  int64_t step_[kMaxSpatialRank];    // elements between such rows
  int64_t in_step_[kMaxSpatialRank];
  int64_t output_step_[kMaxSpatialRank];
  Phase phases_[kKeptPhases];  // of the first remainders, so that rows need no division
  int64_t phase_size_;         // columns of one remainder
  int64_t plane_size_;
};

}  // namespace sx
