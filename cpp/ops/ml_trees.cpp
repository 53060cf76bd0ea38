// Trees: building with checks, walking several rows or trees in step, aggregating votes.
#include "ops/ml_trees.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/scratch.h"

namespace sx {
namespace {

constexpr int kLanes = 8;        // rows that walk one tree, or trees that one row walks, in step
constexpr int32_t kLevels = 4;   // of a walk, between looks whether all have arrived at leaves
constexpr int64_t kFewRows = 8;  // fewer are taken one by one
constexpr size_t kTogether = 8;  // trees whose leaves are found before they are added
constexpr int64_t kMaxCount = INT32_MAX / 2;
constexpr int32_t kNext = INT32_MAX;  // a child: the node behind
// Rows times nodes visited that are worth a chunk of their own.
constexpr double kGrainVisits = 20000;
// Tests in steps that take the time of visiting a node, for a row of a full block.
constexpr double kStepsPerVisit = 40;

}  // namespace

// Of a node of the source.
template <typename T>
struct Trees<T>::Place {
  static constexpr int32_t kUnseen = -2, kOpen = -1;  // as heights
  Node node = {0, 0, -1};                             // as its parents hold it
  int32_t height = kUnseen;
  int32_t target = -1;  // that all leaves below vote for, once; -1 where there is none
  bool special = false;
};

// --- Building

template <typename T>
Trees<T>::Trees(const NodeView& node, const TreeSource& source, int64_t targets, TreeAggregate aggregate)
    : targets_(targets), aggregate_(aggregate) {
  const auto count = static_cast<int64_t>(source.nodes.size());
  const auto leaves = static_cast<int64_t>(source.leaf_begin.size()) - 1;
  SX_CHECK(node, count + leaves < kMaxCount, "has ", count, " nodes and ", leaves, " leaves, more than can be indexed");
  SX_CHECK(node, targets > 0 && targets < kMaxCount, "has ", targets, " targets");
  auto check = [&](int64_t child, const char* what, int64_t of) {
    SX_CHECK(node, child < count && child >= -leaves, what, " of node ", of, " does not exist");
  };
  for (int64_t i = 0; i < count; ++i) {
    const TreeSource::Node& from = source.nodes[static_cast<size_t>(i)];
    SX_CHECK(node, from.feature >= 0 && from.feature < kMaxCount, "node ", i, " tests feature ", from.feature);
    features_ = std::max(features_, from.feature + 1);
    check(from.yes, "the true child", i);
    check(from.no, "the false child", i);
  }
  for (int64_t root : source.roots) check(root, "the root", -1);
  for (const std::vector<double>& set : source.sets) {
    sets_.emplace_back(set.begin(), set.end());
    std::sort(sets_.back().begin(), sets_.back().end());
  }
  read_votes(node, source);
  place_nodes(node, source);
  make_steps();
}

template <typename T>
void Trees<T>::read_votes(const NodeView& node, const TreeSource& source) {
  SX_CHECK(node, source.votes.size() < static_cast<size_t>(kMaxCount), "has more votes than can be indexed");
  votes_.reserve(source.votes.size());
  for (const TreeSource::Vote& vote : source.votes) {
    SX_CHECK(node, vote.target >= 0 && vote.target < targets_, "a leaf votes for target ", vote.target, " of ",
             targets_);
    votes_.push_back({static_cast<int32_t>(vote.target), static_cast<T>(vote.weight)});
  }
  leaf_begin_.assign(source.leaf_begin.begin(), source.leaf_begin.end());
  bool all = aggregate_ <= TreeAggregate::kSum;
  for (size_t l = 0; all && l + 1 < leaf_begin_.size(); ++l) {
    const auto first = static_cast<size_t>(leaf_begin_[l]);
    all = leaf_begin_[l + 1] - leaf_begin_[l] == targets_;
    for (size_t k = 0; all && k < static_cast<size_t>(targets_); ++k)
      all = votes_[first + k].target == static_cast<int32_t>(k);
  }
  if (all) voting_ = Voting::kAll;
  voted_.assign(static_cast<size_t>(targets_), all && !source.roots.empty() ? 1 : 0);
}

template <typename T>
uint32_t Trees<T>::column_of(int64_t feature, bool nan_low) {
  const auto [found, added] =
      column_numbers_.try_emplace(feature * 2 + (nan_low ? 1 : 0), static_cast<uint32_t>(columns_.size()));
  if (added) columns_.push_back({feature, nan_low});
  return found->second;
}

// Zeros of both signs are equal; NaN has no key of its own.
template <typename T>
typename Trees<T>::Key Trees<T>::key_of(T value) {
  constexpr Key kSign = Key{1} << (8 * sizeof(Key) - 1);
  value += T(0);
  Key bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits & kSign ? ~bits : bits | kSign;
}

// NaN is below or above all keys of numbers.
template <typename T>
typename Trees<T>::Key Trees<T>::key_of(const TreeColumn& column, const T* x) {
  const T value = x[column.feature];
  if (std::isnan(value)) return column.nan_low ? 0 : std::numeric_limits<Key>::max();
  return key_of(value);
}

template <typename T>
bool Trees<T>::is_special(const TreeSource::Node& from) {
  const T split = static_cast<T>(from.split);
  const bool strict = from.mode == TreeMode::kLt || from.mode == TreeMode::kGte;
  return std::isnan(split) || from.mode == TreeMode::kMember ||
         (strict && split == -std::numeric_limits<T>::infinity());
}

template <typename T>
int Trees<T>::told(const TreeSource::Node& from, Test* to) {
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  const T split = static_cast<T>(from.split);
  const bool missing = from.missing_is_true;
  const bool equal = from.mode == TreeMode::kEq;
  auto tell = [&](Test& test, T than, int64_t yes, int64_t no, bool nan_low) {
    test = {key_of(than), 1 + column_of(from.feature, nan_low), {yes, no}};
  };
  // x < split is x <= the number below split; x > split is the contrary of x <= split, but for NaN.
  if (is_special(from)) {
    to[0] = {0, kSpecial + static_cast<uint32_t>(special_.size()), {from.no, from.yes}};
    special_.push_back({from.mode, missing, from.set, from.feature, split});
    return 1;
  }
  const T below = std::nextafter(split, kLowest);
  switch (from.mode) {
    case TreeMode::kLeq: tell(to[0], split, from.yes, from.no, missing); return 1;
    case TreeMode::kLt: tell(to[0], below, from.yes, from.no, missing); return 1;
    case TreeMode::kGt: tell(to[0], split, from.no, from.yes, !missing); return 1;
    case TreeMode::kGte: tell(to[0], below, from.no, from.yes, !missing); return 1;
    default: break;
  }
  // x == split is x <= split, but not x <= the number below; NaN differs from every split.
  const int64_t yes = equal ? from.yes : from.no, no = equal ? from.no : from.yes;
  tell(to[0], split, split == kLowest ? yes : kNext, no, equal && missing);
  if (split == kLowest) return 1;
  tell(to[1], below, no, yes, false);
  return 2;
}

// Meeting a node on its own path again is a cycle.
template <typename T>
void Trees<T>::measure(const NodeView& node, const TreeSource& source, std::vector<Place>* places) {
  auto place_of = [&](int64_t child) -> Place& { return (*places)[static_cast<size_t>(child)]; };
  auto target_of = [&](int64_t child) {
    if (child >= 0) return place_of(child).target;
    const auto leaf = static_cast<size_t>(-1 - child);
    const int32_t first = leaf_begin_[leaf];
    return leaf_begin_[leaf + 1] - first == 1 ? votes_[static_cast<size_t>(first)].target : -1;
  };
  auto height_of = [&](int64_t child) { return child >= 0 ? place_of(child).height : 0; };
  auto special_in = [&](int64_t child) { return child >= 0 && place_of(child).special; };
  std::vector<int64_t> path;
  for (int64_t root : source.roots) {
    if (root >= 0) path.push_back(root);
    while (!path.empty()) {
      const int64_t id = path.back();
      Place& place = place_of(id);
      const TreeSource::Node& from = source.nodes[static_cast<size_t>(id)];
      if (place.height == Place::kUnseen) {
        place.height = Place::kOpen;
        for (int64_t child : {from.no, from.yes}) {
          if (child < 0) continue;
          SX_CHECK(node, place_of(child).height != Place::kOpen, "its nodes form a cycle through node ", child);
          if (place_of(child).height == Place::kUnseen) path.push_back(child);
        }
        continue;
      }
      path.pop_back();
      if (place.height >= 0) continue;
      const int32_t levels = from.mode == TreeMode::kEq || from.mode == TreeMode::kNeq ? 2 : 1;
      place.height = levels + std::max(height_of(from.yes), height_of(from.no));
      place.target = target_of(from.yes) == target_of(from.no) ? target_of(from.yes) : -1;
      place.special = is_special(from) || special_in(from.yes) || special_in(from.no);
    }
    trees_.push_back({0, height_of(root), target_of(root), -1, special_in(root)});
  }
}

// A tree lies in blocks of a few levels, each block level by level: whoever walks down then meets few cache lines.
template <typename T>
void Trees<T>::place_nodes(const NodeView& node, const TreeSource& source) {
  constexpr int kBlockLevels = 4;
  std::vector<Place> places(source.nodes.size());
  measure(node, source, &places);
  auto place_of = [&](int64_t child) -> Place& { return places[static_cast<size_t>(child)]; };
  std::vector<int32_t> child_of;  // what goes to each place of nodes_, kNext where it is in `second`
  child_of.reserve(2 * source.nodes.size() + source.roots.size());
  std::vector<Node> second;  // tests of nodes that are two, in the order of kNext
  auto grow = [&](int64_t child) {
    const auto at = static_cast<int32_t>(child_of.size());
    child_of.push_back(static_cast<int32_t>(child));
    return at;
  };
  std::vector<int64_t> blocks, level, next_level;
  for (size_t t = 0; t < trees_.size(); ++t) {
    trees_[t].root = grow(source.roots[t]);
    blocks.push_back(source.roots[t]);
    while (!blocks.empty()) {
      level.assign(1, blocks.back());
      blocks.pop_back();
      for (int depth = 0; depth < kBlockLevels; ++depth) {
        next_level.clear();
        for (int64_t id : level) {
          if (id < 0 || place_of(id).node.next >= 0) continue;
          const TreeSource::Node& from = source.nodes[static_cast<size_t>(id)];
          Test tests[2];
          const int count = told(from, tests);
          place_of(id).node = {tests[0].key, tests[0].column, grow(tests[0].child[0])};
          grow(tests[0].child[1]);
          if (count == 2) {
            second.push_back({tests[1].key, tests[1].column, grow(tests[1].child[0])});
            grow(tests[1].child[1]);
          }
          next_level.insert(next_level.end(), {from.yes, from.no});
        }
        std::swap(level, next_level);
      }
      SX_CHECK(node, static_cast<int64_t>(child_of.size()) < kMaxCount, "has more nodes than can be indexed");
      std::copy_if(level.rbegin(), level.rend(), std::back_inserter(blocks), [](int64_t id) { return id >= 0; });
    }
  }
  nodes_.resize(child_of.size());
  auto next_second = second.begin();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const int32_t child = child_of[i], at = static_cast<int32_t>(i);
    if (child == kNext) nodes_[i] = *next_second++;
    else nodes_[i] = child >= 0 ? place_of(child).node : Node{static_cast<Key>(-1 - child), 0, at};
  }
  column_numbers_.clear();
  if (aggregate_ > TreeAggregate::kSum) return;
  for (const Tree& tree : trees_)
    if (tree.target < 0) return;
  voting_ = Voting::kOne;
  for (const Tree& tree : trees_) voted_[static_cast<size_t>(tree.target)] = 1;
  for (Node& leaf : nodes_) {
    if (leaf.column != 0) continue;
    const T value = votes_[static_cast<size_t>(leaf_begin_[static_cast<size_t>(leaf.key)])].weight;
    std::memcpy(&leaf.key, &value, sizeof(value));
  }
}

