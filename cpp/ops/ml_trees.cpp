// Compact decision trees: building with checks, walking several rows in step, aggregating votes.
#include "ops/ml_trees.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sx {
namespace {

constexpr int kLanes = 16;      // rows that walk one tree, or trees that one row walks, in step
constexpr int64_t kBlock = 64;  // rows for which a tree is read from memory once
constexpr int64_t kMaxCount = INT32_MAX;
// Rows times nodes visited that are worth a chunk of their own.
constexpr int64_t kGrainVisits = 20000;

}  // namespace

template <typename T>
Trees<T>::Trees(const NodeView& node, const TreeSource& source, int64_t targets, TreeAggregate aggregate)
    : targets_(targets), aggregate_(aggregate) {
  const auto count = static_cast<int64_t>(source.nodes.size());
  const auto leaves = static_cast<int64_t>(source.leaves.size());
  node.require(count + leaves < kMaxCount, "has ", count, " nodes and ", leaves, " leaves, more than can be indexed");
  node.require(targets > 0 && targets < kMaxCount, "has ", targets, " targets");
  auto place = [&](int64_t child, const char* what, int64_t of) -> int32_t {
    node.require(child < count && child >= -leaves, what, " of node ", of, " does not exist");
    return static_cast<int32_t>(child >= 0 ? child : count - 1 - child);
  };
  nodes_.resize(static_cast<size_t>(count + leaves));
  leaves_.resize(nodes_.size(), {0, 0});
  special_.resize(nodes_.size(), {TreeMode::kLeq, false, 0, 0});
  for (double value : source.sets) sets_.push_back(static_cast<T>(value));
  for (int64_t i = 0; i < count; ++i) {
    const TreeSource::Node& from = source.nodes[static_cast<size_t>(i)];
    node.require(from.feature >= 0 && from.feature < kMaxCount, "node ", i, " tests feature ", from.feature);
    features_ = std::max(features_, from.feature + 1);
    Node& to = nodes_[static_cast<size_t>(i)];
    to = {static_cast<T>(from.split),
          static_cast<uint32_t>(from.feature) * 2 + (from.missing_is_true ? 0 : 1),
          {place(from.yes, "the true child", i), place(from.no, "the false child", i)}};
    Special& special = special_[static_cast<size_t>(i)];
    special = {from.mode, from.missing_is_true, static_cast<int32_t>(from.set_begin),
               static_cast<int32_t>(from.set_begin + from.set_count)};
    if (from.mode == TreeMode::kMember) std::sort(sets_.begin() + special.set_begin, sets_.begin() + special.set_end);
  }
  std::vector<Node> told = nodes_;
  for (int64_t i = 0; i < count && test_ != Test::kSpecial; ++i) {
    Node& node = told[static_cast<size_t>(i)];
    if (!told_as_leq(source.nodes[static_cast<size_t>(i)], node)) test_ = Test::kSpecial;
    else if (node.feature % 2 == 0) test_ = Test::kTracksMissing;
  }
  if (test_ != Test::kSpecial) nodes_ = std::move(told);
  one_vote_ = targets == 1;
  for (int64_t l = 0; l < leaves; ++l) {
    const auto at = static_cast<size_t>(count + l);
    const auto self = static_cast<int32_t>(at);
    nodes_[at] = {T(0), 0, {self, self}};
    const auto begin = static_cast<int32_t>(votes_.size());
    for (const TreeSource::Vote& vote : source.leaves[static_cast<size_t>(l)]) {
      node.require(vote.target >= 0 && vote.target < targets, "a leaf votes for target ", vote.target, " of ", targets);
      node.require(static_cast<int64_t>(votes_.size()) < kMaxCount, "has more votes than can be indexed");
      votes_.push_back({static_cast<int32_t>(vote.target), static_cast<T>(vote.weight)});
    }
    leaves_[at] = {begin, static_cast<int32_t>(votes_.size())};
    one_vote_ = one_vote_ && source.leaves[static_cast<size_t>(l)].size() == 1;
  }
  for (int64_t root : source.roots) roots_.push_back(place(root, "the root", -1));

  // The height of every node; meeting a node on its own path again is a cycle.
  enum : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> state(nodes_.size(), kNew);
  std::vector<int32_t> height(nodes_.size(), 0);
  std::vector<int32_t> path;
  for (int32_t root : roots_) {
    path.push_back(root);
    while (!path.empty()) {
      const int32_t at = path.back();
      const auto i = static_cast<size_t>(at);
      const Node& n = nodes_[i];
      if (state[i] == kDone || n.child[0] == at) {
        node.require(at >= count || state[i] == kDone, "its nodes form a cycle through node ", at);
        state[i] = kDone;
        path.pop_back();
        continue;
      }
      if (state[i] == kOpen) {
        height[i] = 1 + std::max(height[static_cast<size_t>(n.child[0])], height[static_cast<size_t>(n.child[1])]);
        state[i] = kDone;
        path.pop_back();
        continue;
      }
      state[i] = kOpen;
      for (int32_t child : n.child) {
        node.require(state[static_cast<size_t>(child)] != kOpen, "its nodes form a cycle through node ", child);
        if (state[static_cast<size_t>(child)] == kNew) path.push_back(child);
      }
    }
    depths_.push_back(height[static_cast<size_t>(root)]);
  }
  if (test_ != Test::kSpecial) special_.clear();
  if (one_vote_) {
    value_.resize(nodes_.size(), T(0));
    for (int64_t l = 0; l < leaves; ++l) value_[static_cast<size_t>(count + l)] = votes_[static_cast<size_t>(l)].weight;
  }
}

