// Comparisons, selection and masks of chains for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace chains {

template <Comparison kOp>
SX_INLINE I compare(F a, F b) {
  if constexpr (kOp == Comparison::kEqual) return a == b;
  if constexpr (kOp == Comparison::kLess) return a < b;
  if constexpr (kOp == Comparison::kLessOrEqual) return a <= b;
  if constexpr (kOp == Comparison::kGreater) return a > b;
  if constexpr (kOp == Comparison::kGreaterOrEqual) return a >= b;
}

template <Comparison kOp, bool kScalarA, bool kScalarB>
void compare_array(const float* a, const float* b, int32_t* y, int64_t n) {
  if (n <= 0) return;
  F va = splat(a[0]), vb = splat(b[0]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    if (!kScalarA) va = load(a + i);
    if (!kScalarB) vb = load(b + i);
    store(y + i, compare<kOp>(va, vb));
  }
  const int left = static_cast<int>(n - i);
  if (left == 0) return;
  if (!kScalarA) va = load_n(a + i, left);
  if (!kScalarB) vb = load_n(b + i, left);
  store_n(y + i, compare<kOp>(va, vb), left);
}

template <Logic kOp>
SX_INLINE I combine(I a, I b) {
  if constexpr (kOp == Logic::kAnd) return a & b;
  if constexpr (kOp == Logic::kOr) return a | b;
  if constexpr (kOp == Logic::kXor) return a ^ b;
}

template <Logic kOp>
void logic_array(const int32_t* a, const int32_t* b, int32_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, combine<kOp>(load(a + i), load(b + i)));
  const int left = static_cast<int>(n - i);
  if (left > 0) store_n(y + i, combine<kOp>(load_n(a + i, left), load_n(b + i, left)), left);
}

inline void negate_array(const int32_t* x, int32_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, ~load(x + i));
  const int left = static_cast<int>(n - i);
  if (left > 0) store_n(y + i, ~load_n(x + i, left), left);
}

// Bits pass as they are, those of NaN too.
SX_INLINE F choose(I mask, F a, F b) { return from_bits((mask & bits(a)) | (~mask & bits(b))); }

template <bool kScalarA, bool kScalarB>
void select_array(const int32_t* mask, const float* a, const float* b, float* y, int64_t n) {
  if (n <= 0) return;
  int32_t first[2];
  __builtin_memcpy(&first[0], a, sizeof(float));
  __builtin_memcpy(&first[1], b, sizeof(float));
  F va = from_bits(splat(first[0])), vb = from_bits(splat(first[1]));
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    if (!kScalarA) va = load(a + i);
    if (!kScalarB) vb = load(b + i);
    store(y + i, choose(load(mask + i), va, vb));
  }
  const int left = static_cast<int>(n - i);
  if (left == 0) return;
  if (!kScalarA) va = load_n(a + i, left);
  if (!kScalarB) vb = load_n(b + i, left);
  store_n(y + i, choose(load_n(mask + i, left), va, vb), left);
}

inline void number_array(const int32_t* mask, float* y, int64_t n) {
  const I one = bits(splat(1.0f));
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, from_bits(load(mask + i) & one));
  const int left = static_cast<int>(n - i);
  if (left > 0) store_n(y + i, from_bits(load_n(mask + i, left) & one), left);
}

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

inline void from_bytes(const uint8_t* x, int32_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Bytes group;
    __builtin_memcpy(&group, x + i, sizeof(group));
    store(y + i, __builtin_convertvector(group, I) != 0);
  }
  for (; i < n; ++i) y[i] = x[i] != 0 ? -1 : 0;
}

inline void to_bytes(const int32_t* x, uint8_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Bytes group = __builtin_convertvector(load(x + i) & 1, Bytes);
    __builtin_memcpy(y + i, &group, sizeof(group));
  }
  for (; i < n; ++i) y[i] = static_cast<uint8_t>(x[i] & 1);
}

}  // namespace chains

#define SX_FORMS(op)                                                                \
  {chains::compare_array<op, false, false>, chains::compare_array<op, false, true>, \
   chains::compare_array<op, true, false>, chains::compare_array<op, true, true>}
constexpr ChainKernel kChainKernel = {
    {SX_FORMS(Comparison::kEqual), SX_FORMS(Comparison::kLess), SX_FORMS(Comparison::kLessOrEqual),
     SX_FORMS(Comparison::kGreater), SX_FORMS(Comparison::kGreaterOrEqual)},
    {chains::logic_array<Logic::kAnd>, chains::logic_array<Logic::kOr>, chains::logic_array<Logic::kXor>},
    chains::negate_array,
    {chains::select_array<false, false>, chains::select_array<false, true>, chains::select_array<true, false>,
     chains::select_array<true, true>},
    chains::number_array,
    chains::from_bytes,
    chains::to_bytes,
};
#undef SX_FORMS

}  // namespace SX_ISA
}  // namespace sx
