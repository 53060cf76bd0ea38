// Transposes of 32-bit words and of triples, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_transpose.h"

namespace transposes {

SX_INLINE void block(uint32_t* to, int64_t to_stride, const uint32_t* from, int64_t from_stride) {
  F rows[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) __builtin_memcpy(&rows[i], from + i * from_stride, sizeof(F));
  transpose(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) __builtin_memcpy(to + i * to_stride, &rows[i], sizeof(F));
}

void words(uint32_t* to, int64_t to_stride, const uint32_t* from, int64_t from_stride, int64_t rows, int64_t columns) {
  constexpr int64_t kLine = 16;  // words of a line of the cache, which are read together
#if SX_ISA_LEVEL >= 2
  // Vectors of half a line cross fewer lines where the data do not begin at one. But rows that lie 4096 bytes apart
  // meet in one set of the cache, and are better written a line at a time.
  if (to_stride % 1024 != 0 || rows % kLanes != 0 || columns % kLanes != 0)
    return avx2::transposes::words(to, to_stride, from, from_stride, rows, columns);
#endif
  for (int64_t top = 0; top < rows; top += kLine) {
    const int64_t bottom = top + kLine < rows ? top + kLine : rows;
    for (int64_t column = 0; column < columns; column += kLanes)
      for (int64_t row = top; row < bottom; row += kLanes)
        block(to + row * to_stride + column, to_stride, from + column * from_stride + row, from_stride);
  }
}

// Elements kFirst, kFirst + 3, ... of the three vectors a, b, c one behind another.
template <int kFirst, typename V, int... kLane>
SX_INLINE V every_third(V a, V b, V c, std::integer_sequence<int, kLane...>) {
  constexpr int kCount = sizeof...(kLane);
  const V two = __builtin_shufflevector(a, b, (3 * kLane + kFirst < 2 * kCount ? 3 * kLane + kFirst : 0)...);
  return __builtin_shufflevector(two, c, (3 * kLane + kFirst < 2 * kCount ? kLane : 3 * kLane + kFirst - kCount)...);
}

template <typename V, typename T>
SX_INLINE void split_triples(T* to, int64_t to_stride, const T* from, int64_t columns) {
  constexpr int kCount = sizeof(V) / sizeof(T);
  constexpr std::make_integer_sequence<int, kCount> lanes;
  int64_t i = 0;
  for (; i + kCount <= columns; i += kCount) {
    V in[3], out[3];
#pragma GCC unroll 3
    for (int k = 0; k < 3; ++k) __builtin_memcpy(&in[k], from + 3 * i + k * kCount, sizeof(V));
    out[0] = every_third<0>(in[0], in[1], in[2], lanes);
    out[1] = every_third<1>(in[0], in[1], in[2], lanes);
    out[2] = every_third<2>(in[0], in[1], in[2], lanes);
#pragma GCC unroll 3
    for (int row = 0; row < 3; ++row) __builtin_memcpy(to + row * to_stride + i, &out[row], sizeof(V));
  }
  for (; i < columns; ++i) {
    for (int row = 0; row < 3; ++row) to[row * to_stride + i] = from[3 * i + row];
  }
}

void three_words(uint32_t* to, int64_t to_stride, const uint32_t* from, int64_t columns) {
  split_triples<U>(to, to_stride, from, columns);
}
void three_bytes(uint8_t* to, int64_t to_stride, const uint8_t* from, int64_t columns) {
#if SX_ISA_LEVEL >= 1
  typedef uint8_t Bytes __attribute__((vector_size(16)));
  split_triples<Bytes>(to, to_stride, from, columns);
#else
  // Shuffles of bytes are slow here.
  for (int64_t i = 0; i < columns; ++i)
    for (int row = 0; row < 3; ++row) to[row * to_stride + i] = from[3 * i + row];
#endif
}

template <int... kLane>
SX_INLINE U even_then_odd(U a, U b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (2 * kLane + (2 * kLane < kLanes ? 0 : 1))...);
}
void every_second(uint32_t* to, const uint32_t* from, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    // The second vector ends with the last element that is used.
    U low, high;
    __builtin_memcpy(&low, from + 2 * i, sizeof(U));
    __builtin_memcpy(&high, from + 2 * i + kLanes - 1, sizeof(U));
    const U even = even_then_odd(low, high, std::make_integer_sequence<int, kLanes>());
    __builtin_memcpy(to + i, &even, sizeof(U));
  }
  for (; i < n; ++i) to[i] = from[2 * i];
}

}  // namespace transposes

constexpr TransposeKernel kTransposeKernel = {kLanes < 8 ? kLanes : 8, transposes::words, transposes::three_words,
                                              transposes::three_bytes, transposes::every_second};

}  // namespace SX_ISA
}  // namespace sx
