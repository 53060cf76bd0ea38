// Infers over a graph for inputs of given types, and computes what small values follow.
#include "plan/bound_facts.h"

#include "base/shape.h"
#include "ops/evaluate.h"

namespace sx {
namespace {

// Larger known values are computed in each run rather than kept by every plan.
constexpr int64_t kMaxKnownBytes = int64_t{64} << 10;

bool small_outputs(const Graph& graph, NodeId id, const FactTable& facts) {
  for (ValueId output : graph.node(id).outputs) {
    if (output == kNone) continue;
    const Type& type = facts[static_cast<size_t>(output)].type;
    const auto shape = type.concrete_shape();
    if (!shape || shape->size() > kMaxKnownBytes / static_cast<int64_t>(size_of(type.dtype))) return false;
  }
  return true;
}

}  // namespace

FactTable bound_facts(const Graph& graph, const std::vector<Type>& input_types) {
  FactTable facts = facts_of(graph);
  for (NodeId id : graph.order())
    for (ValueId output : graph.node(id).outputs)
      if (output != kNone) {
        Facts& fact = facts[static_cast<size_t>(output)];
        fact.type.shape.reset();  // declared shapes of inner values are the author's word only
        fact.elements.reset();
      }
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    Facts& fact = facts[static_cast<size_t>(graph.inputs[i])];
    fact.elements.reset();
    if (input_types[i].kind != Type::Kind::kUnknown) fact.type = input_types[i];
  }
  for (NodeId id : graph.order()) {
    infer_node(graph, id, facts);
    if (settle_elements(graph, id, facts)) continue;
    if (!can_evaluate(graph, id, facts) || !small_outputs(graph, id, facts)) continue;
    const std::vector<Tensor> results = evaluate(graph, id, facts);
    const Node& node = graph.node(id);
    for (size_t i = 0; i < results.size(); ++i)
      if (node.outputs[i] != kNone) facts[static_cast<size_t>(node.outputs[i])].constant = results[i];
  }
  return facts;
}

std::optional<size_t> bytes_of(const Type& type) {
  const auto shape = type.concrete_shape();
  if (!type.is_tensor() || type.dtype == DType::kString || !shape) return std::nullopt;
  return static_cast<size_t>(checked_mul(shape->size(), static_cast<int64_t>(size_of(type.dtype))));
}

}  // namespace sx
