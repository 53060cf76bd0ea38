// Convolution shapes and plain convolution loops for tests.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/conv/conv_shape.h"

namespace sx {

inline void set_out(ConvShape* shape) {
  for (int axis = 0; axis < shape->rank; ++axis) {
    shape->out[axis] = conv_out_extent(shape->in[axis], shape->kernel[axis], shape->stride[axis], shape->dilation[axis],
                                       shape->pad_begin[axis] + shape->pad_end[axis]);
  }
}

// sizes: batch, channels, filters, groups; pads: top, left, bottom, right.
inline ConvShape conv_2d(std::array<int64_t, 4> sizes, std::array<int64_t, 2> in, std::array<int64_t, 2> kernel,
                         std::array<int64_t, 2> stride, std::array<int64_t, 2> dilation, std::array<int64_t, 4> pads) {
  ConvShape shape;
  shape.batch = sizes[0];
  shape.channels = sizes[1];
  shape.filters = sizes[2];
  shape.groups = sizes[3];
  for (int axis = 0; axis < 2; ++axis) {
    shape.in[axis] = in[axis];
    shape.kernel[axis] = kernel[axis];
    shape.stride[axis] = stride[axis];
    shape.dilation[axis] = dilation[axis];
    shape.pad_begin[axis] = pads[axis];
    shape.pad_end[axis] = pads[axis + 2];
  }
  set_out(&shape);
  return shape;
}

// Steps through the positions of a box; returns false after the last one.
inline bool next_position(int rank, const int64_t* extents, int64_t* position) {
  for (int axis = rank - 1; axis >= 0; --axis) {
    if (++position[axis] < extents[axis]) return true;
    position[axis] = 0;
  }
  return false;
}

// Calls visit(x index, weight index, y index) for every product that a convolution adds up.
template <typename Visit>
void for_each_product(const ConvShape& shape, const Visit& visit) {
  const int64_t group_channels = shape.channels / shape.groups, group_filters = shape.filters / shape.groups;
  for (int64_t image = 0; image < shape.batch; ++image) {
    for (int64_t filter = 0; filter < shape.filters; ++filter) {
      int64_t out[kMaxSpatialRank] = {};
      int64_t at = (image * shape.filters + filter) * shape.out_size();
      do {
        for (int64_t c = 0; c < group_channels; ++c) {
          const int64_t channel = filter / group_filters * group_channels + c;
          int64_t tap[kMaxSpatialRank] = {};
          int64_t weight = (filter * group_channels + c) * shape.kernel_size();
          do {
            int64_t from = image * shape.channels + channel;
            bool inside = true;
            for (int axis = 0; axis < shape.rank; ++axis) {
              const int64_t i =
                  out[axis] * shape.stride[axis] + tap[axis] * shape.dilation[axis] - shape.pad_begin[axis];
              inside = inside && i >= 0 && i < shape.in[axis];
              from = from * shape.in[axis] + i;
            }
            if (inside) visit(from, weight, at);
            ++weight;
          } while (next_position(shape.rank, shape.kernel, tap));
        }
        ++at;
      } while (next_position(shape.rank, shape.out, out));
    }
  }
}

// The sums, and the sums of the magnitudes of their terms for error bounds.
inline std::vector<double> plain_conv(const ConvShape& shape, const std::vector<float>& x,
                                      const std::vector<float>& weights, std::vector<double>* magnitude) {
  std::vector<double> y(static_cast<size_t>(shape.batch * shape.filters * shape.out_size()));
  magnitude->assign(y.size(), 0.0);
  for_each_product(shape, [&](int64_t from, int64_t weight, int64_t to) {
    const double product = static_cast<double>(x[from]) * weights[weight];
    y[to] += product;
    (*magnitude)[to] += std::fabs(product);
  });
  return y;
}

}  // namespace sx
