// Softmax and its logarithm along the middle axis of [outer, n, inner].
#pragma once

#include <cstdint>

namespace sx {

struct SoftmaxExtents {
  int64_t outer, n, inner;
};

// x and y may be the same array; no extent is 0.
void softmax_axis(bool log, const float* x, const SoftmaxExtents& extents, float* y);
void softmax_axis(bool log, const double* x, const SoftmaxExtents& extents, double* y);

}  // namespace sx
