// Reverse-mode differentiation of a graph: adds the nodes that compute gradients.
#pragma once

#include <unordered_map>
#include <vector>

#include "ops/gradient.h"

namespace sx {

// For every x the gradient of the ys, a new value of the shape of x; kNone where no y depends on it. The nodes of the
// forward computation stay as they are, but may get optional outputs (a mask, indices) that a rule reads. Throws
// NotImplemented, naming node and reason, where the way from an x to a y goes through an operator without a gradient.
std::vector<ValueId> add_gradients(Graph& graph, const GradientRequest& request);

// Copies the nodes that compute `y` from the keys of `replaced`, reading the mapped values in place of the keys.
// Returns what y is then; nodes that depend on no key are shared.
ValueId recompute(Graph& graph, ValueId y, std::unordered_map<ValueId, ValueId> replaced);

}  // namespace sx
