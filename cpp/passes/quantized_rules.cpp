// Computes in 8-bit integers what stands between DequantizeLinear and QuantizeLinear.
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ops/op_def.h"
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

constexpr DTypeSet kBytes = DTypeSet(DType::kUInt8) | DType::kInt8;

// A quantized value: (q - zero) * scale. The zero point may be absent.
struct Quantized {
  ValueId q, scale, zero;
  DType dtype;
};

bool has(const Node& node, size_t i) { return node.inputs.size() > i && node.inputs[i] != kNone; }

ValueId zero_of(const Node& node) { return has(node, 2) ? node.inputs[2] : kNone; }

// The inputs that say what a quantized value means: the value, its scale and its zero point, made where it is absent.
void add_inputs(Graph& graph, const Quantized& value, std::vector<ValueId>& inputs) {
  if (value.q != kNone) inputs.push_back(value.q);
  inputs.push_back(value.scale);
  if (value.zero != kNone) return inputs.push_back(value.zero);
  Tensor zero(value.dtype, Shape{});
  std::fill_n(static_cast<char*>(zero.raw()), size_of(value.dtype), char{0});
  inputs.push_back(add_constant(graph, "zero", zero));
}

bool is_f32_constant(const Graph& graph, ValueId value) {
  const Tensor* tensor = constant(graph, value);
  return tensor != nullptr && tensor->dtype() == DType::kFloat32;
}

// What `value` is dequantized from, from 8 bits with one constant scale.
std::optional<Quantized> dequantized(const Graph& graph, ValueId value) {
  const NodeId id = producer(graph, value, {"DequantizeLinear"});
  if (id == kNone) return std::nullopt;
  const Node& node = graph.node(id);
  const DType dtype = graph.type(node.inputs[0]).dtype;
  const bool fits = kBytes.has(dtype) && is_f32_constant(graph, node.inputs[1]) &&
                    constant(graph, node.inputs[1])->size() == 1 && graph.type(value).dtype == DType::kFloat32;
  if (!fits || (has(node, 2) && !scalar(graph, node.inputs[2]))) return std::nullopt;
  return Quantized{node.inputs[0], node.inputs[1], zero_of(node), dtype};
}

// Constant 8-bit weights, with one scale or one for each element of `axis`.
std::optional<Quantized> dequantized_weights(const Graph& graph, ValueId value, int64_t axis) {
  const NodeId id = producer(graph, value, {"DequantizeLinear"});
  if (id == kNone) return std::nullopt;
  const Node& node = graph.node(id);
  const Tensor* weights = constant(graph, node.inputs[0]);
  if (weights == nullptr || !kBytes.has(weights->dtype()) || weights->rank() < 2 ||
      !is_f32_constant(graph, node.inputs[1]) || (has(node, 2) && constant(graph, node.inputs[2]) == nullptr))
    return std::nullopt;
  const Tensor& scale = *constant(graph, node.inputs[1]);
  if (scale.size() != 1) {
    const auto along = attribute<int64_t>(graph, id, "axis");
    const bool per_axis = scale.rank() == 1 && (along < 0 ? along + weights->rank() : along) == axis &&
                          scale.size() == weights->dim(static_cast<int>(axis));
    if (!per_axis || attribute<int64_t>(graph, id, "block_size") != 0) return std::nullopt;
  }
  return Quantized{node.inputs[0], node.inputs[1], zero_of(node), weights->dtype()};
}

// Where QuantizeLinear `id` puts a value: 8 bits with one constant scale. A Relu before it that the range of the
// results has the effect of is passed over; `from` is the value to match.
struct Target {
  ValueId from;
  Quantized to;  // its q is kNone
};
std::optional<Target> quantizes(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const DType dtype = graph.type(node.outputs[0]).dtype;
  if (!kBytes.has(dtype) || graph.type(node.inputs[0]).dtype != DType::kFloat32 ||
      !is_f32_constant(graph, node.inputs[1]) || constant(graph, node.inputs[1])->size() != 1 ||
      (has(node, 2) && !scalar(graph, node.inputs[2])))
    return std::nullopt;
  Target target{node.inputs[0], {kNone, node.inputs[1], zero_of(node), dtype}};
  const NodeId relu = producer(graph, target.from, {"Relu"});
  const double least = dtype == DType::kUInt8 ? 0 : -128;
  const double zero = target.to.zero == kNone ? 0 : *scalar(graph, target.to.zero);
  if (relu != kNone && only_reader(graph, target.from) == id && zero == least) target.from = graph.node(relu).inputs[0];
  return target;
}

