// Decision trees over blocks of rows: the choice among the kernels of the tiers.
#include "kernels/trees.h"

namespace sx {
namespace {
struct TreeTable {
  int64_t most_leaves;
  int64_t vector;  // rows of a vector of bytes
  int64_t block;
  void (*bins_f32)(const float* splits, int64_t count, bool nan_low, const float* x, int64_t stride, int64_t rows,
                   int8_t* bins);
  void (*bins_f64)(const double* splits, int64_t count, bool nan_low, const double* x, int64_t stride, int64_t rows,
                   int8_t* bins);
  void (*leaves)(const TreeStep* steps, int64_t count, const int8_t* bins, int64_t rows, uint8_t* leaf);
  int64_t lanes;
  void (*lane_leaves)(const uint8_t* steps, int64_t count, const int8_t* bins, int64_t columns, uint8_t* leaf);
  void (*add)(const TreeValues* trees, int64_t count, const uint8_t* leaf, int64_t rows, double* sums);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/trees.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(TreeTable, kTrees)
}  // namespace

int64_t tree_most_leaves(Isa isa) { return for_isa(isa).most_leaves; }
int64_t tree_block(Isa isa) { return for_isa(isa).block; }
int64_t tree_vector(Isa isa) { return for_isa(isa).vector; }

template <>
void tree_bins<float>(const float* splits, int64_t count, bool nan_low, const float* x, int64_t stride, int64_t rows,
                      int8_t* bins, Isa isa) {
  for_isa(isa).bins_f32(splits, count, nan_low, x, stride, rows, bins);
}

template <>
void tree_bins<double>(const double* splits, int64_t count, bool nan_low, const double* x, int64_t stride, int64_t rows,
                       int8_t* bins, Isa isa) {
  for_isa(isa).bins_f64(splits, count, nan_low, x, stride, rows, bins);
}

void tree_leaves(const TreeStep* steps, int64_t count, const int8_t* bins, int64_t rows, uint8_t* leaf, Isa isa) {
  for_isa(isa).leaves(steps, count, bins, rows, leaf);
}

int64_t tree_lanes(Isa isa) { return for_isa(isa).lanes; }

void tree_lane_leaves(const uint8_t* steps, int64_t count, const int8_t* bins, int64_t columns, uint8_t* leaf,
                      Isa isa) {
  for_isa(isa).lane_leaves(steps, count, bins, columns, leaf);
}

void tree_add(const TreeValues* trees, int64_t count, const uint8_t* leaf, int64_t rows, double* sums, Isa isa) {
  for_isa(isa).add(trees, count, leaf, rows, sums);
}

}  // namespace sx
