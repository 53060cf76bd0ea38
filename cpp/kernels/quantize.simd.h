// Quantization of arrays for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace arrays_quantized {

template <typename T>
using Narrow __attribute__((vector_size(kLanes * sizeof(T)))) = T;

// kLanes elements as 32-bit integers.
#if SX_ISA_LEVEL >= 2
SX_INLINE __m128i load_bytes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
SX_INLINE __m256i load_words(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
SX_INLINE I widen(const int8_t* p) { return reinterpret_cast<I>(_mm512_maskz_cvtepi8_epi32(kAllLanes, load_bytes(p))); }
SX_INLINE I widen(const uint8_t* p) {
  return reinterpret_cast<I>(_mm512_maskz_cvtepu8_epi32(kAllLanes, load_bytes(p)));
}
SX_INLINE I widen(const int16_t* p) {
  return reinterpret_cast<I>(_mm512_maskz_cvtepi16_epi32(kAllLanes, load_words(p)));
}
SX_INLINE I widen(const uint16_t* p) {
  return reinterpret_cast<I>(_mm512_maskz_cvtepu16_epi32(kAllLanes, load_words(p)));
}
#elif SX_ISA_LEVEL == 1
SX_INLINE __m128i load_bytes(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
SX_INLINE __m128i load_words(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
SX_INLINE I widen(const int8_t* p) { return reinterpret_cast<I>(_mm256_cvtepi8_epi32(load_bytes(p))); }
SX_INLINE I widen(const uint8_t* p) { return reinterpret_cast<I>(_mm256_cvtepu8_epi32(load_bytes(p))); }
SX_INLINE I widen(const int16_t* p) { return reinterpret_cast<I>(_mm256_cvtepi16_epi32(load_words(p))); }
SX_INLINE I widen(const uint16_t* p) { return reinterpret_cast<I>(_mm256_cvtepu16_epi32(load_words(p))); }
#else
template <typename T>
SX_INLINE I widen(const T* p) {
  return I{p[0], p[1], p[2], p[3]};
}
#endif

template <typename T>
void quantize(const QuantizeArray& how, const float* x, T* y, int64_t n) {
  const F scale = splat(how.scale);
  // Clamping before rounding is the same, since the limits are integers, and keeps the conversion in range.
  const F low = splat(static_cast<float>(how.low - how.zero));
  const F high = splat(static_cast<float>(how.high - how.zero));
  const I zero = splat(how.zero);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const I steps = to_int_nearest(min(max(load(x + i) / scale, low), high)) + zero;
    const Narrow<T> out = __builtin_convertvector(steps, Narrow<T>);
    __builtin_memcpy(y + i, &out, sizeof(out));
  }
  const int left = static_cast<int>(n - i);
  if (left > 0) {
    const I steps = to_int_nearest(min(max(load_n(x + i, left) / scale, low), high)) + zero;
    for (int k = 0; k < left; ++k) y[i + k] = static_cast<T>(steps[k]);
  }
}

void widen(const float* x, int64_t n, ArrayRange& range) {
  constexpr int kVectors = 4;
  F low[kVectors], high[kVectors];
  I nan = I{};
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) low[v] = high[v] = F{};
  int64_t i = 0;
  for (; i + kVectors * kLanes <= n; i += kVectors * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const F value = load(x + i + v * kLanes);
      low[v] = min(value, low[v]);
      high[v] = max(value, high[v]);
      nan = nan | (value != value);
    }
  }
  for (; i < n; i += kLanes) {
    const F value = n - i < kLanes ? load_n(x + i, static_cast<int>(n - i)) : load(x + i);
    low[0] = min(value, low[0]);
    high[0] = max(value, high[0]);
    nan = nan | (value != value);
  }
  range.low = min_lanes(min(min(low[0], low[1]), min(low[2], low[3])));
  range.high = max_lanes(max(max(high[0], high[1]), max(high[2], high[3])));
  range.has_nan = any_lane(nan);
}

template <typename T>
void dequantize(const T* x, int zero, float scale, float* y, int64_t n) {
  const F factor = splat(scale);
  const I offset = splat(zero);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(y + i, __builtin_convertvector(widen(x + i) - offset, F) * factor);
  }
  for (; i < n; ++i) y[i] = static_cast<float>(static_cast<int>(x[i]) - zero) * scale;
}

template <typename T>
SX_INLINE Narrow<T> combined(const CombineArrays& how, const T* a, const T* b) {
  const F left = __builtin_convertvector(widen(a) - how.a_zero, F) * how.a_scale;
  const F right = __builtin_convertvector(widen(b) - how.b_zero, F);
  const F value = how.multiply ? left * right : left + right * how.b_scale;
  const F low = splat(static_cast<float>(how.low - how.zero)), high = splat(static_cast<float>(how.high - how.zero));
  return __builtin_convertvector(to_int_nearest(min(max(value, low), high)) + how.zero, Narrow<T>);
}

template <typename T>
void combine(const CombineArrays& how, const T* a, const T* b, T* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Narrow<T> out = combined(how, a + i, b + i);
    __builtin_memcpy(y + i, &out, sizeof(out));
  }
  if (i == n) return;
  T last_a[kLanes] = {}, last_b[kLanes] = {};
  const size_t left = static_cast<size_t>(n - i) * sizeof(T);
  __builtin_memcpy(last_a, a + i, left);
  __builtin_memcpy(last_b, b + i, left);
  const Narrow<T> out = combined(how, last_a, last_b);
  __builtin_memcpy(y + i, &out, left);
}

}  // namespace arrays_quantized

#define SX_PAIR(T) {arrays_quantized::quantize<T>, arrays_quantized::dequantize<T>}
constexpr QuantizeTable kQuantize = {SX_PAIR(int8_t),
                                     SX_PAIR(uint8_t),
                                     SX_PAIR(int16_t),
                                     SX_PAIR(uint16_t),
                                     arrays_quantized::widen,
                                     arrays_quantized::combine<int8_t>,
                                     arrays_quantized::combine<uint8_t>};
#undef SX_PAIR

}  // namespace SX_ISA
}  // namespace sx
