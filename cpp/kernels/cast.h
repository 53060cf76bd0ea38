// y = x with another element type, for the types of most models.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/dtype.h"

namespace sx {

// Converts n elements on the calling thread. Out of range, conversions to integers give what x86 gives: the least int32
// or int64, of which narrower types take the low bits.
using CastFunction = void (*)(const void* x, void* y, int64_t n);
// Null for pairs that it does not know.
CastFunction cast_function(DType from, DType to, Isa isa = active_isa());

}  // namespace sx
