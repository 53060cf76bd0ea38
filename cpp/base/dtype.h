// Element types, numbered as in ONNX's TensorProto.DataType, and sets of them.
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/float_types.h"

namespace sx {

// Elements narrower than a byte (int4, uint4, int2, uint2, float4e2m1, the float6 kinds) are stored one to a byte in
// memory, the signed ones sign-extended (ml_dtypes leaves the upper bits open); they are packed only in files.
enum class DType : uint8_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kUInt16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUInt32 = 12,
  kUInt64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBFloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUInt4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUInt2 = 25,
  kInt2 = 26,
  kFloat6E2M3 = 27,
  kFloat6E3M2 = 28,
};
constexpr int kDTypeCount = 29;

// Bytes of one element in memory; 0 for kUndefined, sizeof(std::string) for kString.
size_t size_of(DType dtype);
// Bits of one element in a file: 6, 4 or 2 for the packed kinds.
int file_bits(DType dtype);
// Short name used in messages and dumps: f32, i64, bf16, f8e4m3fn, u4, str ...
const char* name_of(DType dtype);
// ONNX's name: FLOAT, INT64 ...; and the name that sessions report: float, int64, float16, string ...
const char* onnx_name_of(DType dtype);
const char* session_name_of(DType dtype);
// From ONNX's number; throws InvalidGraph for a number that this version does not know.
DType dtype_from_onnx(int number);

bool is_float(DType dtype);    // every floating-point kind, 4 to 64 bits
bool is_integer(DType dtype);  // signed and unsigned, 2 to 64 bits; not bool
bool is_signed_integer(DType dtype);

// A set of element types.
class DTypeSet {
 public:
  constexpr DTypeSet() = default;
  constexpr DTypeSet(DType dtype) : mask_(1u << static_cast<int>(dtype)) {}  // NOLINT: a type is a set of one
  constexpr bool has(DType dtype) const { return (mask_ >> static_cast<int>(dtype)) & 1u; }
  constexpr DTypeSet operator|(DTypeSet other) const { return from(mask_ | other.mask_); }
  constexpr DTypeSet operator-(DTypeSet other) const { return from(mask_ & ~other.mask_); }
  std::string str() const;  // "f16, f32, f64"

 private:
  static constexpr DTypeSet from(uint32_t mask) {
    DTypeSet set;
    set.mask_ = mask;
    return set;
  }
  uint32_t mask_ = 0;
};
constexpr DTypeSet operator|(DType a, DType b) { return DTypeSet(a) | DTypeSet(b); }

constexpr DTypeSet kHalfFloats = DType::kFloat16 | DType::kBFloat16;
constexpr DTypeSet kFloats = kHalfFloats | DType::kFloat32 | DType::kFloat64;
constexpr DTypeSet kFloat8s =
    DType::kFloat8E4M3FN | DType::kFloat8E4M3FNUZ | DType::kFloat8E5M2 | DType::kFloat8E5M2FNUZ;
constexpr DTypeSet kNarrowFloats = DType::kFloat4E2M1 | DType::kFloat6E2M3 | DType::kFloat6E3M2;
constexpr DTypeSet kSignedIntegers = DType::kInt8 | DType::kInt16 | DType::kInt32 | DType::kInt64;
constexpr DTypeSet kUnsignedIntegers = DType::kUInt8 | DType::kUInt16 | DType::kUInt32 | DType::kUInt64;
constexpr DTypeSet kIntegers = kSignedIntegers | kUnsignedIntegers;
constexpr DTypeSet kNarrowIntegers = DType::kInt4 | DType::kUInt4 | DType::kInt2 | DType::kUInt2;
constexpr DTypeSet kNumbers = kFloats | kIntegers;
constexpr DTypeSet kComplex = DType::kComplex64 | DType::kComplex128;
constexpr DTypeSet kAllTypes = kNumbers | kComplex | kFloat8s | kNarrowIntegers | kNarrowFloats | DType::kFloat8E8M0 |
                               DType::kBool | DType::kString;
constexpr DTypeSet kFixedSizeTypes = kAllTypes - DType::kString;

// clang-format off: one row for each type
// Storage types of the kinds that are narrower than a byte.
struct Int4 { int8_t value = 0; };
struct UInt4 { uint8_t value = 0; };
struct Int2 { int8_t value = 0; };
struct UInt2 { uint8_t value = 0; };

template <typename T> struct DTypeOf;
#define SX_DTYPE(T, D) template <> struct DTypeOf<T> { static constexpr DType value = DType::D; };
SX_DTYPE(float, kFloat32) SX_DTYPE(double, kFloat64) SX_DTYPE(Float16, kFloat16) SX_DTYPE(BFloat16, kBFloat16)
SX_DTYPE(int8_t, kInt8) SX_DTYPE(int16_t, kInt16) SX_DTYPE(int32_t, kInt32) SX_DTYPE(int64_t, kInt64)
SX_DTYPE(uint8_t, kUInt8) SX_DTYPE(uint16_t, kUInt16) SX_DTYPE(uint32_t, kUInt32) SX_DTYPE(uint64_t, kUInt64)
SX_DTYPE(bool, kBool) SX_DTYPE(std::string, kString)
SX_DTYPE(std::complex<float>, kComplex64) SX_DTYPE(std::complex<double>, kComplex128)
SX_DTYPE(Float8E4M3FN, kFloat8E4M3FN) SX_DTYPE(Float8E4M3FNUZ, kFloat8E4M3FNUZ)
SX_DTYPE(Float8E5M2, kFloat8E5M2) SX_DTYPE(Float8E5M2FNUZ, kFloat8E5M2FNUZ)
SX_DTYPE(Float8E8M0, kFloat8E8M0) SX_DTYPE(Float4E2M1, kFloat4E2M1)
SX_DTYPE(Float6E2M3, kFloat6E2M3) SX_DTYPE(Float6E3M2, kFloat6E3M2)
SX_DTYPE(Int4, kInt4) SX_DTYPE(UInt4, kUInt4) SX_DTYPE(Int2, kInt2) SX_DTYPE(UInt2, kUInt2)
#undef SX_DTYPE
    // clang-format on
    template <typename T>
    constexpr DType dtype_of = DTypeOf<T>::value;

}  // namespace sx
