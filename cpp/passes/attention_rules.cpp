// Recognises attention that exporters spell out: softmax(Q K' * scale + mask) V with the heads split off and joined.
#include <algorithm>
#include <optional>

#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

bool has_perm(const Graph& graph, NodeId id, std::vector<int64_t> perm) {
  const auto& attributes = graph.node(id).attributes;
  const auto found = attributes.find("perm");
  return found != attributes.end() && same(found->second, Attribute(std::move(perm)));
}

// Data of all heads side by side, [batch, rows, heads * size], that was split into [batch, rows, heads, size].
struct Split {
  ValueId joined;
  Dim batch, rows;
  int64_t heads, size;
};

// The split behind `value`, a transpose of it by `perm`.
std::optional<Split> split_behind(const Graph& graph, ValueId value, const std::vector<int64_t>& perm) {
  const NodeId transpose = producer(graph, value, {"Transpose"});
  if (transpose == kNone || !has_perm(graph, transpose, perm)) return std::nullopt;
  const ValueId apart = graph.node(transpose).inputs[0];
  const NodeId reshape = producer(graph, apart, {"Reshape"});
  if (reshape == kNone) return std::nullopt;
  const ValueId joined = graph.node(reshape).inputs[0];
  const Type& from = graph.type(joined);
  const Type& to = graph.type(apart);
  if (from.rank() != 3 || to.rank() != 4 || from.dtype != DType::kFloat32) return std::nullopt;
  const SymShape& x = *from.shape;
  const SymShape& y = *to.shape;
  if (!y[2].known() || !y[3].known() || y[2].value() <= 0) return std::nullopt;
  // An unknown extent is equal to nothing, so that the reshape can be relied on to split the last axis only.
  if (!(x[0] == y[0]) || !(x[1] == y[1]) || !(x[2] == y[2] * y[3])) return std::nullopt;
  return Split{joined, x[0], x[1], y[2].value(), y[3].value()};
}

// The addend and what it is added to, where `value` is a sum whose one side is a product of matrices or scaled one.
NodeId scores_behind(const Graph& graph, ValueId value, float* scale) {
  const NodeId scaled = producer(graph, value, {"Mul", "Div"});
  if (scaled == kNone) return producer(graph, value, {"MatMul"});
  if (only_reader(graph, value) == kNone) return kNone;
  const std::vector<ValueId>& inputs = graph.node(scaled).inputs;
  const bool divides = is(graph, scaled, "Div");
  for (size_t side = 0; side < (divides ? 1u : 2u); ++side) {
    const auto factor = scalar(graph, inputs[1 - side]);
    const NodeId product = producer(graph, inputs[side], {"MatMul"});
    if (!factor || product == kNone || only_reader(graph, inputs[side]) != scaled) continue;
    // The operator takes a scale of 0 for the default one.
    if (graph.type(inputs[1 - side]).rank() > 4 || *factor == 0) continue;
    *scale = static_cast<float>(divides ? 1 / *factor : *factor);
    return product;
  }
  return kNone;
}

