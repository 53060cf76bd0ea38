// Trees as steps: splits are collected, sorted, and replaced by their places.
#include "ops/ml_tree_steps.h"

#include <algorithm>

namespace sx {
namespace {
constexpr int64_t kMostBinBytes = 512 << 10;  // of a block: half of a second-level cache
}

template <typename T>
int32_t TreeSteps<T>::add(const std::vector<Test>& tests, const std::vector<Leaf>& leaves) {
  trees_.push_back({static_cast<int64_t>(steps_.size()), static_cast<int64_t>(tests.size()),
                    static_cast<int64_t>(values_.size()), static_cast<int64_t>(leaves.size())});
  for (const Test& test : tests) {
    steps_.push_back({test.column, 0, test.from, test.to});
    splits_.push_back(test.split);
  }
  for (const Leaf& leaf : leaves) {
    values_.push_back(leaf.value);
    numbers_.push_back(leaf.number);
  }
  return static_cast<int32_t>(trees_.size() - 1);
}

template <typename T>
bool TreeSteps<T>::finish(const std::vector<TreeColumn>& columns) {
  std::vector<std::vector<T>> splits(columns.size());
  for (size_t s = 0; s < steps_.size(); ++s) splits[steps_[s].column].push_back(splits_[s]);
  std::vector<size_t> feature_of(columns.size());
  for (size_t c = 0; c < columns.size(); ++c) {
    std::vector<T>& sorted = splits[c];
    if (sorted.empty()) continue;
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    feature_of[c] = features_.size();
    const auto count = static_cast<int64_t>(sorted.size());
    features_.push_back({columns[c], std::move(sorted), columns_});
    columns_ += (count + kSplitsPerColumn - 1) / kSplitsPerColumn;
    if (bin_bytes() > kMostBinBytes) return false;
  }
  for (size_t s = 0; s < steps_.size(); ++s) {
    const Feature& feature = features_[feature_of[steps_[s].column]];
    const int64_t place =
        std::lower_bound(feature.splits.begin(), feature.splits.end(), splits_[s]) - feature.splits.begin();
    steps_[s].column = static_cast<uint32_t>(feature.first_bin + place / kSplitsPerColumn);
    steps_[s].bin = static_cast<int8_t>(place % kSplitsPerColumn - 128);
  }
  splits_ = {};
  values_.resize(values_.size() + kTreeValuesSlack);
  return true;
}

template <typename T>
void TreeSteps<T>::bins(const T* x, int64_t rows, int64_t width, int8_t* bins) const {
  const int64_t block = tree_block();
  for (const Feature& feature : features_) {
    tree_bins(feature.splits.data(), static_cast<int64_t>(feature.splits.size()), feature.column.nan_low,
              x + feature.column.feature, width, rows, bins + feature.first_bin * block);
  }
}

template <typename T>
void TreeSteps<T>::leaves(int32_t tree, const int8_t* bins, int64_t rows, uint8_t* leaf) const {
  const Tree& t = trees_[static_cast<size_t>(tree)];
  tree_leaves(steps_.data() + t.first_step, t.steps, bins, rows, leaf);
}

template class TreeSteps<float>;
template class TreeSteps<double>;

}  // namespace sx
