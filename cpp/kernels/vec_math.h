// Elementary functions of vec.h's vectors, and the switch from Activation to them. Included after vec.h, in the same
// way. Polynomials are minimax fits made for these ranges.

// 2^n for n in [-252, 254], as a product of two floats so that denormals and 2^128 - 1 ulp come out right.
SX_INLINE F scale_by_power(F v, I n) {
  const I half = n >> 1;
  return v * from_bits((half + 127) << 23) * from_bits((n - half + 127) << 23);
}

// k = round(x / log(2)) and r = x - k * log(2), whose product terms are exact also without a fused multiply-add.
SX_INLINE F reduce_log2(F x, F* k) {
  *k = round_even(x * 1.44269504088896341f);
  F r = fma(*k, splat(-0.693359375f), x);
  return fma(*k, splat(2.12194440e-4f), r);
}

// (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2.
SX_INLINE F exp_tail(F r) {
  F p = splat(0.000199199218f);
  p = fma(p, r, splat(0.00139472121f));
  p = fma(p, r, splat(0.00833326112f));
  p = fma(p, r, splat(0.0416662544f));
  p = fma(p, r, splat(0.166666672f));
  return fma(p, r, splat(0.5f));
}

// exp of what is 89 or less, or NaN. max and min return their second argument for NaN, so NaN stays.
SX_INLINE F exp_below(F x) {
  F k;
  const F r = reduce_log2(max(splat(-104.0f), x), &k);
  const F p = fma(exp_tail(r), r * r, r) + 1.0f;
#if SX_ISA_LEVEL >= 2
  return _mm512_maskz_scalef_ps(kAllLanes, p, k);
#else
  const F y = scale_by_power(p, to_int_nearest(k));
  return x != x ? x : y;
#endif
}
SX_INLINE F exp(F x) { return exp_below(min(splat(89.0f), x)); }

SX_INLINE F expm1(F x) {
  F k;
  const F clamped = max(splat(-104.0f), min(splat(89.0f), x));
  const F r = reduce_log2(clamped, &k);
  const I n = to_int_nearest(k);
  const F q = fma(exp_tail(r), r * r, r);
  const F power = scale_by_power(splat(1.0f), n);
  F y = fma(power, q, power - 1.0f);
  y = n > 64 ? scale_by_power(q + 1.0f, n) : y;
  y = abs(x) < 1e-10f ? x : y;
  return x != x ? x : y;
}

// x = m * 2^e with m in [sqrt(1/2), sqrt(2)), for finite x > 0; returns log(x).
SX_INLINE F log_positive(F x) {
  const I tiny = x < 1.17549435e-38f;
  const F scaled = tiny ? x * 8388608.0f : x;
  const I offset = tiny ? splat(int32_t{23}) : I{};
  // Less the bits of sqrt(1/2); unsigned, because negative x comes here too (its result is not used) and wraps.
  const I shifted = reinterpret_cast<I>(reinterpret_cast<U>(scaled) - 0x3f3504f3u);
  const I e = shifted >> 23;
  const F m = from_bits((shifted & 0x007fffff) + 0x3f3504f3);
  const F k = __builtin_convertvector(e - offset, F);
  const F f = m - 1.0f;
  F p = splat(0.0674663857f);
  p = fma(p, f, splat(-0.116756514f));
  p = fma(p, f, splat(0.118881628f));
  p = fma(p, f, splat(-0.124055892f));
  p = fma(p, f, splat(0.142195523f));
  p = fma(p, f, splat(-0.166679963f));
  p = fma(p, f, splat(0.200021192f));
  p = fma(p, f, splat(-0.250000089f));
  p = fma(p, f, splat(0.333333135f));
  const F f2 = f * f;
  F y = fma(p, f, splat(-0.5f)) * f2;
  y = fma(k, splat(-2.12194440e-4f), y);
  return fma(k, splat(0.693359375f), y + f);
}

SX_INLINE F log(F x) {
  const F infinity = splat(__builtin_inff());
  F y = log_positive(x);
  y = x == infinity ? x : y;
  y = x == 0.0f ? -infinity : y;
  return (x < 0.0f) | (x != x) ? splat(__builtin_nanf("")) : y;
}

SX_INLINE F log1p(F x) {
  const F w = x + 1.0f;
  // w is 1 + x rounded: what the rounding lost comes back as a first-order term.
  const F lost = w > x ? (x - (w - 1.0f)) : (1.0f - (w - x));
  F y = log(w) + lost / w;
  y = abs(x) < 1e-10f ? x : y;
  return (x == splat(__builtin_inff())) | (w <= 0.0f) ? log(w) : y;
}

// By exp of a negative number, so that results as small as there are come out right.
SX_INLINE F sigmoid(F x) {
  const F e = exp(-abs(x));
  return (x < 0.0f ? e : splat(1.0f)) / (1.0f + e);
}

