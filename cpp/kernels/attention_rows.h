// What attention does to rows beside its products by the GEMM: dot products, masks, factors.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// For a few rows of a and a b too long to be worth copying into panels, as of one new token against a cache:
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

// scores[j] += mask[j]; -inf in the mask gives -inf whatever the score was.
void add_mask(const float* mask, float* scores, int64_t n, Isa isa = active_isa());

// Row i of y, `stride` apart, *= factors[i].
void scale_rows(float* y, int64_t rows, int64_t n, int64_t stride, const float* factors, Isa isa = active_isa());

}  // namespace sx
