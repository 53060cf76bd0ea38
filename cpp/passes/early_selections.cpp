// Selects early what alone is read of a value (ops/early_selection.h).
#include "ops/early_selection.h"
#include "passes/pass.h"

namespace sx {

bool move_selections(Graph& graph, PassLog& log) {
  bool changed = false;
  for_each_graph(graph, [&](Graph& part) {
    for (NodeId id : select_early(part)) {
      log.add("early-selection", part.node(id), Outcome::fired());
      changed = true;
    }
  });
  return changed;
}

}  // namespace sx
