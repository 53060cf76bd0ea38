// Memory for packed weights that every run reads.
#pragma once

#include "tensor/tensor.h"

namespace sx {

// Uninitialised, and to be written at once. Such tensors lie side by side in pages of 2 MB where the system has them:
// the address of each small page would have to be looked up anew in every run. Their memory goes back to the system
// when none of those in the same few megabytes is left.
Tensor weight_tensor(DType dtype, const Shape& shape);

}  // namespace sx
