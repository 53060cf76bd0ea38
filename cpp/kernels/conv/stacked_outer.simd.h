// Sums of outer products over pixels (OuterSums), for any kind of product: Products::add(x, dy, sum) adds those of one
// input with the lanes of dy. Included after vec.h, in the same way.
namespace stacked_outer {

template <typename Products, int kInputs, bool kSpread>
void of(const OuterSums& w, float* sums) {
  F acc[kInputs];
#pragma GCC unroll 16
  for (int i = 0; i < kInputs; ++i) acc[i] = F{};
  for (int64_t row = 0; row < w.rows; ++row) {
    for (int64_t column = 0; column < w.columns; ++column) {
      const float* x = w.x + row * w.x_row + column * w.x_column;
      const float* dy = w.dy + row * w.dy_row + column * w.dy_column;
      for (int64_t p = 0; p < w.pixels; ++p) {
        const F d = load(dy);
#pragma GCC unroll 16
        for (int i = 0; i < kInputs; ++i) acc[i] = Products::add(kSpread ? x[w.spread[i]] : x[i], d, acc[i]);
        x += w.x_pixel;
        dy += kLanes;
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kInputs; ++i) store(sums + i * w.sum_step, load(sums + i * w.sum_step) + acc[i]);
}

template <typename Products, bool kSpread>
SX_INLINE void any(const OuterSums& w, float* sums) {
  // Inputs that are summed up too many are those that fill up a block.
  if (w.inputs <= 4) return of<Products, 4, kSpread>(w, sums);
#if SX_ISA_LEVEL >= 1
  if (w.inputs <= 8) return of<Products, 8, kSpread>(w, sums);
#endif
#if SX_ISA_LEVEL >= 2
  if (w.inputs <= 12) return of<Products, 12, kSpread>(w, sums);
  of<Products, 16, kSpread>(w, sums);
#endif
}

}  // namespace stacked_outer
