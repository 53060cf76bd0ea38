// Extents and padding of sliding windows.
#include "ops/sliding_window.h"

#include <algorithm>

#include "base/shape.h"

namespace sx {
namespace {

constexpr int64_t kLargest = int64_t{1} << 30;

std::vector<int64_t> read(const NodeView& node, const char* name, int64_t least) {
  if (!node.has_attr(name)) return {};
  std::vector<int64_t> values = node.attr_ints(name);
  for (int64_t value : values)
    SX_CHECK(node, value >= least && value <= kLargest, "attribute '", name, "' is ", Shape(values).str(),
             "; every value must be in ", least, "..", kLargest);
  return values;
}

}  // namespace

void check_kernel(const NodeView& node, const std::vector<int64_t>& kernel) {
  for (int64_t extent : kernel)
    SX_CHECK(node, extent >= 1 && extent <= kLargest, "the kernel has the extents ", Shape(kernel).str(),
             "; every one must be at least 1");
}

WindowSpec::WindowSpec(const NodeView& node)
    : kernel_(read(node, "kernel_shape", 1)),
      strides_(read(node, "strides", 1)),
      dilations_(read(node, "dilations", 1)),
      pads_(read(node, "pads", 0)) {
  const std::string mode = node.attr_or<std::string>("auto_pad", "NOTSET");
  if (mode == "SAME_UPPER") auto_pad_ = AutoPad::kSameUpper;
  else if (mode == "SAME_LOWER") auto_pad_ = AutoPad::kSameLower;
  else if (mode == "VALID") auto_pad_ = AutoPad::kValid;
  else
    SX_CHECK(node, mode == "NOTSET" || mode.empty(), "attribute 'auto_pad' is '", mode,
             "'; expected NOTSET, SAME_UPPER, SAME_LOWER or VALID");
  if (auto_pad_ != AutoPad::kNotSet) pads_.clear();
  ceil_ = node.attr_or<int64_t>("ceil_mode", 0) != 0;
}

bool WindowSpec::is_compact(int axis, int64_t kernel) const {
  constexpr int64_t kMostStride = 16, kMostSpan = 1024;
  return stride(axis) <= kMostStride && span(axis, kernel) <= kMostSpan && pad_begin(axis) + pad_end(axis) <= kMostSpan;
}

void WindowSpec::check_rank(const NodeView& node, int rank) const {
  const auto fits = [&](const std::vector<int64_t>& list, const char* name, int each) {
    SX_CHECK(node, list.empty() || list.size() == static_cast<size_t>(rank * each), "attribute '", name, "' is ",
             Shape(list).str(), "; ", rank * each, " values expected for data with ", rank, " spatial axes");
  };
  fits(kernel_, "kernel_shape", 1);
  fits(strides_, "strides", 1);
  fits(dilations_, "dilations", 1);
  fits(pads_, "pads", 2);
}

std::pair<int64_t, int64_t> WindowSpec::share_padding(int64_t total) const {
  const int64_t half = total / 2;
  return auto_pad_ == AutoPad::kSameUpper ? std::make_pair(half, total - half) : std::make_pair(total - half, half);
}

WindowSpec::Axis WindowSpec::axis(const NodeView& node, int axis, int64_t kernel, int64_t in) const {
  const int64_t step = stride(axis);
  const int64_t reach = span(axis, kernel);
  if (same()) {
    const int64_t out = in == 0 ? 0 : (in - 1) / step + 1;
    const int64_t total = out == 0 ? 0 : std::max<int64_t>(0, (out - 1) * step + reach - in);
    const auto [begin, end] = share_padding(total);
    return {out, begin, end};
  }
  const int64_t begin = pad_begin(axis);
  const int64_t end = pad_end(axis);
  const int64_t room = checked_add(in, begin + end) - reach;
  int64_t out = 0;
  if (room >= 0) {
    out = room / step + 1;
    // A partial window counts where it starts inside the data or the padding before it.
    if (ceil_ && room % step != 0 && out * step < in + begin) ++out;
  } else if (ceil_ && room + step > 0 && in + begin > 0) {
    out = 1;
  } else {
    SX_CHECK(node, room + step >= 0, "a window of extent ", reach, " does not fit into ", in, " elements with padding ",
             begin, " and ", end, " (spatial axis ", axis, ")");
  }
  return {out, begin, end};
}

Dim WindowSpec::extent(const NodeView& node, int axis, int64_t kernel, const Dim& in) const {
  if (in.known()) return this->axis(node, axis, kernel, in.value()).out;
  const int64_t step = stride(axis);
  if (same()) return ceil_div(in, step);
  const int64_t reach = span(axis, kernel);
  const Dim room = in + Dim(pad_begin(axis) + pad_end(axis) - reach);
  if (!ceil_) return floor_div(room, step) + 1;
  // The last window cannot start in the padding at the end.
  if (pad_end(axis) + step <= reach) return ceil_div(room, step) + 1;
  return Dim();
}

}  // namespace sx
