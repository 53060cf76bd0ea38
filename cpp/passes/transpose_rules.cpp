// Transposes that cancel, merge or move no data.
#include <algorithm>

#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

// The axes counted from the front; empty where the rank is not known or they are no permutation.
std::vector<int64_t> permutation(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const auto given = node.attributes.find("perm");
  if (given == node.attributes.end()) {
    std::vector<int64_t> reversed;
    for (int axis = graph.type(node.inputs[0]).rank() - 1; axis >= 0; --axis) reversed.push_back(axis);
    return reversed;
  }
  std::vector<int64_t> perm = std::get<std::vector<int64_t>>(given->second);
  const auto rank = static_cast<int64_t>(perm.size());
  std::vector<bool> seen(perm.size(), false);
  for (int64_t& axis : perm) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || seen[static_cast<size_t>(axis)]) return {};
    seen[static_cast<size_t>(axis)] = true;
  }
  return perm;
}

Outcome merge_transposes(Graph& graph, NodeId id) {
  const NodeId inner = producer(graph, graph.node(id).inputs[0], {"Transpose"});
  if (inner == kNone) return Outcome::no_match();
  const std::vector<int64_t> second = permutation(graph, id);
  const std::vector<int64_t> first = permutation(graph, inner);
  if (first.empty() || first.size() != second.size()) return Outcome::missed("the rank of its operand is not known");
  std::vector<int64_t> merged;
  for (int64_t axis : second) merged.push_back(first[static_cast<size_t>(axis)]);
  replace(graph, id, "Transpose", {graph.node(inner).inputs[0]}, {{"perm", merged}});
  return Outcome::fired();
}

Outcome drop_identity_transpose(Graph& graph, NodeId id) {
  const std::vector<int64_t> perm = permutation(graph, id);
  if (perm.empty() || !std::is_sorted(perm.begin(), perm.end())) return Outcome::no_match();
  return bypass(graph, id, graph.node(id).inputs[0]) ? Outcome::fired() : Outcome::missed(kNeeded);
}

// Where only axes of extent one change places, no element moves: a Reshape costs nothing.
Outcome transpose_to_reshape(Graph& graph, NodeId id) {
  const ValueId x = graph.node(id).inputs[0];
  const auto& shape = graph.type(x).shape;
  const std::vector<int64_t> perm = permutation(graph, id);
  if (!shape || perm.empty()) return Outcome::no_match();
  int64_t last = -1;
  int open = 0;  // extents that only a run tells
  std::vector<int64_t> target;
  for (int64_t axis : perm) {
    const Dim& dim = (*shape)[static_cast<size_t>(axis)];
    target.push_back(dim.known() ? dim.value() : -1);
    open += !dim.known();
    if (dim == Dim(1)) continue;
    if (axis < last) return Outcome::no_match();
    last = axis;
  }
  if (open > 1) return Outcome::missed("more than one extent is unknown, a Reshape cannot give them");
  if (std::find(target.begin(), target.end(), 0) != target.end()) return Outcome::no_match();
  const ValueId to = add_constant(graph, graph.value(x).name + ".shape", Tensor::vector(target));
  replace(graph, id, "Reshape", {x, to});
  return Outcome::fired();
}

}  // namespace

std::vector<Rule> transpose_rules() {
  return {
      {"merge_transposes", {"Transpose"}, merge_transposes},
      {"drop_identity_transpose", {"Transpose"}, drop_identity_transpose},
      {"transpose_to_reshape", {"Transpose"}, transpose_to_reshape},
  };
}

}  // namespace sx
