// 16-bit and narrower floating-point storage types with conversions to and from float (round to nearest even).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace sx {

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// IEEE 754 binary16.
struct Float16 {
  uint16_t bits = 0;

  Float16() = default;
  explicit Float16(float value) {
    const uint32_t from = bits_of(value);
    const uint32_t sign = (from >> 16) & 0x8000u;
    const uint32_t magnitude = from & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
      bits = static_cast<uint16_t>(sign | 0x7e00u);
    } else if (magnitude >= 0x47800000u) {
      bits = static_cast<uint16_t>(sign | 0x7c00u);
    } else if (magnitude >= 0x38800000u) {
      const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
      bits = static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
    } else {
      // Subnormal: adding 0.5 aligns the 10 result bits at the end of the significand and rounds to nearest even.
      const float aligned = float_of(magnitude) + 0.5f;
      bits = static_cast<uint16_t>(sign | (bits_of(aligned) - bits_of(0.5f)));
    }
  }
  explicit operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fu;
    const uint32_t fraction = bits & 0x3ffu;
    if (exponent == 0x1f) return float_of(sign | 0x7f800000u | (fraction << 13));
    if (exponent != 0) return float_of(sign | ((exponent + 112) << 23) | (fraction << 13));
    const float magnitude = static_cast<float>(fraction) * 5.9604644775390625e-08f;  // 2^-24
    return sign ? -magnitude : magnitude;
  }
};

// The upper half of a binary32.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  explicit BFloat16(float value) {
    const uint32_t from = bits_of(value);
    if ((from & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<uint16_t>((from >> 16) | 0x40u);
    } else {
      bits = static_cast<uint16_t>((from + 0x7fffu + ((from >> 16) & 1u)) >> 16);
    }
  }
  explicit operator float() const { return float_of(static_cast<uint32_t>(bits) << 16); }
};

inline bool is_nan(Float16 x) { return (x.bits & 0x7fffu) > 0x7c00u; }
inline bool is_nan(BFloat16 x) { return (x.bits & 0x7fffu) > 0x7f80u; }

// Kinds of at most eight bits as the ONNX specification and ml_dtypes define them. `Tag` only keeps the types apart;
// conversions live in float_types.cpp because they are table driven.
template <int Tag>
struct Float8 {
  uint8_t bits = 0;

  Float8() = default;
  explicit Float8(float value) : bits(encode(value, true)) {}
  explicit operator float() const;
  // With `saturate` false, a value out of range becomes infinity where the kind has one, else NaN.
  static uint8_t encode(float value, bool saturate);
};
using Float8E4M3FN = Float8<17>;
using Float8E4M3FNUZ = Float8<18>;
using Float8E5M2 = Float8<19>;
using Float8E5M2FNUZ = Float8<20>;
using Float8E8M0 = Float8<24>;
// Four and six bits at the low end of a byte (see DType: sub-byte elements are stored one to a byte).
using Float4E2M1 = Float8<23>;
using Float6E2M3 = Float8<27>;
using Float6E3M2 = Float8<28>;

}  // namespace sx
