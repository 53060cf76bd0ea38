// Rotary position embedding of one head: pairs of channels turned by angles given as cosines and sines.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/gradient.h"

namespace sx {

// The same as an expression: x is [batch, positions, heads, size], the angles are [batch or 1, positions, half].
Expr turned(const Expr& x, const Expr& cosine, const Expr& sine, bool interleaved);

// Turns the first 2 * half of `size` channels and copies the rest; y may be x. A pair is channels (2j, 2j + 1) when
// interleaved, else (j, j + half).
inline void turn_head(const float* x, float* y, int64_t size, const float* cosine, const float* sine, int64_t half,
                      bool interleaved) {
  const int64_t step = interleaved ? 2 : 1;
  const int64_t other = interleaved ? 1 : half;
  for (int64_t j = 0; j < half; ++j) {
    const float real = x[j * step], imaginary = x[j * step + other];
    y[j * step] = real * cosine[j] - imaginary * sine[j];
    y[j * step + other] = real * sine[j] + imaginary * cosine[j];
  }
  if (y != x) std::copy(x + 2 * half, x + size, y + 2 * half);
}

}  // namespace sx
