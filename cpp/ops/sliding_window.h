// The sliding windows of convolutions and pools: their attributes, and the extents and padding that follow.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/dim.h"
#include "ops/op_def.h"

namespace sx {

// The attributes as given; an empty list means ones (zeros for pads).
class WindowSpec {
 public:
  enum class AutoPad { kNotSet, kValid, kSameUpper, kSameLower };

  // Reads kernel_shape, strides, dilations, pads, auto_pad and ceil_mode, those that the operator has. The values are
  // checked and small enough that arithmetic on them cannot overflow.
  explicit WindowSpec(const NodeView& node);

  const std::vector<int64_t>& kernel() const { return kernel_; }
  int64_t stride(int axis) const { return strides_.empty() ? 1 : strides_[static_cast<size_t>(axis)]; }
  int64_t dilation(int axis) const { return dilations_.empty() ? 1 : dilations_[static_cast<size_t>(axis)]; }
  int64_t pad_begin(int axis) const { return pads_.empty() ? 0 : pads_[static_cast<size_t>(axis)]; }
  int64_t pad_end(int axis) const { return pads_.empty() ? 0 : pads_[pads_.size() / 2 + static_cast<size_t>(axis)]; }
  AutoPad auto_pad() const { return auto_pad_; }
  bool same() const { return auto_pad_ == AutoPad::kSameUpper || auto_pad_ == AutoPad::kSameLower; }
  bool ceil() const { return ceil_; }
  // Input elements from the first to the last that a window with `kernel` taps covers.
  int64_t span(int axis, int64_t kernel) const { return dilation(axis) * (kernel - 1) + 1; }

  // Whether a copy of the data with the padding that windows of `kernel` taps reach stays about as large as the data,
  // whatever its extent.
  bool is_compact(int axis, int64_t kernel) const;

  // Fails unless the lists fit data with this many spatial axes.
  void check_rank(const NodeView& node, int rank) const;

  struct Axis {
    int64_t out, pad_begin, pad_end;
  };
  // The number of windows along an axis and the padding in use; fails where the window is larger than the padded data.
  Axis axis(const NodeView& node, int axis, int64_t kernel, int64_t in) const;
  // The number of windows where the input extent may be symbolic.
  Dim extent(const NodeView& node, int axis, int64_t kernel, const Dim& in) const;
  // `total` padding shared out as auto_pad says; SAME_UPPER puts the odd one at the end, all others at the beginning.
  std::pair<int64_t, int64_t> share_padding(int64_t total) const;

 private:
  std::vector<int64_t> kernel_, strides_, dilations_, pads_;
  AutoPad auto_pad_ = AutoPad::kNotSet;
  bool ceil_ = false;
};

// Fails unless `kernel` holds positive extents of a sensible size.
void check_kernel(const NodeView& node, const std::vector<int64_t>& kernel);

}  // namespace sx
