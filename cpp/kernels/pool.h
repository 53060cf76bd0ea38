// Pooling: rows joined element by element, and windows of channel-blocked data. In a maximum NaN wins.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/float_types.h"

namespace sx {

// A pool over channel-blocked data.
struct BlockedPool {
  int64_t in[2], out[2], kernel[2], stride[2], dilation[2], pad_begin[2], pad_end[2];
  bool mean;           // of the elements, else the maximum
  bool count_padding;  // a mean counts the padding as zeros
};

struct PoolKernel {
  // y[i] = join(y[i], x[i * step]) for i < n; x and y do not overlap.
  void (*maximum)(const float* x, int64_t step, float* y, int64_t n);
  void (*sum)(const float* x, int64_t step, float* y, int64_t n);
  // One row of outputs of one block of channels, whose plane is x.
  void (*blocked_row)(const BlockedPool& pool, const float* x, int64_t row, float* y);
  void (*blocked_row_bf16)(const BlockedPool& pool, const BFloat16* x, int64_t row, BFloat16* y);
};

const PoolKernel& pool_kernel(Isa isa = active_isa());

}  // namespace sx
