// Makes bias, residual and activation the epilogue of the Conv, MatMul or Gemm that they follow.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

constexpr DTypeSet kComputed = kHalfFloats | DType::kFloat32;

NodeId lowered_producer(const Graph& graph, ValueId value) {
  return producer(graph, value,
                  {"sardonyx::Conv", "sardonyx::MatMul", "sardonyx::BlockedConv", "sardonyx::BlockedUpsample",
                   "sardonyx::BlockedGroupNorm", "sardonyx::ScaleChannels", "sardonyx::StackedConv"});
}

// The lowered producer of `value` that may still take an epilogue, read by `reader` alone; kNone otherwise.
NodeId open_producer(const Graph& graph, ValueId value, NodeId reader) {
  const NodeId id = lowered_producer(graph, value);
  if (id == kNone || only_reader(graph, value) != reader) return kNone;
  return attribute<std::string>(graph, id, "activation").empty() ? id : kNone;
}

bool has_input(const Graph& graph, NodeId id, size_t i) {
  const Node& node = graph.node(id);
  return node.inputs.size() > i && node.inputs[i] != kNone;
}

// Whether `value` is known to be a vector as long as the rows of `matrix`.
bool is_row(const Graph& graph, ValueId value, ValueId matrix) {
  const auto &row = graph.type(value).shape, &shape = graph.type(matrix).shape;
  return row && row->size() == 1 && shape && !shape->empty() && shape->back() == row->back();
}

// Conv, MatMul and Gemm in the form that takes epilogues.
Outcome lower_product(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const DType dtype = graph.type(node.inputs[0]).dtype;
  if (!kComputed.has(dtype))
    return Outcome::missed(join("it computes in ", name_of(dtype), "; only f32, f16 and bf16 are fused"));
  const std::vector<ValueId> inputs = node.inputs;
  if (!is(graph, id, "Gemm")) {
    const std::string op = node.op->name();
    const Attributes attributes = node.attributes;
    replace(graph, id, op, inputs, attributes, "sardonyx");
    return Outcome::fired();
  }
  const bool has_c = has_input(graph, id, 2);
  if (has_c) {
    if (attribute<float>(graph, id, "beta") != 1.0f) return Outcome::missed("beta is not 1");
    if (!is_row(graph, inputs[2], node.outputs[0]))
      return Outcome::missed("C is not known to be a vector of one value for each column");
  }
  const Attributes attributes = {{"transA", attribute<int64_t>(graph, id, "transA")},
                                 {"transB", attribute<int64_t>(graph, id, "transB")},
                                 {"alpha", attribute<float>(graph, id, "alpha")}};
  replace(graph, id, "MatMul", inputs, attributes, "sardonyx");
  return Outcome::fired();
}

// Rows that are flattened for a product and unflattened after it: the product does so itself. What follows then finds
// the product.
Outcome unflatten_product(Graph& graph, NodeId id) {
  const ValueId flat = graph.node(id).inputs[0];
  const NodeId product = producer(graph, flat, {"sardonyx::MatMul"});
  if (product == kNone || only_reader(graph, flat) != id) return Outcome::no_match();
  std::vector<ValueId> operands = graph.node(product).inputs;
  const NodeId flatten = producer(graph, operands[0], {"Reshape", "Flatten"});
  if (flatten == kNone || has_input(graph, product, 3) || attribute<int64_t>(graph, product, "transA") != 0)
    return Outcome::no_match();
  const ValueId rows = graph.node(flatten).inputs[0];
  const auto &before = graph.type(rows).shape, &flattened = graph.type(operands[0]).shape;
  const auto &result = graph.type(flat).shape, &after = graph.type(graph.node(id).outputs[0]).shape;
  if (!before || !flattened || !result || !after || graph.type(operands[1]).rank() != 2)
    return Outcome::missed("the shapes are not known");
  if (flattened->size() != 2 || before->size() < 2 || before->size() != after->size() ||
      before->back() != flattened->back() || after->back() != result->back() ||
      !std::equal(before->begin(), before->end() - 1, after->begin()))
    return Outcome::missed(join("the rows of ", graph.type(rows).str(), " and ",
                                graph.type(graph.node(id).outputs[0]).str(), " are not known to be the same"));
  operands[0] = rows;
  const Attributes attributes = graph.node(product).attributes;
  replace(graph, id, "MatMul", operands, attributes, "sardonyx");
  return Outcome::fired();
}

