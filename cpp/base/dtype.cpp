// Names, sizes and families of the element types.
#include "base/dtype.h"

#include "base/error.h"

namespace sx {
namespace {

struct Row {
  const char* name;
  const char* onnx_name;
  const char* session_name;
  uint8_t size;
  uint8_t file_bits;
};

constexpr Row kRows[kDTypeCount] = {
    {"undefined", "UNDEFINED", "undefined", 0, 0},
    {"f32", "FLOAT", "float", 4, 32},
    {"u8", "UINT8", "uint8", 1, 8},
    {"i8", "INT8", "int8", 1, 8},
    {"u16", "UINT16", "uint16", 2, 16},
    {"i16", "INT16", "int16", 2, 16},
    {"i32", "INT32", "int32", 4, 32},
    {"i64", "INT64", "int64", 8, 64},
    {"str", "STRING", "string", sizeof(std::string), 0},
    {"bool", "BOOL", "bool", 1, 8},
    {"f16", "FLOAT16", "float16", 2, 16},
    {"f64", "DOUBLE", "double", 8, 64},
    {"u32", "UINT32", "uint32", 4, 32},
    {"u64", "UINT64", "uint64", 8, 64},
    {"c64", "COMPLEX64", "complex64", 8, 64},
    {"c128", "COMPLEX128", "complex128", 16, 128},
    {"bf16", "BFLOAT16", "bfloat16", 2, 16},
    {"f8e4m3fn", "FLOAT8E4M3FN", "float8e4m3fn", 1, 8},
    {"f8e4m3fnuz", "FLOAT8E4M3FNUZ", "float8e4m3fnuz", 1, 8},
    {"f8e5m2", "FLOAT8E5M2", "float8e5m2", 1, 8},
    {"f8e5m2fnuz", "FLOAT8E5M2FNUZ", "float8e5m2fnuz", 1, 8},
    {"u4", "UINT4", "uint4", 1, 4},
    {"i4", "INT4", "int4", 1, 4},
    {"f4e2m1", "FLOAT4E2M1", "float4e2m1", 1, 4},
    {"f8e8m0", "FLOAT8E8M0", "float8e8m0", 1, 8},
    {"u2", "UINT2", "uint2", 1, 2},
    {"i2", "INT2", "int2", 1, 2},
    {"f6e2m3", "FLOAT6E2M3", "float6e2m3", 1, 6},
    {"f6e3m2", "FLOAT6E3M2", "float6e3m2", 1, 6},
};

const Row& row_of(DType dtype) {
  const int index = static_cast<int>(dtype);
  SX_ASSERT(index < kDTypeCount);
  return kRows[index];
}

}  // namespace

size_t size_of(DType dtype) { return row_of(dtype).size; }
int file_bits(DType dtype) { return row_of(dtype).file_bits; }
const char* name_of(DType dtype) { return row_of(dtype).name; }
const char* onnx_name_of(DType dtype) { return row_of(dtype).onnx_name; }
const char* session_name_of(DType dtype) { return row_of(dtype).session_name; }

DType dtype_from_onnx(int number) {
  SX_REQUIRE(number > 0 && number < kDTypeCount, kInvalidGraph, "found element type ", number,
             "; expected a number of TensorProto.DataType in 1..", kDTypeCount - 1,
             "; the model may need a newer version of this package");
  return static_cast<DType>(number);
}

bool is_float(DType dtype) { return (kFloats | kFloat8s | DType::kFloat8E8M0 | kNarrowFloats).has(dtype); }
bool is_integer(DType dtype) { return (kIntegers | kNarrowIntegers).has(dtype); }
bool is_signed_integer(DType dtype) { return (kSignedIntegers | DType::kInt4 | DType::kInt2).has(dtype); }

std::string DTypeSet::str() const {
  std::string text;
  for (int i = 0; i < kDTypeCount; ++i) {
    if (!has(static_cast<DType>(i))) continue;
    if (!text.empty()) text += ", ";
    text += kRows[i].name;
  }
  return text;
}

}  // namespace sx
