// Tiles of 8-bit channel-blocked convolutions for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace blocked_u8 {

#include "kernels/conv/bytes_tail.simd.h"

#if SX_ISA_LEVEL >= 3
constexpr int kParts = 1;
#else
constexpr int kParts = 2;
#endif
#if SX_ISA_LEVEL >= 3
constexpr int kMost = 14;
#elif SX_ISA_LEVEL == 2
constexpr int kMost = 12;
#else
constexpr int kMost = 4;
#endif

// One word of data in the form that meets weights, and the sum of its four products, added to acc.
struct Word {
  I part[kParts];
};
SX_INLINE Word word(I x) {
#if SX_ISA_LEVEL >= 3
  return {{x}};
#else
  const U u = reinterpret_cast<U>(x);
  return {{reinterpret_cast<I>(u & 0x00ff00ffu), reinterpret_cast<I>((u >> 8) & 0x00ff00ffu)}};
#endif
}
SX_INLINE I dot(I acc, const Word& x, const I (&w)[kParts]) {
#if SX_ISA_LEVEL >= 3
  return reinterpret_cast<I>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(acc), reinterpret_cast<__m512i>(x.part[0]),
                                                 reinterpret_cast<__m512i>(w[0])));
#else
  for (int i = 0; i < kParts; ++i) {
#if SX_ISA_LEVEL == 2
    acc = acc +
          reinterpret_cast<I>(_mm512_madd_epi16(reinterpret_cast<__m512i>(x.part[i]), reinterpret_cast<__m512i>(w[i])));
#elif SX_ISA_LEVEL == 1
    acc = acc +
          reinterpret_cast<I>(_mm256_madd_epi16(reinterpret_cast<__m256i>(x.part[i]), reinterpret_cast<__m256i>(w[i])));
#elif defined(__x86_64__)
    acc = acc +
          reinterpret_cast<I>(_mm_madd_epi16(reinterpret_cast<__m128i>(x.part[i]), reinterpret_cast<__m128i>(w[i])));
#else
    const I low = reinterpret_cast<I>(reinterpret_cast<U>(w[i]) << 16) >> 16;
    acc = acc + (x.part[i] & 0xffff) * low + (x.part[i] >> 16) * (w[i] >> 16);
#endif
  }
  return acc;
#endif
}

// Sums over the windows. With kStep the outputs' inputs lie that far apart, else t.x_step.
template <int kP, int kF, int kStep>
SX_INLINE void sum_windows(const BytesTile& t, I (&acc)[kF][kP]) {
  const int64_t step = kStep > 0 ? kStep : t.x_step;
  const BytesWindow& window = t.window;
  const int32_t* ahead = t.ahead;
  int64_t ahead_lines = t.ahead_lines;
  for (int64_t b = 0; b < window.blocks; ++b) {
    const int64_t length = b + 1 < window.blocks ? window.length : window.last_length;
    for (int64_t i = 0; i < window.rows; ++i) {
      const uint8_t* x = t.x + b * window.x_block + i * window.x_row;
      const int32_t* weights = t.weights + b * window.w_block + i * window.w_row;
      for (int64_t j = 0; j < window.columns; ++j) {
        const int32_t* w = weights;
        for (int64_t c = 0; c < length; ++c) {
          I wv[kF][kParts];
#pragma GCC unroll 2
          for (int f = 0; f < kF; ++f) {
#pragma GCC unroll 2
            for (int k = 0; k < kParts; ++k) wv[f][k] = load(w + (k * kF + f) * kLanes);
          }
#pragma GCC unroll 14
          for (int p = 0; p < kP; ++p) {
            const Word xv = word(splat(load_word(x + p * step + c * 4)));
#pragma GCC unroll 2
            for (int f = 0; f < kF; ++f) acc[f][p] = dot(acc[f][p], xv, wv[f]);
          }
          w += kF * kParts * kLanes;
          if (ahead_lines > 0) {
            __builtin_prefetch(ahead, 0, 2);
            ahead += kWordsOfLine;
            --ahead_lines;
          }
        }
        x += window.x_column;
        weights += window.w_column;
      }
    }
  }
}

template <int kP, int kF>
void tile(const BytesTile& t) {
  I acc[kF][kP];
#pragma GCC unroll 2
  for (int f = 0; f < kF; ++f) {
    const I start = load(t.starts + f * kLanes);
#pragma GCC unroll 14
    for (int p = 0; p < kP; ++p) acc[f][p] = start;
  }
  if (t.x_step == kLanes) sum_windows<kP, kF, kLanes>(t, acc);
  else if (t.x_step == 2 * kLanes) sum_windows<kP, kF, 2 * kLanes>(t, acc);
  else sum_windows<kP, kF, 0>(t, acc);
#pragma GCC unroll 2
  for (int f = 0; f < kF; ++f) {
    uint8_t* y = t.y + f * t.y_step;
    if (t.residual) finish<kP, true>(acc[f], t.scales + f * kLanes, *t.tail, t.residual + f * t.y_step, y);
    else finish<kP, false>(acc[f], t.scales + f * kLanes, *t.tail, nullptr, y);
  }
}

