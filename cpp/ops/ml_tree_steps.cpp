// Trees as steps: splits are collected, sorted, and replaced by their places.
#include "ops/ml_tree_steps.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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
  make_lanes();
  return true;
}

// Trees of about as many steps share a group.
template <typename T>
void TreeSteps<T>::make_lanes() {
  const auto lanes = static_cast<size_t>(tree_lanes());
  if (lanes == 0 || columns_ > kMaxLaneColumns) return;
  std::vector<size_t> order(trees_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return trees_[a].steps < trees_[b].steps; });
  lane_of_.resize(trees_.size());
  for (size_t first = 0; first < order.size(); first += lanes) {
    const size_t count = std::min(lanes, order.size() - first);
    const auto steps = static_cast<size_t>(trees_[order[first + count - 1]].steps);
    const size_t begin = lane_steps_.size();
    groups_.push_back({static_cast<int64_t>(begin), static_cast<int64_t>(steps)});
    lane_steps_.resize(begin + steps * kLaneFields * lanes);
    for (size_t s = 0; s < steps; ++s) std::fill_n(&lane_steps_[begin + (s * kLaneFields + 1) * lanes], lanes, 127);
    for (size_t i = 0; i < count; ++i) {
      const size_t tree = order[first + i];
      lane_of_[tree] = static_cast<int32_t>(first + i);
      for (int64_t s = 0; s < trees_[tree].steps; ++s) {
        const TreeStep& step = steps_[static_cast<size_t>(trees_[tree].first_step + s)];
        uint8_t* to = &lane_steps_[begin + static_cast<size_t>(s) * kLaneFields * lanes + i];
        to[0] = static_cast<uint8_t>(step.column);
        to[lanes] = static_cast<uint8_t>(step.bin);
        to[2 * lanes] = step.from;
        to[3 * lanes] = step.to;
      }
    }
  }
}

template <typename T>
void TreeSteps<T>::row_leaves(const T* x, int8_t* bins, uint8_t* leaf) const {
  for (const Feature& feature : features_) {
    const T value = x[feature.column.feature];
    const auto count = static_cast<int64_t>(feature.splits.size());
    const T* at = feature.splits.data();
    for (int64_t left = count; left > 0;) {
      const int64_t half = (left + 1) / 2;
      at += half * static_cast<int64_t>(at[half - 1] < value);  // a branch would be guessed wrong half of the time
      left -= half;
    }
    int64_t place = at - feature.splits.data();
    if (std::isnan(value)) place = feature.column.nan_low ? 0 : count;
    for (int64_t below = 0, c = feature.first_bin; below < count; below += kSplitsPerColumn, ++c)
      bins[c] = static_cast<int8_t>(std::clamp<int64_t>(place - below, 0, kSplitsPerColumn) - 128);
  }
  std::fill(bins + columns_, bins + row_bytes(), int8_t{0});
  for (size_t g = 0; g < groups_.size(); ++g)
    tree_lane_leaves(lane_steps_.data() + groups_[g].first, groups_[g].steps, bins, columns_,
                     leaf + static_cast<int64_t>(g) * tree_lanes());
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
