// Finds the array function of an activation.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/epilogue.h"

namespace sx {

constexpr int kActivationCount = static_cast<int>(Activation::kAffine) + 1;

// y[i] = f(x[i]) on the calling thread; x and y may be the same array.
using ActivationFunction = void (*)(const float* x, float* y, int64_t n, float alpha, float beta);
ActivationFunction activation_function(Activation activation, Isa isa);

}  // namespace sx
