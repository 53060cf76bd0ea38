// Circular and hyperbolic functions of vec.h's vectors and their inverses. Included after vec_math.h, in the same way.
// Arguments are reduced in the classical ways (Cody and Waite's pieces of pi / 2; the half-angle of Abramowitz and
// Stegun 4.4.45; logarithms and exponentials of 4.5 and 4.6); polynomials are minimax fits made for these ranges. All
// are within 4 units in the last place, on every tier and for every argument.

// x in turns of a quarter: its remainder |r| <= pi / 4, a little more, by the sine and the cosine, and how many turns.
struct Quarters {
  F sine, cosine;
  I turns;
};
// Arguments up to here are reduced by pieces of pi / 2 whose multiples are exact but for the last one's.
#if SX_ISA_LEVEL >= 1
constexpr float kCircularReach = 100000.0f;
#else
constexpr float kCircularReach = 6000.0f;
#endif

// For 0 <= x <= kCircularReach.
SX_INLINE Quarters quarters(F x) {
  const F k = round_even(x * 0.636619772f);
#if SX_ISA_LEVEL >= 1
  F r = fma(k, splat(-1.57079637f), x);
  r = fma(k, splat(4.37113883e-08f), r);
  r = fma(k, splat(1.71512451e-15f), r);
#else
  F r = x - k * 1.5703125f;
  r = r - k * 0.000483751297f;
  r = r - k * 7.54953362e-08f;
  r = r - k * 2.56334407e-12f;
#endif
  const F z = r * r;
  F s = fma(splat(-0.000195047644f), z, splat(0.00833208766f));
  s = fma(s, z, splat(-0.166666538f));
  F c = fma(splat(2.44238199e-05f), z, splat(-0.00138872419f));
  c = fma(c, z, splat(0.0416666456f));
  return {fma(s, r * z, r), fma(c, z * z, fma(splat(-0.5f), z, splat(1.0f))), to_int_nearest(k)};
}

template <Activation kKind>
__attribute__((noinline)) F circular_by_lane(F x) {
  float lanes[kLanes];
  store(lanes, x);
  for (float& lane : lanes) {
    if constexpr (kKind == Activation::kSin) lane = __builtin_sinf(lane);
    else if constexpr (kKind == Activation::kCos) lane = __builtin_cosf(lane);
    else lane = __builtin_tanf(lane);
  }
  return load(lanes);
}
// y, but by the C library in lanes whose argument is out of reach.
template <Activation kKind>
SX_INLINE F with_far_lanes(F x, F y) {
  const I far = abs(x) > kCircularReach;
  if (__builtin_expect(any_lane(far), 0)) return far ? circular_by_lane<kKind>(x) : y;
  return y;
}

SX_INLINE F sin(F x) {
  const Quarters q = quarters(abs(x));
  const F y = (q.turns & 1) != 0 ? q.cosine : q.sine;
  return with_far_lanes<Activation::kSin>(x, from_bits(bits(y) ^ ((bits(x) ^ (q.turns << 30)) & INT32_MIN)));
}
SX_INLINE F cos(F x) {
  const Quarters q = quarters(abs(x));
  const F y = (q.turns & 1) != 0 ? q.sine : q.cosine;
  return with_far_lanes<Activation::kCos>(x, from_bits(bits(y) ^ (((q.turns + 1) << 30) & INT32_MIN)));
}
SX_INLINE F tan(F x) {
  const Quarters q = quarters(abs(x));
  const I odd = (q.turns & 1) != 0;
  const F y = (odd ? q.cosine : q.sine) / (odd ? q.sine : q.cosine);
  return with_far_lanes<Activation::kTan>(x, from_bits(bits(y) ^ ((bits(x) ^ (q.turns << 31)) & INT32_MIN)));
}

constexpr float kHalfPi = 1.57079637f, kHalfPiRest = -4.37113883e-08f;

