// Transposes vectors of floats in registers: kLanes of them, or four. Included after vec.h, in the same way.

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

// Four elements.
constexpr int kQuarter = 4;
typedef float Quarter __attribute__((vector_size(kQuarter * 4)));

// In every quarter, the elements of a and b from kFirst on by turns: two pairs.
template <int kFirst, int... kLane>
SX_INLINE F interleave(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (kLane % 2 * kLanes + kLane / 4 * 4 + kLane % 4 / 2 + kFirst)...);
}
// In every quarter, the pair of a from kFirst on and that of b.
template <int kFirst, int... kLane>
SX_INLINE F join_pairs(F a, F b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (kLane % 4 / 2 * kLanes + kLane / 4 * 4 + kLane % 2 + kFirst)...);
}

// Element c of quarter q of rows[j] becomes element 4 q + j of what was row c.
SX_INLINE void transpose_quarters(F (&rows)[kQuarter]) {
  constexpr std::make_integer_sequence<int, kLanes> lanes;
  const F low = interleave<0>(rows[0], rows[1], lanes), more_low = interleave<0>(rows[2], rows[3], lanes);
  const F high = interleave<2>(rows[0], rows[1], lanes), more_high = interleave<2>(rows[2], rows[3], lanes);
  rows[0] = join_pairs<0>(low, more_low, lanes);
  rows[1] = join_pairs<2>(low, more_low, lanes);
  rows[2] = join_pairs<0>(high, more_high, lanes);
  rows[3] = join_pairs<2>(high, more_high, lanes);
}

SX_INLINE Quarter quarter(F v, int index) {
  if constexpr (kLanes == 16) {
    if (index == 3) return __builtin_shufflevector(v, v, 12 % kLanes, 13 % kLanes, 14 % kLanes, 15 % kLanes);
    if (index == 2) return __builtin_shufflevector(v, v, 8 % kLanes, 9 % kLanes, 10 % kLanes, 11 % kLanes);
  }
  if constexpr (kLanes >= 8) {
    if (index == 1) return __builtin_shufflevector(v, v, 4 % kLanes, 5 % kLanes, 6 % kLanes, 7 % kLanes);
  }
  return __builtin_shufflevector(v, v, 0, 1, 2, 3);
}