template <typename T>
T Trees<T>::split_of(Key key) {
  constexpr Key kSign = Key{1} << (8 * sizeof(Key) - 1);
  key = key & kSign ? key ^ kSign : ~key;
  T split;
  std::memcpy(&split, &key, sizeof(split));
  return split;
}

template <typename T>
T Trees<T>::value_of(const Node& leaf) {
  T value;
  std::memcpy(&value, &leaf.key, sizeof(value));
  return value;
}

template <typename T>
void Trees<T>::make_steps() {
  const auto most = static_cast<size_t>(tree_most_leaves());
  std::vector<typename TreeSteps<T>::Test> tests;
  std::vector<typename TreeSteps<T>::Leaf> leaves;
  struct Pending {
    int32_t at;
    int32_t test;  // whose right side it is, or -1
  };
  std::vector<Pending> path;
  for (Tree& tree : trees_) {
    if (tree.special || tree.depth >= static_cast<int32_t>(most)) continue;
    tests.clear();
    leaves.clear();
    path.assign(1, {tree.root, -1});
    while (!path.empty() && leaves.size() <= most && tests.size() < most) {
      const Pending next = path.back();
      path.pop_back();
      const Node& node = nodes_[static_cast<size_t>(next.at)];
      const auto leaf = static_cast<uint8_t>(leaves.size());
      if (next.test >= 0) tests[static_cast<size_t>(next.test)].to = leaf;
      if (node.column == 0) {
        const bool one = voting_ == Voting::kOne;
        leaves.push_back({one ? value_of(node) : T(0), one ? 0 : static_cast<int32_t>(node.key)});
        continue;
      }
      path.push_back({node.next + 1, static_cast<int32_t>(tests.size())});
      path.push_back({node.next, -1});
      tests.push_back({split_of(node.key), node.column - 1, leaf, 0});
    }
    if (path.empty() && leaves.size() <= most) tree.steps = steps_.add(tests, leaves);
  }
  steps_on_ = !steps_.empty() && steps_.finish(columns_);
  for (size_t t = 0; t < trees_.size(); ++t) {
    Tree& tree = trees_[t];
    if (!steps_on_) tree.steps = -1;
    walks_ = walks_ || tree.steps < 0;
    visits_ += tree.steps < 0 ? tree.depth + 1 : static_cast<double>(steps_.leaf_count(tree.steps)) / kStepsPerVisit;
    if (tree.special || (tree.steps >= 0 && steps_.has_lanes())) continue;
    walked_.push_back(static_cast<int32_t>(t));
    depth_ = std::max(depth_, tree.depth);
  }
}

