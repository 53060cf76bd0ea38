// Softmax of the rows of attention scores in place.
#pragma once

#include <cstdint>

namespace sx {

// x = exp(x - max) / sum along rows of n; a row of -inf only becomes 0 with `zero_dead`, NaN otherwise.
void softmax_scores(float* x, int64_t rows, int64_t n, bool zero_dead);
void softmax_scores(double* x, int64_t rows, int64_t n, bool zero_dead);

}  // namespace sx
