// What OrtValue wraps: one tensor, sequence, map or none with a place in Python.
#pragma once

#include "tensor/tensor.h"

namespace sx {

struct HostValue {
  Datum datum;
};

}  // namespace sx
