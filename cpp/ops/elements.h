// Dispatch on element size, for operators that move elements and never look at them, and on numeric types.
#pragma once

#include <cstring>
#include <string>
#include <type_traits>

#include "base/dtype.h"
#include "base/error.h"

namespace sx {

// Storage of a 16-byte element.
struct Bytes16 {
  uint64_t low;
  uint64_t high;
};

// Calls f(T{}) with a T that has the size of `dtype`'s elements: uint8_t to uint64_t, Bytes16 or std::string.
template <typename F>
void with_storage(DType dtype, F&& f) {
  if (dtype == DType::kString) return f(std::string());
  switch (size_of(dtype)) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    case 8: return f(uint64_t{});
    case 16: return f(Bytes16{});
    default: fail(ErrorKind::kNotImplemented, "elements of type ", name_of(dtype), " cannot be moved");
  }
}

// Calls f(T{}) with the C++ type of a floating-point or integer type of 8 to 64 bits.
template <typename F>
void with_number(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32: return f(float{});
    case DType::kFloat64: return f(double{});
    case DType::kFloat16: return f(Float16{});
    case DType::kBFloat16: return f(BFloat16{});
    case DType::kInt8: return f(int8_t{});
    case DType::kInt16: return f(int16_t{});
    case DType::kInt32: return f(int32_t{});
    case DType::kInt64: return f(int64_t{});
    case DType::kUInt8: return f(uint8_t{});
    case DType::kUInt16: return f(uint16_t{});
    case DType::kUInt32: return f(uint32_t{});
    case DType::kUInt64: return f(uint64_t{});
    default: fail(ErrorKind::kNotImplemented, "arithmetic on elements of type ", name_of(dtype), " is not supported");
  }
}

template <typename T>
constexpr bool is_half_type = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;
// The type that arithmetic on T is done in.
template <typename T>
using Arithmetic = std::conditional_t<is_half_type<T>, float, T>;

// Copies `count` elements that do not overlap.
template <typename T>
void copy_run(T* to, const T* from, int64_t count) {
  if constexpr (std::is_trivially_copyable_v<T>) {
    if (count > 0) std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}
// Makes `count` elements equal to `value`.
template <typename T>
void fill_run(T* to, int64_t count, const T& value) {
  if constexpr (std::is_trivially_copyable_v<T>) {
    constexpr int64_t kBlock = 64 / sizeof(T);
    T block[kBlock];
    for (T& element : block) element = value;
    int64_t i = 0;
    for (; i + kBlock <= count; i += kBlock) std::memcpy(to + i, block, sizeof(block));
    for (; i < count; ++i) to[i] = block[0];
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = value;
  }
}
inline void copy_elements(DType dtype, void* to, const void* from, int64_t count) {
  if (dtype == DType::kString) {
    copy_run(static_cast<std::string*>(to), static_cast<const std::string*>(from), count);
  } else {
    copy_run(static_cast<char*>(to), static_cast<const char*>(from), count * static_cast<int64_t>(size_of(dtype)));
  }
}

// How many items of `bytes` bytes a thread should move at least, so that handing them out pays.
inline int64_t move_grain(int64_t bytes) {
  constexpr int64_t kChunk = int64_t{128} << 10;
  return bytes >= kChunk ? 1 : kChunk / (bytes > 0 ? bytes : 1);
}

}  // namespace sx
