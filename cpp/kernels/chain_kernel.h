// The per-ISA functions under chains, beside those of unary_kernel.h and activation.h: masks of 32 bits, 0 or -1.
#pragma once

#include <cstdint>

#include "kernels/chain.h"

namespace sx {

constexpr int kComparisonCount = static_cast<int>(Comparison::kGreaterOrEqual) + 1;
constexpr int kLogicCount = static_cast<int>(Logic::kXor) + 1;

// Forms, by which side is one value for all: neither, b, a, both. All may write over an operand.
struct ChainKernel {
  void (*compare[kComparisonCount][4])(const float* a, const float* b, int32_t* y, int64_t n);
  void (*logic[kLogicCount])(const int32_t* a, const int32_t* b, int32_t* y, int64_t n);
  void (*negate)(const int32_t* x, int32_t* y, int64_t n);
  void (*select[4])(const int32_t* mask, const float* a, const float* b, float* y, int64_t n);
  void (*number)(const int32_t* mask, float* y, int64_t n);
  void (*from_bytes)(const uint8_t* x, int32_t* y, int64_t n);
  void (*to_bytes)(const int32_t* x, uint8_t* y, int64_t n);
};

}  // namespace sx
