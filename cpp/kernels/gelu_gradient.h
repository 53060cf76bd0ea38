// The gradient of Gelu over arrays.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// dx = dy * (Phi(x) + x phi(x)) for the normal distribution Phi and its density phi, as Activation::kGelu has them; dx
// may be dy or x. Large arrays are split over the thread pool.
void gelu_gradient(const float* x, const float* dy, float* dx, int64_t n, Isa isa = active_isa());

}  // namespace sx
