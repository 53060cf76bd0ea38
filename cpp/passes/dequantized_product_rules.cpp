// Products of dequantized operands that are not quantized again: in integers where both operands are bytes, else with
// weights that stay as small as they are.
#include <optional>

#include "ops/op_def.h"
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

constexpr DTypeSet kBytes = DTypeSet(DType::kUInt8) | DType::kInt8;
constexpr DTypeSet kFours = DTypeSet(DType::kUInt4) | DType::kInt4;
constexpr DTypeSet kTwos = DTypeSet(DType::kUInt2) | DType::kInt2;
constexpr DTypeSet kComputed = kHalfFloats | DType::kFloat32;

bool has(const Node& node, size_t i) { return node.inputs.size() > i && node.inputs[i] != kNone; }

bool is_single(const Graph& graph, ValueId value) {
  const auto shape = graph.type(value).concrete_shape();
  return shape && shape->size() == 1;
}

// A product's operands, where it is a MatMul or a Gemm that adds at most a constant vector.
struct Product {
  ValueId a, b, bias;
  bool trans_b;
};
std::optional<Product> product_at(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (is(graph, id, "MatMul")) return Product{node.inputs[0], node.inputs[1], kNone, false};
  if (attribute<int64_t>(graph, id, "transA") != 0 || attribute<float>(graph, id, "alpha") != 1.0f) return std::nullopt;
  const bool trans_b = attribute<int64_t>(graph, id, "transB") != 0;
  if (!has(node, 2)) return Product{node.inputs[0], node.inputs[1], kNone, trans_b};
  const Tensor* bias = constant(graph, node.inputs[2]);
  const auto& shape = graph.type(node.outputs[0]).shape;
  if (bias == nullptr || bias->rank() != 1 || !shape || shape->back() != Dim(bias->dim(0)) ||
      attribute<float>(graph, id, "beta") != 1.0f)
    return std::nullopt;
  return Product{node.inputs[0], node.inputs[1], node.inputs[2], trans_b};
}

// The axis along which DequantizeLinear `id` has its scales.
int64_t axis_of(const Graph& graph, NodeId id, int rank) {
  const auto axis = attribute<int64_t>(graph, id, "axis");
  return axis < 0 ? axis + rank : axis;
}

// MatMul of bytes by constant bytes with one scale, or one for each column.
Outcome multiply_integers(Graph& graph, NodeId id) {
  const NodeId left = producer(graph, graph.node(id).inputs[0], {"DequantizeLinear"});
  const NodeId right = producer(graph, graph.node(id).inputs[1], {"DequantizeLinear"});
  if (left == kNone || right == kNone) return Outcome::no_match();
  const std::vector<ValueId> a = graph.node(left).inputs, b = graph.node(right).inputs;
  const Tensor* weights = constant(graph, b[0]);
  if (weights == nullptr || weights->rank() != 2) return Outcome::no_match();
  if (!kBytes.has(graph.type(a[0]).dtype) || !kBytes.has(weights->dtype()))
    return Outcome::missed("its operands have no 8-bit integers");
  if (graph.type(a[1]).dtype != DType::kFloat32 || graph.type(b[1]).dtype != DType::kFloat32 ||
      graph.type(graph.node(id).outputs[0]).dtype != DType::kFloat32)
    return Outcome::missed("a scale is not f32");
  if (!is_single(graph, a[1])) return Outcome::missed("its left operand has several scales");
  const auto scales = graph.type(b[1]).concrete_shape();
  if (!scales || attribute<int64_t>(graph, right, "block_size") != 0 ||
      (scales->size() != 1 &&
       (scales->rank() != 1 || axis_of(graph, right, 2) != 1 || scales->size() != weights->dim(1))))
    return Outcome::missed("the scales of its weights are not those of columns");
  const auto zero = [&](const std::vector<ValueId>& of) { return of.size() > 2 ? of[2] : kNone; };
  std::vector<ValueId> inputs = {a[0], b[0], a[1], b[1], zero(a), zero(b)};
  while (inputs.back() == kNone) inputs.pop_back();
  replace(graph, id, "MatMulIntegerToFloat", inputs, {}, "com.microsoft");
  return Outcome::fired();
}

// Weights that are dequantized from constants of 2, 4 or 8 bits.
Outcome keep_codes(Graph& graph, NodeId id) {
  const auto product = product_at(graph, id);
  if (!product) return Outcome::no_match();
  const NodeId right = producer(graph, product->b, {"DequantizeLinear"});
  if (right == kNone) return Outcome::no_match();
  const Node& from = graph.node(right);
  const Tensor* codes = constant(graph, from.inputs[0]);
  const Tensor* scales = constant(graph, from.inputs[1]);
  if (codes == nullptr || scales == nullptr || (has(from, 2) && constant(graph, from.inputs[2]) == nullptr))
    return Outcome::no_match();
  const DType dtype = codes->dtype();
  if (!kBytes.has(dtype) && !kFours.has(dtype) && !kTwos.has(dtype))
    return Outcome::missed(join("its weights are ", name_of(dtype), ", not integers of 2, 4 or 8 bits"));
  const DType computed = graph.type(product->a).dtype;
  if (!kComputed.has(computed) || !kComputed.has(scales->dtype()))
    return Outcome::missed(join("it computes in ", name_of(computed)));
  if (codes->rank() != 2 || codes->size() == 0 || graph.type(product->a).rank() < 1)
    return Outcome::missed("its weights are no matrix, or the rank of what they multiply is not known");
  const int64_t inner = product->trans_b ? 1 : 0;
  const auto block = attribute<int64_t>(graph, right, "block_size");
  const int64_t unit = kBytes.has(dtype) ? 4 : kFours.has(dtype) ? 8 : 16;
  if (scales->size() != 1 || block != 0) {
    const int64_t axis = axis_of(graph, right, 2);
    if (block == 0 ? axis == inner || scales->rank() != 1 : axis != inner || scales->rank() != 2)
      return Outcome::missed("it sums over the axis of the scales");
    if (block % unit != 0) return Outcome::missed(join("blocks of ", block, " are no multiple of ", unit));
  }
  const Attributes attributes = {{"transB", inner}, {"block_size", block}};
  std::vector<ValueId> inputs = {product->a, from.inputs[0], from.inputs[1], has(from, 2) ? from.inputs[2] : kNone};
  if (product->bias != kNone) inputs.push_back(product->bias);
  while (inputs.back() == kNone) inputs.pop_back();
  replace(graph, id, "MatMulDequantized", inputs, attributes, "sardonyx");
  return Outcome::fired();
}

}  // namespace

std::vector<Rule> dequantized_product_rules() {
  return {
      {"multiply_integers", {"MatMul"}, multiply_integers},
      {"keep_codes", {"MatMul", "Gemm"}, keep_codes},
  };
}

}  // namespace sx
