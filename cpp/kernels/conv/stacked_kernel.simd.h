// Kernels for stacked data for one ISA; every lane is a channel.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/conv/stacked_outer.simd.h"

namespace stacked_f32 {

struct Floats {
  static SX_INLINE F add(float x, F dy, F sum) { return fma(splat(x), dy, sum); }
};

void outer(const OuterSums& w, float* sums) {
  if (w.spread) stacked_outer::any<Floats, true>(w, sums);
  else stacked_outer::any<Floats, false>(w, sums);
}

SX_INLINE I is_nan(F v) { return v != v; }

void maximum(const StackedMaxima& w, const float* x, float* y) {
  for (int64_t n = w.first; n < w.last; ++n) {
    F most = splat(-__builtin_inff());
    for (int64_t i = 0; i < w.rows; ++i) {
      for (int64_t j = 0; j < w.columns; ++j) {
        const F v = load(x + i * w.row_step + j * w.column_step + n * kLanes);
        most = ((v > most) | is_nan(v)) ? v : most;
      }
    }
    store(y + n * kLanes, most);
  }
}

void maximum_gradient(const StackedMaxima& w, const float* x, const float* y, const float* dy, float* dx) {
  for (int64_t n = w.first; n < w.last; ++n) {
    const F most = load(y + n * kLanes);
    F left = load(dy + n * kLanes);
    for (int64_t i = 0; i < w.rows; ++i) {
      for (int64_t j = 0; j < w.columns; ++j) {
        const int64_t at = i * w.row_step + j * w.column_step + n * kLanes;
        const F v = load(x + at);
        const I found = (v == most) | (is_nan(v) & is_nan(most));
        store(dx + at, load(dx + at) + (found ? left : F{}));
        left = found ? F{} : left;
      }
    }
  }
}

void scale_add(const float* x, const float* scale, const float* shift, const float* residual, float low, float high,
               int64_t n, float* y) {
  const F by = load(scale), plus = load(shift), least = splat(low), most = splat(high);
  for (int64_t i = 0; i < n; i += kLanes) {
    F v = fma(load(x + i), by, plus);
    if (residual) v = v + load(residual + i);
    store(y + i, min(most, max(least, v)));
  }
}

SX_INLINE F masked(const float* dy, const float* mask) {
  const F d = load(dy);
  return mask ? (load(mask) > F{} ? d : F{}) : d;
}

// In parts of 256 pixels that are added up afterwards.
template <bool kMask>
SX_INLINE void norm_sums_of(const float* dy, const float* mask, const float* x, F mean, int64_t pixels, float* sum,
                            float* products) {
  F total{}, total_products{};
  for (int64_t begin = 0; begin < pixels; begin += 256) {
    const int64_t end = pixels - begin < 256 ? pixels : begin + 256;
    F part[4] = {}, part_products[4] = {};
    int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const int64_t at = (i + k) * kLanes;
        const F d = masked(dy + at, kMask ? mask + at : nullptr);
        part[k] = part[k] + d;
        part_products[k] = fma(d, load(x + at) - mean, part_products[k]);
      }
    }
    for (; i < end; ++i) {
      const int64_t at = i * kLanes;
      const F d = masked(dy + at, kMask ? mask + at : nullptr);
      part[0] = part[0] + d;
      part_products[0] = fma(d, load(x + at) - mean, part_products[0]);
    }
    total = total + ((part[0] + part[1]) + (part[2] + part[3]));
    total_products = total_products + ((part_products[0] + part_products[1]) + (part_products[2] + part_products[3]));
  }
  store(sum, total);
  store(products, total_products);
}

void norm_sums(const float* dy, const float* mask, const float* x, const float* mean, int64_t pixels, float* sum,
               float* products) {
  if (mask) norm_sums_of<true>(dy, mask, x, load(mean), pixels, sum, products);
  else norm_sums_of<false>(dy, mask, x, load(mean), pixels, sum, products);
}

void norm_gradient(const float* dy, const float* mask, const float* x, const float* mean, const float* by_dy,
                   const float* by_x, const float* shift, int64_t pixels, float* dx) {
  const F m = load(mean), of_dy = load(by_dy), of_x = load(by_x), plus = load(shift);
  for (int64_t i = 0; i < pixels * kLanes; i += kLanes) {
    const F d = masked(dy + i, mask ? mask + i : nullptr);
    store(dx + i, fma(d, of_dy, fma(load(x + i) - m, of_x, plus)));
  }
}

void channel_sums(const float* x, int64_t pixels, float* sums) {
  F total{};
  for (int64_t begin = 0; begin < pixels; begin += 256) {
    const int64_t end = pixels - begin < 256 ? pixels : begin + 256;
    F part[4] = {};
    int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) part[k] = part[k] + load(x + (i + k) * kLanes);
    }
    for (; i < end; ++i) part[0] = part[0] + load(x + i * kLanes);
    total = total + ((part[0] + part[1]) + (part[2] + part[3]));
  }
  store(sums, total);
}

void relu_gradient(const float* dy, const float* y, int64_t n, float* dx) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(dx + i, load(y + i) > F{} ? load(dy + i) : F{});
  for (; i < n; ++i) dx[i] = y[i] > 0 ? dy[i] : 0.0f;
}

}  // namespace stacked_f32

constexpr StackedKernel kStackedKernel = {
    stacked_f32::outer,     stacked_f32::maximum,       stacked_f32::maximum_gradient, stacked_f32::scale_add,
    stacked_f32::norm_sums, stacked_f32::norm_gradient, stacked_f32::channel_sums,     stacked_f32::relu_gradient};

}  // namespace SX_ISA
}  // namespace sx
