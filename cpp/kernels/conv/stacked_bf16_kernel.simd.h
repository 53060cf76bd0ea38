// Kernels for stacked data in bf16, for the tier that multiplies it.
namespace sx {
namespace SX_ISA {

#if SX_ISA_LEVEL >= 4
#include "kernels/vec.h"
#include "kernels/vec_bf16.h"
#include "kernels/conv/stacked_outer.simd.h"

namespace stacked_bf16 {

struct Pairs {
  static SX_INLINE F add(float x, F dy, F sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(splat(x)), reinterpret_cast<__m512bh>(dy));
  }
};

void outer(const OuterSums& w, float* sums) { stacked_outer::any<Pairs, false>(w, sums); }

void pair_rows(const float* x, int64_t rows, int64_t width, float* words) {
  for (; rows > 0; rows -= 2, x += 2 * width, words += width) {
    for (int64_t j = 0; j < width; j += kLanes) {
      const F odd = rows > 1 ? load(x + width + j) : F{};
      store(words + j, from_bits(pairs_of_rows(load(x + j), odd)));
    }
  }
}

void narrow(const float* x, int64_t n, BFloat16* y) {
  for (int64_t i = 0; i < n; i += kLanes) store(y + i, load(x + i));
}

}  // namespace stacked_bf16

constexpr StackedBf16Kernel kStackedBf16Kernel = {stacked_bf16::pair_rows, stacked_bf16::narrow, stacked_bf16::outer};
#endif

}  // namespace SX_ISA
}  // namespace sx
