// Cast, CastLike: y = x with another element type; BitCast: the same bits under another element type.
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cast.h"
#include "ops/convert.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr DTypeSet kCastTypes = kAllTypes - kComplex;
// Types that C++ has, bool among them.
constexpr DTypeSet kNative = (kNumbers - kHalfFloats) | DType::kBool;
constexpr int64_t kBlock = 512;

enum class RoundMode { kUp, kDown, kNearest };

struct CastOptions {
  bool saturate = true;
  RoundMode round = RoundMode::kUp;
};

// --- between the types of C++

// Out of range, the conversions give what x86 gives: the least int32 or int64, of which narrower types take the low
// bits.
int32_t to_int32(double x) { return x > -2147483649.0 && x < 2147483648.0 ? static_cast<int32_t>(x) : INT32_MIN; }
int64_t to_int64(double x) {
  return x >= -9223372036854775808.0 && x < 9223372036854775808.0 ? static_cast<int64_t>(x) : INT64_MIN;
}
uint64_t to_uint64(double x) {
  if (x < 9223372036854775808.0) return static_cast<uint64_t>(to_int64(x));
  return x < 18446744073709551616.0 ? static_cast<uint64_t>(x) : 0;
}

template <typename To, typename From>
To cast_number(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if constexpr (std::is_same_v<To, uint64_t>) return to_uint64(x);
    else if constexpr (std::is_same_v<To, int64_t> || std::is_same_v<To, uint32_t>) return static_cast<To>(to_int64(x));
    else return static_cast<To>(to_int32(x));
  } else {
    return static_cast<To>(x);
  }
}

template <typename F>
void with_native(DType dtype, F f) {
  switch (dtype) {
    case DType::kFloat32: return f(float());
    case DType::kFloat64: return f(double());
    case DType::kBool: return f(bool());
    default: return with_integer(dtype, f);
  }
}

using Loop = void (*)(const void*, void*, int64_t);

Loop native_loop(DType from, DType to) {
  Loop loop = cast_function(from, to);
  if (loop != nullptr) return loop;
  with_native(from, [&](auto x) {
    with_native(to, [&](auto y) {
      using X = decltype(x);
      using Y = decltype(y);
      loop = [](const void* source, void* target, int64_t n) {
        const X* in = static_cast<const X*>(source);
        Y* out = static_cast<Y*>(target);
        generate(out, n, [=](int64_t i) { return cast_number<Y>(in[i]); });
      };
    });
  });
  return loop;
}

// --- kinds that C++ does not have, through float or int64

template <typename T>
void load_float8(const void* from, float* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(static_cast<const T*>(from)[i]);
}

template <typename T>
void store_float8(const float* from, void* to, int64_t n, bool saturate) {
  for (int64_t i = 0; i < n; ++i) static_cast<T*>(to)[i].bits = T::encode(from[i], saturate);
}

// The exponent of a positive x, by the rounding asked for; 0xff for NaN, infinity and what does not fit.
uint8_t encode_e8m0(float x, const CastOptions& options) {
  const uint32_t bits = bits_of(x);
  uint32_t exponent = (bits >> 23) & 0xffu;
  const uint32_t fraction = bits & 0x7fffffu;
  if (exponent == 0xff) return 0xff;
  bool up = false;
  if (options.round == RoundMode::kUp) up = fraction != 0;
  if (options.round == RoundMode::kNearest) up = fraction > 0x400000u || (fraction == 0x400000u && exponent > 0);
  if (up && !(options.saturate && exponent == 0xfe)) ++exponent;
  return static_cast<uint8_t>(exponent);
}

bool holds_float(DType dtype) { return is_float(dtype) && dtype != DType::kFloat64; }

