// Turns captured constants into constants of the body that captures them; the memory stays shared.
#include "passes/pass.h"

namespace sx {

bool sink_constants(Graph& graph, PassLog& log) {
  bool changed = false;
  for (NodeId id : graph.order()) {
    for (size_t b = 0; b < graph.node(id).bodies.size(); ++b) {
      Body& body = graph.node(id).bodies[b];
      Graph& inner = *body.graph;
      for (size_t k = body.captures.size(); k-- > 0;) {
        const ValueId outer = body.captures[k];
        if (!graph.is_constant(outer)) continue;
        const ValueId input = inner.inputs[inner.inputs.size() - body.captures.size() + k];
        const ValueId constant =
            inner.add_constant(inner.fresh_name(inner.value(input).name), graph.value(outer).facts.constant);
        inner.replace_uses(input, constant, true);
        graph.drop_capture(id, b, k);
        inner.erase_value(input);
        changed = true;
      }
      changed = sink_constants(inner, log) || changed;  // outermost first: constants go down all levels
    }
  }
  return changed;
}

}  // namespace sx