template <typename T>
bool Trees<T>::told_as_leq(const TreeSource::Node& from, Node& node) const {
  const bool strict = from.mode == TreeMode::kLt || from.mode == TreeMode::kGte;
  const bool negated = from.mode == TreeMode::kGt || from.mode == TreeMode::kGte;
  if (!strict && !negated && from.mode != TreeMode::kLeq) return false;
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  if (std::isnan(node.split) || (strict && node.split == kLowest)) return false;
  // x < split is x <= the number below split; x > split is the contrary of x <= split, but for NaN.
  if (strict) node.split = std::nextafter(node.split, kLowest);
  if (negated) {
    std::swap(node.child[0], node.child[1]);
    node.feature ^= 1;
  }
  return true;
}

template <typename T>
bool Trees<T>::takes_yes(int32_t at, const T* x) const {
  const Node& node = nodes_[static_cast<size_t>(at)];
  const Special& special = special_[static_cast<size_t>(at)];
  const T value = x[node.feature / 2];
  if (special.missing_is_true && std::isnan(value)) return true;
  switch (special.mode) {
    case TreeMode::kLeq: return value <= node.split;
    case TreeMode::kLt: return value < node.split;
    case TreeMode::kGte: return value >= node.split;
    case TreeMode::kGt: return value > node.split;
    case TreeMode::kEq: return value == node.split;
    case TreeMode::kNeq: return value != node.split;
    case TreeMode::kMember:
      return !std::isnan(value) &&
             std::binary_search(sets_.begin() + special.set_begin, sets_.begin() + special.set_end, value);
  }
  return false;
}

template <typename T>
template <typename Trees<T>::Test kTest>
void Trees<T>::walk(int32_t depth, const T* const* rows, int32_t* at) const {
  const Node* nodes = nodes_.data();
  for (int32_t level = 0; level < depth; ++level) {
    int32_t moved = 0;
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      const Node& node = nodes[at[i]];
      const T x = rows[i][node.feature / 2];
      uint32_t which;
      if constexpr (kTest == Test::kPlain) which = x <= node.split ? 0 : 1;
      else if constexpr (kTest == Test::kTracksMissing)
        which = static_cast<uint32_t>(x > node.split) | (static_cast<uint32_t>(x != x) & node.feature);
      else which = takes_yes(at[i], rows[i]) ? 0 : 1;
      const int32_t next = node.child[which];
      moved |= next ^ at[i];
      at[i] = next;
    }
    if (moved == 0) break;
  }
}

