// Removes nodes whose results nothing reads, and values that nothing mentions.
#include "passes/pass.h"

namespace sx {
namespace {

bool wanted(const Graph& graph, const Node& node) {
  for (ValueId output : node.outputs)
    if (output != kNone && graph.use_count(output) > 0) return true;
  return false;
}

bool clean(Graph& graph) {
  bool changed = false;
  const std::vector<NodeId> order = graph.order();
  for (auto id = order.rbegin(); id != order.rend(); ++id) {
    if (wanted(graph, graph.node(*id))) continue;
    const std::vector<ValueId> outputs = graph.node(*id).outputs;
    graph.erase_node(*id);
    for (ValueId output : outputs)
      if (output != kNone) graph.erase_value(output);
    changed = true;
  }
  std::vector<bool> is_input(graph.value_limit(), false);
  for (ValueId input : graph.inputs) is_input[static_cast<size_t>(input)] = true;
  for (ValueId id = 0; id < static_cast<ValueId>(graph.value_limit()); ++id) {
    if (!graph.has_value(id) || graph.value(id).producer != kNone || is_input[static_cast<size_t>(id)]) continue;
    if (graph.use_count(id) == 0) graph.erase_value(id);
  }
  return changed;
}

// A capture that the body does not read is taken out of both.
bool drop_unused_captures(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.order()) {
    for (size_t b = 0; b < graph.node(id).bodies.size(); ++b) {
      Body& body = graph.node(id).bodies[b];
      const size_t formal = body.graph->inputs.size() - body.captures.size();
      for (size_t k = body.captures.size(); k-- > 0;) {
        const ValueId inner = body.graph->inputs[formal + k];
        if (body.graph->use_count(inner) > 0) continue;
        graph.drop_capture(id, b, k);
        body.graph->erase_value(inner);
        changed = true;
      }
    }
  }
  return changed;
}

}  // namespace

bool eliminate_dead_code(Graph& graph, PassLog&) {
  bool changed = false;
  // Bodies first: what they stop capturing may be dead outside.
  for_each_graph(graph, [&](Graph& part) {
    changed = drop_unused_captures(part) || changed;
    changed = clean(part) || changed;
  });
  return changed;
}

}  // namespace sx
