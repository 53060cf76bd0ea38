// f16 and bf16 in vectors of vec.h. Included after it, in the same way.

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
