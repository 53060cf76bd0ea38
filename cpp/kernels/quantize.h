// Linear quantization of arrays with one scale and zero point, between f32 and integers of 8 and 16 bits.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// y[i] = min(max(round(x[i] / scale) + zero, low), high), rounding to nearest even; NaN gives low. The limits lie
// within the range of the output type, zero within 2^16 of 0. Runs on the calling thread; x and y do not overlap.
struct QuantizeArray {
  float scale = 1.0f;
  int zero = 0;
  int low = 0, high = 0;
};
void quantize(const QuantizeArray& how, const float* x, int8_t* y, int64_t n, Isa isa = active_isa());
void quantize(const QuantizeArray& how, const float* x, uint8_t* y, int64_t n, Isa isa = active_isa());
void quantize(const QuantizeArray& how, const float* x, int16_t* y, int64_t n, Isa isa = active_isa());
void quantize(const QuantizeArray& how, const float* x, uint16_t* y, int64_t n, Isa isa = active_isa());

// The least and the greatest of x and 0, leaving out NaN. Large arrays are split over the thread pool.
struct ArrayRange {
  float low = 0.0f, high = 0.0f;
  bool has_nan = false;
};
ArrayRange range_with_zero(const float* x, int64_t n, Isa isa = active_isa());

// y[i] = (x[i] - zero) * scale; runs on the calling thread.
void dequantize(const int8_t* x, int zero, float scale, float* y, int64_t n, Isa isa = active_isa());
void dequantize(const uint8_t* x, int zero, float scale, float* y, int64_t n, Isa isa = active_isa());
void dequantize(const int16_t* x, int zero, float scale, float* y, int64_t n, Isa isa = active_isa());
void dequantize(const uint16_t* x, int zero, float scale, float* y, int64_t n, Isa isa = active_isa());

// y[i] = min(max(round(f(a[i], b[i])) + zero, low), high) with f(a, b) = (a - a_zero) * a_scale + (b - b_zero) *
// b_scale, or, with `multiply`, (a - a_zero) * a_scale * (b - b_zero). The scales are less than 1e30; runs on the
// calling thread.
struct CombineArrays {
  bool multiply = false;
  float a_scale = 1.0f, b_scale = 1.0f;
  int a_zero = 0, b_zero = 0, zero = 0;
  int low = 0, high = 0;
};
void combine(const CombineArrays& how, const int8_t* a, const int8_t* b, int8_t* y, int64_t n, Isa isa = active_isa());
void combine(const CombineArrays& how, const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n,
             Isa isa = active_isa());

}  // namespace sx
