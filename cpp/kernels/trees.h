// Decision trees over blocks of rows: features as bins, and a byte compare for every test of a tree.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// A test of a tree. Rows that stand at leaf `from` and whose bin in `column` is above `bin` move to leaf `to`. `from`
// is the leftmost leaf under the test, `to` the leftmost under its right side. A test comes before those below it; a
// row that starts at leaf 0 then ends at its own leaf, for only the tests on its way meet it at their leftmost leaf.
struct TreeStep {
  uint32_t column;
  int8_t bin;  // lowered by 128, as the bins of the rows
  uint8_t from, to;
};
// Splits that a column of bins tells apart: the bin is the number of those below the value.
constexpr int kSplitsPerColumn = 255;
// Floats that may be read behind the values of a tree's leaves.
constexpr int kTreeValuesSlack = 64;

// The most leaves, at most 256, with which a tree is quicker in steps than row by row.
int64_t tree_most_leaves(Isa isa = active_isa());
// Rows of a full block; every column of bins has that many bytes.
int64_t tree_block(Isa isa = active_isa());
// Rows that take the same time as a single one.
int64_t tree_vector(Isa isa = active_isa());

// The bins of one feature x[row * stride] of `rows` <= tree_block() rows: ceil(count / 255) columns. `splits` ascend
// and differ; NaN is below all of them, or above where not nan_low. T: float or double.
template <typename T>
void tree_bins(const T* splits, int64_t count, bool nan_low, const T* x, int64_t stride, int64_t rows, int8_t* bins,
               Isa isa = active_isa());

// The leaf of each of the first `rows` rows of a block; leaf holds tree_block() bytes.
void tree_leaves(const TreeStep* steps, int64_t count, const int8_t* bins, int64_t rows, uint8_t* leaf,
                 Isa isa = active_isa());

// One row, a tree to each of tree_lanes() lanes; 0 where the tier has no lookup of bytes.
int64_t tree_lanes(Isa isa = active_isa());
constexpr int kMaxLaneColumns = 256;
// A step of all lanes: the fields of TreeStep one after another, each for all lanes. A lane without a test has bin 127.
constexpr int kLaneFields = 4;
// `bins` hold one byte for each of `columns` columns, filled up to a multiple of 16; leaf[tree_lanes()].
void tree_lane_leaves(const uint8_t* steps, int64_t count, const int8_t* bins, int64_t columns, uint8_t* leaf,
                      Isa isa = active_isa());

// The values of `leaves` leaves of one tree.
struct TreeValues {
  const float* values;  // kTreeValuesSlack more may be read
  int64_t leaves;
};
// sums[row] += values of the leaf of each tree, in the order of the trees, for the rows of a block;
// leaf[tree * tree_block() + row]. The rows are rounded up to a multiple of tree_vector().
void tree_add(const TreeValues* trees, int64_t count, const uint8_t* leaf, int64_t rows, double* sums,
              Isa isa = active_isa());

}  // namespace sx