// --- Walking

template <typename T>
bool Trees<T>::holds(const Special& special, const T* x) const {
  const T value = x[special.feature];
  if (std::isnan(value)) return special.missing_is_true || special.mode == TreeMode::kNeq;
  switch (special.mode) {
    case TreeMode::kLeq: return value <= special.split;
    case TreeMode::kLt: return value < special.split;
    case TreeMode::kGte: return value >= special.split;
    case TreeMode::kGt: return value > special.split;
    case TreeMode::kEq: return value == special.split;
    case TreeMode::kNeq: return value != special.split;
    case TreeMode::kMember: {
      const std::vector<T>& set = sets_[static_cast<size_t>(special.set)];
      return std::binary_search(set.begin(), set.end(), value);
    }
  }
  return false;
}

template <typename T>
const typename Trees<T>::Node& Trees<T>::walk_special(int32_t root, const T* x) const {
  const Node* node = &nodes_[static_cast<size_t>(root)];
  while (node->column != 0) {
    const bool second = node->column >= kSpecial ? holds(special_[node->column - kSpecial], x)
                                                 : node->key < key_of(columns_[node->column - 1], x);
    node = &nodes_[static_cast<size_t>(node->next + (second ? 1 : 0))];
  }
  return *node;
}

// All lanes go down some levels. Lane i reads column c at x[c * kStride + i], or at x[c] where kStride is 1.
template <typename T>
template <int kStride>
void Trees<T>::descend(const Key* x, int32_t levels, int32_t* at) const {
  static_assert(kStride == 1 || kStride == kLanes, "lanes share a row or have one each");
  const Node* nodes = nodes_.data();
  int32_t lane[kLanes];
  std::copy_n(at, kLanes, lane);
  for (; levels > 0; --levels) {
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; ++i) {
      const Node& node = nodes[lane[i]];
      const Key key = x[size_t{node.column} * kStride + (kStride > 1 ? i : 0)];
      lane[i] = node.next + static_cast<int32_t>(node.key < key);
    }
  }
  std::copy_n(lane, kLanes, at);
}

