// Transforms and products of exact 8-bit Winograd convolutions for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace winograd_u8 {

#include "kernels/conv/bytes_tail.simd.h"

// 16-bit numbers that wrap.
typedef uint16_t H __attribute__((vector_size(kLanes * 2)));
// The weights of pairs of channels, which wrap likewise, and the signed bytes that they are made of.
typedef uint16_t W __attribute__((vector_size(kLanes * 4)));
typedef int8_t WBytes __attribute__((vector_size(kLanes * 2)));

#if SX_ISA_LEVEL >= 3
constexpr int kMost = 14;
#elif SX_ISA_LEVEL == 2
constexpr int kMost = 12;
#else
constexpr int kMost = 4;
#endif

// The sums of products of two 16-bit numbers, added to acc.
SX_INLINE U dot(U acc, I x, I w) {
#if SX_ISA_LEVEL >= 3
  return reinterpret_cast<U>(
      _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(acc), reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(w)));
#elif SX_ISA_LEVEL == 2
  return acc + reinterpret_cast<U>(_mm512_madd_epi16(reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(w)));
#elif SX_ISA_LEVEL == 1
  return acc + reinterpret_cast<U>(_mm256_madd_epi16(reinterpret_cast<__m256i>(x), reinterpret_cast<__m256i>(w)));
#elif defined(__x86_64__)
  return acc + reinterpret_cast<U>(_mm_madd_epi16(reinterpret_cast<__m128i>(x), reinterpret_cast<__m128i>(w)));
#else
  const I x_low = reinterpret_cast<I>(reinterpret_cast<U>(x) << 16) >> 16;
  const I w_low = reinterpret_cast<I>(reinterpret_cast<U>(w) << 16) >> 16;
  return acc + reinterpret_cast<U>(x_low * w_low) + reinterpret_cast<U>((x >> 16) * (w >> 16));
#endif
}

SX_INLINE I load_pairs(const int16_t* p) {
  I pairs;
  __builtin_memcpy(&pairs, p, sizeof(pairs));
  return pairs;
}

// A row of the window d at all points: the polynomials that are 0 at all other points.
template <int kOut>
SX_INLINE void at_points(const H (&d)[6], H (&v)[6]) {
  if constexpr (kOut == 4) {
    const H a = d[4] - (d[2] << 2), b = d[3] - (d[1] << 2), c = d[4] - d[2], e = (d[3] - d[1]) << 1;
    v[0] = ((d[0] - d[2]) << 2) + c;
    v[1] = a + b;
    v[2] = a - b;
    v[3] = c + e;
    v[4] = c - e;
    v[5] = d[5] - d[3] - (e << 1);
  } else {
    const H a = d[3] - d[1], b = d[1] - d[2];
    v[0] = ((d[0] - d[2]) << 1) + a;
    v[1] = a - d[1] - d[2];
    v[2] = a + (b << 1) + b;
    v[3] = a;
    v[5] = d[4] - d[2] - (a << 1);
  }
}

// A row of weights at all points, times 6, 4, 4, 1, 1 and 6.
SX_INLINE void weights_at_points(const W (&w)[3], W (&u)[6]) {
  const W s = (w[0] + w[2]) << 2, t = w[1] << 2, q = w[0] + (w[2] << 2), r = w[1] << 1;
  u[0] = w[0] * 6;
  u[1] = s + t;
  u[2] = s - t;
  u[3] = q + r;
  u[4] = q - r;
  u[5] = w[2] * 6;
}

// 24 times the outputs of a row from products at its points, which the factors of weights_at_points are part of.
template <int kOut>
SX_INLINE void from_points(const U (&m)[6], U (&y)[kOut]) {
  if constexpr (kOut == 4) {
    const U s = m[1] + m[2], d = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    y[0] = m[0] - s + s2;
    y[1] = (d2 << 1) - d;
    y[2] = (s2 << 2) - s;
    y[3] = (d2 << 3) - d + (m[5] << 2);
  } else {
    const U s = m[1] + (m[1] << 1) + m[2], d = s - (m[2] << 1), m3 = m[3] << 2;
    y[0] = (m[0] << 1) - s + m3;
    y[1] = (m3 << 1) - d;
    y[2] = (m3 << 2) - s + (m[5] << 2);
  }
}

template <int kOut>
constexpr bool has_point(int i) {
  return kOut == 4 || i != kSkippedPoint;
}

#if SX_ISA_LEVEL >= 2
// gcc 12 would convert two halves.
SX_INLINE H load_data(const uint8_t* x) {
  return reinterpret_cast<H>(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))));
}
#else
SX_INLINE H load_data(const uint8_t* x) { return __builtin_convertvector(load_bytes(x), H); }
#endif

