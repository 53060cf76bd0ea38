// Tiles of channel-blocked convolutions for one ISA: of f32, or of bf16 where its products are.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_bf16.h"
#include "kernels/vec_transpose.h"

namespace blocked {

#if SX_ISA_LEVEL >= 4
using Element = BFloat16;
#else
using Element = float;
#endif
using Tile = BlockedTileOf<Element>;

#if SX_ISA_LEVEL >= 2
constexpr int kSizes[] = {14, 7, 4, 2, 1};
#else
constexpr int kSizes[] = {6, 3, 2, 1};
#endif
constexpr int kSizeCount = sizeof(kSizes) / sizeof(kSizes[0]);

// Where sums begin: at the bias of each filter, or at 0.
template <int kP, int kF>
SX_INLINE void begin(F (&acc)[kP][kF], const float* bias) {
#pragma GCC unroll 2
  for (int f = 0; f < kF; ++f) {
    const F first = bias ? load(bias + f * kLanes) : F{};
#pragma GCC unroll 14
    for (int p = 0; p < kP; ++p) acc[p][f] = first;
  }
}

// acc = tail(acc): residual and activation. The residual of block f of filters stands f * step further, that of output
// p p * pixel.
template <int kP, int kF, typename R>
SX_INLINE void finish(F (&acc)[kP][kF], const R* residual, int64_t step, int64_t pixel, const FilterTail& tail) {
  const F by = splat(tail.residual_scale);
  if (residual && !tail.residual_last) {
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) {
#pragma GCC unroll 14
      for (int p = 0; p < kP; ++p) acc[p][f] = fma(by, load(residual + f * step + p * pixel), acc[p][f]);
    }
  }
  if (tail.clip) {
    const F low = splat(tail.low), high = splat(tail.high);
#pragma GCC unroll 14
    for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
      for (int f = 0; f < kF; ++f) acc[p][f] = max(low, acc[p][f]);
    }
    if (tail.high < __builtin_inff()) {
#pragma GCC unroll 14
      for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
        for (int f = 0; f < kF; ++f) acc[p][f] = min(high, acc[p][f]);
      }
    }
  } else if (tail.activate) {
    float values[kP * kF * kLanes];
#pragma GCC unroll 14
    for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
      for (int f = 0; f < kF; ++f) store(values + (p * kF + f) * kLanes, acc[p][f]);
    }
    tail.activate(values, values, kP * kF * kLanes, tail.alpha, tail.beta);
#pragma GCC unroll 14
    for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
      for (int f = 0; f < kF; ++f) acc[p][f] = load(values + (p * kF + f) * kLanes);
    }
  }
  if (residual && tail.residual_last) {
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) {
#pragma GCC unroll 14
      for (int p = 0; p < kP; ++p) acc[p][f] = fma(by, load(residual + f * step + p * pixel), acc[p][f]);
    }
  }
}

// acc += the products of a word of weights for each filter with what meets it of each output: an element of f32, or a
// pair of bf16; with kLast the second of the pair counts as 0 and is not read. It is `step` from that of the output
// before, that of the first output of each half at x and at `second`.
template <int kP, int kF, bool kLast>
SX_INLINE void add_products(const Element* x, const Element* second, int64_t step, const float* w, F (&acc)[kP][kF]) {
  constexpr int kHalf = kP % 2 == 0 ? kP / 2 : kP;
  F wv[kF];
#pragma GCC unroll 2
  for (int f = 0; f < kF; ++f) wv[f] = load(w + f * kLanes);
#pragma GCC unroll 14
  for (int p = 0; p < kP; ++p) {
    const Element* from = p < kHalf ? x + p * step : second + (p - kHalf) * step;
#if SX_ISA_LEVEL >= 4
    int32_t word;
    if constexpr (kLast) word = from->bits;
    else __builtin_memcpy(&word, from, sizeof(word));
    const I xv = splat(word);
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f)
      acc[p][f] = _mm512_dpbf16_ps(acc[p][f], reinterpret_cast<__m512bh>(xv), reinterpret_cast<__m512bh>(wv[f]));
#else
    const F xv = splat(*from);
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) acc[p][f] = fma(xv, wv[f], acc[p][f]);
#endif
  }
}

