// Row joins for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace pool_f32 {

struct Maximum {
  SX_INLINE F operator()(F a, F b) const { return ((b > a) | (b != b)) ? b : a; }
  SX_INLINE float operator()(float a, float b) const { return b > a || b != b ? b : a; }
};
struct Sum {
  SX_INLINE F operator()(F a, F b) const { return a + b; }
  SX_INLINE float operator()(float a, float b) const { return a + b; }
};

template <int... kLane>
SX_INLINE F even_lanes(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (2 * kLane)...);
}

template <typename Join>
void join(const float* x, int64_t step, float* y, int64_t n) {
  const Join both;
  int64_t i = 0;
  if (step == 1) {
    for (; i + kLanes <= n; i += kLanes) store(y + i, both(load(y + i), load(x + i)));
  } else if (step == 2) {
    // The second vector ends one past the last element that is used, so one group fewer is done at a time.
    for (; i + kLanes < n; i += kLanes) {
      const F v = even_lanes(load(x + 2 * i), load(x + 2 * i + kLanes), std::make_integer_sequence<int, kLanes>());
      store(y + i, both(load(y + i), v));
    }
  }
  for (; i < n; ++i) y[i] = both(y[i], x[i * step]);
}

}  // namespace pool_f32

constexpr PoolKernel kPoolKernel = {pool_f32::join<pool_f32::Maximum>, pool_f32::join<pool_f32::Sum>};

}  // namespace SX_ISA
}  // namespace sx
