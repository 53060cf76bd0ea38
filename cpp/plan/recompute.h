// Recomputation: the backward half of a training step computes again what it would otherwise have to keep.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/type.h"

namespace sx {

struct Recompute {
  std::vector<std::string> results;  // outputs that are differentiated: all they depend on is the forward half
  bool automatic = true;             // what is kept is chosen by size; otherwise it is `kept`
  std::vector<std::string> kept;     // names of values
};

// Which values of a graph stay, found by name before passes rewrite it: each value that is named and, in order, those
// into which passes may merge it.
using KeptValues = std::vector<std::vector<ValueId>>;
// Throws InvalidArgument for a name that no value has.
KeptValues find_kept(const Graph& graph, const Recompute& request);

// Rewrites an optimised graph for inputs of the given types: nodes outside of the forward half that read a value which
// is not kept read a copy of it, computed right before its first reader from what is kept. Copies are the same nodes on
// the same inputs and give the same bits; what draws random numbers is kept, the mask in the case of Dropout.
// Automatically: forward nodes are cut into segments, what crosses a cut is kept (Chen, Xu, Zhang and Guestrin,
// Training Deep Nets with Sublinear Memory Cost, 2016); of several numbers of segments the one with the lowest peak is
// taken. `donated` is as in Plan. Returns how many nodes were added.
size_t recompute_backward(Graph& graph, const std::vector<Type>& input_types, const std::vector<bool>& donated,
                          const Recompute& request, const KeptValues& kept);

}  // namespace sx
