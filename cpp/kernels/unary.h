// Vectorized f32 functions over arrays: elementwise, binary, and half-precision conversion.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/float_types.h"
#include "kernels/epilogue.h"

namespace sx {

// y[i] = f(x[i]); within 4 units in the last place, with NaN, infinities and signed zeros as C's functions give them.
// x and y may be the same array. Large arrays are split over the thread pool.
void apply(Activation function, const float* x, float* y, int64_t n, float alpha = 0.0f, float beta = 0.0f,
           Isa isa = active_isa());

enum class Binary : uint8_t { kAdd, kSub, kMul, kDiv, kMax, kMin };

// y[r, i] = a[r, i] op b[r, i] for `rows` rows of `n` elements. Between rows a moves by a_row and b by b_row elements
// (0: the row is used again), within a row by 1, or by 0 where a_scalar (b_scalar) is set: one value for the row.
// y is contiguous and may be a or b if those are contiguous too. kMax and kMin give NaN where either side is NaN.
struct BinaryRows {
  int64_t rows = 1, n = 0;
  const float* a = nullptr;
  int64_t a_row = 0;
  bool a_scalar = false;
  const float* b = nullptr;
  int64_t b_row = 0;
  bool b_scalar = false;
  float* y = nullptr;
  Activation activation = Activation::kNone;  // applied to the result
  float alpha = 0.0f, beta = 0.0f;
};
void apply(Binary op, const BinaryRows& rows, Isa isa = active_isa());

// y[i] = condition[i] ? a[i] : b[i] for elements of 32 bits, on the calling thread; y may be a or b.
void choose(const bool* condition, const int32_t* a, bool a_scalar, const int32_t* b, bool b_scalar, int32_t* y,
            int64_t n, Isa isa = active_isa());

// y[i] = whether x[i] is NaN, or an infinity of a sign that is asked for; on the calling thread.
void find_nan(const float* x, bool* y, int64_t n, Isa isa = active_isa());
void find_infinity(const float* x, bool negative, bool positive, bool* y, int64_t n, Isa isa = active_isa());

// Element conversions, rounding to nearest even.
void convert(const Float16* x, float* y, int64_t n, Isa isa = active_isa());
void convert(const BFloat16* x, float* y, int64_t n, Isa isa = active_isa());
void convert(const float* x, Float16* y, int64_t n, Isa isa = active_isa());
void convert(const float* x, BFloat16* y, int64_t n, Isa isa = active_isa());

}  // namespace sx