Outcome fuse_attention(Graph& graph, NodeId id) {
  const Node& softmax = graph.node(id);
  const ValueId weights = softmax.outputs[0];
  const ValueId scores = softmax.inputs[0];
  if (graph.type(scores).rank() != 4 || graph.type(scores).dtype != DType::kFloat32) return Outcome::no_match();
  const auto axis = attribute<int64_t>(graph, id, "axis");
  const NodeId weighted = only_reader(graph, weights);
  if ((axis != -1 && axis != 3) || weighted == kNone || !is(graph, weighted, "MatMul") ||
      graph.node(weighted).inputs[0] != weights || only_reader(graph, scores) != id)
    return Outcome::no_match();
  float scale = 1.0f;
  ValueId mask = kNone;
  NodeId product = scores_behind(graph, scores, &scale);
  if (const NodeId sum = producer(graph, scores, {"Add"}); sum != kNone) {
    for (size_t side = 0; side < 2 && product == kNone; ++side) {
      const ValueId part = graph.node(sum).inputs[side];
      if (only_reader(graph, part) != sum) continue;
      product = scores_behind(graph, part, &scale);
      mask = graph.node(sum).inputs[1 - side];
    }
  }
  if (product == kNone || only_reader(graph, graph.node(product).outputs[0]) == kNone) return Outcome::no_match();
  const auto q = split_behind(graph, graph.node(product).inputs[0], {0, 2, 1, 3});
  const auto k = split_behind(graph, graph.node(product).inputs[1], {0, 2, 3, 1});
  const auto v = split_behind(graph, graph.node(weighted).inputs[1], {0, 2, 1, 3});
  if (!q || !k || !v) return Outcome::missed("the heads of Q, K and V are not split off in a way that is known");
  if (q->heads != k->heads || k->heads != v->heads || q->size != k->size || !(k->rows == v->rows) ||
      !(q->batch == k->batch) || !(k->batch == v->batch))
    return Outcome::missed("Q, K and V are not provably of one batch, number of heads and length");
  if (mask != kNone) {
    const Type& type = graph.type(mask);
    if (type.rank() < 1 || type.rank() > 4 || type.dtype != DType::kFloat32 || !(type.shape->back() == k->rows))
      return Outcome::missed(join("the mask is ", type.str(), ", not provably one value for each key"));
  }
  const ValueId apart = graph.node(weighted).outputs[0];
  const NodeId join_heads = only_reader(graph, apart);
  if (join_heads == kNone || !is(graph, join_heads, "Transpose") || !has_perm(graph, join_heads, {0, 2, 1, 3}))
    return Outcome::missed("the heads are not joined behind it");
  std::vector<ValueId> inputs = {q->joined, k->joined, v->joined};
  if (mask != kNone) inputs.push_back(mask);
  const ValueId y = emit_before(graph, join_heads, "Attention", inputs,
                                {{"q_num_heads", q->heads}, {"kv_num_heads", k->heads}, {"scale", scale}});
  const ValueId shape = add_constant(graph, "heads", Tensor::vector({0, 0, v->heads, v->size}));
  replace(graph, join_heads, "Reshape", {y, shape});
  return Outcome::fired();
}

// Attention on the parts of a Split reads them where they lie.
Outcome read_joint_heads(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  const NodeId split = producer(graph, inputs[0], {"Split"});
  if (split == kNone || graph.node(split).outputs.size() != 3) return Outcome::no_match();
  const ValueId joint = graph.node(split).inputs[0];
  const Type& type = graph.type(joint);
  if (type.rank() != 3 || type.dtype != DType::kFloat32) return Outcome::missed("its inputs are not f32 of three axes");
  const auto axis = attribute<int64_t>(graph, split, "axis");
  if (axis != -1 && axis != 2) return Outcome::no_match();
  const auto q_heads = attribute<int64_t>(graph, id, "q_num_heads");
  const auto kv_heads = attribute<int64_t>(graph, id, "kv_num_heads");
  const std::vector<ValueId>& outputs = graph.node(id).outputs;
  if (std::any_of(outputs.begin() + 1, outputs.end(), [](ValueId value) { return value != kNone; }) ||
      (inputs.size() > 4 && inputs[4] != kNone) || (inputs.size() > 5 && inputs[5] != kNone))
    return Outcome::missed("it keeps keys and values, or shows scores");
  std::optional<int64_t> size;
  for (size_t i = 0; i < 3; ++i) {
    const int64_t heads = i == 0 ? q_heads : kv_heads;
    if (inputs[i] != graph.node(split).outputs[i] || only_reader(graph, inputs[i]) != id)
      return Outcome::missed("the parts have other readers or another order");
    const Dim& columns = graph.type(inputs[i]).shape->back();
    if (!columns.known() || columns.value() % heads != 0 ||
        columns.value() / heads != size.value_or(columns.value() / heads))
      return Outcome::missed("the heads are not known to be of one size");
    size = columns.value() / heads;
  }
  std::vector<ValueId> operands = inputs;
  operands[0] = joint;
  operands[1] = operands[2] = kNone;
  while (operands.back() == kNone) operands.pop_back();
  Attributes attributes = graph.node(id).attributes;
  attributes["joint"] = int64_t{1};
  replace(graph, id, "Attention", operands, attributes, "sardonyx");
  return Outcome::fired();
}

}  // namespace

std::vector<Rule> attention_rules() {
  return {{"fuse_attention", {"Softmax"}, fuse_attention}, {"read_joint_heads", {"Attention"}, read_joint_heads}};
}

}  // namespace sx
