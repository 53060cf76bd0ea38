// C = (A - a_zero) * (B - b_zero) for 8-bit integers with exact 32-bit sums, and its scaled and requantized forms.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

namespace sx {

enum class Int8Output : uint8_t { kInt32, kFloat32, kUInt8, kInt8 };

// What becomes of the sum s of element (i, j). With f = scale * row_scales[i] * column_scales[j] (absent: 1):
//   kInt32:          s + bias[j]
//   kFloat32:        (s + bias[j]) * f + float_bias[j] + addend[i * addend_stride + j]
//   kUInt8, kInt8:   saturate(round_to_even((s + bias[j]) * f) + zero_point)
//   with addends:    saturate(round_to_even((that byte - zero_point) * sum_scale + addends[j]) + sum_zero)
// With per_row_bias, bias and float_bias are indexed by row. 32-bit sums wrap.
struct Int8Epilogue {
  Int8Output output = Int8Output::kInt32;
  float scale = 1.0f;
  const float* row_scales = nullptr;
  const float* column_scales = nullptr;
  const int32_t* bias = nullptr;
  const float* float_bias = nullptr;
  bool per_row_bias = false;
  const float* addend = nullptr;
  int64_t addend_stride = 0;
  int32_t zero_point = 0;
  const float* addends = nullptr;
  float sum_scale = 0.0f;
  int32_t sum_zero = 0;
};

// Operands stand as in Gemm, with elements uint8_t or int8_t as a_signed and b_signed say. Zero points are single
// values, or one for each row of A or column of B where the pointer is set.
struct GemmInt8 {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t lda = 0;
  bool trans_a = false;
  bool a_signed = false;
  const void* b = nullptr;
  int64_t ldb = 0;
  bool trans_b = false;
  bool b_signed = true;
  const void* packed_b = nullptr;  // instead of b; b_signed is then what it was packed with
  int32_t a_zero = 0;
  int32_t b_zero = 0;
  const int32_t* a_zeros = nullptr;
  const int32_t* b_zeros = nullptr;
  void* c = nullptr;
  int64_t ldc = 0;
  Int8Epilogue epilogue;
};

// Bytes of a packed op(B); aligned to 64. A packed matrix fits the ISA that it was packed for and no other.
int64_t packed_b_int8_size(int64_t k, int64_t n, Isa isa = active_isa());
void pack_b_int8(int64_t k, int64_t n, const void* b, int64_t ldb, bool trans_b, bool b_signed, void* packed,
                 Isa isa = active_isa());

void gemm_int8(const GemmInt8& problem, Isa isa = active_isa());

}  // namespace sx