template <typename T>
void Trees<T>::vote(int32_t leaf, double* sums, uint8_t* seen) const {
  if (one_vote_ && aggregate_ <= TreeAggregate::kSum) {
    *sums += static_cast<double>(value_[static_cast<size_t>(leaf)]);
    return;
  }
  const Leaf votes = leaves_[static_cast<size_t>(leaf)];
  for (int32_t v = votes.begin; v < votes.end; ++v) {
    const Vote vote = votes_[static_cast<size_t>(v)];
    const double weight = vote.weight;
    double& sum = sums[vote.target];
    if (aggregate_ <= TreeAggregate::kSum) sum += weight;
    else if (seen[vote.target] == 0) sum = weight;
    else sum = aggregate_ == TreeAggregate::kMin ? std::min(sum, weight) : std::max(sum, weight);
    seen[vote.target] = 1;
  }
}

template <typename T>
template <typename Trees<T>::Test kTest>
void Trees<T>::run_rows(const T* x, int64_t rows, int64_t width, double* sums, uint8_t* seen) const {
  int32_t at[kLanes];
  const T* lanes[kBlock];
  std::fill_n(sums, rows * targets_, 0.0);
  const bool whole = one_vote_ && aggregate_ <= TreeAggregate::kSum && !roots_.empty();
  std::fill_n(seen, rows * targets_, static_cast<uint8_t>(whole));
  int64_t row = 0;
  while (row + kLanes <= rows) {
    const int64_t block = std::min(kBlock, rows - row) / kLanes * kLanes;
    for (int64_t i = 0; i < block; ++i) lanes[i] = x + (row + i) * width;
    for (size_t tree = 0; tree < roots_.size(); ++tree) {
      for (int64_t first = 0; first < block; first += kLanes) {
        std::fill_n(at, kLanes, roots_[tree]);
        walk<kTest>(depths_[tree], lanes + first, at);
        for (int i = 0; i < kLanes; ++i) {
          const int64_t to = (row + first + i) * targets_;
          vote(at[i], sums + to, seen + to);
        }
      }
    }
    row += block;
  }
  // For the rows that are left, the lanes are trees.
  for (; row < rows; ++row) {
    std::fill_n(lanes, kLanes, x + row * width);
    for (size_t tree = 0; tree < roots_.size(); tree += kLanes) {
      const size_t count = std::min<size_t>(kLanes, roots_.size() - tree);
      int32_t depth = 0;
      for (size_t i = 0; i < kLanes; ++i) {
        at[i] = roots_[tree + std::min(i, count - 1)];
        if (i < count) depth = std::max(depth, depths_[tree + i]);
      }
      walk<kTest>(depth, lanes, at);
      for (size_t i = 0; i < count; ++i) vote(at[i], sums + row * targets_, seen + row * targets_);
    }
  }
}

template <typename T>
void Trees<T>::run(const T* x, int64_t rows, int64_t width, double* sums, uint8_t* seen) const {
  switch (test_) {
    case Test::kPlain: return run_rows<Test::kPlain>(x, rows, width, sums, seen);
    case Test::kTracksMissing: return run_rows<Test::kTracksMissing>(x, rows, width, sums, seen);
    case Test::kSpecial: return run_rows<Test::kSpecial>(x, rows, width, sums, seen);
  }
}

template <typename T>
int64_t Trees<T>::grain() const {
  int64_t visits = 1;
  for (int32_t depth : depths_) visits += depth + 1;
  return (std::max<int64_t>(1, kGrainVisits / visits) + kLanes - 1) / kLanes * kLanes;
}

template class Trees<float>;
template class Trees<double>;

}  // namespace sx
