// Removes nodes that give back their input: Identity, Cast to the same type, x - 0, x * 1, views of views ...
#include <algorithm>
#include <cmath>

#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

Outcome drop(Graph& graph, NodeId id, int by = 0) {
  const ValueId input = graph.node(id).inputs[static_cast<size_t>(by)];
  return bypass(graph, id, input) ? Outcome::fired() : Outcome::missed(kNeeded);
}

bool same_shape(const Graph& graph, ValueId a, ValueId b) {
  const auto& x = graph.type(a).shape;
  const auto& y = graph.type(b).shape;
  return x && y && *x == *y;
}

Outcome drop_identity(Graph& graph, NodeId id) { return drop(graph, id); }

Outcome drop_dropout(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const bool mask = node.outputs.size() > 1 && node.outputs[1] != kNone && graph.use_count(node.outputs[1]) > 0;
  const bool may_train = node.inputs.size() > 2 && node.inputs[2] != kNone;
  if (mask) return Outcome::missed("its mask is read");
  if (may_train) {
    const Tensor* training = constant(graph, node.inputs[2]);
    if (training == nullptr || training->size() != 1 || training->scalar_as_int() != 0)
      return Outcome::missed("training_mode may be true");
  }
  return drop(graph, id);
}

Outcome drop_cast(Graph& graph, NodeId id) {
  const auto to = static_cast<DType>(attribute<int64_t>(graph, id, "to"));
  return graph.type(graph.node(id).inputs[0]).dtype == to ? drop(graph, id) : Outcome::no_match();
}

// x - 0, x * 1, x / 1, x ^ 1 where the constant does not widen the shape. Not x + 0: -0 + 0 is +0.
Outcome drop_neutral(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const bool additive = is(graph, id, "Sub");
  const bool commutes = is(graph, id, "Mul");
  for (int side = commutes ? 0 : 1; side < 2; ++side) {
    const ValueId neutral = node.inputs[static_cast<size_t>(side)];
    const ValueId kept = node.inputs[static_cast<size_t>(1 - side)];
    if (!is_scalar(graph, neutral, additive ? 0.0 : 1.0)) continue;
    if (additive && std::signbit(*scalar(graph, neutral))) continue;  // -0 - -0 is +0
    if (!same_shape(graph, kept, node.outputs[0]) || graph.type(kept).dtype != graph.type(node.outputs[0]).dtype)
      continue;
    return drop(graph, id, 1 - side);
  }
  return Outcome::no_match();
}

// Reshape, Expand, Tile, Squeeze ... to the shape that the input has already.
Outcome drop_same_shape(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  return same_shape(graph, node.inputs[0], node.outputs[0]) ? drop(graph, id) : Outcome::no_match();
}

bool all_zero(const Tensor* tensor) {
  if (tensor == nullptr) return false;
  const std::vector<int64_t> values = tensor->integers();
  return std::all_of(values.begin(), values.end(), [](int64_t x) { return x == 0; });
}

Outcome drop_pad(Graph& graph, NodeId id) {
  return all_zero(constant(graph, graph.node(id).inputs[1])) ? drop(graph, id) : Outcome::no_match();
}

// A slice in steps of one that keeps every extent keeps everything.
Outcome drop_slice(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (!same_shape(graph, node.inputs[0], node.outputs[0])) return Outcome::no_match();
  if (node.inputs.size() > 4 && node.inputs[4] != kNone) {
    const Tensor* steps = constant(graph, node.inputs[4]);
    if (steps == nullptr) return Outcome::no_match();
    for (int64_t step : steps->integers())
      if (step != 1) return Outcome::no_match();
  }
  return drop(graph, id);
}

Outcome drop_single(Graph& graph, NodeId id) {
  return graph.node(id).inputs.size() == 1 ? drop(graph, id) : Outcome::no_match();
}

// A view of a view with a known target needs only the outer one, and one that takes back the inner one needs none.
Outcome merge_views(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const NodeId inner = producer(graph, node.inputs[0], {"Reshape", "Flatten", "Squeeze", "Unsqueeze"});
  if (inner == kNone || !is(graph, id, "Reshape")) return Outcome::no_match();
  if (same_shape(graph, graph.node(inner).inputs[0], node.outputs[0]))
    return bypass(graph, id, graph.node(inner).inputs[0]) ? Outcome::fired() : Outcome::missed(kNeeded);
  const Tensor* target = constant(graph, node.inputs[1]);
  if (target == nullptr) return Outcome::missed("its target shape is not constant");
  const std::vector<int64_t> dims = target->integers();
  if (attribute<int64_t>(graph, id, "allowzero") == 0 && std::find(dims.begin(), dims.end(), 0) != dims.end())
    return Outcome::missed("its target copies an extent of the inner view");
  const ValueId view = node.inputs[0];
  graph.set_input(id, 0, graph.node(inner).inputs[0]);
  erase_if_dead(graph, view);
  return Outcome::fired();
}

// A CastLike to a type that is known is a Cast, which needs no second operand.
Outcome cast_like(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const DType dtype = graph.type(node.inputs[1]).dtype;
  if (dtype == DType::kUndefined) return Outcome::no_match();
  Attributes attributes = node.attributes;
  attributes["to"] = static_cast<int64_t>(dtype);
  replace(graph, id, "Cast", {node.inputs[0]}, attributes);
  return Outcome::fired();
}

// x^2 is x * x, which rounds the same way.
Outcome simplify_power(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const ValueId x = node.inputs[0];
  if (!kFloats.has(graph.type(x).dtype) || !same_shape(graph, x, node.outputs[0])) return Outcome::no_match();
  if (!is_scalar(graph, node.inputs[1], 2.0)) return Outcome::no_match();
  replace(graph, id, "Mul", {x, x});
  return Outcome::fired();
}

}  // namespace

std::vector<Rule> view_rules() {
  return {
      {"drop_same_shape", {"Reshape", "Expand", "Squeeze", "Flatten", "Tile"}, drop_same_shape},
      {"merge_views", {"Reshape"}, merge_views},
  };
}

std::vector<Rule> identity_rules() {
  std::vector<Rule> rules = {
      {"drop_identity", {"Identity"}, drop_identity},
      {"drop_dropout", {"Dropout"}, drop_dropout},
      {"drop_cast", {"Cast"}, drop_cast},
      {"drop_neutral_operand", {"Sub", "Mul", "Div", "Pow"}, drop_neutral},
      {"drop_empty_pad", {"Pad"}, drop_pad},
      {"drop_full_slice", {"Slice"}, drop_slice},
      {"drop_single_operand", {"Concat", "Max", "Min", "Sum", "Mean"}, drop_single},
      {"cast_like", {"CastLike"}, cast_like},
      {"power_of_two", {"Pow"}, simplify_power},
  };
  for (Rule& rule : view_rules()) rules.push_back(std::move(rule));
  return rules;
}

}  // namespace sx
