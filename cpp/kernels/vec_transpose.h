// Transposes kLanes vectors of kLanes floats in registers. Included after vec.h, in the same way.

template <int kStep, int... kLane>
SX_INLINE F keep_low(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, ((kLane & kStep) ? kLanes + kLane - kStep : kLane)...);
}
template <int kStep, int... kLane>
SX_INLINE F keep_high(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, ((kLane & kStep) ? kLanes + kLane : kLane + kStep)...);
}

// Swaps the off-diagonal kStep x kStep blocks of each 2 kStep x 2 kStep block.
template <int kStep>
SX_INLINE void swap_blocks(F (&rows)[kLanes]) {
  using Lanes = std::make_integer_sequence<int, kLanes>;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & kStep) continue;
    const F a = rows[i], b = rows[i + kStep];
    rows[i] = keep_low<kStep>(a, b, Lanes());
    rows[i + kStep] = keep_high<kStep>(a, b, Lanes());
  }
}

SX_INLINE void transpose(F (&rows)[kLanes]) {
  swap_blocks<1>(rows);
  swap_blocks<2>(rows);
  if constexpr (kLanes >= 8) swap_blocks<4>(rows);
  if constexpr (kLanes >= 16) swap_blocks<8>(rows);
}
