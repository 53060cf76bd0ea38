// Tensors to and from DLPack capsules, both the old and the versioned form, CPU memory only.
#pragma once

#include <pybind11/pybind11.h>

#include "tensor/tensor.h"

namespace sx {

// A capsule named "dltensor", or "dltensor_versioned" where asked for; it keeps the memory alive. Throws
// InvalidArgument for strings, which DLPack has no type for.
pybind11::capsule to_dlpack(const Tensor& tensor, bool versioned);
// Takes the capsule over. Contiguous memory is shared, strided memory copied.
Tensor from_dlpack(const pybind11::capsule& capsule);

}  // namespace sx
