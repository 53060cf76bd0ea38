// 16 bytes of equal elements, the width that every machine of the baseline has: interleaving, for data movement.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace sx {

// T is an unsigned integer type of 1 to 8 bytes.
template <typename T>
struct Vector16 {
  static constexpr int kCount = 16 / sizeof(T);
  typedef T Native __attribute__((vector_size(16)));
  Native value;

  static Vector16 load(const T* from) {
    Vector16 v;
    std::memcpy(&v.value, from, 16);
    return v;
  }
  void store(T* to) const { std::memcpy(to, &value, 16); }
};

// a0 b0 a1 b1 ... of the first halves.
template <typename T>
Vector16<T> interleave_low(Vector16<T> a, Vector16<T> b) {
  if constexpr (sizeof(T) == 8) return {__builtin_shufflevector(a.value, b.value, 0, 2)};
  else if constexpr (sizeof(T) == 4) return {__builtin_shufflevector(a.value, b.value, 0, 4, 1, 5)};
  else if constexpr (sizeof(T) == 2) return {__builtin_shufflevector(a.value, b.value, 0, 8, 1, 9, 2, 10, 3, 11)};
  else return {__builtin_shufflevector(a.value, b.value, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)};
}

// The same of the second halves.
template <typename T>
Vector16<T> interleave_high(Vector16<T> a, Vector16<T> b) {
  if constexpr (sizeof(T) == 8) return {__builtin_shufflevector(a.value, b.value, 1, 3)};
  else if constexpr (sizeof(T) == 4) return {__builtin_shufflevector(a.value, b.value, 2, 6, 3, 7)};
  else if constexpr (sizeof(T) == 2) return {__builtin_shufflevector(a.value, b.value, 4, 12, 5, 13, 6, 14, 7, 15)};
  else return {__builtin_shufflevector(a.value, b.value, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)};
}

}  // namespace sx
