// Runs one node on known tensors: what constant folding and planning stand on.
#pragma once

#include <vector>

#include "ops/infer.h"

namespace sx {

// Whether the node can be evaluated from the table: all inputs known tensors, deterministic, without bodies.
bool can_evaluate(const Graph& graph, NodeId id, const FactTable& facts);

// The outputs of a node for which can_evaluate() holds; nothing is kept of the inputs' memory. Errors of the kernel
// pass through: the same node would fail in every run.
std::vector<Tensor> evaluate(const Graph& graph, NodeId id, const FactTable& facts);

// Where the outputs' elements are known integers, their tensors become known without running anything; returns whether
// every wanted output is known now.
bool settle_elements(const Graph& graph, NodeId id, FactTable& facts);

}  // namespace sx
