// Models of one batch size to models of any: a symbol for axis 0 of all inputs, and constants that no longer fix it.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace sx {

struct DynamicBatch {
  std::string symbol;
  int64_t was = 0;                    // the extent before; 0 where it was open already
  std::vector<std::string> repaired;  // "Reshape 'flat'": nodes whose constants fixed it
};

// Gives axis 0 of every tensor input the symbol (empty: "N", or another one that the model does not use), infers all
// types anew and rewrites what fixes the batch: targets of Reshape and Expand, sizes of Resize, initial states,
// constants that are joined to data. The graph must not be optimised for speed. Throws InvalidGraph with the node that
// holds on to the old batch, or without which an output has none.
DynamicBatch make_batch_dynamic(Graph& graph, const std::string& symbol);

}  // namespace sx