template <typename T>
void Trees<T>::vote(int32_t leaf, double* sums, uint8_t* seen) const {
  const auto first = static_cast<size_t>(leaf_begin_[static_cast<size_t>(leaf)]);
  if (voting_ == Voting::kAll) {
    const Vote* votes = votes_.data() + first;
    for (int64_t k = 0; k < targets_; ++k) sums[k] += static_cast<double>(votes[k].weight);
    return;
  }
  const auto end = static_cast<size_t>(leaf_begin_[static_cast<size_t>(leaf) + 1]);
  for (size_t v = first; v < end; ++v) {
    const Vote vote = votes_[v];
    const double weight = vote.weight;
    double& sum = sums[vote.target];
    if (aggregate_ <= TreeAggregate::kSum) sum += weight;
    else if (seen[vote.target] == 0) sum = weight;
    else sum = aggregate_ == TreeAggregate::kMin ? std::min(sum, weight) : std::max(sum, weight);
    seen[vote.target] = 1;
  }
}

// The lanes are trees. Few paths are as long as their tree is deep: all go down some levels, then those that have not
// arrived at a leaf go on together.
template <typename T>
void Trees<T>::walk_row(const Key* keys, Node* leaf, int32_t* at, int32_t* tree_of) const {
  size_t left = walked_.size();
  std::copy(walked_.begin(), walked_.end(), tree_of);
  for (size_t i = 0; i < left; ++i) at[i] = trees_[static_cast<size_t>(tree_of[i])].root;
  for (int32_t done = 0; left > 0;) {
    const int32_t levels = std::min(done == 0 ? 4 : 3, depth_ - done);
    const size_t before = left;
    // Lanes that fill up the last group leave what they find behind the last tree.
    for (size_t i = before; i % kLanes != 0; ++i) {
      at[i] = at[before - 1];
      tree_of[i] = static_cast<int32_t>(trees_.size());
    }
    left = 0;
    for (size_t first = 0; first < before; first += kLanes) {
      int32_t lane[kLanes], tree[kLanes];
      std::copy_n(at + first, kLanes, lane);
      std::copy_n(tree_of + first, kLanes, tree);
      descend<1>(keys, levels, lane);
      for (int i = 0; i < kLanes; ++i) {
        const Node& node = nodes_[static_cast<size_t>(lane[i])];
        leaf[tree[i]] = node;
        at[left] = lane[i];
        tree_of[left] = tree[i];
        left += node.column != 0 ? 1 : 0;
      }
    }
    done += levels;
  }
}

