// The per-ISA functions under the f32 convolutions.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/activation.h"

namespace sx {

// A run of neighbouring outputs inside one panel of GEMM columns; at most one vector long.
struct Segment {
  int32_t lane;
  int32_t count;
  int64_t offset;  // of the first one's window
};

// What happens to the results of one filter.
struct FilterTail {
  float scale = 1.0f;
  float bias = 0.0f;
  bool has_bias = false;
  const float* residual = nullptr;  // laid out as y
  float residual_scale = 1.0f;
  bool residual_last = false;
  bool clip = false;
  float low = 0.0f, high = 0.0f;
  ActivationFunction activate = nullptr;
  float alpha = 0.0f, beta = 0.0f;
};

// All of an epilogue but its row_bias and residual, which the caller sets for each filter. The precision is that of
// what the results are kept in.
FilterTail filter_tail(const Epilogue& epilogue, Isa isa, Precision precision = Precision::kF32);

// A convolution of up to kFewFilters filters.
constexpr int64_t kFewFilters = 8;
struct FewFilters {
  const float* x = nullptr;
  const float* weights = nullptr;    // tap by tap, `width` for each: 1, 2, 4 or 8
  const int64_t* offsets = nullptr;  // of the taps
  int64_t taps = 0;
  int filters = 0, width = 0;
  float* y = nullptr;
  int64_t y_step = 0;               // between filters
  const float* bias = nullptr;      // a value for each filter, or null
  const float* residual = nullptr;  // laid out as y, or null
  const FilterTail* tail = nullptr;
};
// A vector of neighbouring outputs: the window of the first one, where it goes, and how many of them are left out,
// since another vector has them.
struct VectorPlace {
  int64_t x, y;
  int skip;
};

struct ConvKernel {
  // A RowCopy (window.h).
  void (*copy_row)(const float* in, float* out, int64_t size, int64_t begin, int64_t end, int64_t stride, float pad);
  // packed[k * width + lane + i] = x[k_offsets[k] + offset + i] for each segment; may write a vector past the end.
  void (*pack_segments)(const float* x, const int64_t* k_offsets, int64_t k, const Segment* segments, int count,
                        int width, float* packed);
  // y[row, column] = sum over taps of weights[tap] * x[row * row_step + column + offsets[tap]].
  void (*depthwise)(const float* x, const float* weights, const int64_t* offsets, int64_t taps, int64_t rows,
                    int64_t columns, int64_t row_step, float* y, const FilterTail& tail);
  void (*few_filters)(const FewFilters& work, const VectorPlace* places, int64_t count);
};

const ConvKernel& conv_kernel(Isa isa);

}  // namespace sx
