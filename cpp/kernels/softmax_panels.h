// Rows of scores turned into weights that stand ready for a product: exp(x - max) in the panels of a packed A.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/precision.h"

namespace sx {

// For each of `rows` rows of n scores, `stride` apart: packed receives exp(x - max) as pack_a lays it out, and factors
// one value per row, 1 / sum, by which the products' rows are to be scaled. A sink, one for each row where set, takes
// part in max and sum. A row of -inf only gives 0. Runs on the calling thread; a row's bits depend on that row and the
// ISA only.
struct SoftmaxPanels {
  int64_t rows = 0, n = 0;
  const float* x = nullptr;
  int64_t stride = 0;
  const float* sinks = nullptr;
  float* packed = nullptr;
  float* factors = nullptr;
  Precision precision = Precision::kF32;  // of the product that takes the panels
};
void softmax_panels(const SoftmaxPanels& problem, Isa isa = active_isa());

}  // namespace sx
