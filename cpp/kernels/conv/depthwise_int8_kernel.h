// The per-ISA function under the 8-bit depthwise convolution.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// What one filter does to rows of windows: tap t of output (r, c) stands at x[offsets[t] + r * row_step + c].
struct DepthwiseInt8Rows {
  const uint8_t* x;
  const int64_t* offsets;
  const int32_t* weights;  // [taps]
  int64_t taps;
  uint8_t flip;   // xored with each byte, which is unsigned then
  int32_t start;  // of each sum
  int64_t row_step, columns;
};

// The same for a whole plane whose outputs stand as its inputs do: tap t of output i is x[offsets[t] + i] where
// masks[t * mask_step + i] is 255, and the byte `fill` where it is 0.
struct DepthwiseInt8Plane {
  const uint8_t* x;
  const int64_t* offsets;
  const uint8_t* masks;
  int64_t mask_step;
  const int32_t* weights;  // [taps]
  int64_t taps;
  uint8_t fill, flip;
  int32_t start;
};

struct DepthwiseInt8Kernel {
  int lanes;
  // The sums of `rows` rows, the row r at sums + r * stride. Reads and writes whole vectors.
  void (*rows)(const DepthwiseInt8Rows& work, int64_t rows, int32_t* sums, int64_t stride);
  // The sums of `outputs` outputs, whole vectors of them.
  void (*plane)(const DepthwiseInt8Plane& work, int64_t outputs, int32_t* sums);
};

const DepthwiseInt8Kernel& depthwise_int8_kernel(Isa isa);

}  // namespace sx
