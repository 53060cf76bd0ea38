// Sums of 8-bit depthwise convolution for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace depthwise_s8 {

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

SX_INLINE Bytes load_bytes(const uint8_t* p) {
  Bytes bytes;
  __builtin_memcpy(&bytes, p, kLanes);
  return bytes;
}
SX_INLINE U widen(Bytes bytes) { return reinterpret_cast<U>(__builtin_convertvector(bytes, I)); }

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
      for (int r = 0; r < kR; ++r) sum[r] += widen(load_bytes(x + r * work.row_step) ^ flip) * weight;
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

template <int kV>
SX_INLINE void some_outputs(const DepthwiseInt8Plane& work, int64_t first, int32_t* sums) {
  const Bytes flip = work.flip - Bytes{}, fill = work.fill - Bytes{};
  U sum[kV];  // wraps
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) sum[v] = reinterpret_cast<U>(splat(work.start));
  for (int64_t t = 0; t < work.taps; ++t) {
    const U weight = reinterpret_cast<U>(splat(work.weights[t]));
    const uint8_t* x = work.x + work.offsets[t] + first;
    const uint8_t* masks = work.masks + t * work.mask_step + first;
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      const Bytes mask = load_bytes(masks + v * kLanes);
      const Bytes bytes = (load_bytes(x + v * kLanes) & mask) | (fill & ~mask);
      sum[v] += widen(bytes ^ flip) * weight;
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kV; ++v) store(sums + first + v * kLanes, reinterpret_cast<I>(sum[v]));
}

void plane(const DepthwiseInt8Plane& work, int64_t outputs, int32_t* sums) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= outputs; i += 4 * kLanes) some_outputs<4>(work, i, sums);
  for (; i < outputs; i += kLanes) some_outputs<1>(work, i, sums);
}

}  // namespace depthwise_s8

constexpr DepthwiseInt8Kernel kDepthwiseInt8Kernel = {kLanes, depthwise_s8::rows, depthwise_s8::plane};

}  // namespace SX_ISA
}  // namespace sx
