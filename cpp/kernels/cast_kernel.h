// The per-ISA functions under casts.
#pragma once

#include "base/float_types.h"
#include "kernels/cast.h"

namespace sx {

// The types between which there are casts, in the order of the table.
constexpr DType kCastOrder[] = {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt8,
                                DType::kUInt8,   DType::kInt32,   DType::kInt64,   DType::kBool};
constexpr int kCastTypes = static_cast<int>(sizeof(kCastOrder) / sizeof(kCastOrder[0]));

struct CastKernel {
  CastFunction cast[kCastTypes][kCastTypes];
};

}  // namespace sx
