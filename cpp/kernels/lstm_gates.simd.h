// The gates of an LSTM for one ISA: what is multiplied shares a division.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_math.h"

namespace lstm {

// sigmoid(x) = 1 / over_sigmoid(x)
SX_INLINE F over_sigmoid(F x) { return 1.0f + coarse_exp(-x); }

SX_INLINE void step(const F (&sums)[4], F c, F* next_c, F* h) {
  const Fraction cell = tanh_fraction(sums[3]);
  *next_c = c / over_sigmoid(sums[2]) + cell.over / (over_sigmoid(sums[0]) * cell.under);
  const Fraction out = tanh_fraction(*next_c);
  *h = out.over / (over_sigmoid(sums[1]) * out.under);
}

void gates(const float* sums, int64_t n, float* c, float* h) {
  F next_c, next_h;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    step({load(sums + i), load(sums + n + i), load(sums + 2 * n + i), load(sums + 3 * n + i)}, load(c + i), &next_c,
         &next_h);
    store(c + i, next_c);
    store(h + i, next_h);
  }
  const int left = static_cast<int>(n - i);
  if (left == 0) return;
  step({load_n(sums + i, left), load_n(sums + n + i, left), load_n(sums + 2 * n + i, left),
        load_n(sums + 3 * n + i, left)},
       load_n(c + i, left), &next_c, &next_h);
  store_n(c + i, next_c, left);
  store_n(h + i, next_h, left);
}

}  // namespace lstm

constexpr LstmGates kLstmGates = lstm::gates;

}  // namespace SX_ISA
}  // namespace sx
