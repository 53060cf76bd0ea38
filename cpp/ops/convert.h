// Element conversion between any two types other than strings and complex numbers, as Cast does it.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace sx {

// y[i] = x[i] for n elements; runs on the calling thread. `saturate` is Cast's attribute, for 8-bit floats.
void convert_elements(DType from, DType to, const void* x, void* y, int64_t n, bool saturate = true);

}  // namespace sx
