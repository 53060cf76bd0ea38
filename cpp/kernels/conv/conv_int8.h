// Convolution of 8-bit integers with exact 32-bit sums; padding counts as x's zero point.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/gemm/gemm_int8.h"

namespace sx {

struct ConvInt8 {
  ConvShape shape;
  const void* x = nullptr;
  bool x_signed = false;
  int32_t x_zero = 0;
  bool w_signed = true;
  int32_t w_zero = 0;
  const int32_t* w_zeros = nullptr;  // one per filter, or null
  void* y = nullptr;
  // `bias`, `float_bias` and `row_scales` hold one value per filter; column_scales and addend must be null.
  Int8Epilogue epilogue;
};

int64_t packed_conv_int8_size(const ConvShape& shape, Isa isa = active_isa());
void pack_conv_int8(const ConvShape& shape, const void* weights, bool w_signed, void* packed, Isa isa = active_isa());
void conv_int8(const ConvInt8& problem, const void* packed, Isa isa = active_isa());

}  // namespace sx
