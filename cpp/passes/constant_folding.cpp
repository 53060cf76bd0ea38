// Computes what does not depend on inputs once, at load.
#include "ops/evaluate.h"
#include "ops/op_def.h"
#include "passes/pass.h"

namespace sx {
namespace {

// A result much larger than its operands (a filled or tiled tensor) is cheaper to compute than to keep.
constexpr size_t kAlwaysFoldBytes = size_t{1} << 20;

size_t constant_bytes(const FactTable& facts, const std::vector<ValueId>& ids) {
  size_t bytes = 0;
  for (ValueId id : ids)
    if (id != kNone && facts[static_cast<size_t>(id)].constant.defined())
      bytes += facts[static_cast<size_t>(id)].constant.bytes();
  return bytes;
}

void make_constant(Graph& graph, NodeId id, const FactTable& facts) {
  const std::vector<ValueId> outputs = graph.node(id).outputs;
  graph.erase_node(id);
  for (ValueId output : outputs) {
    if (output == kNone) continue;
    const Tensor& tensor = facts[static_cast<size_t>(output)].constant;
    graph.value(output).facts = {Type::tensor(tensor.dtype(), tensor.shape()), tensor, std::nullopt};
  }
}

// The size the results will have, as far as inference tells; SIZE_MAX where it does not.
size_t expected_bytes(const Graph& graph, NodeId id, const FactTable& facts) {
  size_t bytes = 0;
  for (ValueId output : graph.node(id).outputs) {
    if (output == kNone) continue;
    const Type& type = facts[static_cast<size_t>(output)].type;
    const auto shape = type.concrete_shape();
    if (!shape) return SIZE_MAX;
    bytes += static_cast<size_t>(checked_mul(shape->size(), static_cast<int64_t>(size_of(type.dtype))));
  }
  return bytes;
}

bool fold(Graph& graph, PassLog& log, const FoldOptions& options) {
  FactTable facts = facts_of(graph);
  bool changed = false;
  const std::vector<NodeId> order = graph.order();
  for (NodeId id : order) {
    const Node& node = graph.node(id);
    const bool dequantizes = node.op->full_name() == "DequantizeLinear";
    if (dequantizes && !options.dequantize) continue;
    const bool widens = options.dequantize && (dequantizes || node.op->full_name() == "Cast");
    bool known = settle_elements(graph, id, facts) && !node.outputs.empty();
    if (!known && can_evaluate(graph, id, facts)) {
      const size_t in = constant_bytes(facts, node.inputs);
      const size_t out = expected_bytes(graph, id, facts);
      if (!widens && out != SIZE_MAX && out > kAlwaysFoldBytes && out > 2 * in) {
        log.add("fold_constants", node,
                Outcome::missed(join("the result has ", out, " bytes, its operands only ", in)));
        continue;
      }
      try {
        const std::vector<Tensor> results = evaluate(graph, id, facts);
        for (size_t i = 0; i < results.size(); ++i)
          if (node.outputs[i] != kNone) facts[static_cast<size_t>(node.outputs[i])].constant = results[i];
        known = true;
      } catch (const Error& error) {
        // The node may lie on a branch that never runs; if it does run, it reports this itself.
        log.add("fold_constants", node, Outcome::missed(error.what()));
      }
    }
    if (!known) continue;
    log.add("fold_constants", node, Outcome::fired());
    make_constant(graph, id, facts);
    changed = true;
  }
  return changed;
}

}  // namespace

bool fold_constants(Graph& graph, PassLog& log, const FoldOptions& options) {
  log.forget_misses("fold_constants");
  bool changed = false;
  for_each_graph(graph, [&](Graph& part) { changed = fold(part, log, options) || changed; });
  return changed;
}

}  // namespace sx