void load_as_float(DType dtype, const void* from, float* to, int64_t n) {
  switch (dtype) {
    case DType::kFloat8E4M3FN: return load_float8<Float8E4M3FN>(from, to, n);
    case DType::kFloat8E4M3FNUZ: return load_float8<Float8E4M3FNUZ>(from, to, n);
    case DType::kFloat8E5M2: return load_float8<Float8E5M2>(from, to, n);
    case DType::kFloat8E5M2FNUZ: return load_float8<Float8E5M2FNUZ>(from, to, n);
    case DType::kFloat8E8M0: return load_float8<Float8E8M0>(from, to, n);
    case DType::kFloat4E2M1: return load_float8<Float4E2M1>(from, to, n);
    case DType::kFloat6E2M3: return load_float8<Float6E2M3>(from, to, n);
    case DType::kFloat6E3M2: return load_float8<Float6E3M2>(from, to, n);
    default: return load_floats(dtype, from, to, n);
  }
}

void store_from_float(DType dtype, const float* from, void* to, int64_t n, const CastOptions& options) {
  switch (dtype) {
    case DType::kFloat8E4M3FN: return store_float8<Float8E4M3FN>(from, to, n, options.saturate);
    case DType::kFloat8E4M3FNUZ: return store_float8<Float8E4M3FNUZ>(from, to, n, options.saturate);
    case DType::kFloat8E5M2: return store_float8<Float8E5M2>(from, to, n, options.saturate);
    case DType::kFloat8E5M2FNUZ: return store_float8<Float8E5M2FNUZ>(from, to, n, options.saturate);
    case DType::kFloat4E2M1: return store_float8<Float4E2M1>(from, to, n, options.saturate);
    case DType::kFloat6E2M3: return store_float8<Float6E2M3>(from, to, n, options.saturate);
    case DType::kFloat6E3M2: return store_float8<Float6E3M2>(from, to, n, options.saturate);
    case DType::kFloat8E8M0:
      for (int64_t i = 0; i < n; ++i) static_cast<uint8_t*>(to)[i] = encode_e8m0(from[i], options);
      return;
    default: return store_floats(dtype, from, to, n);
  }
}

// The low `bits` bits of x as it is kept in memory: sign-extended where the type is signed.
uint8_t narrow(int64_t x, int bits, bool is_signed) {
  const int mask = (1 << bits) - 1;
  const int low = static_cast<int>(x & mask);
  return static_cast<uint8_t>(is_signed && (low >> (bits - 1)) ? low | ~mask : low);
}

void load_as_int64(DType dtype, const void* from, int64_t* to, int64_t n) {
  if (is_signed_integer(dtype)) {
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<const int8_t*>(from)[i];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<const uint8_t*>(from)[i];
  }
}

void store_from_int64(DType dtype, const int64_t* from, void* to, int64_t n) {
  const int bits = file_bits(dtype);
  const bool is_signed = is_signed_integer(dtype);
  for (int64_t i = 0; i < n; ++i) static_cast<uint8_t*>(to)[i] = narrow(from[i], bits, is_signed);
}

// The float next to x on the side that keeps a second rounding right: inexact results get an odd last bit.
float round_to_odd(double x) {
  const float y = static_cast<float>(x);
  if (static_cast<double>(y) == x || std::isnan(y) || std::isinf(y)) return y;
  if (bits_of(y) & 1u) return y;
  const bool toward_zero = std::fabs(static_cast<double>(y)) < std::fabs(x);
  return float_of(toward_zero ? bits_of(y) + 1 : bits_of(y) - 1);
}

void cast_block(DType from, DType to, const void* x, void* y, int64_t n, const CastOptions& options) {
  alignas(64) float floats[kBlock];
  alignas(64) int64_t integers[kBlock];
  if (kNative.has(from) && kNative.has(to)) return native_loop(from, to)(x, y, n);
  const bool through_float =
      (holds_float(from) && from != DType::kFloat32) || (holds_float(to) && to != DType::kFloat32);
  if (through_float) {
    if (from == DType::kFloat64) {
      for (int64_t i = 0; i < n; ++i) floats[i] = round_to_odd(static_cast<const double*>(x)[i]);
    } else if (holds_float(from)) {
      load_as_float(from, x, floats, n);
    } else if (kNarrowIntegers.has(from)) {
      load_as_int64(from, x, integers, n);
      for (int64_t i = 0; i < n; ++i) floats[i] = static_cast<float>(integers[i]);
    } else {
      native_loop(from, DType::kFloat32)(x, floats, n);
    }
    if (holds_float(to)) return store_from_float(to, floats, y, n, options);
    if (!kNarrowIntegers.has(to)) return native_loop(DType::kFloat32, to)(floats, y, n);
    native_loop(DType::kFloat32, DType::kInt64)(floats, integers, n);
    return store_from_int64(to, integers, y, n);
  }
  if (kNarrowIntegers.has(from)) load_as_int64(from, x, integers, n);
  else native_loop(from, DType::kInt64)(x, integers, n);
  if (kNarrowIntegers.has(to)) store_from_int64(to, integers, y, n);
  else native_loop(DType::kInt64, to)(integers, y, n);
}

