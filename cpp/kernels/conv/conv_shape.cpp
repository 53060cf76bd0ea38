// Output extents of convolutions.
#include "kernels/conv/conv_shape.h"

#include "base/shape.h"

namespace sx {

int64_t conv_out_extent(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  const int64_t window = checked_add(checked_mul(dilation, kernel - 1), 1);
  const int64_t padded = checked_add(in, pads);
  return padded < window ? 0 : (padded - window) / stride + 1;
}

}  // namespace sx
