// Depthwise convolution of channel-blocked data: rows of one plane of outputs at a time.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/float_types.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/conv_kernel.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

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

// Rows [row_begin, row_end) of outputs of block `channels` of one image.
template <typename T>
struct DepthwiseBand {
  int64_t channels = 0;
  const T* x = nullptr;  // row x_begin of the plane of inputs; all rows under the windows follow
  int64_t x_begin = 0;
  int64_t row_begin = 0, row_end = 0;
  T* y = nullptr;               // row row_begin of outputs
  const T* residual = nullptr;  // laid out as y, or null
};

// A depthwise convolution, band by band; uses ScratchSlot::kTile. The shape and the biases outlive it. An infinite
// input of bf16 makes infinities or NaN.
template <typename T>
class DepthwiseBands;

template <>
class DepthwiseBands<float> {
 public:
  DepthwiseBands(const ConvShape& shape, const float* packed, const Epilogue& epilogue, Isa isa);
  void run(const DepthwiseBand<float>& band) const;

 private:
  const BlockedDepthwiseKernel& kernel_;
  const int64_t block_;
  const FilterTail tail_;
  const float* packed_;
  const float* bias_;
  DepthwiseRows rows_;  // what all bands have in common
};

template <>
class DepthwiseBands<BFloat16> {
 public:
  DepthwiseBands(const ConvShape& shape, const float* packed, const Epilogue& epilogue, Isa isa);
  void run(const DepthwiseBand<BFloat16>& band) const;

 private:
  void run_rows(const DepthwiseBand<BFloat16>& band, int64_t begin, int64_t end) const;
  const BFloat16* make_pairs(const DepthwiseBand<BFloat16>& band, int64_t top, int64_t rows) const;
  void make_edge(const BFloat16* row, int64_t i, BFloat16* pairs) const;

  const ConvShape& shape_;
  const BlockedKernelOf<BFloat16>& kernel_;
  const FilterTail tail_;
  const float* packed_;
  const float* bias_;
  const int64_t width_;     // of a row with what padding its windows reach
  const int64_t distance_;  // of the two pixels of a pair
  const int64_t row_;       // elements of a row of pairs
  PairsDepthwise rows_;     // what all rows have in common
};

// See blocked_conv (blocked.h).
template <typename T>
void blocked_depthwise(const ConvShape& shape, const T* x, const float* packed, const T* residual, T* y,
                       const Epilogue& epilogue, Isa isa);

// In bf16: words of two weights that a row of taps takes, and the words of a channel's weights [rows, columns] as
// [row][word], `step` words apart.
int64_t depthwise_bf16_words(const ConvShape& shape);
void pack_depthwise_bf16(const ConvShape& shape, const float* weights, float* packed, int64_t step);

}  // namespace sx