// --- strings

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  text = text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
  return text[0] == '+' ? text.substr(1) : text;
}

bool same_word(std::string_view text, std::string_view word) {
  if (text.size() != word.size()) return false;
  for (size_t i = 0; i < text.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(text[i])) != word[i]) return false;
  return true;
}

double parse_number(const Run& run, const std::string& given) {
  const std::string_view text = trim(given);
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = !text.empty() && result.ptr == text.data() + text.size();
  if (whole && result.ec == std::errc::result_out_of_range) {
    // Too large, or too small to be told from zero.
    const bool negative = text[0] == '-';
    const size_t exponent = text.find_first_of("eE");
    const bool small = exponent != std::string_view::npos && exponent + 1 < text.size() && text[exponent + 1] == '-';
    const double magnitude = small ? 0.0 : std::numeric_limits<double>::infinity();
    return negative ? -magnitude : magnitude;
  }
  SX_CHECK(run, whole && result.ec == std::errc(), "cannot read '", given, "' as a number");
  return value;
}

void parse(const Run& run, const std::string& text, DType dtype, void* to, const CastOptions& options) {
  if (dtype == DType::kBool) {
    const std::string_view word = trim(text);
    const bool named = same_word(word, "true") || same_word(word, "false");
    *static_cast<bool*>(to) = named ? same_word(word, "true") : parse_number(run, text) != 0;
    return;
  }
  if (is_integer(dtype)) {
    // Integers of 64 bits do not pass through a double.
    const std::string_view word = trim(text);
    int64_t value = 0;
    uint64_t wide = 0;
    const char* end = word.data() + word.size();
    const auto plain = std::from_chars(word.data(), end, value);
    if (plain.ec == std::errc() && plain.ptr == end) return cast_block(DType::kInt64, dtype, &value, to, 1, options);
    const auto large = std::from_chars(word.data(), end, wide);
    if (large.ec == std::errc() && large.ptr == end) return cast_block(DType::kUInt64, dtype, &wide, to, 1, options);
  }
  const double value = parse_number(run, text);
  cast_block(DType::kFloat64, dtype, &value, to, 1, options);
}

// The shortest digits that give back the same number in its own type, as NumPy prints it.
template <typename Same>
std::string print_float(double x, Same same) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  char text[40];
  const bool plain = x == 0 || (std::fabs(x) >= 1e-4 && std::fabs(x) < 1e16);
  for (int digits = 1; digits <= 17; ++digits) {
    const auto result = std::to_chars(text, text + sizeof(text), x, std::chars_format::scientific, digits - 1);
    double back = 0;
    std::from_chars(text, result.ptr, back);
    if (!same(back) && digits < 17) continue;
    if (!plain) {
      return std::string(text, result.ptr);
    }
    const int exponent =
        x == 0 ? 0
               : std::atoi(std::string(text, result.ptr).substr(std::string(text, result.ptr).find('e') + 1).c_str());
    const int decimals = digits - 1 - exponent;
    const auto fixed =
        std::to_chars(text, text + sizeof(text), back, std::chars_format::fixed, decimals > 1 ? decimals : 1);
    return std::string(text, fixed.ptr);
  }
  return {};
}

