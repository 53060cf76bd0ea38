// bf16 in memory and as pairs in 32-bit lanes, rounded to nearest even. Included after vec.h, in the same way, where
// base/float_types.h is known.

#if SX_ISA_LEVEL >= 4
// The element of each pair with the smaller index stands in the low half of its lane.
SX_INLINE I pairs_of_rows(F even, F odd) {
  const I order = {0x00100000, 0x00110001, 0x00120002, 0x00130003, 0x00140004, 0x00150005, 0x00160006, 0x00170007,
                   0x00180008, 0x00190009, 0x001a000a, 0x001b000b, 0x001c000c, 0x001d000d, 0x001e000e, 0x001f000f};
  return reinterpret_cast<I>(_mm512_permutexvar_epi16(reinterpret_cast<__m512i>(order),
                                                      reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even))));
}
// Those of 2 * kLanes elements that follow one another.
SX_INLINE I pairs_of_row(F first, F second) { return reinterpret_cast<I>(_mm512_cvtne2ps_pbh(second, first)); }
#else
// In the high half of each lane; the low half is left as it comes.
SX_INLINE U rounded_to_bf16(F x) {
  const U from = reinterpret_cast<U>(x);
  const U rounded = from + 0x7fffu + ((from >> 16) & 1u);
  return x == x ? rounded : from | 0x400000u;
}
SX_INLINE I pairs_of_rows(F even, F odd) {
  return reinterpret_cast<I>(rounded_to_bf16(even) >> 16 | (rounded_to_bf16(odd) & 0xffff0000u));
}
template <int... kLane>
SX_INLINE I pairs_of_row(F first, F second, std::integer_sequence<int, kLane...>) {
  return pairs_of_rows(__builtin_shufflevector(first, second, (2 * kLane)...),
                       __builtin_shufflevector(first, second, (2 * kLane + 1)...));
}
SX_INLINE I pairs_of_row(F first, F second) {
  return pairs_of_row(first, second, std::make_integer_sequence<int, kLanes>());
}
#endif

SX_INLINE F even_of_pairs(I pairs) { return from_bits(reinterpret_cast<I>(reinterpret_cast<U>(pairs) << 16)); }
SX_INLINE F odd_of_pairs(I pairs) { return from_bits(reinterpret_cast<I>(reinterpret_cast<U>(pairs) & 0xffff0000u)); }

// kLanes neighbours.
typedef uint16_t H __attribute__((vector_size(kLanes * 2)));
SX_INLINE F load(const BFloat16* p) {
  H v;
  __builtin_memcpy(&v, p, sizeof(v));
  return reinterpret_cast<F>(__builtin_convertvector(v, U) << 16);
}
SX_INLINE void store(BFloat16* p, F x) {
#if SX_ISA_LEVEL >= 4
  const __m256bh v = _mm512_maskz_cvtneps_pbh(kAllLanes, x);
#else
  const H v = __builtin_convertvector(rounded_to_bf16(x) >> 16, H);
#endif
  __builtin_memcpy(static_cast<void*>(p), &v, sizeof(v));
}
