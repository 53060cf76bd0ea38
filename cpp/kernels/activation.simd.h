// Array functions of all activations for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_math.h"
#include "kernels/vec_circular.h"

// x / (1 + exp(-alpha * x)), with 2^r for |r| <= 1/2 as a cubic that is off by 2^-13.7 of it.
SX_INLINE F coarse_swish(F x, F alpha, F) {
  const F u = max(splat(-125.0f), min(splat(125.0f), x * (alpha * -1.44269504088896341f)));
  const F k = round_even(u), r = u - k;
  F p = fma(splat(0.0551716685f), r, splat(0.242611125f));
  p = fma(p, r, splat(0.693260968f));
  p = fma(p, r, splat(0.999928057f));
#if SX_ISA_LEVEL >= 2
  const F sum = _mm512_maskz_scalef_ps(kAllLanes, p, k) + 1.0f;
  return x * _mm512_maskz_rcp14_ps(kAllLanes, sum);
#else
  return x / (scale_by_power(p, to_int_nearest(k)) + 1.0f);
#endif
}

// Phi(x) + x phi(x) for the normal distribution Phi and its density phi; far out, 0 and 1.
SX_INLINE F gelu_slope(F x) {
  const F c = max(splat(-20.0f), min(splat(20.0f), x));
  const F density = 0.398942280f * exp(-0.5f * c * c);
  return fma(c, density, 0.5f * (1.0f + erf(0.707106781f * c)));
}

void gelu_gradient_array(const float* x, const float* dy, float* dx, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(dx + i, load(dy + i) * gelu_slope(load(x + i)));
  const int left = static_cast<int>(n - i);
  if (left > 0) store_n(dx + i, load_n(dy + i, left) * gelu_slope(load_n(x + i, left)), left);
}

template <Activation kKind>
SX_INLINE F evaluate(F x, F alpha, F beta) {
  if constexpr (is_circular(kKind)) return circular<kKind>(x);
  else return activate<kKind>(x, alpha, beta);
}

template <int... kKind>
constexpr ActivationTable make_activation_table(std::integer_sequence<int, kKind...>) {
  return {{map_array<evaluate<static_cast<Activation>(kKind)>>...},
          coarsely_activate_array<Activation::kGelu>,
          coarsely_activate_array<Activation::kGeluTanh>,
          map_array<coarse_swish>,
          gelu_gradient_array};
}

constexpr ActivationTable kActivations = make_activation_table(std::make_integer_sequence<int, kActivationCount>());

}  // namespace SX_ISA
}  // namespace sx
