// Finds the array function of an activation.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/precision.h"
#include "kernels/epilogue.h"

namespace sx {

constexpr int kActivationCount = static_cast<int>(Activation::kAffine) + 1;

// y[i] = f(x[i]) on the calling thread; x and y may be the same array. kBf16: what follows a product in bf16, with a
// Gelu that is right to 2^-14 of |x|, and a Swish that is right to 2^-12 of itself and 2^-100 of |x|.
using ActivationFunction = void (*)(const float* x, float* y, int64_t n, float alpha, float beta);
ActivationFunction activation_function(Activation activation, Isa isa, Precision precision = Precision::kF32);

}  // namespace sx