// Operands whose last two axes are swapped: the product reads them as they lie.
Outcome transpose_operand(Graph& graph, NodeId id) {
  for (size_t i = 0; i < 2; ++i) {
    std::vector<ValueId> operands = graph.node(id).inputs;
    const NodeId transpose = producer(graph, operands[i], {"Transpose"});
    if (transpose == kNone) continue;
    const ValueId from = graph.node(transpose).inputs[0];
    const int rank = graph.type(from).rank();
    if (rank < 2) continue;
    const auto perm = graph.node(transpose).attributes.find("perm");
    bool swaps = perm != graph.node(transpose).attributes.end() || rank == 2;
    if (perm != graph.node(transpose).attributes.end()) {
      const auto& order = std::get<std::vector<int64_t>>(perm->second);
      for (int axis = 0; axis < rank; ++axis) {
        const int64_t source = order[static_cast<size_t>(axis)];
        const int expected = axis < rank - 2 ? axis : axis == rank - 1 ? rank - 2 : rank - 1;
        swaps = swaps && (source < 0 ? source + rank : source) == expected;
      }
    }
    if (!swaps) continue;
    operands[i] = from;
    Attributes attributes = graph.node(id).attributes;
    const char* name = i == 0 ? "transA" : "transB";
    attributes[name] = int64_t{attribute<int64_t>(graph, id, name) == 0};
    replace(graph, id, "MatMul", operands, attributes, "sardonyx");
    return Outcome::fired(name);
  }
  return Outcome::no_match();
}

// MatMul + a vector as long as its rows.
Outcome fuse_bias(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  for (size_t side = 0; side < 2; ++side) {
    const NodeId product = open_producer(graph, inputs[side], id);
    if (product == kNone || !is(graph, product, "sardonyx::MatMul")) continue;
    if (constant(graph, inputs[1 - side]) == nullptr && graph.type(inputs[1 - side]).rank() > 1) continue;
    if (has_input(graph, product, 2) || has_input(graph, product, 3))
      return Outcome::missed("the product has a bias or residual already");
    // A product with a vector on its right has rows, but no columns.
    const bool columns = graph.type(graph.node(product).inputs[1]).rank() >= 2;
    if (!columns || !is_row(graph, inputs[1 - side], inputs[side]))
      return Outcome::missed("the other operand is not known to be a vector of one value for each column");
    const std::vector<ValueId> operands = {graph.node(product).inputs[0], graph.node(product).inputs[1],
                                           inputs[1 - side]};
    const Attributes attributes = graph.node(product).attributes;
    replace(graph, id, "MatMul", operands, attributes, "sardonyx");
    return Outcome::fired();
  }
  return Outcome::no_match();
}

// A sum with a tensor of the same shape.
Outcome fuse_residual(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  Outcome outcome = Outcome::no_match();
  for (size_t side = 0; side < 2; ++side) {
    const NodeId product = open_producer(graph, inputs[side], id);
    if (product == kNone || inputs[0] == inputs[1]) continue;
    if (has_input(graph, product, 3)) {
      outcome = Outcome::missed("the product has a residual already");
      continue;
    }
    const auto& mine = graph.type(inputs[side]).shape;
    const auto& other = graph.type(inputs[1 - side]).shape;
    if (!mine || !other || *mine != *other) {
      outcome = Outcome::missed(join("the shapes ", graph.type(inputs[side]).str(), " and ",
                                     graph.type(inputs[1 - side]).str(), " are not known to be equal"));
      continue;
    }
    std::vector<ValueId> operands = graph.node(product).inputs;
    operands.resize(4, kNone);
    operands[3] = inputs[1 - side];
    const std::string op = graph.node(product).op->name();
    const Attributes attributes = graph.node(product).attributes;
    replace(graph, id, op, operands, attributes, "sardonyx");
    return Outcome::fired();
  }
  return outcome;
}

Outcome fuse_activation(Graph& graph, NodeId id) {
  const std::optional<NamedActivation> tail = activation_of(graph, id);
  const NodeId product = lowered_producer(graph, graph.node(id).inputs[0]);
  if (product == kNone) return Outcome::no_match();
  if (!tail) return Outcome::missed("its bounds are not constant");
  if (open_producer(graph, graph.node(id).inputs[0], id) == kNone)
    return Outcome::missed("the product has other readers or an activation already");
  Attributes attributes = graph.node(product).attributes;
  attributes["activation"] = tail->name;
  attributes["activation_alpha"] = tail->alpha;
  attributes["activation_beta"] = tail->beta;
  const std::string op = graph.node(product).op->name();
  const std::vector<ValueId> operands = graph.node(product).inputs;
  replace(graph, id, op, operands, attributes, "sardonyx");
  return Outcome::fired(tail->name);
}

}  // namespace

std::vector<Rule> activation_fusion() {
  return {{"fuse_activation",
           {"Relu", "Sigmoid", "Tanh", "HardSwish", "Mish", "Softplus", "Softsign", "LeakyRelu", "Elu", "Swish", "Celu",
            "HardSigmoid", "Gelu", "Clip"},
           fuse_activation}};
}

std::vector<Rule> epilogue_rules() {
  std::vector<Rule> rules = {
      {"lower_product", {"Conv", "MatMul", "Gemm"}, lower_product},
      {"transpose_operand", {"sardonyx::MatMul"}, transpose_operand},
      {"unflatten_product", {"Reshape"}, unflatten_product},
      {"fuse_bias", {"Add"}, fuse_bias},
      {"fuse_residual", {"Add"}, fuse_residual},
  };
  for (Rule& rule : activation_fusion()) rules.push_back(std::move(rule));
  return rules;
}

}  // namespace sx
