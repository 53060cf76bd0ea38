// What OrtValue wraps: one tensor, sequence, map or none with a place in Python.
#pragma once

#include "tensor/tensor.h"

namespace sx {

struct HostValue {
  Datum datum;
};

// Copies the elements of a tensor into the memory of another one of the same type and shape.
void copy_into(const HostValue& to, const HostValue& from);

}  // namespace sx
