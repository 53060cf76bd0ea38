// Graphs for older opsets: every node rewritten to what the opset has, or a list of all that cannot be.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace sx {

struct Blocker {
  std::string node;    // "Resize 'up/4'"
  int needs = 0;       // the lowest opset that holds it
  std::string reason;  // what keeps it out of the older one
};

// Rewrites the graph, bodies included, for the opsets given by domain ("" is ai.onnx). Nodes that it changes in place
// no longer mean what their OpDef says, so the graph is good for writing only. Where the list is not empty, the graph
// is left half rewritten. Other domains are left alone, but for this library's own operators, which no opset holds.
std::vector<Blocker> lower_to(Graph& graph, const std::map<std::string, int64_t>& opsets);

// The lowest opset of the node's domain, from `from` on, that has the node just as it is; the newest where none is
// known to.
int64_t lowest_opset(const Graph& graph, const Node& node, int64_t from);

// The version of ai.onnx.ml that came with an opset of ai.onnx.
int64_t ml_opset_of(int64_t opset);

}  // namespace sx
