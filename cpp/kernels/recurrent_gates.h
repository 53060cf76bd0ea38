// From the sums of a recurrent cell's gates to its next state and back, with the activations that nearly every cell
// has.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// All run on the calling thread; the bits of a unit depend on its numbers and the ISA only.

// `sums` are those of the input, output, forget and cell gate of one sequence, n each:
//   c = sigmoid(forget) * c + sigmoid(input) * tanh(cell), h = sigmoid(output) * tanh(c).
// Each product is off by 2^-21 of itself at most, for sums of any size; where a sigmoid is below the normal numbers it
// is 0. Where `keeps`, the gates take the place of their sums.
void lstm_gates(float* sums, int64_t n, float* c, float* h, bool keeps = false, Isa isa = active_isa());

// The way back: `gates` as they were kept, c before and behind the step, and what comes to h and c behind it. The
// gradients of the sums take the place of the gates, that of c before the step the place of dc.
void lstm_gates_backward(float* gates, int64_t n, const float* c_before, const float* c, const float* dh, float* dc,
                         Isa isa = active_isa());

// A GRU whose reset gate acts behind the product. `x` holds the products of the input with the weights of the update,
// reset and hidden gate, biases added, n each, and `sums` those of h; `bias`, or null, is added to the last of these:
//   update, reset = sigmoid(x + sums), fresh = tanh(x + reset * (sums + bias)), h += (1 - update) * (fresh - h).
// `kept`, where it is not null, receives sums + bias, and the gates take the place of the sums.
void gru_gates(const float* x, float* sums, const float* bias, int64_t n, float* h, float* kept,
               Isa isa = active_isa());

// The way back, from what was kept, h before the step and what comes to h behind it. The gradients of x take the place
// of the gates, `recurred` receives those of the sums, and dh becomes what goes to h before the step but by the sums.
void gru_gates_backward(float* gates, int64_t n, const float* h_before, const float* kept, float* recurred, float* dh,
                        Isa isa = active_isa());

}  // namespace sx
