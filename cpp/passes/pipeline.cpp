// Runs the passes in order, to a fixed point where one makes room for another.
#include "passes/pipeline.h"

#include "ops/infer.h"

namespace sx {

void simplify(Graph& graph, PassLog& log, bool) {
  constexpr int kMaxRounds = 8;
  sink_constants(graph, log);
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = fold_constants(graph, log);
    changed = eliminate_dead_code(graph, log) || changed;
    if (!changed) break;
    infer_types(graph);
    graph.verify();
  }
}

void lower(Graph& graph, PassLog&, bool) { graph.verify(); }

}  // namespace sx
