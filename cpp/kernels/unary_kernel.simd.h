// Binary operations and half-precision conversions for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace arrays_f32 {

template <Binary kOp>
SX_INLINE F combine(F a, F b) {
  if constexpr (kOp == Binary::kAdd) return a + b;
  if constexpr (kOp == Binary::kSub) return a - b;
  if constexpr (kOp == Binary::kMul) return a * b;
  if constexpr (kOp == Binary::kDiv) return a / b;
  // max and min give b where either side is NaN.
  if constexpr (kOp == Binary::kMax) return a != a ? a : max(a, b);
  if constexpr (kOp == Binary::kMin) return a != a ? a : min(a, b);
}

template <Binary kOp, bool kScalarA, bool kScalarB>
void binary(const float* a, const float* b, float* y, int64_t n) {
  if (n <= 0) return;
  F va = splat(a[0]), vb = splat(b[0]);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const F a0 = kScalarA ? va : load(a + i), a1 = kScalarA ? va : load(a + i + kLanes);
    const F b0 = kScalarB ? vb : load(b + i), b1 = kScalarB ? vb : load(b + i + kLanes);
    store(y + i, combine<kOp>(a0, b0));
    store(y + i + kLanes, combine<kOp>(a1, b1));
  }
  for (; i < n; i += kLanes) {
    const int count = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    if (!kScalarA) va = load_n(a + i, count);
    if (!kScalarB) vb = load_n(b + i, count);
    store_n(y + i, combine<kOp>(va, vb), count);
  }
}

typedef uint16_t H __attribute__((vector_size(kLanes * 2)));

SX_INLINE H load_half(const void* p, int count) {
  uint16_t lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, count * 2);
  H v;
  __builtin_memcpy(&v, lanes, sizeof(v));
  return v;
}
SX_INLINE void store_half(void* p, H v, int count) {
  uint16_t lanes[kLanes];
  __builtin_memcpy(lanes, &v, sizeof(v));
  __builtin_memcpy(p, lanes, count * 2);
}

SX_INLINE F widen_bf16(H v) { return reinterpret_cast<F>(__builtin_convertvector(v, U) << 16); }

SX_INLINE H narrow_bf16(F v) {
  const U from = reinterpret_cast<U>(v);
  const U rounded = (from + 0x7fffu + ((from >> 16) & 1u)) >> 16;
  const U nan = (from >> 16) | 0x40u;
  return __builtin_convertvector((from & 0x7fffffffu) > 0x7f800000u ? nan : rounded, H);
}

SX_INLINE F widen_f16(H v) {
#if SX_ISA_LEVEL >= 2
  return _mm512_maskz_cvtph_ps(kAllLanes, reinterpret_cast<__m256i>(v));
#elif SX_ISA_LEVEL == 1
  return _mm256_cvtph_ps(reinterpret_cast<__m128i>(v));
#else
  F r;
  for (int i = 0; i < kLanes; ++i) {
    Float16 half;
    half.bits = v[i];
    r[i] = static_cast<float>(half);
  }
  return r;
#endif
}

SX_INLINE H narrow_f16(F v) {
#if SX_ISA_LEVEL >= 2
  return reinterpret_cast<H>(_mm512_maskz_cvtps_ph(kAllLanes, v, 0));
#elif SX_ISA_LEVEL == 1
  return reinterpret_cast<H>(_mm256_cvtps_ph(v, 0));
#else
  H r;
  for (int i = 0; i < kLanes; ++i) r[i] = Float16(v[i]).bits;
  return r;
#endif
}

template <typename Half, F (*kWiden)(H)>
void widen(const Half* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, kWiden(load_half(x + i, kLanes)));
  const int left = static_cast<int>(n - i);
  if (left > 0) store_n(y + i, kWiden(load_half(x + i, left)), left);
}

template <typename Half, H (*kNarrow)(F)>
void narrow(const float* x, Half* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_half(y + i, kNarrow(load(x + i)), kLanes);
  const int left = static_cast<int>(n - i);
  if (left > 0) store_half(y + i, kNarrow(load_n(x + i, left)), left);
}

}  // namespace arrays_f32

#define SX_FORMS(op)                                                                                               \
  {arrays_f32::binary<op, false, false>, arrays_f32::binary<op, false, true>, arrays_f32::binary<op, true, false>, \
   arrays_f32::binary<op, true, true>}
constexpr UnaryKernel kUnaryKernel = {
    {SX_FORMS(Binary::kAdd), SX_FORMS(Binary::kSub), SX_FORMS(Binary::kMul), SX_FORMS(Binary::kDiv),
     SX_FORMS(Binary::kMax), SX_FORMS(Binary::kMin)},
    arrays_f32::widen<Float16, arrays_f32::widen_f16>,
    arrays_f32::widen<BFloat16, arrays_f32::widen_bf16>,
    arrays_f32::narrow<Float16, arrays_f32::narrow_f16>,
    arrays_f32::narrow<BFloat16, arrays_f32::narrow_bf16>,
};
#undef SX_FORMS

}  // namespace SX_ISA
}  // namespace sx