template <typename T>
void Trees<T>::run_row(const T* x, double* sums, uint8_t* seen) const {
  const bool lanes = steps_on_ && steps_.has_lanes(), walking = !walked_.empty();
  const size_t room = walking ? trees_.size() + kLanes : 0;
  const size_t key_bytes = walking ? (columns_.size() + 1) * sizeof(Key) : 0;
  const size_t walk_bytes = room * (sizeof(Node) + 2 * sizeof(int32_t)) + key_bytes;
  const size_t bin_bytes = lanes ? static_cast<size_t>(steps_.row_bytes()) : 0;
  const size_t leaf_bytes = lanes ? static_cast<size_t>(steps_.leaf_bytes()) : 0;
  auto* walked_leaf = static_cast<Node*>(thread_scratch(ScratchSlot::kOperator3, walk_bytes + bin_bytes + leaf_bytes));
  auto* keys = reinterpret_cast<Key*>(walked_leaf + room);
  auto* bins = reinterpret_cast<int8_t*>(walked_leaf) + walk_bytes;
  auto* leaf = reinterpret_cast<uint8_t*>(bins + bin_bytes);
  if (lanes) steps_.row_leaves(x, bins, leaf);
  if (walking) {
    keys[0] = 0;
    for (size_t c = 0; c < columns_.size(); ++c) keys[c + 1] = key_of(columns_[c], x);
    auto* at = reinterpret_cast<int32_t*>(keys + columns_.size() + 1);
    walk_row(keys, walked_leaf, at, at + room);
  }
  auto node_of = [&](size_t t) -> const Node& {
    return trees_[t].special ? walk_special(trees_[t].root, x) : walked_leaf[t];
  };
  auto place_of = [&](int32_t steps) { return leaf[steps_.lane(steps)]; };
  if (voting_ != Voting::kOne) {
    for (size_t t = 0; t < trees_.size(); ++t) {
      const int32_t steps = lanes ? trees_[t].steps : -1;
      vote(steps >= 0 ? steps_.numbers(steps)[place_of(steps)] : static_cast<int32_t>(node_of(t).key), sums, seen);
    }
    return;
  }
  for (size_t t = 0; t < trees_.size();) {
    const int32_t target = trees_[t].target;
    double sum = sums[target];
    for (; t < trees_.size() && trees_[t].target == target; ++t) {
      const int32_t steps = lanes ? trees_[t].steps : -1;
      sum += static_cast<double>(steps >= 0 ? steps_.values(steps)[place_of(steps)] : value_of(node_of(t)));
    }
    sums[target] = sum;
  }
}

