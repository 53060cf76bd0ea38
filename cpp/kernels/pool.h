// Rows joined element by element, as pooling needs it: the maximum, where NaN wins, and the sum.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

struct PoolKernel {
  // y[i] = join(y[i], x[i * step]) for i < n; x and y do not overlap.
  void (*maximum)(const float* x, int64_t step, float* y, int64_t n);
  void (*sum)(const float* x, int64_t step, float* y, int64_t n);
};

const PoolKernel& pool_kernel(Isa isa = active_isa());

}  // namespace sx
