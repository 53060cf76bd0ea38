// The table of dot products by ISA.
#include "kernels/dot_rows.h"

namespace sx {
namespace {
struct DotRowsTable {
  void (*dot_rows)(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, const float* b, int64_t b_row,
                   float* y, int64_t y_row, float scale);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/dot_rows.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(DotRowsTable, kDotRows)
}  // namespace

void dot_rows(const DotRows& p, Isa isa) {
  for_isa(isa).dot_rows(p.m, p.n, p.k, p.a, p.a_row, p.b, p.b_row, p.y, p.y_row, p.scale);
}

}  // namespace sx