template <int kRows, int kColumns>
void transform_input(const uint8_t* x, int64_t row_step, int16_t* v, int64_t v_step) {
  H half[6][6];
#pragma GCC unroll 6
  for (int j = 0; j < kColumns + 2; ++j) {
    H d[6], at[6];
#pragma GCC unroll 6
    for (int i = 0; i < kRows + 2; ++i) d[i] = load_data(x + i * row_step + j * kLanes);
    at_points<kRows>(d, at);
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i)
      if (has_point<kRows>(i)) half[i][j] = at[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
    if (!has_point<kRows>(i)) continue;
    H at[6];
    at_points<kColumns>(half[i], at);
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j)
      if (has_point<kColumns>(j)) __builtin_memcpy(v + (i * 6 + j) * v_step, &at[j], sizeof(H));
  }
}

#if SX_ISA_LEVEL >= 2
// gcc 12 would convert two halves.
SX_INLINE W load_weights(const int8_t* w) {
  return reinterpret_cast<W>(
      _mm512_maskz_cvtepi8_epi16(~__mmask32{0}, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w))));
}
#else
SX_INLINE W load_weights(const int8_t* w) {
  WBytes bytes;
  __builtin_memcpy(&bytes, w, sizeof(bytes));
  return __builtin_convertvector(bytes, W);
}
#endif
// Weights are transformed for so many rows of points at a time; two share their sums, but need room for both.
#if SX_ISA_LEVEL >= 3
constexpr int kRowsOfStage = 1;
#else
constexpr int kRowsOfStage = 2;
#endif

// Column j of a vector of weights at a row of points.
template <int kRow>
SX_INLINE W row_of(const int8_t* w, int j) {
  constexpr int kVector = 2 * kLanes;
  const W first = load_weights(w + j * kVector), last = load_weights(w + (6 + j) * kVector);
  if (kRow == 0) return first * 6;
  if (kRow == 5) return last * 6;
  const W middle = load_weights(w + (3 + j) * kVector);
  const W even = kRow <= 2 ? (first + last) << 2 : first + (last << 2);
  const W odd = kRow <= 2 ? middle << 2 : middle << 1;
  return kRow % 2 != 0 ? even + odd : even - odd;
}
// One vector of weights at the pairs of points of a stage.
template <int kStage>
SX_INLINE void transform_vector(const int8_t* w, int16_t* u, int64_t u_step) {
  constexpr int kFirst = kStage * kRowsOfStage;
  W rows[kRowsOfStage][3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    rows[0][j] = row_of<kRowsInTurn[kFirst]>(w, j);
    if constexpr (kRowsOfStage == 2) rows[1][j] = row_of<kRowsInTurn[kFirst + 1]>(w, j);
  }
#pragma GCC unroll 2
  for (int row = 0; row < kRowsOfStage; ++row) {
    W at[6];
    weights_at_points(rows[row], at);
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) __builtin_memcpy(u + (row * 6 + j) * u_step, &at[j], sizeof(W));
  }
}
template <int kStage>
SX_INLINE void transform_next(WinogradBytesWeights& weights) {
  transform_vector<kStage>(weights.w, weights.u, weights.u_step);
  weights.w += 9 * 2 * kLanes;
  weights.u += 2 * kLanes;
  --weights.left;
}
template <int kStage>
void transform_weights(WinogradBytesWeights& given) {
  WinogradBytesWeights weights = given;
  while (weights.left > 0) transform_next<kStage>(weights);
  given = weights;
}

// With kStage >= 0 a vector of other weights is transformed for each block of channels.
// Loops that end at once are left out: gcc would keep all sums in memory for them.
template <int kP, int kF, int kStage>
SX_INLINE void sum_products(const WinogradBytesProduct& t, WinogradBytesWeights& others, U (&acc)[kF][kP]) {
  const int16_t* u = t.u;
  const int8_t* ahead = t.ahead;
  int64_t b = 0;
  do {
    const int16_t* v = t.v + b * t.v_block;
    for (int c = 0; c < kLanes; c += 2) {
      I w[kF];
#pragma GCC unroll 2
      for (int f = 0; f < kF; ++f) w[f] = load_pairs(u + f * 2 * kLanes);
#pragma GCC unroll 14
      for (int p = 0; p < kP; ++p) {
        const I x = splat(load_word(reinterpret_cast<const uint8_t*>(v + p * kLanes + c)));
#pragma GCC unroll 2
        for (int f = 0; f < kF; ++f) acc[f][p] = dot(acc[f][p], x, w[f]);
      }
      u += kF * 2 * kLanes;
      if (ahead) {
#pragma GCC unroll 2
        for (int f = 0; f < kF; ++f) __builtin_prefetch(ahead + f * 4 * kLanes, 0, 2);
        ahead += kF * 4 * kLanes;
      }
    }
    if constexpr (kStage >= 0) {
      if (others.left > 0) transform_next<kStage>(others);
    }
  } while (++b < t.blocks);
}

