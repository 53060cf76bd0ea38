// The table of attention's row functions by ISA.
#include "kernels/attention_rows.h"

namespace sx {
namespace {
struct AttentionRowsTable {
  void (*dot_rows)(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, const float* b, int64_t b_row,
                   float* y, int64_t y_row, float scale);
  void (*add_mask)(const float* mask, float* scores, int64_t n);
  void (*scale_rows)(float* y, int64_t rows, int64_t n, int64_t stride, const float* factors);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/attention_rows.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(AttentionRowsTable, kAttentionRows)
}  // namespace

void dot_rows(const DotRows& p, Isa isa) {
  for_isa(isa).dot_rows(p.m, p.n, p.k, p.a, p.a_row, p.b, p.b_row, p.y, p.y_row, p.scale);
}

void add_mask(const float* mask, float* scores, int64_t n, Isa isa) { for_isa(isa).add_mask(mask, scores, n); }

void scale_rows(float* y, int64_t rows, int64_t n, int64_t stride, const float* factors, Isa isa) {
  for_isa(isa).scale_rows(y, rows, n, stride, factors);
}

}  // namespace sx
