// Casts for one ISA: sixteen elements at a time through vectors of f32, f64, int32 or int64.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_half.h"

namespace casts {

constexpr int kGroup = 16;
typedef float Floats __attribute__((vector_size(kGroup * 4)));
typedef double Doubles __attribute__((vector_size(kGroup * 8)));
typedef int32_t Ints __attribute__((vector_size(kGroup * 4)));
typedef int64_t Longs __attribute__((vector_size(kGroup * 8)));

// Vectors that are wider than a register travel by reference: by value their ABI would depend on the ISA.
template <typename V>
SX_INLINE void read(const void* p, V* v) {
  __builtin_memcpy(v, p, sizeof(V));
}
SX_INLINE void load_group(const float* p, Floats* v) { read(p, v); }
SX_INLINE void load_group(const double* p, Doubles* v) { read(p, v); }
SX_INLINE void load_group(const int32_t* p, Ints* v) { read(p, v); }
SX_INLINE void load_group(const int64_t* p, Longs* v) { read(p, v); }

SX_INLINE void load_group(const Float16* p, Floats* v) {
  float lanes[kGroup];
  for (int i = 0; i < kGroup; i += kLanes) store(lanes + i, widen_f16(load_half(p + i, kLanes)));
  read(lanes, v);
}
SX_INLINE void load_group(const BFloat16* p, Floats* v) {
  float lanes[kGroup];
  for (int i = 0; i < kGroup; i += kLanes) store(lanes + i, widen_bf16(load_half(p + i, kLanes)));
  read(lanes, v);
}

template <typename Byte>
SX_INLINE void load_bytes(const Byte* p, Ints* v) {
#if SX_ISA_LEVEL >= 2
  __m128i bytes;
  read(p, &bytes);
  const __m512i wide = std::is_signed<Byte>::value ? _mm512_maskz_cvtepi8_epi32(kAllLanes, bytes)
                                                   : _mm512_maskz_cvtepu8_epi32(kAllLanes, bytes);
  read(&wide, v);
#elif SX_ISA_LEVEL == 1
  __m128i bytes;
  read(p, &bytes);
  const __m128i above = _mm_srli_si128(bytes, 8);
  const bool is_signed = std::is_signed<Byte>::value;
  const __m256i wide[2] = {is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes),
                           is_signed ? _mm256_cvtepi8_epi32(above) : _mm256_cvtepu8_epi32(above)};
  read(&wide, v);
#else
  int32_t lanes[kGroup];
  for (int i = 0; i < kGroup; ++i) lanes[i] = p[i];
  read(lanes, v);
#endif
}
SX_INLINE void load_group(const int8_t* p, Ints* v) { load_bytes(p, v); }
SX_INLINE void load_group(const uint8_t* p, Ints* v) { load_bytes(p, v); }
SX_INLINE void load_group(const bool* p, Ints* v) { load_bytes(reinterpret_cast<const uint8_t*>(p), v); }

// The low byte of every lane.
SX_INLINE void store_bytes(const Ints* v, void* p) {
#if SX_ISA_LEVEL >= 2
  __m512i wide;
  read(v, &wide);
  const __m128i bytes = _mm512_maskz_cvtepi32_epi8(kAllLanes, wide);
#elif SX_ISA_LEVEL == 1
  __m256i wide[2];
  read(v, &wide);
  const __m256i low = _mm256_set1_epi32(0xff);
  const __m256i words = _mm256_packus_epi32(_mm256_and_si256(wide[0], low), _mm256_and_si256(wide[1], low));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
#elif defined(__x86_64__)
  __m128i wide[4];
  read(v, &wide);
  const __m128i low = _mm_set1_epi32(0xff);
  const __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(_mm_and_si128(wide[0], low), _mm_and_si128(wide[1], low)),
                                         _mm_packs_epi32(_mm_and_si128(wide[2], low), _mm_and_si128(wide[3], low)));
#else
  uint8_t bytes[kGroup];
  for (int i = 0; i < kGroup; ++i) bytes[i] = static_cast<uint8_t>((*v)[i]);