// asin(x) for 0 <= x <= 1/2 from x and its square.
SX_INLINE F asin_near(F x, F z) {
  F p = fma(splat(0.0422207229f), z, splat(0.0241463874f));
  p = fma(p, z, splat(0.0454773121f));
  p = fma(p, z, splat(0.0749524087f));
  p = fma(p, z, splat(0.166667536f));
  return fma(p, x * z, x);
}
// For a > 1/2 half of acos(a), else asin(a).
SX_INLINE F asin_part(F a) {
  const I far = a > 0.5f;
  const F z = far ? 0.5f - 0.5f * a : a * a;
  return asin_near(far ? sqrt(z) : a, z);
}
SX_INLINE F asin(F x) {
  const F a = abs(x), y = asin_part(a);
  return copy_sign(a > 0.5f ? (kHalfPi - 2.0f * y) + kHalfPiRest : y, x);
}
SX_INLINE F acos(F x) {
  const F a = abs(x), y = asin_part(a);
  const F far = x < 0.0f ? (2.0f * kHalfPi - 2.0f * y) + 2.0f * kHalfPiRest : 2.0f * y;
  return a > 0.5f ? far : kHalfPi - (copy_sign(y, x) - kHalfPiRest);
}

SX_INLINE F atan(F x) {
  const F a = abs(x), one = splat(1.0f);
  const F t = min(one, a) / max(one, a), z = t * t;
  F p = fma(splat(-0.00182930985f), z, splat(0.0110740559f));
  p = fma(p, z, splat(-0.0314741433f));
  p = fma(p, z, splat(0.0582537092f));
  p = fma(p, z, splat(-0.0842062533f));
  p = fma(p, z, splat(0.109579951f));
  p = fma(p, z, splat(-0.142653301f));
  p = fma(p, z, splat(0.199986473f));
  p = fma(p, z, splat(-0.333333015f));
  const F y = fma(p, t * z, t);
  return copy_sign(a > 1.0f ? (kHalfPi - y) + kHalfPiRest : y, x);
}

// exp(x) / 2 of what is not negative, or NaN; finite as long as the half is.
SX_INLINE F half_exp(F x) {
  F k;
  const F r = reduce_log2(min(splat(90.0f), x), &k);
  const F p = fma(exp_tail(r), r * r, r) + 1.0f;
#if SX_ISA_LEVEL >= 2
  return _mm512_maskz_scalef_ps(kAllLanes, p, k - 1.0f);
#else
  const F y = scale_by_power(p, to_int_nearest(k - 1.0f));
  return x != x ? x : y;
#endif
}
SX_INLINE F sinh(F x) {
  const F a = abs(x), z = x * x;
  F p = fma(splat(2.81743473e-06f), z, splat(0.000198360678f));
  p = fma(p, z, splat(0.00833335053f));
  p = fma(p, z, splat(0.166666672f));
  const F h = half_exp(a);
  return copy_sign(a > 1.0f ? h - 0.25f / h : fma(p, a * z, a), x);
}
SX_INLINE F cosh(F x) {
  const F h = half_exp(abs(x));
  return h + 0.25f / h;
}

constexpr float kLog2 = 0.693147181f;
// From here on a^2 + 1 is a^2 and log(1 + a) is log(a).
constexpr float kLargeArc = 67108864.0f;

SX_INLINE F asinh(F x) {
  const F a = abs(x), z = a * a;
  const I large = a > kLargeArc;
  const F y = log1p(large ? a : a + z / (1.0f + sqrt(z + 1.0f)));
  return copy_sign(large ? y + kLog2 : y, x);
}
SX_INLINE F acosh(F x) {
  const F t = x - 1.0f;
  const I large = x > kLargeArc;
  const F y = log1p(large ? x : t + sqrt(fma(t, t, t + t)));
  return x < 1.0f ? splat(__builtin_nanf("")) : large ? y + kLog2 : y;
}
SX_INLINE F atanh(F x) {
  const F a = abs(x);
  return copy_sign(0.5f * log1p((a + a) / (1.0f - a)), x);
}

constexpr bool is_circular(Activation kind) { return kind >= Activation::kSin && kind <= Activation::kAtanh; }
template <Activation kKind>
SX_INLINE F circular(F x) {
  if constexpr (kKind == Activation::kSin) return sin(x);
  if constexpr (kKind == Activation::kCos) return cos(x);
  if constexpr (kKind == Activation::kTan) return tan(x);
  if constexpr (kKind == Activation::kAsin) return asin(x);
  if constexpr (kKind == Activation::kAcos) return acos(x);
  if constexpr (kKind == Activation::kAtan) return atan(x);
  if constexpr (kKind == Activation::kSinh) return sinh(x);
  if constexpr (kKind == Activation::kCosh) return cosh(x);
  if constexpr (kKind == Activation::kAsinh) return asinh(x);
  if constexpr (kKind == Activation::kAcosh) return acosh(x);
  if constexpr (kKind == Activation::kAtanh) return atanh(x);
}