// The reader chain from `value` to `id` has no other readers: `value` itself, and a Relu between them.
bool feeds_only(const Graph& graph, ValueId value, NodeId id) {
  const NodeId reader = only_reader(graph, value);
  if (reader == id || reader == kNone) return reader == id;
  return is(graph, reader, "Relu") && only_reader(graph, graph.node(reader).outputs[0]) == id;
}

// The 32-bit constant that a bias is dequantized from, if its scale is that of the products; kNone if there is none to
// find. `absent` says that there is no bias.
ValueId integer_bias(const Graph& graph, const Node& node, size_t at, const Quantized& x, const Quantized& w,
                     bool* absent) {
  *absent = !has(node, at);
  if (*absent) return kNone;
  const NodeId id = producer(graph, node.inputs[at], {"DequantizeLinear"});
  if (id == kNone) return kNone;
  const Node& from = graph.node(id);
  const Tensor* bias = constant(graph, from.inputs[0]);
  const Tensor* scale = constant(graph, from.inputs[1]);
  if (bias == nullptr || bias->dtype() != DType::kInt32 || bias->rank() != 1 || scale == nullptr ||
      scale->dtype() != DType::kFloat32)
    return kNone;
  const Tensor& of_w = *constant(graph, w.scale);
  const float of_x = constant(graph, x.scale)->data<float>()[0];
  if (scale->size() != 1 && scale->size() != bias->size()) return kNone;
  for (int64_t i = 0; i < bias->size(); ++i) {
    const float expected = of_x * of_w.data<float>()[of_w.size() == 1 ? 0 : std::min(i, of_w.size() - 1)];
    const float found = scale->data<float>()[scale->size() == 1 ? 0 : i];
    if (!(std::abs(found - expected) <= 1e-5f * std::abs(expected))) return kNone;
  }
  if (has(from, 2)) {
    const Tensor* zero = constant(graph, from.inputs[2]);
    if (zero == nullptr || zero->dtype() != DType::kInt32) return kNone;
    if (std::any_of(zero->data<int32_t>(), zero->data<int32_t>() + zero->size(), [](int32_t z) { return z != 0; }))
      return kNone;
  }
  return from.inputs[0];
}

Outcome fuse_convolution(Graph& graph, NodeId id) {
  const auto target = quantizes(graph, id);
  if (!target) return Outcome::no_match();
  const NodeId conv = producer(graph, target->from, {"Conv"});
  if (conv == kNone) return Outcome::no_match();
  if (!feeds_only(graph, target->from, id)) return Outcome::missed("the convolution has other readers");
  const auto x = dequantized(graph, graph.node(conv).inputs[0]);
  const auto w = dequantized_weights(graph, graph.node(conv).inputs[1], 0);
  if (!x || !w) return Outcome::missed("its input or weights are not dequantized from 8 bits by constants");
  bool no_bias = false;
  const ValueId bias = integer_bias(graph, graph.node(conv), 2, *x, *w, &no_bias);
  if (bias == kNone && !no_bias) return Outcome::missed("its bias is not dequantized with the scale of the products");
  std::vector<ValueId> inputs;
  for (const Quantized& value : {*x, *w, target->to}) add_inputs(graph, value, inputs);
  if (bias != kNone) inputs.push_back(bias);
  const Attributes attributes = graph.node(conv).attributes;
  replace(graph, id, "QLinearConv", inputs, attributes);
  return Outcome::fired("QLinearConv");
}

// Add and Mul.
Outcome fuse_sum(Graph& graph, NodeId id) {
  const auto target = quantizes(graph, id);
  if (!target) return Outcome::no_match();
  const NodeId sum = producer(graph, target->from, {"Add", "Mul"});
  if (sum == kNone) return Outcome::no_match();
  if (!feeds_only(graph, target->from, id)) return Outcome::missed("the result has other readers");
  const std::vector<ValueId> operands = graph.node(sum).inputs;
  const auto a = dequantized(graph, operands[0]), b = dequantized(graph, operands[1]);
  if (!a || !b || a->dtype != target->to.dtype || b->dtype != target->to.dtype)
    return Outcome::missed("its operands are not dequantized from the 8-bit type of the result");
  std::vector<ValueId> inputs;
  for (const Quantized& value : {*a, *b, target->to}) add_inputs(graph, value, inputs);
  const std::string op = is(graph, sum, "Add") ? "QLinearAdd" : "QLinearMul";
  replace(graph, id, op, inputs, {}, "com.microsoft");
  return Outcome::fired(op);
}

