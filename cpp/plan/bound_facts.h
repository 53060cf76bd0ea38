// What is known of a graph's values once its inputs have types.
#pragma once

#include <vector>

#include "ops/infer.h"

namespace sx {

// Facts of all values for inputs of the given types; kUnknown leaves an input as the graph has it. Declared shapes of
// inner values are not trusted; small values that follow are computed.
FactTable bound_facts(const Graph& graph, const std::vector<Type>& input_types);

// The size of a tensor in memory where it is known and has one.
std::optional<size_t> bytes_of(const Type& type);

}  // namespace sx
