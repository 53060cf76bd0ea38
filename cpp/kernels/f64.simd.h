// Functions that compute in f64, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_f64.h"

namespace f64 {

template <Activation kKind>
SX_INLINE D evaluate(D x) {
  if constexpr (kKind == Activation::kRelu) return max(D{}, x);
  if constexpr (kKind == Activation::kSigmoid) return sigmoid(x);
  if constexpr (kKind == Activation::kTanh) return tanh(x);
  if constexpr (kKind == Activation::kErf) return erf(x);
  if constexpr (kKind == Activation::kExp) return exp(x);
  if constexpr (kKind == Activation::kLog) return log(x);
  if constexpr (kKind == Activation::kSqrt) return sqrt(x);
  if constexpr (kKind == Activation::kReciprocal) return 1.0 / x;
  if constexpr (kKind == Activation::kSquare) return x * x;
  if constexpr (kKind == Activation::kAbs) return abs(x);
  if constexpr (kKind == Activation::kNeg) return -x;
  if constexpr (kKind == Activation::kFloor) return floor(x);
  if constexpr (kKind == Activation::kCeil) return ceil(x);
  if constexpr (kKind == Activation::kRound) return round_even(x);
}

template <Activation kKind>
void map(const double* x, double* y, int64_t n) {
  int64_t i = 0;
  for (; i + 2 * kWide <= n; i += 2 * kWide) {
    const D first = evaluate<kKind>(load(x + i));
    const D second = evaluate<kKind>(load(x + i + kWide));
    store(y + i, first);
    store(y + i + kWide, second);
  }
  for (; i < n; i += kWide) {
    const int count = static_cast<int>(n - i < kWide ? n - i : kWide);
    double lanes[kWide] = {};
    __builtin_memcpy(lanes, x + i, static_cast<size_t>(count) * sizeof(double));
    store(lanes, evaluate<kKind>(load(lanes)));
    __builtin_memcpy(y + i, lanes, static_cast<size_t>(count) * sizeof(double));
  }
}

// kWide floats.
typedef float Narrow __attribute__((vector_size(kWide * 4)));
SX_INLINE D load_wide(const float* p) {
  Narrow v;
  __builtin_memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, D);
}
SX_INLINE void store_narrow(float* p, D v) {
  const Narrow rounded = __builtin_convertvector(v, Narrow);
  __builtin_memcpy(p, &rounded, sizeof(rounded));
}

// 2^(y log2 |x|) with the sign of an odd power, for floats x and y that are finite and x not zero; log2 is right to
// 2^-43 of its value and the power of two to 2^-28 of its own.
SX_INLINE D power_of(D x, D y) {
  D e;
  const D m = split_exponent(abs(x), &e);
  const D s = (m - 1.0) / (m + 1.0), z = s * s;
  D p = splat(0.2831223651577144);
  p = fma(p, z, splat(0.31989076426115626));
  p = fma(p, z, splat(0.4122096008038753));
  p = fma(p, z, splat(0.577077939081302));
  p = fma(p, z, splat(0.9617966941239273));
  p = fma(p, z, splat(2.8853900817778455));
  // Beyond 160 all powers of floats are infinity, or 0.
  const D t = max(splat(-160.0), min(splat(160.0), y * fma(p, s, e)));
  const D k = round_even(t), r = t - k;
  D q = splat(0.00015445114721005093);
  q = fma(q, r, splat(0.0013401337951065976));
  q = fma(q, r, splat(0.009618097657787164));
  q = fma(q, r, splat(0.05550324939180395));
  q = fma(q, r, splat(0.24022650729483078));
  q = fma(q, r, splat(0.6931472077827987));
  const D magnitude = fma(q, r, splat(1.0)) * power_of_two(to_long(k));
  const D half = y * 0.5;
  const D negative = round_even(half) != half ? -magnitude : magnitude;
  return x < 0.0 ? (round_even(y) == y ? negative : splat(__builtin_nan(""))) : magnitude;
}

// Functions of two vectors of floats, those that C's function has to give in lanes where they are not `plain`.
struct Power {
  static SX_INLINE L plain(D a, D b) {
    const D infinity = splat(__builtin_inf());
    return (abs(a) > 0.0) & (abs(a) < infinity) & (abs(b) < infinity);
  }
  static SX_INLINE D of(D a, D b) { return power_of(a, b); }
  static SX_INLINE float by_c(float a, float b) { return __builtin_powf(a, b); }
};
struct Remainder {
  // A quotient below 2^28 that is no whole number lies 2^-25 or more from the next, and is off by less.
  static SX_INLINE L plain(D a, D b) { return (abs(a / b) < 268435456.0) & (abs(b) < splat(__builtin_inf())); }
  static SX_INLINE D of(D a, D b) { return copy_sign(a - copy_sign(floor(abs(a / b)), a / b) * b, a); }
  static SX_INLINE float by_c(float a, float b) { return __builtin_fmodf(a, b); }
};

