// The order of passes: simplify (portable: the result is plain ONNX again) and lower (for this back end).
#pragma once

#include "passes/pass.h"

namespace sx {

// Folds, merges, removes and canonicalises; every operator stays one of ONNX's.
void simplify(Graph& graph, PassLog& log, bool verify_each = false);
struct LowerOptions {
  bool winograd = true;                   // convolutions may round a few times more for fewer multiplications
  Precision precision = Precision::kF32;  // of the products and convolutions of an f32 model
};
// Fuses for the CPU kernels; brings in operators of the domain "sardonyx".
void lower(Graph& graph, PassLog& log, const LowerOptions& options = {}, bool verify_each = false);

}  // namespace sx
