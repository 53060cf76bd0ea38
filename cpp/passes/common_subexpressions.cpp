// Merges nodes that compute the same from the same, and constants that are equal bit by bit.
#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "ops/op_def.h"
#include "passes/pass.h"

namespace sx {
namespace {

// Comparing larger constants costs more than it saves.
constexpr size_t kMaxConstantBytes = 4096;

std::string key_of(const Node& node) {
  std::string key = node.op->full_name() + "(";
  for (ValueId input : node.inputs) key += std::to_string(input) + ",";
  key += ")" + std::to_string(node.outputs.size());
  for (const auto& [name, value] : node.attributes) key += ";" + name + "=" + to_string(value);
  return key;
}

bool same_attributes(const Attributes& a, const Attributes& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && same(x.second, y.second); });
}

bool can_merge(const Graph& graph, const Node& node) {
  if (!node.op->deterministic() || !node.bodies.empty()) return false;
  for (ValueId output : node.outputs)
    if (output != kNone && graph.is_output(output)) return false;
  return true;
}

bool merge_constants(Graph& graph) {
  std::unordered_map<std::string, ValueId> seen;
  bool changed = false;
  for (ValueId id = 0; id < static_cast<ValueId>(graph.value_limit()); ++id) {
    if (!graph.has_value(id) || !graph.is_constant(id) || graph.is_output(id) || graph.use_count(id) == 0) continue;
    const Tensor& tensor = graph.value(id).facts.constant;
    if (tensor.dtype() == DType::kString || tensor.bytes() > kMaxConstantBytes) continue;
    std::string key = name_of(tensor.dtype()) + tensor.shape().str();
    key.append(static_cast<const char*>(tensor.raw()), tensor.bytes());
    const auto [first, added] = seen.emplace(std::move(key), id);
    if (added) continue;
    graph.replace_uses(id, first->second, false);
    changed = true;
  }
  return changed;
}

bool merge_nodes(Graph& graph, PassLog& log) {
  std::unordered_multimap<std::string, NodeId> seen;
  bool changed = false;
  const std::vector<NodeId> order = graph.order();
  for (NodeId id : order) {
    const Node& node = graph.node(id);
    if (!can_merge(graph, node)) continue;
    const std::string key = key_of(node);
    const auto [begin, end] = seen.equal_range(key);
    auto twin = std::find_if(begin, end, [&](const auto& other) {
      const Node& candidate = graph.node(other.second);
      return same_attributes(candidate.attributes, node.attributes) &&
             std::equal(candidate.outputs.begin(), candidate.outputs.end(), node.outputs.begin(),
                        [](ValueId a, ValueId b) { return a != kNone || b == kNone; });
    });
    if (twin == end) {
      seen.emplace(key, id);
      continue;
    }
    log.add("merge_equal_nodes", node, Outcome::fired());
    const std::vector<ValueId> outputs = node.outputs;
    for (size_t i = 0; i < outputs.size(); ++i)
      if (outputs[i] != kNone) graph.replace_uses(outputs[i], graph.node(twin->second).outputs[i], false);
    changed = true;
  }
  return changed;
}

}  // namespace

bool merge_common_subexpressions(Graph& graph, PassLog& log) {
  bool changed = false;
  for_each_graph(graph, [&](Graph& part) {
    changed = merge_constants(part) || changed;
    changed = merge_nodes(part, log) || changed;
  });
  return changed;
}

}  // namespace sx
