// Depthwise convolution of channel-blocked data: rows of one plane of outputs at a time.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/conv_kernel.h"
#include "kernels/conv/conv_shape.h"

namespace sx {

// Rows [row_begin, row_end) of one block of channels of one image.
struct DepthwiseRows {
  const ConvShape* shape = nullptr;
  const float* x = nullptr;  // row x_begin of the plane of inputs; all rows under the windows follow
  int64_t x_begin = 0;
  const float* weights = nullptr;          // [tap][lane]
  const float* bias = nullptr;             // a value for each lane, or null
  int64_t row_begin = 0, row_end = 0;      // of outputs
  int64_t inner_begin = 0, inner_end = 0;  // columns of outputs whose windows lie within the data
  float* y = nullptr;                      // row row_begin of outputs
  const float* residual = nullptr;         // laid out as y, or null
  const FilterTail* tail = nullptr;
};

struct BlockedDepthwiseKernel {
  void (*rows)(const DepthwiseRows& work);
};
const BlockedDepthwiseKernel& blocked_depthwise_kernel(Isa isa);

// See blocked_conv (blocked.h).
void blocked_depthwise(const ConvShape& shape, const float* x, const float* packed, const float* residual, float* y,
                       const Epilogue& epilogue, Isa isa);

}  // namespace sx