std::string print(DType dtype, const void* x) {
  if (dtype == DType::kString) return *static_cast<const std::string*>(x);
  if (dtype == DType::kBool) return *static_cast<const bool*>(x) ? "True" : "False";
  if (dtype == DType::kFloat64) {
    const double value = *static_cast<const double*>(x);
    return print_float(value, [value](double back) { return back == value; });
  }
  if (is_float(dtype)) {
    float value = 0;
    load_as_float(dtype, x, &value, 1);
    return print_float(value, [&](double back) {
      const float narrow_back = static_cast<float>(back);
      if (dtype == DType::kFloat32) return narrow_back == value;
      uint64_t stored = 0;
      float again = 0;
      CastOptions nearest;
      nearest.round = RoundMode::kNearest;
      store_from_float(dtype, &narrow_back, &stored, 1, nearest);
      load_as_float(dtype, &stored, &again, 1);
      return again == value;
    });
  }
  int64_t value = 0;
  if (dtype == DType::kUInt64) return std::to_string(*static_cast<const uint64_t*>(x));
  if (kNarrowIntegers.has(dtype)) load_as_int64(dtype, x, &value, 1);
  else native_loop(dtype, DType::kInt64)(x, &value, 1);
  return std::to_string(value);
}

// --- kernels

Kernel cast_kernel(DType from, DType to, const CastOptions& options) {
  if (from == to) {
    return [](Run& run) {
      const Tensor& x = run.in(0);
      Tensor& y = run.out(0, x.shape());
      if (x.dtype() == DType::kString) {
        for (int64_t i = 0; i < x.size(); ++i) y.data<std::string>()[i] = x.data<std::string>()[i];
      } else if (y.raw() != x.raw() && y.bytes() > 0) {
        std::memcpy(y.raw(), x.raw(), y.bytes());
      }
    };
  }
  if (from == DType::kString) {
    return [=](Run& run) {
      Tensor& y = run.out(0, run.in(0).shape());
      for (int64_t i = 0; i < y.size(); ++i) parse(run, run.in(0).data<std::string>()[i], to, element(y, i), options);
    };
  }
  if (to == DType::kString) {
    return [=](Run& run) {
      const Tensor& x = run.in(0);
      Tensor& y = run.out(0, x.shape());
      for (int64_t i = 0; i < y.size(); ++i) y.data<std::string>()[i] = print(from, element(x, i));
    };
  }
  const Loop direct = kNative.has(from) && kNative.has(to) ? native_loop(from, to) : cast_function(from, to);
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, x.shape());
    parallel_for(x.size(), kElementGrain, [&](int64_t begin, int64_t end) {
      if (direct) return direct(element(x, begin), element(y, begin), end - begin);
      for (int64_t i = begin; i < end; i += kBlock)
        cast_block(from, to, element(x, i), element(y, i), std::min(kBlock, end - i), options);
    });
  };
}

CastOptions options_of(const Prepare& p) {
  CastOptions options;
  options.saturate = p.attr_int("saturate") != 0;
  const std::string& mode = p.attr_string("round_mode");
  SX_CHECK(p, mode == "up" || mode == "down" || mode == "nearest", "round_mode is '", mode,
           "'; 'up', 'down' or 'nearest' expected");
  options.round = mode == "up" ? RoundMode::kUp : mode == "down" ? RoundMode::kDown : RoundMode::kNearest;
  return options;
}

DType target(const NodeView& node) {
  const int64_t to = node.attr_int("to");
  SX_CHECK(node, to > 0 && to < kDTypeCount, "attribute 'to' is ", to,
           ", which is no element type that this version knows");
  return static_cast<DType>(to);
}

void infer_cast_to(InferContext& c, DType to) {
  SX_CHECK(c, kCastTypes.has(to), "cannot cast to ", name_of(to), "; expected one of ", kCastTypes.str());
  c.out(0, to, c.type(0).shape);
  const DType from = c.dtype(0);
  const bool integers = (from == DType::kInt64 || from == DType::kInt32 || from == DType::kBool) &&
                        (to == DType::kInt64 || to == DType::kInt32);
  if (integers && c.facts(0).elements) note_elements(c, to, *c.facts(0).elements);
}

void infer_cast(InferContext& c) { infer_cast_to(c, target(c)); }
void infer_cast_like(InferContext& c) { infer_cast_to(c, c.dtype(1)); }