template <int kP>
void depthwise_tile(const BytesDepthwise& t, int64_t at) {
  const I start = load(t.starts);
  I acc[kP];
#pragma GCC unroll 8
  for (int p = 0; p < kP; ++p) acc[p] = start;
  const int32_t* w = t.weights;
  const int64_t step = t.quad_step;
  for (int64_t i = 0; i < t.rows; ++i) {
    const int32_t* x = t.quads + i * t.quad_row + at * step;
    for (int64_t j = 0; j < t.groups; ++j) {
      I wv[kParts];
#pragma GCC unroll 2
      for (int k = 0; k < kParts; ++k) wv[k] = load(w + k * kLanes);
#pragma GCC unroll 8
      for (int p = 0; p < kP; ++p) acc[p] = dot(acc[p], word(load(x + p * step)), wv);
      x += t.quad_group;
      w += kParts * kLanes;
    }
  }
  uint8_t* y = t.y + at * kLanes;
  if (t.residual) finish<kP, true>(acc, t.scales, *t.tail, t.residual + at * kLanes, y);
  else finish<kP, false>(acc, t.scales, *t.tail, nullptr, y);
}

void depthwise(const BytesDepthwise& work, int64_t outputs) {
  using Function = void (*)(const BytesDepthwise&, int64_t);
  constexpr Function kSizes[] = {depthwise_tile<1>, depthwise_tile<2>, depthwise_tile<3>, depthwise_tile<4>,
                                 depthwise_tile<5>, depthwise_tile<6>, depthwise_tile<7>, depthwise_tile<8>};
  int64_t at = 0;
  for (int64_t tiles = (outputs + 7) / 8; tiles > 0; --tiles) {
    const int64_t size = (outputs - at + tiles - 1) / tiles;
    kSizes[size - 1](work, at);
    at += size;
  }
}

void quads(const BytesQuads& work, const uint8_t* x, const uint16_t* masks, int32_t* out) {
  const uint8_t* from = x + work.begin * kLanes;
#if SX_ISA_LEVEL >= 2
  if (work.dilation == 1) {
    const __m512i words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes =
        _mm512_maskz_broadcast_i32x4(kAllLanes, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m512i fill = _mm512_set1_epi8(static_cast<char>(work.fill));
    for (int64_t i = 0; i < work.count; ++i) {
      const __m512i pixels = _mm512_mask_loadu_epi32(fill, masks[i], from + i * work.step * kLanes);
      const __m512i quad = _mm512_shuffle_epi8(_mm512_maskz_permutexvar_epi32(kAllLanes, words, pixels), bytes);
      _mm512_storeu_si512(out + i * kLanes, quad);
    }
    return;
  }
#endif
  for (int64_t i = 0; i < work.count; ++i) {
    U quad{};
    for (int k = 0; k < 4; ++k) {
      const bool there = (masks[i] >> (4 * k) & 1) != 0;
      const I value =
          there ? widen(from + (i * work.step + k * work.dilation) * kLanes) : splat(static_cast<int32_t>(work.fill));
      quad |= reinterpret_cast<U>(value) << (8 * k);
    }
    store(out + i * kLanes, reinterpret_cast<I>(quad));
  }
}

#if SX_ISA_LEVEL >= 2
// Rows of 16 bytes become columns.
SX_INLINE void transpose_bytes(__m128i (&v)[16]) {
  __m128i t[16];
#define SX_ZIP(from, to, bits)                                    \
  for (int i = 0; i < 8; ++i) {                                   \
    to[2 * i] = _mm_unpacklo_epi##bits(from[i], from[i + 8]);     \
    to[2 * i + 1] = _mm_unpackhi_epi##bits(from[i], from[i + 8]); \
  }
  SX_ZIP(v, t, 8)
  SX_ZIP(t, v, 8)
  SX_ZIP(v, t, 8)
  SX_ZIP(t, v, 8)
#undef SX_ZIP
}
#endif

void to_block(const uint8_t* x, int64_t stride, int channels, int64_t n, uint8_t flip, uint8_t* y) {
  int64_t i = 0;
#if SX_ISA_LEVEL >= 2
  const __m128i flips = _mm_set1_epi8(static_cast<char>(flip));
  for (; i + 16 <= n; i += 16) {
    __m128i v[16];
    for (int c = 0; c < 16; ++c) {
      v[c] = c < channels ? _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + c * stride + i)), flips)
                          : _mm_setzero_si128();
    }
    transpose_bytes(v);
    for (int k = 0; k < 16; ++k) _mm_storeu_si128(reinterpret_cast<__m128i*>(y + (i + k) * 16), v[k]);
  }
