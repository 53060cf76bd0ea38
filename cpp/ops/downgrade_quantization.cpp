// Steps down for quantization: newer parameters as older ones, else as arithmetic.
#include <algorithm>

#include "ops/downgrade.h"

namespace sx {
namespace {

// What a scale (and zero point) of one axis or of blocks is multiplied as: it broadcasts over x.
Expr aligned(DowngradeContext& c, const Expr& parameter, bool blocks) {
  const int own = parameter.rank();
  SX_CHECK(c, own >= 0, "has a scale of unknown rank");
  if (own == 0 || (!blocks && parameter.type().shape && (*parameter.type().shape)[0] == Dim(1) && own == 1))
    return own == 0 ? parameter : c.op("Reshape", {parameter, c.ints({})});
  const int rank = c.rank_in(0, "it is quantized along an axis");
  const int64_t given = c.attr_int("axis");
  const int64_t axis = given < 0 ? given + rank : given;
  if (!blocks) {
    std::vector<int64_t> behind;
    for (int64_t i = 1; i < rank - axis; ++i) behind.push_back(i);
    return c.unsqueeze(parameter, behind);
  }
  // Every number stands for a block of elements along the axis.
  const int64_t size = c.attr_int("block_size");
  const auto shape = parameter.type().concrete_shape();
  const auto whole = c.in(0).type().concrete_shape();
  SX_CHECK(c, shape && whole, "is quantized in blocks of unknown extents, which began with opset 21");
  std::vector<int64_t> repeated = shape->vector(), flat = shape->vector();
  repeated.insert(repeated.begin() + axis + 1, size);
  flat[static_cast<size_t>(axis)] *= size;
  const Expr spread = c.op("Expand", {c.unsqueeze(parameter, {axis + 1}), c.ints(repeated)});
  const Expr all = c.op("Reshape", {spread, c.ints(flat)});
  return c.op("Slice", {all, c.ints({0}), c.ints({(*whole)[static_cast<int>(axis)]}), c.ints({axis})});
}

bool per_axis(const DowngradeContext& c) {
  const Graph& graph = c.graph();
  const Type& scale = graph.type(c.node().inputs[1]);
  return !(scale.rank() == 0 || (scale.rank() == 1 && (*scale.shape)[0] == Dim(1)));
}

std::pair<double, double> limits_of(DType dtype) {
  switch (dtype) {
    case DType::kUInt8: return {0, 255};
    case DType::kInt8: return {-128, 127};
    case DType::kUInt16: return {0, 65535};
    case DType::kInt16: return {-32768, 32767};
    default: break;
  }
  const int since = kFloat8s.has(dtype)                         ? 19
                    : (DType::kInt4 | DType::kUInt4).has(dtype) ? 21
                    : dtype == DType::kFloat4E2M1               ? 23
                    : (DType::kInt2 | DType::kUInt2).has(dtype) ? 25
                                                                : 28;
  throw Blocked{since, join("quantizes to ", name_of(dtype), ", which older opsets do not know")};
}

// y = clip(round(x / scale) + zero), and back (y - zero) scale, in f32.
void quantize_by_arithmetic(DowngradeContext& c) {
  const bool blocks = c.attr_int("block_size") != 0;
  const DType to = c.out_type().dtype;
  const auto [low, high] = limits_of(to);
  SX_CHECK(c, is_float(c.in(1).dtype()) && is_float(c.in(0).dtype()), "has a scale of integers, from opset 23 on");
  const Expr x = c.cast(c.in(0), DType::kFloat32);
  Expr y = c.op("Round", {x / aligned(c, c.cast(c.in(1), DType::kFloat32), blocks)});
  if (c.has_in(2)) y = y + aligned(c, c.cast(c.in(2), DType::kFloat32), blocks);
  y = c.op("Clip", {y, c.scalar(low, DType::kFloat32), c.scalar(high, DType::kFloat32)});
  c.replace({c.cast(y, to)});
}

void dequantize_by_arithmetic(DowngradeContext& c) {
  const bool blocks = c.attr_int("block_size") != 0;
  Expr x = c.cast(c.in(0), c.in(0).dtype() == DType::kInt32 ? DType::kInt32 : DType::kFloat32);
  if (c.has_in(2)) x = x - aligned(c, c.cast(c.in(2), x.dtype()), blocks);
  const Expr y = c.cast(x, DType::kFloat32) * aligned(c, c.cast(c.in(1), DType::kFloat32), blocks);
  c.replace({c.cast(y, c.out_type().dtype)});
}

// The types of quantized tensors that an opset's operators know.
DTypeSet quantized_types(int opset) {
  DTypeSet types = DType::kUInt8 | DType::kInt8;
  if (opset >= 19) types = types | kFloat8s;
  if (opset >= 21) types = types | DType::kInt16 | DType::kUInt16 | DType::kInt4 | DType::kUInt4;
  if (opset >= 23) types = types | DType::kFloat4E2M1;
  if (opset >= 25) types = types | DType::kInt2 | DType::kUInt2;
  return types;
}

// Without a zero point the type is that of output_dtype from 21 on, u8 before.
void name_quantized_type(DowngradeContext& c) {
  if (!c.has("output_dtype")) return;
  const DType to = c.out_type().dtype;
  c.drop("output_dtype");
  if (c.has_in(2) || to == DType::kUInt8) return;
  const Expr zero = c.cast(c.op("ConstantOfShape", {c.shape(c.in(1))}), to);
  c.set_in(2, zero);
}

void quantize_before_23(DowngradeContext& c) {
  const DType x = c.in(0).dtype(), scale = c.in(1).dtype();
  if (c.has("precision")) {
    const int64_t precision = c.attr_int("precision");
    SX_CHECK(c, precision == 0 || precision == static_cast<int64_t>(x), "states a precision, from opset 23 on");
    c.drop("precision");
  }
  if (c.target() >= 21 && scale != x && is_float(scale) && is_float(x)) return quantize_by_arithmetic(c);
}

void dequantize_before_23(DowngradeContext& c) {
  if (!c.has("output_dtype")) return;
  const DType to = c.out_type().dtype;
  if (to != c.in(1).dtype()) {
    Attributes attributes = c.node().attributes;
    attributes.erase("output_dtype");
    return c.replace(
        {c.cast(c.op("DequantizeLinear", {c.in(0), c.cast(c.in(1), DType::kFloat32), c.in(2)}, attributes), to)});
  }
  c.drop("output_dtype");
}

void quantize_before_21(DowngradeContext& c) {
  if (c.attr_int("block_size") != 0) return quantize_by_arithmetic(c);
  c.drop("block_size");
  name_quantized_type(c);
  if (!quantized_types(c.target()).has(c.out_type().dtype)) return quantize_by_arithmetic(c);
}

void dequantize_before_21(DowngradeContext& c) {
  if (c.attr_int("block_size") != 0 && (kIntegers | kFloat8s).has(c.in(0).dtype())) return dequantize_by_arithmetic(c);
  if (c.attr_int("block_size") == 0) c.drop("block_size");
  const DType from = c.in(0).dtype();
  if (kIntegers.has(from) && !(quantized_types(c.target()) | DType::kInt32).has(from))
    return dequantize_by_arithmetic(c);
}

// Scales were f32 before 19; the tie of x and scale is younger too.
void quantize_before_19(DowngradeContext& c) {
  if (kIntegers.has(c.out_type().dtype)) c.drop("saturate");
  if (is_float(c.in(0).dtype()) && c.in(0).dtype() != DType::kFloat32) c.set_in(0, c.cast(c.in(0), DType::kFloat32));
  if (is_float(c.in(1).dtype()) && c.in(1).dtype() != DType::kFloat32) c.set_in(1, c.cast(c.in(1), DType::kFloat32));
}

void dequantize_before_19(DowngradeContext& c) {
  if (c.in(1).dtype() == DType::kFloat32 || !is_float(c.in(1).dtype())) return;
  Attributes attributes{{"axis", c.attr_int("axis")}};
  const Expr wide = c.op("DequantizeLinear", {c.in(0), c.cast(c.in(1), DType::kFloat32), c.in(2)}, attributes);
  c.replace({c.cast(wide, c.out_type().dtype)});
}

void quantize_before_13(DowngradeContext& c) {
  if (per_axis(c)) return quantize_by_arithmetic(c);
  c.drop("axis");
}
void dequantize_before_13(DowngradeContext& c) {
  if (per_axis(c)) return dequantize_by_arithmetic(c);
  c.drop("axis");
}

// u8 with the range stretched to hold 0.
void dynamic_quantize(DowngradeContext& c) {
  const Expr x = c.in(0);
  const Attributes flat{{"keepdims", int64_t{0}}};
  const Expr zero = c.scalar(0, DType::kFloat32), most = c.scalar(255, DType::kFloat32);
  const Expr low = c.op("Min", {c.op("ReduceMin", {x}, flat), zero});
  const Expr high = c.op("Max", {c.op("ReduceMax", {x}, flat), zero});
  const Expr scale = (high - low) / 255.0;
  const Expr point = c.op("Round", {c.op("Clip", {(zero - low) / scale, zero, most})});
  const Expr y = c.op("Clip", {c.op("Round", {x / scale}) + point, zero, most});
  c.replace({c.cast(y, DType::kUInt8), scale, c.cast(point, DType::kUInt8)});
}

// Products of 8-bit numbers are exact in f64.
void matmul_of_bytes(DowngradeContext& c) {
  const auto centred = [&](size_t i) {
    const Expr x = c.cast(c.in(i), DType::kFloat64);
    if (!c.has_in(i + 2)) return x;
    Expr zero = c.cast(c.in(i + 2), DType::kFloat64);
    if (i == 0 && zero.rank() == 1 && !(zero.type().shape && (*zero.type().shape)[0] == Dim(1)))
      zero = c.unsqueeze(zero, {1});
    return x - zero;
  };
  c.replace({c.cast(c.op("MatMul", {centred(0), centred(1)}), DType::kInt32)});
}

}  // namespace

void add_quantization_downgrades(Downgrades& all) {
  all.add("QuantizeLinear", 23, quantize_before_23);
  all.add("QuantizeLinear", 21, quantize_before_21);
  all.add("QuantizeLinear", 19, quantize_before_19);
  all.add("QuantizeLinear", 13, quantize_before_13);
  all.add("QuantizeLinear", 10, quantize_by_arithmetic);
  all.add("DequantizeLinear", 23, dequantize_before_23);
  all.add("DequantizeLinear", 21, dequantize_before_21);
  all.add("DequantizeLinear", 19, dequantize_before_19);
  all.add("DequantizeLinear", 13, dequantize_before_13);
  all.add("DequantizeLinear", 10, dequantize_by_arithmetic);
  all.add("DynamicQuantizeLinear", 11, dynamic_quantize);
  all.add("MatMulInteger", 10, matmul_of_bytes);
}

}  // namespace sx
