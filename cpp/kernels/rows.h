// Softmax, normalization and reduction of the rows of an f32 matrix.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// All take `rows` rows of `n` contiguous elements, and split the rows over the thread pool. The bits of a row's result
// depend on that row and the ISA only. x and y may be the same array.

// y = exp(scale * x + mask - max) / sum. mask may be null; mask_row is its stride between rows (0: one row for all),
// and `mask_period` rows make up the mask, after which it repeats (0: as many as there are rows).
struct SoftmaxRows {
  int64_t rows = 0, n = 0;
  const float* x = nullptr;
  float* y = nullptr;
  float scale = 1.0f;
  const float* mask = nullptr;
  int64_t mask_row = 0;
  int64_t mask_period = 0;
  bool zero_dead_rows = false;  // a row of -inf only gives 0 instead of NaN
  bool log = false;             // the logarithm of the softmax
};
void softmax_rows(const SoftmaxRows& problem, Isa isa = active_isa());

// The same along the middle axis of [outer, n, inner], or its logarithm.
void softmax_middle(bool log, const float* x, int64_t outer, int64_t n, int64_t inner, float* y,
                    Isa isa = active_isa());

// y = (x - mean) / sqrt(variance + epsilon) * scale + bias; scale and bias hold n values or are null. mean and
// inv_std, where set, receive one value per row.
struct NormRows {
  int64_t rows = 0, n = 0;
  const float* x = nullptr;
  float* y = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;
  float epsilon = 1e-5f;
  // With `rms` the mean is not taken off: y = x / sqrt(mean(x^2) + epsilon) * scale + bias.
  bool rms = false;
  // Where set, x + skip (+ skip_bias per column) is normalized, and kept in `sum` if that is set.
  const float* skip = nullptr;
  const float* skip_bias = nullptr;
  float* sum = nullptr;
  float* mean = nullptr;
  float* inv_std = nullptr;
};
void normalize_rows(const NormRows& problem, Isa isa = active_isa());

// y = (x - mean) * inv_std * scale + bias with one scale and bias per group of rows: row r uses channel r % channels.
// Instance normalization is one row per (image, channel).
struct ChannelNorm {
  int64_t images = 0, channels = 0, groups = 0, size = 0;  // groups == channels: instance normalization
  const float* x = nullptr;
  float* y = nullptr;
  const float* scale = nullptr;  // [channels] or null
  const float* bias = nullptr;   // [channels] or null
  float epsilon = 1e-5f;
};
// Group normalization of [images, channels, size] over each group's channels / groups * size elements.
void normalize_groups(const ChannelNorm& problem, Isa isa = active_isa());

enum class Reduction : uint8_t { kSum, kMean, kMax, kMin, kProd, kSumSquare, kL1, kL2, kLogSumExp };

// y[r] = reduction of row r; n may be 0 for the sums and the product. kMax and kMin give NaN if the row holds one.
void reduce_rows(Reduction kind, const float* x, int64_t rows, int64_t n, float* y, Isa isa = active_isa());

// y[o, i] = reduction over j of x[o, j, i]: the reduced axis is not the last one.
void reduce_middle(Reduction kind, const float* x, int64_t outer, int64_t n, int64_t inner, float* y,
                   Isa isa = active_isa());

// y[o, i] = the place j of the greatest (or least) of x[o, j, i], the first or the last of equals; NaN is greatest and
// least. 0 < n < 2^31.
void place_extremes(bool greatest, bool last, const float* x, int64_t outer, int64_t n, int64_t inner, int64_t* y,
                    Isa isa = active_isa());
// The first place in [from, n) of NaN or of an element that is greater (less) than `bar`, or n; one thread.
using NextBeyond = int64_t (*)(const float* x, int64_t from, int64_t n, float bar);
NextBeyond next_beyond(bool greater, Isa isa = active_isa());

// The gradients of rows. Softmax, of its result y: dx = (dy - sum(dy y)) y. dx may be dy.
void softmax_gradient_rows(const float* y, const float* dy, float* dx, int64_t rows, int64_t n, Isa isa = active_isa());

// Normalization (NormRows without a sum): with h = (x - mean) / std and g = dy scale,
// dx = (g - mean(g) - h mean(g h)) / std and product = dy h. dx and product may be x and dy, in any order.
struct NormGradientRows {
  int64_t rows = 0, n = 0;
  const float* x = nullptr;
  const float* scale = nullptr;  // n values
  const float* dy = nullptr;
  float* dx = nullptr;
  float* product = nullptr;
  float epsilon = 0.0f;
};
void normalize_gradient_rows(const NormGradientRows& problem, Isa isa = active_isa());

}  // namespace sx