// exp as it may be where 1 is added to it: right to 1.2e-7 of its value.
SX_INLINE F coarse_exp(F x) {
  F k;
  const F r = reduce_log2(max(splat(-104.0f), min(splat(89.0f), x)), &k);
  F p = splat(0.00831247773f);
  p = fma(p, r, splat(0.0418905504f));
  p = fma(p, r, splat(0.166671157f));
  p = fma(p, r, splat(0.499992281f));
  p = fma(fma(p, r, splat(1.0f)), r, splat(1.0f));
#if SX_ISA_LEVEL >= 2
  return _mm512_maskz_scalef_ps(kAllLanes, p, k);
#else
  return scale_by_power(p, to_int_nearest(k));
#endif
}

// x * sigmoid(t); where sigmoid(t) is below the normal numbers, 0.
SX_INLINE F gated(F x, F t) {
  const F y = x / (1.0f + coarse_exp(-t));
#if SX_ISA_LEVEL >= 2
  return y;
#else
  return t != t ? t : y;
#endif
}

// over / under
struct Fraction {
  F over, under;
};

// tanh(x) from m = exp(-2 |x|) - 1, found like expm1 without its cases for large and tiny arguments.
SX_INLINE Fraction tanh_fraction(F x) {
  F k;
  const F r = reduce_log2(max(splat(-40.0f), -2.0f * abs(x)), &k);
  const F q = fma(exp_tail(r), r * r, r);
#if SX_ISA_LEVEL >= 2
  const F power = _mm512_maskz_scalef_ps(kAllLanes, splat(1.0f), k);
#else
  const F power = from_bits((to_int_nearest(k) + 127) << 23);
#endif
  const F m = fma(power, q, power - 1.0f);
  return {copy_sign(m, x), m + 2.0f};
}
SX_INLINE F tanh(F x) {
  const Fraction y = tanh_fraction(x);
  return y.over / y.under;
}

SX_INLINE F erf(F x) {
  const F t = abs(x);
  const F s = x * x;
  F p = splat(-0.000595374149f);
  p = fma(p, s, splat(0.00498594064f));
  p = fma(p, s, splat(-0.02676172f));
  p = fma(p, s, splat(0.112816826f));
  p = fma(p, s, splat(-0.376124799f));
  p = fma(p, s, splat(0.128379151f));
  const F near = fma(p, x, x);
  const F c = min(splat(4.0f), t);
  // log(1 - erf(c)) for 0.92 <= c <= 4
  F q = splat(0.000194945824f);
  q = fma(q, c, splat(-0.00303368387f));
  q = fma(q, c, splat(0.0221897438f));
  q = fma(q, c, splat(-0.10385631f));
  q = fma(q, c, splat(-0.637265801f));
  q = fma(q, c, splat(-1.12762737f));
  q = fma(q, c, splat(-0.000207017074f));
  const F far = copy_sign(1.0f - exp(q), x);
  return t > 0.92f ? far : near;
}

// x / 2 * (1 + erf(x / sqrt(2))) as max(x, 0) - a / 2 * (1 - erf(a / sqrt(2))), a = |x|, with a polynomial for the log
// of the last factor: what is subtracted is right to 6e-8, and small where the result is.
SX_INLINE F gelu(F x) {
  const F magnitude = abs(x);
  const F a = min(splat(10.0f), magnitude);
  F q = splat(-4.06942862e-07f);
  q = fma(q, a, splat(2.73348519e-05f));
  q = fma(q, a, splat(-0.000551708195f));
  q = fma(q, a, splat(0.00563998908f));
  q = fma(q, a, splat(-0.0370653744f));
  q = fma(q, a, splat(-0.31797159f));
  q = fma(q, a, splat(-0.797958377f));
  q = fma(q, a, splat(5.31233111e-06f));
  // max(x, 0), but NaN for -infinity, as the formula has it.
  const F positive = fma(splat(0.5f), magnitude, 0.5f * x);
  return fma(-0.5f * a, exp(q), positive);
}

// The same and kGeluTanh, off by 2^-14 of |x| at most: x * (c * p(c^2) + 1/2) with c = x clamped to [-4, 4], where
// 4 * p(16) = 1/2.
SX_INLINE F coarse_gelu(F x) {
  const F c = max(splat(-4.0f), min(splat(4.0f), x));
  const F s = c * c;
  F p = splat(-1.27758804e-09f);
  p = fma(p, s, splat(1.04420131e-07f));
  p = fma(p, s, splat(-3.70910561e-06f));
  p = fma(p, s, splat(7.61843403e-05f));
  p = fma(p, s, splat(-0.00102100987f));
  p = fma(p, s, splat(0.00958127622f));
  p = fma(p, s, splat(-0.0660639405f));
  p = fma(p, s, splat(0.398805469f));
  return x * fma(p, c, splat(0.5f));
}
SX_INLINE F coarse_gelu_tanh(F x) {
  const F c = max(splat(-4.0f), min(splat(4.0f), x));
  const F s = c * c;
  F p = splat(-1.69889391e-09f);
  p = fma(p, s, splat(1.3081916e-07f));
  p = fma(p, s, splat(-4.38182178e-06f));
  p = fma(p, s, splat(8.51023287e-05f));
  p = fma(p, s, splat(-0.00108574668f));
  p = fma(p, s, splat(0.00982307643f));
  p = fma(p, s, splat(-0.0664147958f));
  p = fma(p, s, splat(0.398816258f));
  return x * fma(p, c, splat(0.5f));
}

