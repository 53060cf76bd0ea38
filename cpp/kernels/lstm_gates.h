// From the sums of an LSTM's gates to its next state, with the activations that nearly every LSTM has.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// `sums` are those of the input, output, forget and cell gate of one sequence, n each:
//   c = sigmoid(forget) * c + sigmoid(input) * tanh(cell), h = sigmoid(output) * tanh(c).
// Each product is off by 2^-21 of itself at most, for sums of any size; where a sigmoid is below the normal numbers it
// is 0. Runs on the calling thread; the bits of a unit depend on its sums, its c and the ISA only.
void lstm_gates(const float* sums, int64_t n, float* c, float* h, Isa isa = active_isa());

}  // namespace sx
