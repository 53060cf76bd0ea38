// Trees of few leaves as steps over bins of their features (kernels/trees.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/trees.h"

namespace sx {

// A feature as the tests of trees read it: NaN is below all splits where nan_low, else above.
struct TreeColumn {
  int64_t feature;
  bool nan_low;
};

// T: float or double.
template <typename T>
class TreeSteps {
 public:
  struct Test {  // x <= split
    T split;
    uint32_t column;
    uint8_t from, to;  // as in TreeStep
  };
  struct Leaf {
    T value;
    int32_t number;
  };

  // Tests and leaves in the order of TreeStep; returns the tree's index.
  int32_t add(const std::vector<Test>& tests, const std::vector<Leaf>& leaves);
  // After the last tree, with what the tests name as columns. False where there are too many splits for it to be worth
  // while; nothing may be asked then.
  bool finish(const std::vector<TreeColumn>& columns);

  bool empty() const { return trees_.empty(); }
  // Bytes of bins for a block of rows.
  int64_t bin_bytes() const { return columns_ * tree_block(); }
  void bins(const T* x, int64_t rows, int64_t width, int8_t* bins) const;
  // The leaf of each row within the tree.
  void leaves(int32_t tree, const int8_t* bins, int64_t rows, uint8_t* leaf) const;
  // Whether one row can be taken through all trees at once.
  bool has_lanes() const { return !groups_.empty(); }
  // Bytes of scratch memory and of leaves for that.
  int64_t row_bytes() const { return (columns_ + 15) / 16 * 16; }
  int64_t leaf_bytes() const { return static_cast<int64_t>(groups_.size()) * tree_lanes(); }
  // The leaf of tree t within the tree is then leaf[lane(t)].
  void row_leaves(const T* x, int8_t* bins, uint8_t* leaf) const;
  int32_t lane(int32_t tree) const { return lane_of_[static_cast<size_t>(tree)]; }
  int64_t leaf_count(int32_t tree) const { return trees_[static_cast<size_t>(tree)].leaves; }
  // By leaf within the tree; kTreeValuesSlack values may be read behind them.
  const T* values(int32_t tree) const { return values_.data() + trees_[static_cast<size_t>(tree)].first_leaf; }
  const int32_t* numbers(int32_t tree) const { return numbers_.data() + trees_[static_cast<size_t>(tree)].first_leaf; }

 private:
  struct Tree {
    int64_t first_step, steps;
    int64_t first_leaf, leaves;
  };
  struct Feature {
    TreeColumn column;
    std::vector<T> splits;  // ascending, each once
    int64_t first_bin;      // column of bins
  };
  struct Group {    // of trees in lanes
    int64_t first;  // byte in lane_steps_
    int64_t steps;
  };
  void make_lanes();

  std::vector<Tree> trees_;
  std::vector<TreeStep> steps_;
  std::vector<T> splits_;  // by step, until finish()
  std::vector<T> values_;
  std::vector<int32_t> numbers_;
  std::vector<Feature> features_;
  std::vector<Group> groups_;
  std::vector<uint8_t> lane_steps_;
  std::vector<int32_t> lane_of_;  // by tree
  int64_t columns_ = 0;           // of bins
};

}  // namespace sx