#endif
  __builtin_memcpy(p, &bytes, kGroup);
}

SX_INLINE void store_floats(const Floats* v, Float16* y) {
  float lanes[kGroup];
  read(v, &lanes);
  for (int i = 0; i < kGroup; i += kLanes) store_half(y + i, narrow_f16(load(lanes + i)), kLanes);
}
SX_INLINE void store_floats(const Floats* v, BFloat16* y) {
  float lanes[kGroup];
  read(v, &lanes);
  for (int i = 0; i < kGroup; i += kLanes) store_half(y + i, narrow_bf16(load(lanes + i)), kLanes);
}

template <typename T>
struct Loaded {
  using Type = Ints;
};
template <>
struct Loaded<float> {
  using Type = Floats;
};
template <>
struct Loaded<Float16> {
  using Type = Floats;
};
template <>
struct Loaded<BFloat16> {
  using Type = Floats;
};
template <>
struct Loaded<double> {
  using Type = Doubles;
};
template <>
struct Loaded<int64_t> {
  using Type = Longs;
};

template <typename X, typename Y>
SX_INLINE void cast_group(const X* x, Y* y) {
  typename Loaded<X>::Type v;
  load_group(x, &v);
  if constexpr (std::is_same<Y, bool>::value) {
    const Ints truth = __builtin_convertvector(v != 0, Ints) & 1;
    store_bytes(&truth, y);
  } else if constexpr (sizeof(Y) == 1) {
    const Ints whole = __builtin_convertvector(v, Ints);
    store_bytes(&whole, y);
  } else if constexpr (std::is_same<Y, Float16>::value || std::is_same<Y, BFloat16>::value) {
    const Floats floats = __builtin_convertvector(v, Floats);
    store_floats(&floats, y);
  } else {
    const typename Loaded<Y>::Type w = __builtin_convertvector(v, typename Loaded<Y>::Type);
    __builtin_memcpy(y, &w, sizeof(w));
  }
}

template <typename X, typename Y>
void cast(const void* source, void* target, int64_t n) {
  const X* x = static_cast<const X*>(source);
  Y* y = static_cast<Y*>(target);
  int64_t i = 0;
  for (; i + kGroup <= n; i += kGroup) cast_group(x + i, y + i);
  const size_t left = static_cast<size_t>(n - i);
  if (left == 0) return;
  X from[kGroup] = {};
  Y to[kGroup];
  __builtin_memcpy(static_cast<void*>(from), x + i, left * sizeof(X));
  cast_group(from, to);
  __builtin_memcpy(static_cast<void*>(y + i), to, left * sizeof(Y));
}

template <typename X, typename Y>
constexpr CastFunction pair() {
  // f64 is rounded to 16 bits in one step, elsewhere; other CPUs give other integers for what is out of range.
#if defined(__x86_64__)
  constexpr bool known =
      !std::is_same<X, Y>::value &&
      !(std::is_same<X, double>::value && (std::is_same<Y, Float16>::value || std::is_same<Y, BFloat16>::value));
  if constexpr (known) return cast<X, Y>;
#endif
  return nullptr;
}

}  // namespace casts

#define SX_ROW(X)                                                                    \
  {casts::pair<X, float>(),    casts::pair<X, double>(),  casts::pair<X, Float16>(), \
   casts::pair<X, BFloat16>(), casts::pair<X, int8_t>(),  casts::pair<X, uint8_t>(), \
   casts::pair<X, int32_t>(),  casts::pair<X, int64_t>(), casts::pair<X, bool>()}
constexpr CastKernel kCastKernel = {{SX_ROW(float), SX_ROW(double), SX_ROW(Float16), SX_ROW(BFloat16), SX_ROW(int8_t),
                                     SX_ROW(uint8_t), SX_ROW(int32_t), SX_ROW(int64_t), SX_ROW(bool)}};
#undef SX_ROW

}  // namespace SX_ISA
}  // namespace sx