Outcome fuse_global_mean(Graph& graph, NodeId id) {
  const auto target = quantizes(graph, id);
  if (!target) return Outcome::no_match();
  const NodeId mean = producer(graph, target->from, {"GlobalAveragePool"});
  if (mean == kNone) return Outcome::no_match();
  if (!feeds_only(graph, target->from, id)) return Outcome::missed("the result has other readers");
  const auto x = dequantized(graph, graph.node(mean).inputs[0]);
  if (!x) return Outcome::missed("its input is not dequantized from 8 bits by constants");
  std::vector<ValueId> inputs;
  for (const Quantized& value : {*x, target->to}) add_inputs(graph, value, inputs);
  replace(graph, id, "QLinearGlobalMean", inputs, {}, "sardonyx");
  return Outcome::fired("QLinearGlobalMean");
}

// MatMul, and Gemm with a constant vector added.
Outcome fuse_product(Graph& graph, NodeId id) {
  const auto target = quantizes(graph, id);
  if (!target) return Outcome::no_match();
  const NodeId product = producer(graph, target->from, {"MatMul", "Gemm"});
  if (product == kNone) return Outcome::no_match();
  if (!feeds_only(graph, target->from, id)) return Outcome::missed("the product has other readers");
  const bool gemm = is(graph, product, "Gemm");
  const bool transposed = gemm && attribute<int64_t>(graph, product, "transB") != 0;
  const auto a = dequantized(graph, graph.node(product).inputs[0]);
  auto b = dequantized(graph, graph.node(product).inputs[1]);
  if (!b) b = dequantized_weights(graph, graph.node(product).inputs[1], transposed ? 0 : 1);
  if (!a || !b) return Outcome::missed("its operands are not dequantized from 8 bits by constants");
  std::vector<ValueId> inputs;
  if (!gemm) {
    if (constant(graph, b->scale)->size() != 1 && graph.type(b->q).rank() != 2)
      return Outcome::missed("its weights have scales but are no matrix");
    for (const Quantized& value : {*a, *b, target->to}) add_inputs(graph, value, inputs);
    replace(graph, id, "QLinearMatMul", inputs);
    return Outcome::fired("QLinearMatMul");
  }
  bool no_bias = false;
  const ValueId bias = integer_bias(graph, graph.node(product), 2, *a, *b, &no_bias);
  if (bias == kNone && !no_bias) return Outcome::missed("its bias is not dequantized with the scale of the products");
  if (attribute<float>(graph, product, "alpha") != 1.0f ||
      (!no_bias && attribute<float>(graph, product, "beta") != 1.0f))
    return Outcome::missed("alpha or beta is not 1");
  const Attributes attributes = {{"transA", attribute<int64_t>(graph, product, "transA")},
                                 {"transB", attribute<int64_t>(graph, product, "transB")},
                                 {"alpha", 1.0f}};
  for (const Quantized& value : {*a, *b}) add_inputs(graph, value, inputs);
  inputs.push_back(bias);
  add_inputs(graph, target->to, inputs);
  replace(graph, id, "QGemm", inputs, attributes, "com.microsoft");
  return Outcome::fired("QGemm");
}

double zero_value(const Graph& graph, const Quantized& value) {
  return value.zero == kNone ? 0.0 : *scalar(graph, value.zero);
}

// Whether bytes mean the same by both.
bool mean_the_same(const Graph& graph, const Quantized& a, const Quantized& b) {
  return a.dtype == b.dtype && *scalar(graph, a.scale) == *scalar(graph, b.scale) &&
         zero_value(graph, a) == zero_value(graph, b);
}

// A dequantized value quantized as it was.
Outcome drop_requantization(Graph& graph, NodeId id) {
  const auto target = quantizes(graph, id);
  if (!target || target->from != graph.node(id).inputs[0]) return Outcome::no_match();
  const auto x = dequantized(graph, target->from);
  if (!x) return Outcome::no_match();
  if (!mean_the_same(graph, *x, target->to)) return Outcome::missed("the scales or zero points differ");
  return bypass(graph, id, x->q) ? Outcome::fired() : Outcome::missed(kNeeded);
}

