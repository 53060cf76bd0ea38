// Vectorized functions that compute in f64: elementwise ones of f64 arrays, powers of f32, and integer division.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/epilogue.h"

namespace sx {

// y[i] = f(x[i]) on the calling thread, within 3 units in the last place, with NaN, infinities and signed zeros as C's
// functions give them; x and y may be the same array. Null for functions that have no such version.
using DoubleFunction = void (*)(const double* x, double* y, int64_t n);
DoubleFunction double_function(Activation function, Isa isa = active_isa());

// y[i] = a[i] ^ b[i] as C's pow gives it, within one unit in the last place, on the calling thread; y may be a or b.
void power(const float* a, bool a_scalar, const float* b, bool b_scalar, float* y, int64_t n, Isa isa = active_isa());

// y[i] = what remains of a[i] / b[i], with the sign of a, as C's fmod gives it: exact. As above.
void remainder(const float* a, bool a_scalar, const float* b, bool b_scalar, float* y, int64_t n,
               Isa isa = active_isa());

// y[i] = a[i] / b[i] of integers, rounded towards zero, or what remains: with the sign of a, or of b. The least integer
// divided by -1 wraps around; no b[i] is 0. On the calling thread; y may be a or b.
enum class IntegerDivision : uint8_t { kQuotient, kRemainder, kModulus };
void divide(IntegerDivision kind, const int32_t* a, bool a_scalar, const int32_t* b, bool b_scalar, int32_t* y,
            int64_t n, Isa isa = active_isa());

}  // namespace sx
