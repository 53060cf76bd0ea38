// Selecting early: where all that is read of a value is a few of its slices along an axis (the first token of a
// sequence, the last position of a prompt), what computes it computes those alone.
#pragma once

#include <unordered_set>
#include <vector>

#include "ir/graph.h"

namespace sx {

// Moves the selection of Slice and Gather nodes of constant indices towards the inputs of products and of what lies
// between them, as far as nothing else reads the values in between. What is no longer read stays in the graph. Nothing
// moves past `fixed` values. Returns what gives the results in place of the nodes whose selection moved.
std::vector<NodeId> select_early(Graph& graph, const std::unordered_set<ValueId>& fixed = {});

}  // namespace sx
