// QLinearAveragePool, QLinearGlobalAveragePool, QLinearConcat, QLinearSoftmax and QLinearWhere: a standard operator
// between DequantizeLinear and QuantizeLinear; NhwcMaxPool: MaxPool between transpositions.
#include "ops/ms_composites.h"

namespace sx {
namespace {

constexpr DTypeSet kBytes = DType::kUInt8 | DType::kInt8;

ValueId dequantized(UpgradeContext& c, size_t x, size_t scale, size_t zero) {
  std::vector<ValueId> inputs{ms_input(c, x), ms_input(c, scale)};
  if (c.has_input(zero)) inputs.push_back(ms_input(c, zero));
  return c.emit("DequantizeLinear", inputs);
}

// The draft becomes the quantization of `y`; without a zero point the codes are those of `like`.
void quantize(UpgradeContext& c, ValueId y, size_t scale, size_t zero, size_t like) {
  std::vector<ValueId> inputs{y, ms_input(c, scale)};
  if (c.has_input(zero)) inputs.push_back(ms_input(c, zero));
  else if (c.input(like).type.dtype == DType::kInt8) inputs.push_back(c.constant(Tensor::scalar<int8_t>(0)));
  ms_become(c, "QuantizeLinear", inputs);
}

std::vector<int64_t> channels_first(int rank) {
  std::vector<int64_t> perm{0, rank - 1};
  for (int i = 1; i < rank - 1; ++i) perm.push_back(i);
  return perm;
}
std::vector<int64_t> channels_behind(int rank) {
  std::vector<int64_t> perm{0};
  for (int i = 2; i < rank; ++i) perm.push_back(i);
  perm.push_back(1);
  return perm;
}

void pool(UpgradeContext& c, const char* op, Attributes attributes) {
  const bool last = c.take<int64_t>("channels_last", 0) != 0;
  const int rank = c.input(0).type.rank();
  SX_CHECK(c.view(), !last || rank >= 3, "its input is ", c.input(0).type.str(),
           "; with channels_last the rank must be known");
  ValueId y = dequantized(c, 0, 1, 2);
  if (last) y = c.emit("Transpose", {y}, {{"perm", channels_first(rank)}});
  y = c.emit(op, {y}, std::move(attributes));
  if (last) y = c.emit("Transpose", {y}, {{"perm", channels_behind(rank)}});
  quantize(c, y, 3, 4, 0);
}

void average_pool(UpgradeContext& c) {
  Attributes attributes;
  for (const char* name : {"auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"}) {
    auto found = c.draft().attributes.find(name);
    if (found == c.draft().attributes.end()) continue;
    attributes[name] = found->second;
    c.draft().attributes.erase(found);
  }
  pool(c, "AveragePool", std::move(attributes));
}

void global_average_pool(UpgradeContext& c) { pool(c, "GlobalAveragePool", {}); }

void nhwc_max_pool(UpgradeContext& c) {
  const int rank = c.input(0).type.rank();
  SX_CHECK(c.view(), rank >= 3, "its input is ", c.input(0).type.str(), "; a known rank from 3 on expected");
  const ValueId x = c.emit("Transpose", {ms_input(c, 0)}, {{"perm", channels_first(rank)}});
  Attributes attributes = std::move(c.draft().attributes);
  c.draft().attributes.clear();
  ms_become(c, "Transpose", {c.emit("MaxPool", {x}, std::move(attributes))});
  c.set("perm", channels_behind(rank));
}

void concat(UpgradeContext& c) {
  const auto axis = c.take<int64_t>("axis", 0);
  SX_CHECK(c.view(), c.draft().inputs.size() >= 5 && (c.draft().inputs.size() - 2) % 3 == 0, "has ",
           c.draft().inputs.size(), " inputs; a scale and a zero point, then three for each tensor expected");
  std::vector<ValueId> parts;
  for (size_t i = 2; i < c.draft().inputs.size(); i += 3) parts.push_back(dequantized(c, i, i + 1, i + 2));
  quantize(c, c.emit("Concat", parts, {{"axis", axis}}), 0, 1, 2);
}

// Softmax over one axis since opset 13, over all axes from `axis` on before.
void softmax(UpgradeContext& c) {
  const auto opset = c.take<int64_t>("opset", 13);
  const auto axis = c.take<int64_t>("axis", opset < 13 ? 1 : -1);
  ValueId x = dequantized(c, 0, 1, 2);
  if (opset >= 13) return quantize(c, c.emit("Softmax", {x}, {{"axis", axis}}), 3, 4, 0);
  const ValueId shape = c.emit("Shape", {x});
  const ValueId rows = c.emit("Flatten", {x}, {{"axis", axis}});
  const ValueId y = c.emit("Softmax", {rows}, {{"axis", int64_t{-1}}});
  quantize(c, c.emit("Reshape", {y, shape}, {{"allowzero", int64_t{1}}}), 3, 4, 0);
}

void where(UpgradeContext& c) {
  quantize(c, c.emit("Where", {ms_input(c, 0), dequantized(c, 1, 2, 3), dequantized(c, 4, 5, 6)}), 7, 8, 1);
}

OpDef pooling(const char* name, UpgradeFn rewrite) {
  OpDef op = ms_composite(name, std::move(rewrite));
  op.attr("channels_last", 0)
      .in("X", "T", kBytes)
      .in("x_scale", "", DType::kFloat32)
      .optional_in("x_zero_point", "T", kBytes)
      .in("y_scale", "", DType::kFloat32)
      .optional_in("y_zero_point", "T", kBytes)
      .out("Y", "T");
  return op;
}

}  // namespace

void define_ms_qlinear_composites(OpList& ops) {
  ops.add(pooling("QLinearAveragePool", average_pool)
              .attr("auto_pad", "NOTSET")
              .attr("ceil_mode", 0)
              .attr("count_include_pad", 0)
              .required_attr("kernel_shape", AttrKind::kInts)
              .optional_attr("pads", AttrKind::kInts)
              .optional_attr("strides", AttrKind::kInts));
  ops.add(pooling("QLinearGlobalAveragePool", global_average_pool));
  ops.add(ms_composite("NhwcMaxPool", nhwc_max_pool)
              .attr("auto_pad", "NOTSET")
              .attr("ceil_mode", 0)
              .optional_attr("dilations", AttrKind::kInts)
              .required_attr("kernel_shape", AttrKind::kInts)
              .optional_attr("pads", AttrKind::kInts)
              .optional_attr("strides", AttrKind::kInts)
              .in("x", "T", kBytes)
              .out("y", "T"));
  ops.add(ms_composite("QLinearConcat", concat)
              .required_attr("axis", AttrKind::kInt)
              .in("Y_scale", "", DType::kFloat32)
              .in("Y_zero_point", "", kBytes)
              .variadic_in("inputs", "", kBytes | DType::kFloat32)
              .out("Y", "", kBytes));
  ops.add(ms_composite("QLinearSoftmax", softmax)
              .attr("axis", -1)
              .required_attr("opset", AttrKind::kInt)
              .in("X", "T", kBytes)
              .in("X_scale", "", DType::kFloat32)
              .optional_in("x_zero_point", "T", kBytes)
              .in("y_scale", "", DType::kFloat32)
              .in("y_zero_point", "T", kBytes)
              .out("Y", "T"));
  ops.add(ms_composite("QLinearWhere", where)
              .in("condition", "", DType::kBool)
              .in("X", "T", kBytes)
              .in("x_scale", "", DType::kFloat32)
              .in("x_zero_point", "T", kBytes)
              .in("Y", "T", kBytes)
              .in("y_scale", "", DType::kFloat32)
              .in("y_zero_point", "T", kBytes)
              .in("z_scale", "", DType::kFloat32)
              .in("z_zero_point", "T", kBytes)
              .out("Z", "T"));
}

}  // namespace sx
