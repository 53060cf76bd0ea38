// y = scale * a b' for a few rows of a and a b too long to be worth copying into panels: one new token against a cache.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// y[i * y_row + j] = scale * (a[i * a_row + ...] . b[j * b_row + ...]) over k elements, for i < m and j < n, on the
// calling thread. An element's bits depend on its two rows and the ISA only.
struct DotRows {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;
  int64_t a_row = 0;
  const float* b = nullptr;
  int64_t b_row = 0;
  float* y = nullptr;
  int64_t y_row = 0;
  float scale = 1.0f;
};
void dot_rows(const DotRows& problem, Isa isa = active_isa());

}  // namespace sx
