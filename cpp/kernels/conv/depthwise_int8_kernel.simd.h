// Sums of 8-bit depthwise convolution for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace depthwise_s8 {

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

SX_INLINE I widen(const uint8_t* p, Bytes flip) {
  Bytes bytes;
  __builtin_memcpy(&bytes, p, kLanes);
  return __builtin_convertvector(bytes ^ flip, I);
}

template <int kR>
SX_INLINE void some_rows(const DepthwiseInt8Rows& work, int64_t first, int32_t* sums, int64_t stride) {
  const Bytes flip = work.flip - Bytes{};
  for (int64_t c = 0; c < work.columns; c += kLanes) {
    U sum[kR];  // wraps
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) sum[r] = reinterpret_cast<U>(splat(work.start));
    for (int64_t t = 0; t < work.taps; ++t) {
      const U weight = reinterpret_cast<U>(splat(work.weights[t]));
      const uint8_t* x = work.x + work.offsets[t] + first * work.row_step + c;
#pragma GCC unroll 4
      for (int r = 0; r < kR; ++r) sum[r] += reinterpret_cast<U>(widen(x + r * work.row_step, flip)) * weight;
    }
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) store(sums + r * stride + c, reinterpret_cast<I>(sum[r]));
  }
}

void rows(const DepthwiseInt8Rows& work, int64_t count, int32_t* sums, int64_t stride) {
  int64_t r = 0;
  for (; r + 4 <= count; r += 4) some_rows<4>(work, r, sums + r * stride, stride);
  for (; r < count; ++r) some_rows<1>(work, r, sums + r * stride, stride);
}

}  // namespace depthwise_s8

constexpr DepthwiseInt8Kernel kDepthwiseInt8Kernel = {kLanes, depthwise_s8::rows};

}  // namespace SX_ISA
}  // namespace sx