// Sums over the windows. With kStep the outputs' inputs lie that far apart, else t.x_step.
template <int kP, int kF, int kStep>
SX_INLINE void sum_windows(const Tile& t, F (&acc)[kP][kF]) {
  constexpr int kInWord = sizeof(float) / sizeof(Element);
  const int64_t step = kStep > 0 ? kStep : t.x_step, half = t.x_half;
  const BlockedWindow& window = t.window;
  const float* ahead = t.ahead;
  const int64_t lines = ahead ? t.ahead_lines : 0;
  for (int64_t b = 0; b < window.blocks; ++b) {
    const int64_t length = b + 1 < window.blocks ? window.length : window.last_length;
    for (int64_t i = 0; i < window.rows; ++i) {
      const Element* x = t.x + b * window.x_block + i * window.x_row;
      const float* weights = t.weights + b * window.w_block + i * window.w_row;
      for (int64_t j = 0; j < window.columns; ++j) {
        for (int64_t line = 0; line < lines; ++line, ahead += kLineFloats) __builtin_prefetch(ahead, 0, 2);
        const float* w = weights;
        int64_t c = 0;
        for (; c + kInWord <= length; c += kInWord, w += kF * kLanes)
          add_products<kP, kF, false>(x + c, x + half + c, step, w, acc);
        if (c < length) add_products<kP, kF, true>(x + c, x + half + c, step, w, acc);
        x += window.x_column;
        weights += window.w_column;
      }
    }
  }
}

template <int kP, int kF>
void tile(const Tile& t) {
  F acc[kP][kF];
  begin(acc, t.bias);
  if (t.x_step == kLanes) sum_windows<kP, kF, kLanes>(t, acc);
  else sum_windows<kP, kF, 0>(t, acc);
#if SX_ISA_LEVEL >= 4
  if (t.wide) {
    finish<kP, kF>(acc, t.wide_residual, t.y_step, t.y_pixel, *t.tail);
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) {
#pragma GCC unroll 14
      for (int p = 0; p < kP; ++p) store(t.wide + f * t.y_step + p * t.y_pixel, acc[p][f]);
    }
    return;
  }
#endif
  finish<kP, kF>(acc, t.residual, t.y_step, t.y_pixel, *t.tail);
#pragma GCC unroll 2
  for (int f = 0; f < kF; ++f) {
#pragma GCC unroll 14
    for (int p = 0; p < kP; ++p) store(t.y + f * t.y_step + p * t.y_pixel, acc[p][f]);
  }
}

#if SX_ISA_LEVEL >= 4
void pair_pixels(const BFloat16* x, int64_t distance, int64_t n, BFloat16* pairs) {
  const I order = {0x00100000, 0x00110001, 0x00120002, 0x00130003, 0x00140004, 0x00150005, 0x00160006, 0x00170007,
                   0x00180008, 0x00190009, 0x001a000a, 0x001b000b, 0x001c000c, 0x001d000d, 0x001e000e, 0x001f000f};
  for (int64_t i = 0; i < n; ++i) {
    __m256i first;
    __builtin_memcpy(&first, x + i * kLanes, sizeof(first));
    __m512i pixels = _mm512_maskz_broadcast_i64x4(0xff, first);
    // The upper half of a vector that begins half a vector before the second pixel.
    if (distance > 0) pixels = _mm512_mask_loadu_epi64(pixels, 0xf0, x + (i + distance - 1) * kLanes);
    pixels = _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(order), pixels);
    __builtin_memcpy(static_cast<void*>(pairs + i * 2 * kLanes), &pixels, sizeof(pixels));
  }
}

template <int kP>
SX_INLINE void depthwise_tile(const PairsDepthwise& t, int64_t at) {
  F acc[kP][1];
  begin(acc, t.bias);
  const float* w = t.weights;
  for (int64_t i = 0; i < t.rows; ++i) {
    const BFloat16* row = t.pairs + at * t.step + i * t.row;
    for (int64_t j = 0; j < t.groups; ++j, w += kLanes) {
      const BFloat16* x = row + (j + 1 < t.groups ? j * t.group : t.last_group);
      const F weight = load(w);
#pragma GCC unroll 14
      for (int p = 0; p < kP; ++p) {
        F pair;
        __builtin_memcpy(&pair, x + p * t.step, sizeof(pair));
        acc[p][0] = _mm512_dpbf16_ps(acc[p][0], reinterpret_cast<__m512bh>(pair), reinterpret_cast<__m512bh>(weight));
      }
    }
  }
  finish<kP, 1>(acc, t.residual ? t.residual + at * kLanes : nullptr, 0, kLanes, *t.tail);
#pragma GCC unroll 14
  for (int p = 0; p < kP; ++p) store(t.y + (at + p) * kLanes, acc[p][0]);
}

void depthwise(const PairsDepthwise& work, int64_t outputs) {
  int64_t at = 0;
  for (; at + 14 <= outputs; at += 14) depthwise_tile<14>(work, at);
  for (; at + 7 <= outputs; at += 7) depthwise_tile<7>(work, at);
  for (; at + 4 <= outputs; at += 4) depthwise_tile<4>(work, at);
  for (; at < outputs; ++at) depthwise_tile<1>(work, at);
}
#endif

