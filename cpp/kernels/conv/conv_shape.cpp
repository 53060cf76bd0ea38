// Output extents of convolutions.
#include "kernels/conv/conv_shape.h"

#include <utility>

#include "base/shape.h"

namespace sx {

int64_t conv_out_extent(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  const int64_t window = checked_add(checked_mul(dilation, kernel - 1), 1);
  const int64_t padded = checked_add(in, pads);
  return padded < window ? 0 : (padded - window) / stride + 1;
}

bool is_pointwise(const ConvShape& shape) {
  for (int axis = 0; axis < shape.rank; ++axis)
    if (shape.kernel[axis] != 1 || shape.stride[axis] != 1 || shape.pad_begin[axis] != 0 || shape.pad_end[axis] != 0)
      return false;
  return true;
}

ConvShape lay_down(const ConvShape& given) {
  ConvShape shape = given;
  if (shape.rank != 2 || shape.in[1] != 1 || shape.out[1] != 1 || shape.kernel[1] != 1) return shape;
  for (int64_t* extents :
       {shape.in, shape.out, shape.kernel, shape.stride, shape.dilation, shape.pad_begin, shape.pad_end})
    std::swap(extents[0], extents[1]);
  return shape;
}

}  // namespace sx
