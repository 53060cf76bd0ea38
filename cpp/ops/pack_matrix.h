// Constant matrices in the layout that products read.
#pragma once

#include "base/precision.h"
#include "tensor/tensor.h"

namespace sx {

// A float matrix [k, n], or [n, k] where `trans`, packed as the right-hand side of gemm() of that precision. Takes the
// matrix's memory on demand, and gives it back while it goes along where that is possible: a large matrix is not in
// memory twice.
Tensor pack_matrix(const Tensor& matrix, bool trans, Precision precision);

}  // namespace sx
