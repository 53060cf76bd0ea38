// Bins, leaves and sums of trees on every tier against plain loops.
#include "kernels/trees.h"

#include <algorithm>

#include "check.h"
#include "kernel_testing.h"

namespace sx {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The steps below one node, which has the leaves [first, first + count).
void grow(std::mt19937& random, int columns, int first, int count, std::vector<TreeStep>& steps) {
  if (count == 1) return;
  const int left = 1 + static_cast<int>(random() % static_cast<uint32_t>(count - 1));
  const auto bin = static_cast<int8_t>(static_cast<int>(random() % kSplitsPerColumn) - 128);
  steps.push_back({static_cast<uint32_t>(random() % static_cast<uint32_t>(columns)), bin, static_cast<uint8_t>(first),
                   static_cast<uint8_t>(first + left)});
  grow(random, columns, first, left, steps);
  grow(random, columns, first + left, count - left, steps);
}

TEST(tree_bins_of_every_count) {
  for (Isa isa : tested_isas()) {
    const int64_t block = tree_block(isa);
    for (int64_t count : {1, 2, 3, 31, 254, 255, 256, 600}) {
      std::vector<float> splits = random_floats(count, 1, -4, 4);
      std::sort(splits.begin(), splits.end());
      splits.front() = -kInfinity;
      if (count > 2) splits.back() = kInfinity;
      const int64_t stride = 3;
      std::vector<float> x = random_floats(block * stride, 2, -5, 5);
      const float special[] = {kInfinity, -kInfinity, NAN, splits[static_cast<size_t>(count / 2)]};
      for (size_t i = 0; i < 4; ++i) x[i * stride] = special[i];
      for (int64_t rows : {int64_t{1}, block / 2 + 1, block}) {
        for (bool nan_low : {false, true}) {
          const int64_t columns = (count + kSplitsPerColumn - 1) / kSplitsPerColumn;
          std::vector<int8_t> bins(static_cast<size_t>(columns * block));
          tree_bins(splits.data(), count, nan_low, x.data(), stride, rows, bins.data(), isa);
          for (int64_t r = 0; r < rows; ++r) {
            const float value = x[static_cast<size_t>(r * stride)];
            for (int64_t s = 0; s < count; ++s) {
              const bool above = std::isnan(value) ? !nan_low : value > splits[static_cast<size_t>(s)];
              const int bin = bins[static_cast<size_t>(s / kSplitsPerColumn * block + r)] + 128;
              CHECK_EQ(bin > s % kSplitsPerColumn, above);
            }
          }
        }
      }
    }
  }
}

TEST(tree_leaves_and_sums) {
  for (Isa isa : tested_isas()) {
    const int64_t block = tree_block(isa), lanes = tree_lanes(isa);
    for (int count : {1, 2, 31, 32, 33, 64, 65, 256}) {
      for (int columns : {1, 16, 50, 256}) {
        std::mt19937 random(static_cast<uint32_t>(count * columns));
        std::vector<TreeStep> steps;
        grow(random, columns, 0, count, steps);
        const auto bins = random_integers<int8_t>(columns * block, 3, -128, 127);
        std::vector<uint8_t> leaf(static_cast<size_t>(2 * block)), expected(leaf.size());
        for (int64_t r = 0; r < block; ++r) {
          uint8_t& at = expected[static_cast<size_t>(r)];
          for (const TreeStep& step : steps)
            if (at == step.from && bins[static_cast<size_t>(step.column * block + r)] > step.bin) at = step.to;
        }
        for (int64_t rows : {int64_t{1}, block / 4 + 1, block / 2 + 1, block}) {
          tree_leaves(steps.data(), static_cast<int64_t>(steps.size()), bins.data(), rows, leaf.data(), isa);
          for (size_t r = 0; r < static_cast<size_t>(rows); ++r) CHECK_EQ(leaf[r], expected[r]);
        }
        // The same tree twice, with other values.
        std::copy_n(leaf.begin(), block, leaf.begin() + block);
        const auto values = random_floats(2 * count + kTreeValuesSlack, 4);
        const TreeValues trees[] = {{values.data(), count}, {values.data() + count, count}};
        std::vector<double> sums(static_cast<size_t>(block), 0.5);
        tree_add(trees, 2, leaf.data(), block, sums.data(), isa);
        for (size_t r = 0; r < sums.size(); ++r) {
          const size_t at = expected[r];
          CHECK_EQ(sums[r], 0.5 + values[at] + values[at + static_cast<size_t>(count)]);
        }
        if (lanes == 0) continue;
        // Row r for all lanes: the tree is in every other lane, the rest have no tests.
        std::vector<uint8_t> packed(steps.size() * static_cast<size_t>(kLaneFields * lanes));
        for (size_t s = 0; s < steps.size(); ++s) {
          uint8_t* to = packed.data() + s * static_cast<size_t>(kLaneFields * lanes);
          std::fill_n(to + lanes, lanes, 127);
          for (int64_t i = 0; i < lanes; i += 2) {
            to[i] = static_cast<uint8_t>(steps[s].column);
            to[lanes + i] = static_cast<uint8_t>(steps[s].bin);
            to[2 * lanes + i] = steps[s].from;
            to[3 * lanes + i] = steps[s].to;
          }
        }
        for (int64_t r = 0; r < block; r += 7) {
          std::vector<int8_t> row(static_cast<size_t>((columns + 15) / 16 * 16));
          for (int c = 0; c < columns; ++c) row[static_cast<size_t>(c)] = bins[static_cast<size_t>(c * block + r)];
          std::vector<uint8_t> found(static_cast<size_t>(lanes));
          tree_lane_leaves(packed.data(), static_cast<int64_t>(steps.size()), row.data(), columns, found.data(), isa);
          for (int64_t i = 0; i < lanes; ++i)
            CHECK_EQ(found[static_cast<size_t>(i)], i % 2 == 0 ? expected[static_cast<size_t>(r)] : 0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace sx
