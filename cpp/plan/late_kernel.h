// Kernels of nodes that read values whose types only a run tells.
#pragma once

#include "ops/infer.h"
#include "ops/kernel.h"

namespace sx {

// Whether an input's type is not known: only operators of users that do not say what they return lead to that.
bool has_unknown_input(const Node& node, const FactTable& facts);
// A kernel that infers types and prepares the node's own kernel when it meets its inputs, once for each set of types.
// `graph` and `host` must outlive it.
Kernel make_late_kernel(const Graph& graph, NodeId id, const FactTable& facts, PrepareHost& host);

}  // namespace sx
