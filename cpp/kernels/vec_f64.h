// Vectors of f64, half as many lanes as those of f32, and elementary functions of them. Included after vec.h, in the
// same way. The exponential and the logarithm reduce their arguments by two pieces of log(2) (Cody and Waite) and use
// the series of atanh for the latter (as fdlibm does); polynomials are minimax fits made for these ranges.

constexpr int kWide = kLanes / 2;
typedef double D __attribute__((vector_size(kWide * 8)));
typedef int64_t L __attribute__((vector_size(kWide * 8)));
typedef double UnalignedD __attribute__((vector_size(kWide * 8), aligned(8), may_alias));

SX_INLINE D load(const double* p) { return *reinterpret_cast<const UnalignedD*>(p); }
SX_INLINE void store(double* p, D v) { *reinterpret_cast<UnalignedD*>(p) = v; }
SX_INLINE D splat(double x) { return x - D{}; }
SX_INLINE L bits(D v) { return reinterpret_cast<L>(v); }
SX_INLINE D from_bits(L v) { return reinterpret_cast<D>(v); }

#if SX_ISA_LEVEL >= 2
constexpr __mmask8 kAllWide = 0xff;
SX_INLINE D fma(D a, D b, D c) { return _mm512_fmadd_pd(a, b, c); }
SX_INLINE D max(D a, D b) { return _mm512_mask_max_pd(a, kAllWide, a, b); }
SX_INLINE D min(D a, D b) { return _mm512_mask_min_pd(a, kAllWide, a, b); }
SX_INLINE D sqrt(D a) { return _mm512_mask_sqrt_pd(a, kAllWide, a); }
#elif SX_ISA_LEVEL == 1
SX_INLINE D fma(D a, D b, D c) { return _mm256_fmadd_pd(a, b, c); }
SX_INLINE D max(D a, D b) { return _mm256_max_pd(a, b); }
SX_INLINE D min(D a, D b) { return _mm256_min_pd(a, b); }
SX_INLINE D sqrt(D a) { return _mm256_sqrt_pd(a); }
#elif defined(__x86_64__)
SX_INLINE D fma(D a, D b, D c) { return a * b + c; }
SX_INLINE D max(D a, D b) { return _mm_max_pd(a, b); }
SX_INLINE D min(D a, D b) { return _mm_min_pd(a, b); }
SX_INLINE D sqrt(D a) { return _mm_sqrt_pd(a); }
#else
SX_INLINE D fma(D a, D b, D c) { return a * b + c; }
SX_INLINE D max(D a, D b) { return a > b ? a : b; }
SX_INLINE D min(D a, D b) { return a < b ? a : b; }
SX_INLINE D sqrt(D a) {
  for (int i = 0; i < kWide; ++i) a[i] = __builtin_sqrt(a[i]);
  return a;
}
#endif

SX_INLINE D abs(D a) { return from_bits(bits(a) & INT64_MAX); }
SX_INLINE D copy_sign(D magnitude, D sign) {
  return from_bits((bits(magnitude) & INT64_MAX) | (bits(sign) & INT64_MIN));
}
SX_INLINE D round_even(D a) {
#if SX_ISA_LEVEL >= 2
  return _mm512_mask_roundscale_pd(a, kAllWide, a, 8);
#elif SX_ISA_LEVEL == 1
  return _mm256_round_pd(a, 8);
#else
  const D magic = splat(4503599627370496.0);  // 2^52: from here on doubles are whole
  const D magnitude = abs(a);
  const D rounded = copy_sign((magnitude + magic) - magic, a);
  return magnitude < magic ? rounded : a;
#endif
}
SX_INLINE D floor(D a) {
  const D r = round_even(a);
  return r > a ? r - 1.0 : r;
}
SX_INLINE D ceil(D a) {
  const D r = round_even(a);
  return r < a ? copy_sign(r + 1.0, a) : r;
}
SX_INLINE bool any_lane(L mask) {
#if SX_ISA_LEVEL >= 2
  return _mm512_test_epi64_mask(reinterpret_cast<__m512i>(mask), reinterpret_cast<__m512i>(mask)) != 0;
#elif SX_ISA_LEVEL == 1
  return _mm256_movemask_pd(reinterpret_cast<__m256d>(mask)) != 0;
#else
  int64_t any = 0;
  for (int i = 0; i < kWide; ++i) any |= mask[i];
  return any != 0;
#endif
}

// Added to a whole number below 2^51 in magnitude, 1.5 * 2^52 leaves it in the low bits.
constexpr double kWholeBits = 6755399441055744.0;
SX_INLINE L to_long(D whole) { return bits(whole + kWholeBits) - bits(splat(kWholeBits)); }
SX_INLINE D to_double(L n) { return from_bits(n + bits(splat(kWholeBits))) - kWholeBits; }

SX_INLINE D power_of_two(L n) { return from_bits((n + 1023) << 52); }
// p * 2^k for whole k in [-2044, 2046].
SX_INLINE D scale_by_power(D p, D k) {
#if SX_ISA_LEVEL >= 2
  return _mm512_maskz_scalef_pd(kAllWide, p, k);
#else
  const D half = round_even(k * 0.5);
  return p * power_of_two(to_long(half)) * power_of_two(to_long(k - half));
#endif
}

