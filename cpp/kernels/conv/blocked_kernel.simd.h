// Tiles of channel-blocked convolutions for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_transpose.h"

namespace blocked_f32 {

#if SX_ISA_LEVEL >= 2
constexpr int kSizes[] = {14, 7, 4, 2, 1};
#else
constexpr int kSizes[] = {6, 3, 2, 1};
#endif
constexpr int kSizeCount = sizeof(kSizes) / sizeof(kSizes[0]);

// acc = tail(acc): bias, residual and activation. The residual of block f of filters stands f * step further, that of
// output p p * pixel.
template <int kP, int kF>
SX_INLINE void finish(F (&acc)[kP][kF], const float* bias, const float* residual, int64_t step, int64_t pixel,
                      const FilterTail& tail) {
  if (bias) {
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) {
      const F b = load(bias + f * kLanes);
#pragma GCC unroll 14
      for (int p = 0; p < kP; ++p) acc[p][f] = acc[p][f] + b;
    }
  }
  const F by = splat(tail.residual_scale);
  if (residual && !tail.residual_last) {
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) {
#pragma GCC unroll 14
      for (int p = 0; p < kP; ++p) acc[p][f] = acc[p][f] + by * load(residual + f * step + p * pixel);
    }
  }
  if (tail.clip) {
    const F low = splat(tail.low), high = splat(tail.high);
#pragma GCC unroll 14
    for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
      for (int f = 0; f < kF; ++f) acc[p][f] = min(high, max(low, acc[p][f]));
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
      for (int p = 0; p < kP; ++p) acc[p][f] = acc[p][f] + by * load(residual + f * step + p * pixel);
    }
  }
}

// Sums over the windows. With kStep the outputs' inputs lie that far apart, else t.x_step.
template <int kP, int kF, int kStep>
SX_INLINE void sum_windows(const BlockedTile& t, F (&acc)[kP][kF]) {
  const int64_t step = kStep > 0 ? kStep : t.x_step;
  const BlockedWindow& window = t.window;
  for (int64_t b = 0; b < window.blocks; ++b) {
    const int64_t length = b + 1 < window.blocks ? window.length : window.last_length;
    for (int64_t i = 0; i < window.rows; ++i) {
      const float* x = t.x + b * window.x_block + i * window.x_row;
      const float* weights = t.weights + b * window.w_block + i * window.w_row;
      for (int64_t j = 0; j < window.columns; ++j) {
        const float* w = weights;
        for (int64_t c = 0; c < length; ++c) {
          F wv[kF];
#pragma GCC unroll 2
          for (int f = 0; f < kF; ++f) wv[f] = load(w + f * kLanes);
#pragma GCC unroll 14
          for (int p = 0; p < kP; ++p) {
            const F xv = splat(x[p * step + c]);
#pragma GCC unroll 2
            for (int f = 0; f < kF; ++f) acc[p][f] = fma(xv, wv[f], acc[p][f]);
          }
          w += kF * kLanes;
        }
        x += window.x_column;
        weights += window.w_column;
      }
    }
  }
}

template <int kP, int kF>
void tile(const BlockedTile& t) {
  F acc[kP][kF];
#pragma GCC unroll 14
  for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
    for (int f = 0; f < kF; ++f) acc[p][f] = F{};
  }
  if (t.x_step == kLanes) sum_windows<kP, kF, kLanes>(t, acc);
  else sum_windows<kP, kF, 0>(t, acc);
  finish<kP, kF>(acc, t.bias, t.residual, t.y_step, t.y_pixel, *t.tail);
#pragma GCC unroll 2
  for (int f = 0; f < kF; ++f) {
#pragma GCC unroll 14
    for (int p = 0; p < kP; ++p) store(t.y + f * t.y_step + p * t.y_pixel, acc[p][f]);
  }
}

void scale(const float* x, const float* factor, const float* shift, float* y, int64_t n, const FilterTail& tail) {
  const F by = load(factor), plus = shift ? load(shift) : F{};
  const F low = tail.clip ? splat(tail.low) : splat(-__builtin_inff());
  const F high = tail.clip ? splat(tail.high) : splat(__builtin_inff());
  for (int64_t i = 0; i < n; i += kLanes) {
    F v = load(x + i) * by + plus;
    if (tail.clip) v = min(high, max(low, v));
    store(y + i, v);
  }
  if (tail.activate) tail.activate(y, y, n, tail.alpha, tail.beta);
}

// The sum over pixels of x - shift, or of its square, in parts of 256 pixels that are added up afterwards.
template <bool kSquare>
SX_INLINE F sum_pixels(const float* x, int64_t pixels, F shift) {
  F total{};
  for (int64_t begin = 0; begin < pixels; begin += 256) {
    const int64_t count = pixels - begin < 256 ? pixels - begin : 256;
    const float* from = x + begin * kLanes;
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

void moments(const float* x, int64_t pixels, float* mean, float* squares) {
  const F m = sum_pixels<false>(x, pixels, F{}) / static_cast<float>(pixels);
  store(mean, m);
  store(squares, sum_pixels<true>(x, pixels, m));
}

void to_block(const float* x, int64_t stride, int channels, int64_t n, float* y) {
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

void from_block(const float* x, int64_t stride, int channels, int64_t n, float* y) {
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

#define SX_SIZE(p) {tile<p, 1>, tile<p, 2>}
constexpr BlockedTileFunction kTiles[kSizeCount][2] = {
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

}  // namespace blocked_f32

constexpr BlockedKernel kBlockedKernel = {kLanes,
                                          blocked_f32::kSizes,
                                          blocked_f32::kSizeCount,
                                          blocked_f32::kTiles,
                                          blocked_f32::scale,
                                          blocked_f32::moments,
                                          blocked_f32::to_block,
                                          blocked_f32::from_block};

}  // namespace SX_ISA
}  // namespace sx
