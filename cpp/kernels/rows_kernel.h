// The per-ISA functions under softmax, normalization and reduction; each works on one row on the calling thread.
#pragma once

#include <cstdint>

#include "kernels/rows.h"

namespace sx {

constexpr int kReductionCount = static_cast<int>(Reduction::kLogSumExp) + 1;

struct RowsKernel {
  void (*softmax)(const float* x, const float* mask, float* y, int64_t n, float scale, bool log, bool zero_dead);
  // The logarithms of the softmax of rows that lie one behind another, neither scaled nor masked.
  void (*log_softmax)(const float* x, float* y, int64_t rows, int64_t n);
  // Softmax down each of `columns` neighbouring columns of n rows, `stride` elements apart. scratch holds n times
  // min(columns, 64) elements, rounded up to 16, or is null: then y is used, which may be x.
  void (*softmax_columns)(const float* x, float* y, int64_t n, int64_t stride, int64_t columns, bool log,
                          float* scratch);
  // out = x + skip + bias; bias may be null.
  void (*add_skip)(const float* x, const float* skip, const float* bias, float* out, int64_t n);
  // The sum of x, and the sum of (x - shift)^2.
  float (*sum)(const float* x, int64_t n);
  float (*sum_square)(const float* x, int64_t n, float shift);
  // y = (x - mean) * inv_std * scale + bias; scale and bias may be null.
  void (*normalize)(const float* x, float* y, int64_t n, float mean, float inv_std, const float* scale,
                    const float* bias);
  // y = x * scale + bias
  void (*affine)(const float* x, float* y, int64_t n, float scale, float bias);
  void (*softmax_gradient)(const float* y, const float* dy, float* dx, int64_t n);
  void (*normalize_gradient)(const NormGradientRows& problem, int64_t row, float mean, float inv_std);
  float (*reduce[kReductionCount])(const float* x, int64_t n);
  // y[i] = reduction over j of x[j * stride + i] for i < columns.
  void (*reduce_columns[kReductionCount])(const float* x, int64_t n, int64_t stride, int64_t columns, float* y);
  // [greatest][last]: where the extreme stands in a row, and in each of `columns` columns of n < 2^31 rows.
  int64_t (*place[2][2])(const float* x, int64_t n);
  void (*place_columns[2][2])(const float* x, int64_t n, int64_t stride, int64_t columns, int64_t* y);
  // [greatest]: the first place in [from, n) of NaN or of an element beyond `bar`, or n.
  int64_t (*next_beyond[2])(const float* x, int64_t from, int64_t n, float bar);
};

}  // namespace sx