Kernel make_cast(Prepare& p) { return cast_kernel(p.dtype(0), target(p), options_of(p)); }
Kernel make_cast_like(Prepare& p) { return cast_kernel(p.dtype(0), p.dtype(1), options_of(p)); }

// Before opset 6 the target was named: "FLOAT", "INT64".
void upgrade_cast(UpgradeContext& c) {
  const std::string name = c.take<std::string>("to", "");
  for (int i = 1; i < kDTypeCount; ++i)
    if (name == onnx_name_of(static_cast<DType>(i))) return c.set("to", static_cast<int64_t>(i));
  fail(ErrorKind::kInvalidGraph, label(c.draft()), " attribute 'to' is '", name, "', which is no element type");
}

// --- BitCast

constexpr DTypeSet kBitTypes = kAllTypes - DType::kString;

void infer_bit_cast(InferContext& c) {
  const DType to = target(c);
  SX_CHECK(c, kBitTypes.has(to), "cannot cast bits to ", name_of(to));
  SX_CHECK(c, file_bits(c.dtype(0)) == file_bits(to), "cannot cast the bits of ", name_of(c.dtype(0)), " to ",
           name_of(to), "; a type of ", file_bits(c.dtype(0)), " bits expected");
  c.out(0, to, c.type(0).shape);
}

Kernel make_bit_cast(Prepare& p) {
  const DType to = target(p);
  const int bits = file_bits(to);
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, x.shape());
    const uint8_t* from = static_cast<const uint8_t*>(x.raw());
    uint8_t* out = static_cast<uint8_t*>(y.raw());
    if (bits < 8) {
      for (int64_t i = 0; i < x.size(); ++i) out[i] = narrow(from[i], bits, is_signed_integer(to));
    } else if (to == DType::kBool) {
      for (int64_t i = 0; i < x.size(); ++i) out[i] = from[i] != 0;
    } else if (y.raw() != x.raw() && y.bytes() > 0) {
      std::memcpy(y.raw(), x.raw(), y.bytes());
    }
  };
}

void differentiate_cast(GradientContext& c) { c.give(0, c.cast(c.grad(), c.in(0).dtype())); }

}  // namespace

void convert_elements(DType from, DType to, const void* x, void* y, int64_t n, bool saturate) {
  if (kNative.has(from) && kNative.has(to)) return native_loop(from, to)(x, y, n);
  if (const Loop direct = cast_function(from, to)) return direct(x, y, n);
  CastOptions options;
  options.saturate = saturate;
  const auto from_size = static_cast<int64_t>(size_of(from));
  const auto to_size = static_cast<int64_t>(size_of(to));
  for (int64_t i = 0; i < n; i += kBlock)
    cast_block(from, to, static_cast<const char*>(x) + i * from_size, static_cast<char*>(y) + i * to_size,
               std::min(kBlock, n - i), options);
}

void define_cast(OpList& ops) {
  ops.add(OpDef("Cast")
              .since(28)
              .required_attr("to", AttrKind::kInt)
              .attr("saturate", 1)
              .attr("round_mode", "up")
              .in("input", "T1", kCastTypes)
              .out("output", "T2", kCastTypes)
              .infer(infer_cast)
              .kernel(make_cast)
              .gradient(differentiate_cast)
              .upgrade(6, upgrade_cast));
  ops.add(OpDef("CastLike")
              .since(25, 15)
              .attr("saturate", 1)
              .attr("round_mode", "up")
              .in("input", "T1", kCastTypes)
              .in("target_type", "T2", kCastTypes)
              .out("output", "T2")
              .shape_only({1})
              .infer(infer_cast_like)
              .kernel(make_cast_like)
              .gradient(differentiate_cast));
  ops.add(OpDef("BitCast")
              .since(26, 26)
              .required_attr("to", AttrKind::kInt)
              .in("input", "T1", kBitTypes)
              .out("output", "T2", kBitTypes)
              .in_place({0})
              .infer(infer_bit_cast)
              .kernel(make_bit_cast)
              .no_gradient("it reads the bits of its input"));
}

}  // namespace sx
