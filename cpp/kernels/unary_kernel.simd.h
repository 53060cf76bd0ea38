// Binary operations and half-precision conversions for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_half.h"

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

// All bits of a lane where its byte is not 0.
SX_INLINE I load_truth(const bool* p) {
#if SX_ISA_LEVEL >= 2
  __m128i bytes;
  __builtin_memcpy(&bytes, p, kLanes);
  return reinterpret_cast<I>(_mm512_maskz_cvtepu8_epi32(kAllLanes, bytes)) != 0;
#elif SX_ISA_LEVEL == 1
  int64_t bytes;
  __builtin_memcpy(&bytes, p, kLanes);
  return reinterpret_cast<I>(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes))) != 0;
#else
  I truth;
  for (int i = 0; i < kLanes; ++i) truth[i] = -static_cast<int32_t>(p[i]);
  return truth;
#endif
}

// One byte for each lane of a mask: 1 where it is set.
SX_INLINE void store_truth(bool* p, I mask) {
#if SX_ISA_LEVEL >= 2
  const __m128i bytes = _mm_maskz_set1_epi8(_mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)), 1);
#elif SX_ISA_LEVEL == 1
  const __m256i wide = reinterpret_cast<__m256i>(mask);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  const __m128i bytes = _mm_and_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(1));
#elif defined(__x86_64__)
  const __m128i words = _mm_packs_epi32(reinterpret_cast<__m128i>(mask), reinterpret_cast<__m128i>(mask));
  const __m128i bytes = _mm_and_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(1));
#else
  bool bytes[kLanes];
  for (int i = 0; i < kLanes; ++i) bytes[i] = mask[i] != 0;
#endif
  __builtin_memcpy(p, &bytes, kLanes);
}

void find_nan(const float* x, bool* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F v = load(x + i);
    store_truth(y + i, v != v);
  }
  for (; i < n; ++i) y[i] = x[i] != x[i];
}

void find_infinity(const float* x, bool negative, bool positive, bool* y, int64_t n) {
  const I below = splat(negative ? -1 : 0), above = splat(positive ? -1 : 0);
  const F infinity = splat(__builtin_inff());
  int64_t i = 0;
  for (; i < n; i += kLanes) {
    const bool whole = i + kLanes <= n;
    const F v = whole ? load(x + i) : load_n(x + i, static_cast<int>(n - i));
    const I found = ((v == -infinity) & below) | ((v == infinity) & above);
    if (whole) {
      store_truth(y + i, found);
    } else {
      bool rest[kLanes];
      store_truth(rest, found);
      __builtin_memcpy(y + i, rest, static_cast<size_t>(n - i));
    }
  }
}

template <bool kScalarA, bool kScalarB>
void choose(const bool* condition, const int32_t* a, const int32_t* b, int32_t* y, int64_t n) {
  if (n <= 0) return;
  const I va = splat(a[0]), vb = splat(b[0]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    store(y + i, load_truth(condition + i) ? kScalarA ? va : load(a + i) : kScalarB ? vb : load(b + i));
  for (; i < n; ++i) y[i] = condition[i] ? a[kScalarA ? 0 : i] : b[kScalarB ? 0 : i];
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
    {arrays_f32::choose<false, false>, arrays_f32::choose<false, true>, arrays_f32::choose<true, false>,
     arrays_f32::choose<true, true>},
    arrays_f32::find_nan,
    arrays_f32::find_infinity,
    arrays_f32::widen<Float16, widen_f16>,
    arrays_f32::widen<BFloat16, widen_bf16>,
    arrays_f32::narrow<Float16, narrow_f16>,
    arrays_f32::narrow<BFloat16, narrow_bf16>,
};
#undef SX_FORMS

}  // namespace SX_ISA
}  // namespace sx
