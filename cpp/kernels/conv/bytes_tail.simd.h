// What becomes of the sums of 8-bit convolutions (BytesTail, blocked_bytes_kernel.h), for one ISA. Included after
// vec.h, inside a namespace.
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

SX_INLINE Bytes load_bytes(const uint8_t* p) {
  Bytes bytes;
  __builtin_memcpy(&bytes, p, kLanes);
  return bytes;
}
SX_INLINE int32_t load_word(const uint8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return word;
}
#if SX_ISA_LEVEL >= 2
SX_INLINE I widen(const uint8_t* p) {
  return reinterpret_cast<I>(
      _mm512_maskz_cvtepu8_epi32(kAllLanes, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
#else
SX_INLINE I widen(const uint8_t* p) { return __builtin_convertvector(load_bytes(p), I); }
#endif

// BytesTail in vectors.
struct Tail {
  I low, high, residual_zero;
  F own_scale, residual_scale;
};
SX_INLINE Tail vectors_of(const BytesTail& tail) {
  return {splat(-tail.zero), splat(255 - tail.zero), splat(tail.residual_zero), splat(tail.own_scale),
          splat(tail.residual_scale)};
}
SX_INLINE I clamp(I v, I low, I high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

// The results for a vector of sums, before their zero point is added; those that are no bytes then saturate.
template <bool kResidual>
SX_INLINE I result(I sum, F scale, const Tail& tail, const uint8_t* residual) {
  const I rounded = to_int_nearest(__builtin_convertvector(sum, F) * scale);
  if constexpr (!kResidual) return rounded;
  const F own = __builtin_convertvector(clamp(rounded, tail.low, tail.high), F);
  const F other = __builtin_convertvector(widen(residual) - tail.residual_zero, F);
  return to_int_nearest(own * tail.own_scale + other * tail.residual_scale);
}

#if SX_ISA_LEVEL >= 2
// table[x] for 64 bytes: words of two results are looked up by the upper seven bits of a byte.
struct Table {
  __m512i words[4];
};
SX_INLINE Table load_table(const uint8_t* table) {
  return {{_mm512_loadu_si512(table), _mm512_loadu_si512(table + 64), _mm512_loadu_si512(table + 128),
           _mm512_loadu_si512(table + 192)}};
}
SX_INLINE __m512i look_up_low(const Table& table, __m512i x) {
  const __m512i at = _mm512_srli_epi16(x, 1);
  const __m512i first = _mm512_permutex2var_epi16(table.words[0], at, table.words[1]);
  const __m512i second = _mm512_permutex2var_epi16(table.words[2], at, table.words[3]);
  const __m512i pair = _mm512_mask_mov_epi16(first, _mm512_test_epi16_mask(x, _mm512_set1_epi16(0x80)), second);
  return _mm512_mask_srli_epi16(pair, _mm512_test_epi16_mask(x, _mm512_set1_epi16(1)), pair, 8);
}
SX_INLINE __m512i look_up(const Table& table, __m512i x) {
  const __m512i low = look_up_low(table, x), high = look_up_low(table, _mm512_srli_epi16(x, 8));
  return _mm512_mask_mov_epi8(low, 0xaaaaaaaaaaaaaaaau, _mm512_slli_epi16(high, 8));
}
#endif

// Stores the sums of kP neighbouring outputs of one block of filters as bytes.
template <int kP, bool kResidual>
SX_INLINE void finish(const I (&acc)[kP], const float* scales, const BytesTail& how, const uint8_t* residual,
                      uint8_t* y) {
  const F scale = load(scales);
  const Tail tail = vectors_of(how);
  const int32_t zero = kResidual ? how.sum_zero : how.zero;
#if SX_ISA_LEVEL >= 2
  // Four outputs at a time: packing leaves their words side by side in each quarter.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i zeros = _mm512_set1_epi16(static_cast<int16_t>(zero));
#pragma GCC unroll 4
  for (int p = 0; p < kP; p += 4) {
    __m512i v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      if (p + k >= kP) v[k] = v[k - 1];
      else v[k] = reinterpret_cast<__m512i>(result<kResidual>(acc[p + k], scale, tail, residual + (p + k) * kLanes));
    }
    const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), zeros);
    const __m512i high = kP - p > 2 ? _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), zeros) : low;
    __m512i pixels = _mm512_maskz_permutexvar_epi32(kAllLanes, order, _mm512_packus_epi16(low, high));
    if (how.table) pixels = look_up(load_table(how.table), pixels);
    if (kP - p >= 4) _mm512_storeu_si512(y + p * kLanes, pixels);
    else _mm512_mask_storeu_epi32(y + p * kLanes, static_cast<__mmask16>((1u << (4 * (kP - p))) - 1), pixels);
  }
#else
#pragma GCC unroll 14
  for (int p = 0; p < kP; ++p) {
    const I v = result<kResidual>(acc[p], scale, tail, residual + p * kLanes) + zero;
    Bytes bytes = __builtin_convertvector(clamp(v, I{}, splat(255)), Bytes);
    if (how.table) {
      for (int c = 0; c < kLanes; ++c) bytes[c] = how.table[bytes[c]];
    }
    __builtin_memcpy(y + p * kLanes, &bytes, kLanes);
  }
#endif
}
