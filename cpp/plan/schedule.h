// Orders the nodes of a graph that updates variables so that gradients die early.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace sx {

// `order` is an order of nodes in which every value is produced before it is read. What computes an output of the graph
// moves forward to where everything it needs is there, if that takes no memory: a variable's next value behind its
// gradient, once nothing else reads the variable. `bytes`, by value, are 0 where the size is unknown; `donated` says of
// which inputs of the graph an output may take the memory. Nodes that draw random numbers keep their order.
std::vector<NodeId> update_early(const Graph& graph, const std::vector<NodeId>& order, const std::vector<size_t>& bytes,
                                 const std::vector<bool>& donated);

}  // namespace sx
