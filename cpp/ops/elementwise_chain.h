// What sardonyx::ElementwiseChain takes at most, for the pass that makes such nodes.
#pragma once

#include <cstddef>

namespace sx {

constexpr size_t kMostChainInputs = 32;
constexpr size_t kMostChainFunctions = 64;

}  // namespace sx