template <typename T>
struct Trees<T>::Block {
  const T* x;
  int64_t rows, width;
  int64_t groups;  // of kLanes rows, the last one filled up
  Key* lanes;      // [group][column][lane], column 0 is 0
  int8_t* bins;
  uint8_t* leaf;   // [kTogether][tree_block()]
  double* totals;  // of kOne, [target][tree_block()]
  double* sums;    // [row][target]
  uint8_t* seen;
};

template <typename T>
void Trees<T>::walk_tree(const Tree& tree, const Block& block) const {
  double* totals = voting_ == Voting::kOne ? block.totals + tree.target * tree_block() : nullptr;
  auto arrive = [&](int64_t row, const Node& leaf) {
    if (voting_ == Voting::kOne) totals[row] += static_cast<double>(value_of(leaf));
    else vote(static_cast<int32_t>(leaf.key), block.sums + row * targets_, block.seen + row * targets_);
  };
  if (tree.special) {
    for (int64_t row = 0; row < block.rows; ++row) arrive(row, walk_special(tree.root, block.x + row * block.width));
    return;
  }
  const auto group_size = static_cast<int64_t>(columns_.size() + 1) * kLanes;
  for (int64_t g = 0; g < block.groups; ++g) {
    int32_t at[kLanes];
    std::fill_n(at, kLanes, tree.root);
    for (int32_t depth = tree.depth; depth > 0; depth -= kLevels) {
      descend<kLanes>(block.lanes + g * group_size, std::min(depth, kLevels), at);
      uint32_t inner = 0;
      for (int32_t lane : at) inner |= nodes_[static_cast<size_t>(lane)].column;
      if (inner == 0) break;
    }
    const int64_t count = std::min<int64_t>(kLanes, block.rows - g * kLanes);
    for (int64_t i = 0; i < count; ++i) arrive(g * kLanes + i, nodes_[static_cast<size_t>(at[i])]);
  }
}

template <typename T>
void Trees<T>::step_trees(size_t first, size_t count, const Block& block) const {
  const int64_t stride = tree_block();
  for (size_t t = 0; t < count; ++t)
    steps_.leaves(trees_[first + t].steps, block.bins, block.rows, block.leaf + static_cast<int64_t>(t) * stride);
  double* totals = voting_ == Voting::kOne ? block.totals + trees_[first].target * stride : nullptr;
  if constexpr (std::is_same_v<T, float>) {
    if (voting_ == Voting::kOne) {
      TreeValues values[kTogether];
      for (size_t t = 0; t < count; ++t) {
        const int32_t steps = trees_[first + t].steps;
        values[t] = {steps_.values(steps), steps_.leaf_count(steps)};
      }
      return tree_add(values, static_cast<int64_t>(count), block.leaf, block.rows, totals);
    }
  }
  for (size_t t = 0; t < count; ++t) {
    const int32_t steps = trees_[first + t].steps;
    const uint8_t* leaf = block.leaf + static_cast<int64_t>(t) * stride;
    if (voting_ == Voting::kOne) {
      const T* values = steps_.values(steps);
      for (int64_t row = 0; row < block.rows; ++row) totals[row] += static_cast<double>(values[leaf[row]]);
    } else {
      const int32_t* numbers = steps_.numbers(steps);
      for (int64_t row = 0; row < block.rows; ++row)
        vote(numbers[leaf[row]], block.sums + row * targets_, block.seen + row * targets_);
    }
  }
}