// What only moves or picks values does so with the bytes, where they mean the same before and after.
Outcome move_bytes(Graph& graph, NodeId id) {
  const NodeId mover = producer(graph, graph.node(id).inputs[0],
                                {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "MaxPool"});
  if (mover == kNone) return Outcome::no_match();
  const auto target = quantizes(graph, id);
  const auto x = dequantized(graph, graph.node(mover).inputs[0]);
  if (!target || !x) return Outcome::no_match();
  if (target->from != graph.node(mover).outputs[0] || only_reader(graph, target->from) != id)
    return Outcome::missed("the value has other readers");
  if (!mean_the_same(graph, *x, target->to)) return Outcome::missed("the scales or zero points differ");
  if (graph.node(mover).outputs.size() > 1) return Outcome::missed("it gives places, too");
  std::vector<ValueId> inputs = graph.node(mover).inputs;
  inputs[0] = x->q;
  const std::string op = graph.node(mover).op->name();
  const Attributes attributes = graph.node(mover).attributes;
  replace(graph, id, op, inputs, attributes);
  return Outcome::fired(op);
}

// QLinearMatMul and a constant vector added to its rows by QLinearAdd.
Outcome fuse_product_sum(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  for (size_t side = 0; side < 2; ++side) {
    const size_t own = 3 * side, other = 3 - own;
    const NodeId product = producer(graph, inputs[own], {"QLinearMatMul"});
    const Tensor* addend = constant(graph, inputs[other]);
    if (product == kNone || addend == nullptr) continue;
    if (only_reader(graph, inputs[own]) != id) return Outcome::missed("the product has other readers");
    const auto& shape = graph.type(inputs[own]).shape;
    if (addend->rank() != 1 || !shape || shape->empty() || shape->back() != Dim(addend->dim(0)) ||
        graph.type(graph.node(product).inputs[3]).rank() < 2)
      return Outcome::missed("what is added is not one value for each column");
    std::vector<ValueId> operands = graph.node(product).inputs;
    for (size_t i : {size_t{0}, size_t{3}})
      if (!kBytes.has(graph.type(operands[i]).dtype)) return Outcome::missed("an operand has no 8-bit integers");
    for (size_t i : {size_t{1}, size_t{4}, size_t{6}})
      if (graph.type(operands[i]).dtype != DType::kFloat32) return Outcome::missed("a scale is not f32");
    const DType dtype = graph.type(inputs[own]).dtype;
    const auto zero_at = [&](size_t i) { return i < inputs.size() ? inputs[i] : kNone; };
    const Quantized value{inputs[other], inputs[other + 1], zero_at(other + 2), dtype};
    const Quantized sum{kNone, inputs[6], zero_at(7), dtype};
    const auto is_one = [&](ValueId of) { return scalar(graph, of).has_value(); };
    for (ValueId of : {inputs[own + 1], value.scale, sum.scale, operands[6], operands[7]})
      if (!is_one(of)) return Outcome::missed("its scales are not single constants");
    for (ValueId of : {zero_at(own + 2), value.zero, sum.zero})
      if (of != kNone && !is_one(of)) return Outcome::missed("its zero points are not single constants");
    const double own_zero = zero_at(own + 2) == kNone ? 0.0 : *scalar(graph, zero_at(own + 2));
    if (own_zero != *scalar(graph, operands[7])) return Outcome::missed("the zero points differ");
    add_inputs(graph, value, operands);
    operands.push_back(inputs[own + 1]);
    add_inputs(graph, sum, operands);
    replace(graph, id, "QLinearMatMulAdd", operands, {}, "sardonyx");
    return Outcome::fired();
  }
  return Outcome::no_match();
}

}  // namespace

std::vector<Rule> quantized_rules() {
  return {
      {"fuse_quantized_convolution", {"QuantizeLinear"}, fuse_convolution},
      {"fuse_quantized_sum", {"QuantizeLinear"}, fuse_sum},
      {"fuse_quantized_product", {"QuantizeLinear"}, fuse_product},
      {"fuse_quantized_product_sum", {"com.microsoft::QLinearAdd"}, fuse_product_sum},
      {"fuse_quantized_mean", {"QuantizeLinear"}, fuse_global_mean},
      {"drop_requantization", {"QuantizeLinear"}, drop_requantization},
      {"move_bytes", {"QuantizeLinear"}, move_bytes},
  };
}

}  // namespace sx
