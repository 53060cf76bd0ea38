// The geometry that the pooling operators share.
#pragma once

#include <algorithm>

#include "kernels/conv/conv_shape.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/sliding_window.h"

namespace sx {

// `planes` blocks of in_size() elements become blocks of out_size().
struct PoolShape {
  int64_t planes = 0;
  int rank = 0;
  int64_t in[kMaxSpatialRank], out[kMaxSpatialRank], kernel[kMaxSpatialRank], stride[kMaxSpatialRank];
  int64_t dilation[kMaxSpatialRank], pad_begin[kMaxSpatialRank], pad_end[kMaxSpatialRank];

  // The most taps of a window along an axis that meet data; at least 1.
  int64_t most_taps(int axis) const { return std::clamp<int64_t>(in[axis], 1, kernel[axis]); }
  int64_t in_size() const { return product(in); }
  int64_t out_size() const { return product(out); }

 private:
  int64_t product(const int64_t* extents) const {
    int64_t size = 1;
    for (int i = 0; i < rank; ++i) size *= extents[i];
    return size;
  }
};

// The checked geometry for data of this shape, and the result's shape.
PoolShape pool_shape(const NodeView& node, const WindowSpec& window, const Shape& x);
Shape pool_result(const PoolShape& shape, const Shape& x);
void infer_pool(InferContext& c);
// For y = (sum of |x|^p)^(1/p): dx = lp_slope(x) times what elements get of lp_share(dy, y); nothing where y is 0.
Expr lp_slope(const Expr& x, int64_t p);
Expr lp_share(const Expr& dy, const Expr& y, int64_t p);
// kernel_shape, strides, pads, auto_pad, dilations and ceil_mode.
OpDef& add_pool_attrs(OpDef& op);

}  // namespace sx
