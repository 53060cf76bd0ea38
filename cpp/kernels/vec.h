// The vector type of one ISA: kLanes floats (F) or 32-bit integers (I). Included inside each namespace sx::SX_ISA by
// foreach_isa.h sources, so it has no include guard.
//
// Arithmetic and comparison are the operators of the compiler's vector extension; `mask ? a : b` selects by lane.

#if SX_ISA_LEVEL >= 2
constexpr int kLanes = 16;
#elif SX_ISA_LEVEL == 1
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float F __attribute__((vector_size(kLanes * 4)));
typedef int32_t I __attribute__((vector_size(kLanes * 4)));
typedef uint32_t U __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedF __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t UnalignedI __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

SX_INLINE F load(const float* p) { return *reinterpret_cast<const UnalignedF*>(p); }
SX_INLINE void store(float* p, F v) { *reinterpret_cast<UnalignedF*>(p) = v; }
SX_INLINE I load(const int32_t* p) { return *reinterpret_cast<const UnalignedI*>(p); }
SX_INLINE void store(int32_t* p, I v) { *reinterpret_cast<UnalignedI*>(p) = v; }
// x - 0 is x for every x, also for -0.
SX_INLINE F splat(float x) { return x - F{}; }
SX_INLINE I splat(int32_t x) { return x - I{}; }
SX_INLINE I bits(F v) { return reinterpret_cast<I>(v); }
SX_INLINE F from_bits(I v) { return reinterpret_cast<F>(v); }