SX_INLINE F mish(F x) {
  const F e = exp(min(splat(20.0f), x));
  const F n = e * (e + 2.0f);
  const F y = x * (n / (n + 2.0f));
  return x > 20.0f ? x : y;
}

SX_INLINE F softplus(F x) { return max(F{}, x) + log1p(exp(-abs(x))); }

template <Activation kKind>
SX_INLINE F activate(F x, F alpha, F beta) {
  if constexpr (kKind == Activation::kRelu) return max(F{}, x);
  if constexpr (kKind == Activation::kClip) return min(beta, max(alpha, x));
  if constexpr (kKind == Activation::kLeakyRelu) return x < 0.0f ? alpha * x : x;
  if constexpr (kKind == Activation::kThresholdedRelu) return x > alpha ? x : F{};
  if constexpr (kKind == Activation::kElu) return x < 0.0f ? alpha * expm1(x) : x;
  if constexpr (kKind == Activation::kSelu) return beta * (x < 0.0f ? alpha * expm1(x) : x);
  if constexpr (kKind == Activation::kCelu) return x < 0.0f ? alpha * expm1(x / alpha) : x;
  if constexpr (kKind == Activation::kSigmoid) return sigmoid(x);
  if constexpr (kKind == Activation::kHardSigmoid) return min(splat(1.0f), max(F{}, alpha * x + beta));
  if constexpr (kKind == Activation::kSwish) return gated(x, alpha * x);
  if constexpr (kKind == Activation::kHardSwish) return x * min(splat(1.0f), max(F{}, x * (1.0f / 6) + 0.5f));
  if constexpr (kKind == Activation::kTanh) return tanh(x);
  if constexpr (kKind == Activation::kGelu) return gelu(x);
  if constexpr (kKind == Activation::kGeluTanh) {
    return gated(x, 1.5957691216057308f * fma(splat(0.044715f) * x, x * x, x));
  }
  if constexpr (kKind == Activation::kMish) return mish(x);
  if constexpr (kKind == Activation::kSoftplus) return softplus(x);
  if constexpr (kKind == Activation::kSoftsign) return x / (1.0f + abs(x));
  if constexpr (kKind == Activation::kErf) return erf(x);
  if constexpr (kKind == Activation::kExp) return exp(x);
  if constexpr (kKind == Activation::kLog) return log(x);
  if constexpr (kKind == Activation::kLog1p) return log1p(x);
  if constexpr (kKind == Activation::kExpm1) return expm1(x);
  if constexpr (kKind == Activation::kSqrt) return sqrt(x);
  if constexpr (kKind == Activation::kReciprocal) return 1.0f / x;
  if constexpr (kKind == Activation::kReciprocalSqrt) return 1.0f / sqrt(x);
  if constexpr (kKind == Activation::kSquare) return x * x;
  if constexpr (kKind == Activation::kAbs) return abs(x);
  if constexpr (kKind == Activation::kNeg) return -x;
  if constexpr (kKind == Activation::kSign) {
    return x > 0.0f ? splat(1.0f) : (x < 0.0f ? splat(-1.0f) : (x == 0.0f ? F{} : x));
  }
  if constexpr (kKind == Activation::kFloor) return floor(x);
  if constexpr (kKind == Activation::kCeil) return ceil(x);
  if constexpr (kKind == Activation::kRound) return round_even(x);
  if constexpr (kKind == Activation::kTrunc) return trunc(x);
  if constexpr (kKind == Activation::kAffine) return alpha * x + beta;
  return x;
}

// What stands for a function where 8 significant bits are wanted.
template <Activation kKind>
SX_INLINE F coarsely_activate(F x, F alpha, F beta) {
  if constexpr (kKind == Activation::kGelu) return coarse_gelu(x);
  if constexpr (kKind == Activation::kGeluTanh) return coarse_gelu_tanh(x);
  return activate<kKind>(x, alpha, beta);
}

// y = f(x) for n contiguous values.
template <F (*kFunction)(F x, F alpha, F beta)>
SX_INLINE void map_array(const float* x, float* y, int64_t n, float alpha, float beta) {
  const F a = splat(alpha), b = splat(beta);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const F first = kFunction(load(x + i), a, b);
    const F second = kFunction(load(x + i + kLanes), a, b);
    store(y + i, first);
    store(y + i + kLanes, second);
  }
  for (; i < n; i += kLanes) {
    const int count = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    store_n(y + i, kFunction(load_n(x + i, count), a, b), count);
  }
}
template <Activation kKind>
void coarsely_activate_array(const float* x, float* y, int64_t n, float alpha, float beta) {
  map_array<coarsely_activate<kKind>>(x, y, n, alpha, beta);
}