// y = f(a, b) for kWide floats, of which the first `count` are stored.
template <typename Function>
SX_INLINE void store_results(D a, D b, float* y, int count) {
  const L plain = Function::plain(a, b);
  const D result = Function::of(a, b);
  if (__builtin_expect(count == kWide && !any_lane(~plain), 1)) return store_narrow(y, result);
  float lanes[kWide];
  store_narrow(lanes, result);
  for (int i = 0; i < count; ++i)
    y[i] = plain[i] != 0 ? lanes[i] : Function::by_c(static_cast<float>(a[i]), static_cast<float>(b[i]));
}

template <typename Function, bool kScalarA, bool kScalarB>
void map_pairs(const float* a, const float* b, float* y, int64_t n) {
  if (n <= 0) return;
  const D va = splat(static_cast<double>(a[0])), vb = splat(static_cast<double>(b[0]));
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide)
    store_results<Function>(kScalarA ? va : load_wide(a + i), kScalarB ? vb : load_wide(b + i), y + i, kWide);
  if (i == n) return;
  float rest[2][kWide] = {};
  for (int k = 0; k < n - i; ++k) {
    rest[0][k] = a[kScalarA ? 0 : i + k];
    rest[1][k] = b[kScalarB ? 0 : i + k];
  }
  store_results<Function>(load_wide(rest[0]), load_wide(rest[1]), y + i, static_cast<int>(n - i));
}

// kWide integers. Quotients of 32-bit integers are exact in f64: what is no whole number lies 2^-31 or more from the
// next, and is off by 2^-22 at most. That leaves room to multiply by a reciprocal that is a little too large.
typedef int32_t NarrowI __attribute__((vector_size(kWide * 4)));
typedef uint32_t NarrowU __attribute__((vector_size(kWide * 4)));

template <IntegerDivision kKind>
SX_INLINE NarrowI divided(NarrowI a, NarrowI b, D exact) {
  const NarrowI quotient = __builtin_convertvector(exact >= 2147483648.0 ? -exact : exact, NarrowI);
  if constexpr (kKind == IntegerDivision::kQuotient) return quotient;
  const NarrowU product = reinterpret_cast<NarrowU>(quotient) * reinterpret_cast<NarrowU>(b);
  const NarrowU rest = reinterpret_cast<NarrowU>(a) - product;
  if constexpr (kKind == IntegerDivision::kRemainder) return reinterpret_cast<NarrowI>(rest);
  const NarrowI apart = (rest != 0) & ((reinterpret_cast<NarrowI>(rest) ^ b) < 0);
  return reinterpret_cast<NarrowI>(rest + (reinterpret_cast<NarrowU>(b) & reinterpret_cast<NarrowU>(apart)));
}

template <IntegerDivision kKind, bool kScalarA, bool kScalarB>
void divide(const int32_t* a, const int32_t* b, int32_t* y, int64_t n) {
  if (n <= 0) return;
  NarrowI va = a[0] - NarrowI{}, vb = b[0] - NarrowI{};
  const D reciprocal = splat(1.0 / b[0] * (1.0 + 0x1p-50));
  for (int64_t i = 0; i < n; i += kWide) {
    const bool whole = i + kWide <= n;
    const auto rest = static_cast<size_t>(n - i) * sizeof(int32_t);
    // Behind the end, the lanes of the step before.
    if (!kScalarA) whole ? __builtin_memcpy(&va, a + i, sizeof(va)) : __builtin_memcpy(&va, a + i, rest);
    if (!kScalarB) whole ? __builtin_memcpy(&vb, b + i, sizeof(vb)) : __builtin_memcpy(&vb, b + i, rest);
    const D wide = __builtin_convertvector(va, D);
    const D exact = kScalarB ? wide * reciprocal : wide / __builtin_convertvector(vb, D);
    const NarrowI result = divided<kKind>(va, vb, exact);
    whole ? __builtin_memcpy(y + i, &result, sizeof(result)) : __builtin_memcpy(y + i, &result, rest);
  }
}

}  // namespace f64

#define SX_DIVISION(kind)                                                                             \
  {f64::divide<IntegerDivision::kind, false, false>, f64::divide<IntegerDivision::kind, false, true>, \
   f64::divide<IntegerDivision::kind, true, false>, f64::divide<IntegerDivision::kind, true, true>}
#define SX_F64(kind) {Activation::kind, f64::map<Activation::kind>}
constexpr F64Kernel kF64Kernel = {
    {SX_F64(kRelu), SX_F64(kSigmoid), SX_F64(kTanh), SX_F64(kErf), SX_F64(kExp), SX_F64(kLog), SX_F64(kSqrt),
     SX_F64(kReciprocal), SX_F64(kSquare), SX_F64(kAbs), SX_F64(kNeg), SX_F64(kFloor), SX_F64(kCeil), SX_F64(kRound)},
    {f64::map_pairs<f64::Power, false, false>, f64::map_pairs<f64::Power, false, true>,
     f64::map_pairs<f64::Power, true, false>, f64::map_pairs<f64::Power, true, true>},
    {f64::map_pairs<f64::Remainder, false, false>, f64::map_pairs<f64::Remainder, false, true>,
     f64::map_pairs<f64::Remainder, true, false>, f64::map_pairs<f64::Remainder, true, true>},
    {SX_DIVISION(kQuotient), SX_DIVISION(kRemainder), SX_DIVISION(kModulus)}};
#undef SX_F64
#undef SX_DIVISION

}  // namespace SX_ISA
}  // namespace sx