// The first n lanes, 0 < n <= kLanes; the others read as 0, and are not touched in memory.
#if SX_ISA_LEVEL >= 2
SX_INLINE __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1); }
SX_INLINE F load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
SX_INLINE void store_n(float* p, F v, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
SX_INLINE I load_n(const int32_t* p, int n) { return reinterpret_cast<I>(_mm512_maskz_loadu_epi32(first_lanes(n), p)); }
SX_INLINE void store_n(int32_t* p, I v, int n) {
  _mm512_mask_storeu_epi32(p, first_lanes(n), reinterpret_cast<__m512i>(v));
}
#elif SX_ISA_LEVEL == 1
SX_INLINE I first_lanes(int n) { return I{0, 1, 2, 3, 4, 5, 6, 7} < n; }
SX_INLINE F load_n(const float* p, int n) { return _mm256_maskload_ps(p, reinterpret_cast<__m256i>(first_lanes(n))); }
SX_INLINE void store_n(float* p, F v, int n) { _mm256_maskstore_ps(p, reinterpret_cast<__m256i>(first_lanes(n)), v); }
SX_INLINE I load_n(const int32_t* p, int n) {
  return reinterpret_cast<I>(_mm256_maskload_epi32(p, reinterpret_cast<__m256i>(first_lanes(n))));
}
SX_INLINE void store_n(int32_t* p, I v, int n) {
  _mm256_maskstore_epi32(p, reinterpret_cast<__m256i>(first_lanes(n)), reinterpret_cast<__m256i>(v));
}
#else
SX_INLINE F load_n(const float* p, int n) {
  F v{};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
SX_INLINE void store_n(float* p, F v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}
SX_INLINE I load_n(const int32_t* p, int n) {
  I v{};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
SX_INLINE void store_n(int32_t* p, I v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}
#endif

// The same with `fill` in the lanes behind them.
SX_INLINE F load_or(const float* p, int n, float fill) {
  if (n == kLanes) return load(p);
#if SX_ISA_LEVEL >= 2
  return _mm512_mask_loadu_ps(splat(fill), first_lanes(n), p);
#elif SX_ISA_LEVEL == 1
  return first_lanes(n) != 0 ? load_n(p, n) : splat(fill);
#else
  F v = splat(fill);
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}

// a * b + c, in one rounding where the ISA has it.
// max(a, b) = a > b ? a : b, and min likewise: b where either is NaN.
#if SX_ISA_LEVEL >= 2
// The masked forms spare gcc 12 its warnings about the undefined operand inside the plain ones.
constexpr __mmask16 kAllLanes = 0xffff;
SX_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
SX_INLINE F max(F a, F b) { return _mm512_mask_max_ps(a, kAllLanes, a, b); }
SX_INLINE F min(F a, F b) { return _mm512_mask_min_ps(a, kAllLanes, a, b); }
SX_INLINE F sqrt(F a) { return _mm512_mask_sqrt_ps(a, kAllLanes, a); }
SX_INLINE I to_int_nearest(F a) { return reinterpret_cast<I>(_mm512_maskz_cvtps_epi32(kAllLanes, a)); }
#elif SX_ISA_LEVEL == 1
SX_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
SX_INLINE F max(F a, F b) { return _mm256_max_ps(a, b); }
SX_INLINE F min(F a, F b) { return _mm256_min_ps(a, b); }
SX_INLINE F sqrt(F a) { return _mm256_sqrt_ps(a); }
SX_INLINE I to_int_nearest(F a) { return reinterpret_cast<I>(_mm256_cvtps_epi32(a)); }
#elif defined(__x86_64__)
SX_INLINE F fma(F a, F b, F c) { return a * b + c; }
SX_INLINE F max(F a, F b) { return _mm_max_ps(a, b); }
SX_INLINE F min(F a, F b) { return _mm_min_ps(a, b); }
SX_INLINE F sqrt(F a) { return _mm_sqrt_ps(a); }
SX_INLINE I to_int_nearest(F a) { return reinterpret_cast<I>(_mm_cvtps_epi32(a)); }
#else
SX_INLINE F fma(F a, F b, F c) { return a * b + c; }
SX_INLINE F max(F a, F b) { return a > b ? a : b; }
SX_INLINE F min(F a, F b) { return a < b ? a : b; }
SX_INLINE F sqrt(F a) {
  for (int i = 0; i < kLanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
SX_INLINE I to_int_nearest(F a) {
  I r;
  for (int i = 0; i < kLanes; ++i) r[i] = static_cast<int32_t>(__builtin_rintf(a[i]));
  return r;
}
#endif

SX_INLINE F abs(F a) { return from_bits(bits(a) & 0x7fffffff); }
SX_INLINE F copy_sign(F magnitude, F sign) {
  return from_bits((bits(magnitude) & 0x7fffffff) | (bits(sign) & splat(INT32_MIN)));
}

// To the nearest integer, ties to even; keeps the sign of zero, and large values, infinities and NaN as they are.
SX_INLINE F round_even(F a) {
#if SX_ISA_LEVEL >= 2
  return _mm512_mask_roundscale_ps(a, kAllLanes, a, 8);
#elif SX_ISA_LEVEL == 1
  return _mm256_round_ps(a, 8);
#else
  const F magic = splat(8388608.0f);  // 2^23: from here on floats are whole
  const F magnitude = abs(a);
  const F rounded = copy_sign((magnitude + magic) - magic, a);
  return magnitude < magic ? rounded : a;
#endif
}
SX_INLINE F floor(F a) {
  const F r = round_even(a);
  return r > a ? r - 1.0f : r;
}
SX_INLINE F ceil(F a) {
  const F r = round_even(a);
  return r < a ? copy_sign(r + 1.0f, a) : r;
}
SX_INLINE F trunc(F a) { return copy_sign(floor(abs(a)), a); }

// step(a, b) over all lanes in a fixed order: halves meet until one lane is left.
template <typename Step>
SX_INLINE float fold_lanes(F v) {
  typedef float F4 __attribute__((vector_size(16)));
#if SX_ISA_LEVEL >= 1
  typedef float F8 __attribute__((vector_size(32)));
#if SX_ISA_LEVEL >= 2
  const F8 eight = Step::step(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),
                              __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
#else
  const F8 eight = v;
#endif
  const F4 four =
      Step::step(__builtin_shufflevector(eight, eight, 0, 1, 2, 3), __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
#else
  const F4 four = v;
#endif
  const F4 two = Step::step(four, __builtin_shufflevector(four, four, 2, 3, 2, 3));
  return Step::step(two[0], two[1]);
}

// Steps for vectors of any width and for scalars.
struct Sum {
  template <typename V>
  static SX_INLINE V step(V a, V b) {
    return a + b;
  }
};
struct Product {
  template <typename V>
  static SX_INLINE V step(V a, V b) {
    return a * b;
  }
};
struct Greatest {
  template <typename V>
  static SX_INLINE V step(V a, V b) {
    return a > b ? a : b;
  }
};
struct Least {
  template <typename V>
  static SX_INLINE V step(V a, V b) {
    return a < b ? a : b;
  }
};

// The sum, product, largest and smallest of the lanes.
SX_INLINE float sum_lanes(F v) { return fold_lanes<Sum>(v); }
SX_INLINE float prod_lanes(F v) { return fold_lanes<Product>(v); }
SX_INLINE float max_lanes(F v) { return fold_lanes<Greatest>(v); }
SX_INLINE float min_lanes(F v) { return fold_lanes<Least>(v); }

// Bit i says whether lane i of a mask is set.
SX_INLINE uint32_t lane_bits(I mask) {
#if SX_ISA_LEVEL >= 2
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#elif SX_ISA_LEVEL == 1
  return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#elif defined(__x86_64__)
  return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(mask)));
#else
  uint32_t found = 0;
  for (int i = 0; i < kLanes; ++i) found |= mask[i] != 0 ? 1u << i : 0u;
  return found;
#endif
}
SX_INLINE bool any_lane(I mask) {
#if SX_ISA_LEVEL >= 2
  return _mm512_test_epi32_mask(reinterpret_cast<__m512i>(mask), reinterpret_cast<__m512i>(mask)) != 0;
#elif SX_ISA_LEVEL == 1
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0;
#else
  int32_t any = 0;
  for (int i = 0; i < kLanes; ++i) any |= mask[i];
  return any != 0;
#endif
}