template <typename T>
void Trees<T>::run_block(const T* x, int64_t rows, int64_t width, double* sums, uint8_t* seen) const {
  const bool one = voting_ == Voting::kOne;
  const int64_t stride = tree_block();
  const auto columns = static_cast<int64_t>(columns_.size()) + 1;  // the first is that of leaves
  const int64_t groups = (rows + kLanes - 1) / kLanes;
  const int64_t total_bytes = one ? checked_mul(targets_ * stride, sizeof(double)) : 0;
  const int64_t lane_bytes = walks_ ? checked_mul(groups * kLanes * columns, sizeof(Key)) : 0;
  const int64_t leaf_bytes = steps_on_ ? static_cast<int64_t>(kTogether) * stride : 0;
  const int64_t bin_bytes = steps_on_ ? steps_.bin_bytes() : 0;
  auto* memory = static_cast<char*>(
      thread_scratch(ScratchSlot::kOperator3,
                     static_cast<size_t>(checked_add(checked_add(total_bytes, lane_bytes), leaf_bytes + bin_bytes))));
  Block block;
  block.x = x;
  block.rows = rows;
  block.width = width;
  block.groups = groups;
  block.totals = reinterpret_cast<double*>(memory);
  block.lanes = reinterpret_cast<Key*>(memory + total_bytes);
  block.leaf = reinterpret_cast<uint8_t*>(memory + total_bytes + lane_bytes);
  block.bins = reinterpret_cast<int8_t*>(memory + total_bytes + lane_bytes + leaf_bytes);
  block.sums = sums;
  block.seen = seen;
  if (one) std::fill_n(block.totals, targets_ * stride, 0.0);
  if (steps_on_) steps_.bins(x, rows, width, block.bins);
  if (walks_) {
    for (int64_t i = 0; i < groups * kLanes; ++i) {
      const T* row = x + std::min(i, rows - 1) * width;
      Key* to = block.lanes + i / kLanes * columns * kLanes + i % kLanes;
      to[0] = 0;
      for (int64_t c = 1; c < columns; ++c) to[c * kLanes] = key_of(columns_[static_cast<size_t>(c - 1)], row);
    }
  }
  for (size_t t = 0; t < trees_.size();) {
    if (trees_[t].steps < 0) {
      walk_tree(trees_[t++], block);
      continue;
    }
    size_t count = 1;
    while (count < kTogether && t + count < trees_.size() && trees_[t + count].steps >= 0 &&
           trees_[t + count].target == trees_[t].target)
      ++count;
    step_trees(t, count, block);
    t += count;
  }
  if (!one) return;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < targets_; ++k) sums[row * targets_ + k] = block.totals[k * stride + row];
}

template <typename T>
void Trees<T>::run(const T* x, int64_t rows, int64_t width, double* sums, uint8_t* seen) const {
  std::fill_n(sums, rows * targets_, 0.0);
  for (int64_t row = 0; row < rows; ++row) std::copy(voted_.begin(), voted_.end(), seen + row * targets_);
  for (int64_t row = 0; row < rows;) {
    const int64_t count = std::min(tree_block(), rows - row);
    double* to = sums + row * targets_;
    uint8_t* seen_to = seen + row * targets_;
    if (count >= kFewRows) {
      run_block(x + row * width, count, width, to, seen_to);
      row += count;
    } else {
      run_row(x + row * width, to, seen_to);
      ++row;
    }
  }
}

template <typename T>
int64_t Trees<T>::grain(int64_t rows) const {
  if (rows >= 4 * tree_block()) return tree_block();
  // As many chunks as threads: each reads all trees.
  const int64_t least = steps_on_ ? tree_vector() : kLanes;
  const int64_t share = (rows + thread_count() - 1) / thread_count();
  const auto wanted = std::max(share, static_cast<int64_t>(std::min(kGrainVisits / visits_, 1e6)) + 1);
  return (wanted + least - 1) / least * least;
}

template class Trees<float>;
template class Trees<double>;

}  // namespace sx
