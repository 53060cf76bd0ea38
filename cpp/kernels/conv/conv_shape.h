// The geometry of a convolution.
#pragma once

#include <cstdint>

namespace sx {

constexpr int kMaxSpatialRank = 6;

// Data are [batch, channels, spatial...], weights [filters, channels / groups, kernel...]. A convolution over one
// axis may be given with rank 1. All extents of `out` follow from the rest (conv_out_extent); the caller fills them in.
struct ConvShape {
  int64_t batch = 1;
  int64_t channels = 1;
  int64_t filters = 1;
  int64_t groups = 1;
  int rank = 2;
  int64_t in[kMaxSpatialRank] = {1, 1, 1, 1, 1, 1};
  int64_t out[kMaxSpatialRank] = {1, 1, 1, 1, 1, 1};
  int64_t kernel[kMaxSpatialRank] = {1, 1, 1, 1, 1, 1};
  int64_t stride[kMaxSpatialRank] = {1, 1, 1, 1, 1, 1};
  int64_t dilation[kMaxSpatialRank] = {1, 1, 1, 1, 1, 1};
  int64_t pad_begin[kMaxSpatialRank] = {};
  int64_t pad_end[kMaxSpatialRank] = {};

  int64_t in_size() const { return product(in); }
  int64_t out_size() const { return product(out); }
  int64_t kernel_size() const { return product(kernel); }

 private:
  int64_t product(const int64_t* extents) const {
    int64_t size = 1;
    for (int i = 0; i < rank; ++i) size *= extents[i];
    return size;
  }
};

// floor((in + pads - dilation * (kernel - 1) - 1) / stride) + 1, and 0 where the window does not fit.
int64_t conv_out_extent(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads);

// Whether each output depends on one input of each channel, that at its own place.
bool is_pointwise(const ConvShape& shape);
// Images one column wide as images one row high, which they are in memory: rows are what kernels like long.
ConvShape lay_down(const ConvShape& shape);

}  // namespace sx