void scale(const Element* x, const float* factor, const float* shift, Element* y, int64_t n, const FilterTail& tail) {
  const F by = load(factor), plus = shift ? load(shift) : F{};
  const F low = tail.clip ? splat(tail.low) : splat(-__builtin_inff());
  const F high = tail.clip ? splat(tail.high) : splat(__builtin_inff());
  if (tail.activate) {
    constexpr int kPart = 32 * kLanes;
    float part[kPart];
    for (int64_t begin = 0; begin < n; begin += kPart) {
      const int64_t count = n - begin < kPart ? n - begin : kPart;
      for (int64_t i = 0; i < count; i += kLanes) store(part + i, load(x + begin + i) * by + plus);
      tail.activate(part, part, count, tail.alpha, tail.beta);
      for (int64_t i = 0; i < count; i += kLanes) store(y + begin + i, load(part + i));
    }
    return;
  }
  for (int64_t i = 0; i < n; i += kLanes) {
    F v = load(x + i) * by + plus;
    if (tail.clip) v = min(high, max(low, v));
    store(y + i, v);
  }
}

// The sum over pixels of x - shift, or of its square, in parts of 256 pixels that are added up afterwards.
template <bool kSquare>
SX_INLINE F sum_pixels(const Element* x, int64_t pixels, F shift) {
  F total{};
  for (int64_t begin = 0; begin < pixels; begin += 256) {
    const int64_t count = pixels - begin < 256 ? pixels - begin : 256;
    const Element* from = x + begin * kLanes;
    F part[4] = {};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const F v = load(from + (i + k) * kLanes) - shift;
        part[k] = kSquare ? fma(v, v, part[k]) : part[k] + v;
      }
    }
    for (; i < count; ++i) {
      const F v = load(from + i * kLanes) - shift;
      part[0] = kSquare ? fma(v, v, part[0]) : part[0] + v;
    }
    total = total + ((part[0] + part[1]) + (part[2] + part[3]));
  }
  return total;
}

void moments(const Element* x, int64_t pixels, float* mean, float* squares) {
  const F m = sum_pixels<false>(x, pixels, F{}) / static_cast<float>(pixels);
  store(mean, m);
  if (squares) store(squares, sum_pixels<true>(x, pixels, m));
}

void to_block(const float* x, int64_t stride, int channels, int64_t n, Element* y) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    F rows[kLanes];
    for (int c = 0; c < kLanes; ++c) {
      const float* row = x + c * stride + i;
      rows[c] = c >= channels ? F{} : count == kLanes ? load(row) : load_n(row, count);
    }
    transpose(rows);
    for (int k = 0; k < count; ++k) store(y + (i + k) * kLanes, rows[k]);
  }
}

void from_block(const Element* x, int64_t stride, int channels, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int count = static_cast<int>(n - i < kLanes ? n - i : kLanes);
    F columns[kLanes];
    for (int k = 0; k < kLanes; ++k) columns[k] = k < count ? load(x + (i + k) * kLanes) : F{};
    transpose(columns);
    for (int c = 0; c < channels; ++c) {
      if (count == kLanes) store(y + c * stride + i, columns[c]);
      else store_n(y + c * stride + i, columns[c], count);
    }
  }
}

void to_block_from_last(const float* x, int64_t stride, int channels, int64_t n, Element* y) {
  for (int64_t i = 0; i < n; ++i) {
    const float* from = x + i * stride;
    store(y + i * kLanes, channels == kLanes ? load(from) : load_n(from, channels));
  }
}

void from_block_to_last(const Element* x, int64_t stride, int channels, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const F v = load(x + i * kLanes);
    if (channels == kLanes) store(y + i * stride, v);
    else store_n(y + i * stride, v, channels);
  }
}

#define SX_SIZE(p) {tile<p, 1>, tile<p, 2>}
constexpr BlockedTileFunction<Element> kTiles[kSizeCount][2] = {
#if SX_ISA_LEVEL >= 2
    SX_SIZE(14), SX_SIZE(7), SX_SIZE(4), SX_SIZE(2), SX_SIZE(1),
#else
    SX_SIZE(6),
    SX_SIZE(3),
    SX_SIZE(2),
    SX_SIZE(1),
#endif
};
#undef SX_SIZE

constexpr BlockedKernelOf<Element> kKernel = {
    kLanes,
    kSizes,
    kSizeCount,
    kTiles,
    scale,
    moments,
    to_block,
    from_block,
    to_block_from_last,
    from_block_to_last,
#if SX_ISA_LEVEL >= 4
    pair_pixels,
    depthwise,
#else
    nullptr, nullptr,
#endif
};

}  // namespace blocked

#if SX_ISA_LEVEL >= 4
constexpr const BlockedKernelOf<BFloat16>& kBlockedBf16Kernel = blocked::kKernel;
using avx512::kBlockedKernel;
#else
constexpr const BlockedKernel& kBlockedKernel = blocked::kKernel;
#endif

}  // namespace SX_ISA
}  // namespace sx
