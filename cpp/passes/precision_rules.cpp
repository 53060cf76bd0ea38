// Keeps results of half precision wide between operators where rounding them costs accuracy: softmax before a product.
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

// Softmax(x) V in a half type: computed in f32 and rounded once, at the end. A Where may take another value for some of
// the weights.
Outcome widen_weights(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  NodeId softmax = producer(graph, inputs[0], {"Softmax"});
  const NodeId choice = softmax == kNone ? producer(graph, inputs[0], {"Where"}) : kNone;
  for (size_t side = 1; choice != kNone && softmax == kNone && side <= 2; ++side)
    softmax = producer(graph, graph.node(choice).inputs[side], {"Softmax"});
  const DType dtype = graph.type(inputs[0]).dtype;
  if (softmax == kNone || !kHalfFloats.has(dtype)) return Outcome::no_match();
  const ValueId narrow = graph.node(softmax).outputs[0];
  if (only_reader(graph, inputs[0]) != id || (choice != kNone && only_reader(graph, narrow) != choice))
    return Outcome::missed("the weights have other readers");
  const auto axis = attribute<int64_t>(graph, softmax, "axis");
  const ValueId scores = graph.node(softmax).inputs[0];
  const auto widened = [&](ValueId value) {
    return emit_before(graph, id, "Cast", {value}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
  };
  ValueId weights = emit_before(graph, id, "Softmax", {widened(scores)}, {{"axis", axis}});
  if (choice != kNone) {
    std::vector<ValueId> parts = graph.node(choice).inputs;
    for (size_t i : {1, 2}) parts[i] = parts[i] == narrow ? weights : widened(parts[i]);
    weights = emit_before(graph, id, "Where", parts);
  }
  const ValueId product = emit_before(graph, id, "MatMul", {weights, widened(inputs[1])});
  replace(graph, id, "Cast", {product}, {{"to", static_cast<int64_t>(dtype)}});
  return Outcome::fired();
}

}  // namespace

std::vector<Rule> precision_rules() { return {{"widen_weights", {"MatMul"}, widen_weights}}; }

}  // namespace sx
