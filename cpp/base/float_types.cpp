// Conversions between float and the floating-point kinds of at most 8 bits: 256-entry tables out, integer rounding in.
#include "base/float_types.h"

#include <array>

namespace sx {
namespace {

// One sign bit, `exponent_bits` and `mantissa_bits` filling `width` bits; all codes up to `max_code` are finite.
struct Format {
  int mantissa_bits;
  int bias;
  int sign_bit;
  int max_code;       // the largest finite magnitude
  int infinity_code;  // -1: the kind has no infinity
  int nan_code;       // -1: the kind has no NaN
  bool signed_zero;   // false: 0x80 is the one NaN and -0 becomes 0
};

template <int Tag>
constexpr Format format_of();
template <>
constexpr Format format_of<17>() {
  return {3, 7, 7, 0x7e, -1, 0x7f, true};
}
template <>
constexpr Format format_of<18>() {
  return {3, 8, 7, 0x7f, -1, 0x80, false};
}
template <>
constexpr Format format_of<19>() {
  return {2, 15, 7, 0x7b, 0x7c, 0x7e, true};
}
template <>
constexpr Format format_of<20>() {
  return {2, 16, 7, 0x7f, -1, 0x80, false};
}
template <>
constexpr Format format_of<23>() {
  return {1, 1, 3, 0x7, -1, -1, true};
}
template <>
constexpr Format format_of<27>() {
  return {3, 1, 5, 0x1f, -1, -1, true};
}
template <>
constexpr Format format_of<28>() {
  return {2, 3, 5, 0x1f, -1, -1, true};
}

float decode(const Format& format, int code) {
  const int magnitude = code & ((1 << format.sign_bit) - 1);
  const bool negative = (code >> format.sign_bit) & 1;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  if (!format.signed_zero && code == format.nan_code) return nan;
  float value;
  if (magnitude > format.max_code) {
    value = magnitude == format.infinity_code ? std::numeric_limits<float>::infinity() : nan;
  } else {
    const int exponent = magnitude >> format.mantissa_bits;
    const int fraction = magnitude & ((1 << format.mantissa_bits) - 1);
    const int implicit = exponent == 0 ? 0 : 1 << format.mantissa_bits;
    const int scale = (exponent == 0 ? 1 : exponent) - format.bias - format.mantissa_bits;
    value = std::ldexp(static_cast<float>(implicit + fraction), scale);
  }
  return negative ? -value : value;
}

uint8_t encode_float(const Format& format, float value, bool saturate) {
  const uint32_t bits = bits_of(value);
  const int sign = static_cast<int>(bits >> 31) << format.sign_bit;
  if (std::isnan(value)) {
    // Without a NaN it becomes a zero; as in ml_dtypes, of the other sign.
    if (format.nan_code < 0) return static_cast<uint8_t>((1 << format.sign_bit) ^ sign);
    return static_cast<uint8_t>(format.signed_zero ? format.nan_code | sign : format.nan_code);
  }
  const int least_exponent = 1 - format.bias;
  int code = format.max_code + 1;
  if (!std::isinf(value)) {
    int exponent = static_cast<int>((bits >> 23) & 0xffu) - 127;
    if (exponent < least_exponent) exponent = least_exponent;
    // The significand in units of its last kept bit; the scaling is exact in double.
    const double units =
        std::nearbyint(std::ldexp(std::fabs(static_cast<double>(value)), format.mantissa_bits - exponent));
    // A carry out of the significand, and the step from subnormal to normal, fall out of the sum.
    const int64_t sum =
        (static_cast<int64_t>(exponent - least_exponent) << format.mantissa_bits) + static_cast<int64_t>(units);
    if (sum <= format.max_code) code = static_cast<int>(sum);
  }
  if (code > format.max_code) {
    if (saturate || format.nan_code < 0) {
      code = format.max_code;
    } else if (format.infinity_code >= 0) {
      code = format.infinity_code;
    } else if (format.signed_zero) {
      code = format.nan_code;
    } else {
      return static_cast<uint8_t>(format.nan_code);
    }
  }
  if (code == 0 && !format.signed_zero) return 0;
  return static_cast<uint8_t>(code | sign);
}

// E8M0 holds powers of two only: 2^(code - 127), and 0xff for NaN.
float decode_exponent(int code) {
  return code == 0xff ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, code - 127);
}

uint8_t encode_exponent(float value, bool saturate) {
  if (std::isnan(value) || value < 0) return 0xff;
  if (value == 0) return saturate ? 0 : 0xff;
  if (std::isinf(value)) return saturate ? 0xfe : 0xff;
  int exponent;
  const double significand = std::frexp(static_cast<double>(value), &exponent);  // in [0.5, 1)
  int code = exponent - 1 + 127;
  // To nearest; a tie goes up, as in ml_dtypes.
  if (significand >= 0.75) ++code;
  if (code < 0) return 0;
  if (code > 0xfe) return saturate ? 0xfe : 0xff;
  return static_cast<uint8_t>(code);
}

template <int Tag>
std::array<float, 256> make_table() {
  std::array<float, 256> table{};
  for (int code = 0; code < 256; ++code) {
    if constexpr (Tag == 24) {
      table[code] = decode_exponent(code);
    } else {
      constexpr Format kFormat = format_of<Tag>();
      table[code] = decode(kFormat, code & ((2 << kFormat.sign_bit) - 1));
    }
  }
  return table;
}

}  // namespace

template <int Tag>
Float8<Tag>::operator float() const {
  static const std::array<float, 256> table = make_table<Tag>();
  return table[bits];
}

template <int Tag>
uint8_t Float8<Tag>::encode(float value, bool saturate) {
  if constexpr (Tag == 24) {
    return encode_exponent(value, saturate);
  } else {
    return encode_float(format_of<Tag>(), value, saturate);
  }
}

template struct Float8<17>;
template struct Float8<18>;
template struct Float8<19>;
template struct Float8<20>;
template struct Float8<23>;
template struct Float8<24>;
template struct Float8<27>;
template struct Float8<28>;

}  // namespace sx