#endif
  for (; i < n; ++i) {
    for (int c = 0; c < kLanes; ++c) y[i * kLanes + c] = c < channels ? x[c * stride + i] ^ flip : 0;
  }
}

void from_block(const uint8_t* x, int64_t stride, int channels, int64_t n, uint8_t flip, uint8_t* y) {
  int64_t i = 0;
#if SX_ISA_LEVEL >= 2
  const __m128i flips = _mm_set1_epi8(static_cast<char>(flip));
  for (; i + 16 <= n; i += 16) {
    __m128i v[16];
    for (int k = 0; k < 16; ++k)
      v[k] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + (i + k) * 16)), flips);
    transpose_bytes(v);
    for (int c = 0; c < channels; ++c) _mm_storeu_si128(reinterpret_cast<__m128i*>(y + c * stride + i), v[c]);
  }
#endif
  for (; i < n; ++i) {
    for (int c = 0; c < channels; ++c) y[c * stride + i] = x[i * kLanes + c] ^ flip;
  }
}

void maximum(const uint8_t* x, int64_t step, uint8_t* y, int64_t blocks) {
  for (int64_t i = 0; i < blocks; ++i) {
    const Bytes a = load_bytes(x + i * step), b = load_bytes(y + i * kLanes);
    const Bytes most = a > b ? a : b;
    __builtin_memcpy(y + i * kLanes, &most, kLanes);
  }
}

void map(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t n) {
  int64_t i = 0;
#if SX_ISA_LEVEL >= 2
  const Table words = load_table(table);
  for (; i + 64 <= n; i += 64) _mm512_storeu_si512(y + i, look_up(words, _mm512_loadu_si512(x + i)));
#endif
  for (; i < n; ++i) y[i] = table[x[i]];
}

void sum(const uint8_t* x, int64_t pixels, int32_t* sums) {
  I part[4] = {};
  int64_t i = 0;
  for (; i + 4 <= pixels; i += 4) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) part[k] = part[k] + widen(x + (i + k) * kLanes);
  }
  for (; i < pixels; ++i) part[0] = part[0] + widen(x + i * kLanes);
  store(sums, (part[0] + part[1]) + (part[2] + part[3]));
}

void scale(const BytesScale& how, const uint8_t* x, const uint8_t* factors, uint8_t* y, int64_t pixels) {
  const F least = splat(static_cast<float>(-how.zero)), most = splat(static_cast<float>(255 - how.zero));
  const I zero = splat(how.zero);
  F factor = __builtin_convertvector(widen(factors) - how.factor_zero, F);
  if (how.first) factor = factor * how.scale;
  const F by = splat(how.first ? 1.0f : how.scale);
  for (int64_t i = 0; i < pixels; ++i) {
    const F data = __builtin_convertvector(widen(x + i * kLanes) - how.x_zero, F) * by;
    const I v = to_int_nearest(min(max(data * factor, least), most)) + zero;
    const Bytes bytes = __builtin_convertvector(v, Bytes);
    __builtin_memcpy(y + i * kLanes, &bytes, kLanes);
  }
}

#define SX_SIZE(p) {tile<p, 1>, tile<p, 2>}
constexpr BytesTileFunction kTiles[kMost][2] = {
    SX_SIZE(1),  SX_SIZE(2),  SX_SIZE(3), SX_SIZE(4),
#if SX_ISA_LEVEL >= 2
    SX_SIZE(5),  SX_SIZE(6),  SX_SIZE(7), SX_SIZE(8), SX_SIZE(9), SX_SIZE(10), SX_SIZE(11), SX_SIZE(12),
#endif
#if SX_ISA_LEVEL >= 3
    SX_SIZE(13), SX_SIZE(14),
#endif
};
#undef SX_SIZE

}  // namespace blocked_u8

constexpr BytesKernel kBytesKernel = {kLanes,
                                      blocked_u8::kParts,
                                      blocked_u8::kMost,
                                      blocked_u8::kTiles,
                                      blocked_u8::depthwise,
                                      blocked_u8::quads,
                                      blocked_u8::to_block,
                                      blocked_u8::from_block,
                                      blocked_u8::maximum,
                                      blocked_u8::map,
                                      blocked_u8::sum,
                                      blocked_u8::scale};

}  // namespace SX_ISA
}  // namespace sx
