// Transposes of small matrices in vector registers, and elements picked out.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

struct TransposeKernel {
  int64_t lanes;
  // to[row * to_stride + column] = from[column * from_stride + row]; both extents are multiples of `lanes`.
  void (*words)(uint32_t* to, int64_t to_stride, const uint32_t* from, int64_t from_stride, int64_t rows,
                int64_t columns);
  // to[row * to_stride + column] = from[column * 3 + row] for three rows of any length.
  void (*three_words)(uint32_t* to, int64_t to_stride, const uint32_t* from, int64_t columns);
  void (*three_bytes)(uint8_t* to, int64_t to_stride, const uint8_t* from, int64_t columns);
  // to[i] = from[2 * i]
  void (*every_second)(uint32_t* to, const uint32_t* from, int64_t n);
};

const TransposeKernel& transpose_kernel(Isa isa = active_isa());

}  // namespace sx
