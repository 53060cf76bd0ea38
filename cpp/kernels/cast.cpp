// Casts by pairs of element types.
#include "kernels/cast.h"

#include <type_traits>

#include "kernels/cast_kernel.h"

#define SX_SIMD_SOURCE "kernels/cast.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {

SX_DEFINE_FOR_ISA(CastKernel, kCastKernel)

int place_of(DType dtype) {
  for (int i = 0; i < kCastTypes; ++i)
    if (kCastOrder[i] == dtype) return i;
  return -1;
}

}  // namespace

CastFunction cast_function(DType from, DType to, Isa isa) {
  const int row = place_of(from), column = place_of(to);
  return row < 0 || column < 0 ? nullptr : for_isa(isa).cast[row][column];
}

}  // namespace sx