template <int kP, int kF, int kStage>
SX_INLINE void multiply(const WinogradBytesProduct& t, WinogradBytesWeights& others) {
  U acc[kF][kP];
#pragma GCC unroll 14
  for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) acc[f][p] = U{};
  }
  sum_products<kP, kF, kStage>(t, others, acc);
  int32_t* m = t.m;
#pragma GCC unroll 14
  for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) store(m + (p * kF + f) * kLanes, reinterpret_cast<I>(acc[f][p]));
  }
}
template <int kP, int kF>
void product(const WinogradBytesProduct& t) {
  WinogradBytesWeights none;
  multiply<kP, kF, -1>(t, none);
}
template <int kP, int kStage>
void product_among(const WinogradBytesProduct& t, WinogradBytesWeights& others) {
  WinogradBytesWeights weights = others;
  multiply<kP, kBytesTileFilters, kStage>(t, weights);
  others = weights;
}

template <int kRows, int kColumns, bool kResidual>
SX_INLINE void transform_output(const WinogradBytesOutput& out) {
  U half[kRows][6];
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    if (!has_point<kColumns>(j)) continue;
    U m[6], y[kRows];
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i)
      if (has_point<kRows>(i)) m[i] = reinterpret_cast<U>(load(out.m + (i * 6 + j) * out.m_step));
    from_points<kRows>(m, y);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) half[i][j] = y[i];
  }
  const U start = reinterpret_cast<U>(load(out.starts));
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    U y[kColumns];
    I sums[kColumns];
    from_points<kColumns>(half[i], y);
    // 24 * 24 = 9 * 64: times the inverse of 9 modulo 2^32, a sum that fits 26 bits stands in the upper ones.
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j)
      sums[j] = reinterpret_cast<I>(reinterpret_cast<U>(reinterpret_cast<I>(y[j] * 0x38e38e39u) >> 6) + start);
    finish<kColumns, kResidual>(sums, out.scales, *out.tail, kResidual ? out.residual + i * out.row_step : nullptr,
                                out.y + i * out.row_step);
  }
}
template <int kRows, int kColumns>
void transform_output(const WinogradBytesOutput& out) {
  if (out.residual) transform_output<kRows, kColumns, true>(out);
  else transform_output<kRows, kColumns, false>(out);
}

#define SX_SIZE(p) {product<p, 1>, product<p, 2>}
constexpr WinogradBytesProductFunction kProducts[kMost][kBytesTileFilters] = {
    SX_SIZE(1),  SX_SIZE(2),  SX_SIZE(3), SX_SIZE(4),
#if SX_ISA_LEVEL >= 2
    SX_SIZE(5),  SX_SIZE(6),  SX_SIZE(7), SX_SIZE(8), SX_SIZE(9), SX_SIZE(10), SX_SIZE(11), SX_SIZE(12),
#endif
#if SX_ISA_LEVEL >= 3
    SX_SIZE(13), SX_SIZE(14),
#endif
};
#undef SX_SIZE
#if SX_ISA_LEVEL >= 3
#define SX_SIZE(p)                                                \
  {product_among<p, 0>, product_among<p, 1>, product_among<p, 2>, \
   product_among<p, 3>, product_among<p, 4>, product_among<p, 5>}
constexpr WinogradBytesProductAmong kProductsAmong[kMostAmong][kWinogradPoints] = {SX_SIZE(1), SX_SIZE(2), SX_SIZE(3),
                                                                                   SX_SIZE(4), SX_SIZE(5), SX_SIZE(6)};
#undef SX_SIZE
#endif

}  // namespace winograd_u8

constexpr WinogradBytesKernel kWinogradBytesKernel = {
    winograd_u8::kMost,
    winograd_u8::kRowsOfStage,
    {{winograd_u8::transform_input<4, 4>, winograd_u8::transform_input<4, 3>},
     {winograd_u8::transform_input<3, 4>, winograd_u8::transform_input<3, 3>}},
    {winograd_u8::transform_weights<0>, winograd_u8::transform_weights<1>, winograd_u8::transform_weights<2>,
#if SX_ISA_LEVEL >= 3
     winograd_u8::transform_weights<3>, winograd_u8::transform_weights<4>, winograd_u8::transform_weights<5>
#endif
    },
    winograd_u8::kProducts,
#if SX_ISA_LEVEL >= 3
    winograd_u8::kProductsAmong,
#else
    nullptr,
#endif
    {{winograd_u8::transform_output<4, 4>, winograd_u8::transform_output<4, 3>},
     {winograd_u8::transform_output<3, 4>, winograd_u8::transform_output<3, 3>}}};

}  // namespace SX_ISA
}  // namespace sx