SX_INLINE D reduce_log2(D x, D* k) {
  *k = round_even(x * 1.4426950408889634);
  const D r = fma(*k, splat(-6.93147180369123816490e-01), x);
  return fma(*k, splat(-1.90821492927058770002e-10), r);
}
// exp(r) - 1 for |r| <= log(2) / 2.
SX_INLINE D exp_part(D r) {
  D p = splat(2.5113740325621636e-08);
  p = fma(p, r, splat(2.7622433699254445e-07));
  p = fma(p, r, splat(2.755723153149751e-06));
  p = fma(p, r, splat(2.4801515878017918e-05));
  p = fma(p, r, splat(0.00019841269897512105));
  p = fma(p, r, splat(0.0013888888920837456));
  p = fma(p, r, splat(0.008333333333317889));
  p = fma(p, r, splat(0.0416666666666193));
  p = fma(p, r, splat(0.1666666666666668));
  p = fma(p, r, splat(0.5));
  return fma(p, r * r, r);
}

// Within 1.5 units in the last place.
SX_INLINE D exp(D x) {
  D k;
  // min and max return their second argument for NaN, so NaN stays.
  const D r = reduce_log2(max(splat(-746.0), min(splat(710.0), x)), &k);
  const D y = scale_by_power(exp_part(r) + 1.0, k);
#if SX_ISA_LEVEL >= 2
  return y;
#else
  return x != x ? x : y;
#endif
}

// x = m * 2^e with m in [sqrt(1/2), sqrt(2)), for positive normal numbers.
SX_INLINE D split_exponent(D x, D* e) {
  constexpr int64_t kRootHalf = 0x3fe6a09e667f3bcd;
  const L shifted = bits(x) - kRootHalf;
  *e = to_double(shifted >> 52);
  return from_bits((shifted & 0x000fffffffffffff) + kRootHalf);
}

// Within 1.5 units in the last place.
SX_INLINE D log(D x) {
  const D infinity = splat(__builtin_inf());
  const L tiny = x < 2.2250738585072014e-308;
  D k;
  // Of negative numbers the magnitude, whose result is not used.
  const D m = split_exponent(abs(tiny ? x * 18014398509481984.0 : x), &k);
  k = tiny ? k - 54.0 : k;
  const D f = m - 1.0, s = f / (2.0 + f), z = s * s;
  D p = splat(0.14811578880115978);
  p = fma(p, z, splat(0.15312566775959072));
  p = fma(p, z, splat(0.181836190672479));
  p = fma(p, z, splat(0.2222219758697827));
  p = fma(p, z, splat(0.2857142875129076));
  p = fma(p, z, splat(0.3999999999937813));
  p = fma(p, z, splat(0.666666666666674));
  const D half = 0.5 * f * f;
  const D low = fma(k, splat(1.90821492927058770002e-10), s * fma(p, z, half));
  D y = fma(k, splat(6.93147180369123816490e-01), f - (half - low));
  y = x == infinity ? x : y;
  y = x == 0.0 ? -infinity : y;
  return (x < 0.0) | (x != x) ? splat(__builtin_nan("")) : y;
}

// By exp of a negative number, so that results as small as there are come out right. Within 3 units.
SX_INLINE D sigmoid(D x) {
  const D e = exp(-abs(x));
  return (x < 0.0 ? e : splat(1.0)) / (1.0 + e);
}

// From m = exp(-2 |x|) - 1. Within 3 units.
SX_INLINE D tanh(D x) {
  D k;
  const D q = exp_part(reduce_log2(max(splat(-80.0), -2.0 * abs(x)), &k));
  const D power = power_of_two(to_long(k));
  const D m = fma(power, q, power - 1.0);
  return copy_sign(m, x) / (m + 2.0);
}

// A polynomial of x^2 up to 1, from there one for log(1 - erf(x)). Within 2 units.
SX_INLINE D erf(D x) {
  const D a = abs(x), z = x * x;
  D p = splat(5.960689230207579e-11);
  p = fma(p, z, splat(-1.1374957353948067e-09));
  p = fma(p, z, splat(1.4660328945124525e-08));
  p = fma(p, z, splat(-1.635039622398215e-07));
  p = fma(p, z, splat(1.6461008474703604e-06));
  p = fma(p, z, splat(-1.4925595771789187e-05));
  p = fma(p, z, splat(0.00012055331132932686));
  p = fma(p, z, splat(-0.0008548326981424847));
  p = fma(p, z, splat(0.005223977624828423));
  p = fma(p, z, splat(-0.026866170645077875));
  p = fma(p, z, splat(0.11283791670954885));
  p = fma(p, z, splat(-0.3761263890318375));
  p = fma(p, z, splat(0.1283791670955126));
  const D near = fma(p, x, x);
  const D c = min(splat(6.0), a);
  D q = splat(1.037040552020282e-12);
  q = fma(q, c, splat(-4.744202679170724e-11));
  q = fma(q, c, splat(1.0157521792539198e-09));
  q = fma(q, c, splat(-1.3508550705723045e-08));
  q = fma(q, c, splat(1.2473221966635855e-07));
  q = fma(q, c, splat(-8.446805232390626e-07));
  q = fma(q, c, splat(4.299812745799679e-06));
  q = fma(q, c, splat(-1.6415872883020677e-05));
  q = fma(q, c, splat(4.47582952386248e-05));
  q = fma(q, c, splat(-6.973435891353592e-05));
  q = fma(q, c, splat(-4.596558625345993e-05));
  q = fma(q, c, splat(0.0006428180816632008));
  q = fma(q, c, splat(-0.0017708722214868676));
  q = fma(q, c, splat(0.00028214825155058507));
  q = fma(q, c, splat(0.019077033449684543));
  q = fma(q, c, splat(-0.10274669392746205));
  q = fma(q, c, splat(-0.6366286815150913));
  q = fma(q, c, splat(-1.128377288145005));
  q = fma(q, c, splat(-1.8370952878550067e-07));
  const D far = copy_sign(1.0 - exp(q), x);
  return a > 1.0 ? far : near;
}
