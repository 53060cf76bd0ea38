// Trees: building with checks, walking several rows or trees in step, aggregating votes.
#include "ops/ml_trees.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/scratch.h"

namespace sx {
namespace {

constexpr int kLanes = 8;         // rows that walk one tree, or trees that one row walks, in step
constexpr int64_t kFewRows = 16;  // fewer rows walk even where there are steps
constexpr size_t kTogether = 8;   // trees whose leaves are found before they are added
constexpr int64_t kMaxCount = INT32_MAX / 2;
constexpr int32_t kNext = INT32_MAX;  // a child: the node behind
// Rows times nodes visited that are worth a chunk of their own.
constexpr double kGrainVisits = 20000;
// Tests in steps that take the time of visiting a node, for a row of a full block.
constexpr double kStepsPerVisit = 40;

}  // namespace

template <typename T>
struct Trees<T>::Place {
  static constexpr int32_t kUnseen = -2, kOpen = -1;  // as heights
  int32_t at = -1;                                    // in nodes_
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
  node.require(count + leaves < kMaxCount, "has ", count, " nodes and ", leaves, " leaves, more than can be indexed");
  node.require(targets > 0 && targets < kMaxCount, "has ", targets, " targets");
  auto check = [&](int64_t child, const char* what, int64_t of) {
    node.require(child < count && child >= -leaves, what, " of node ", of, " does not exist");
  };
  for (int64_t i = 0; i < count; ++i) {
    const TreeSource::Node& from = source.nodes[static_cast<size_t>(i)];
    node.require(from.feature >= 0 && from.feature < kMaxCount, "node ", i, " tests feature ", from.feature);
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
  node.require(source.votes.size() < static_cast<size_t>(kMaxCount), "has more votes than can be indexed");
  votes_.reserve(source.votes.size());
  for (const TreeSource::Vote& vote : source.votes) {
    node.require(vote.target >= 0 && vote.target < targets_, "a leaf votes for target ", vote.target, " of ", targets_);
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

template <typename T>
int Trees<T>::told_as_leq(const TreeSource::Node& from, Node* to) {
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  const T split = static_cast<T>(from.split);
  if (std::isnan(split) || from.mode == TreeMode::kMember) return 0;
  // x < split is x <= the number below split; x > split is the contrary of x <= split, but for NaN.
  const T below = std::nextafter(split, kLowest);
  auto tell = [&](Node& node, T than, int64_t yes, int64_t no, bool nan_low) {
    node = {than, column_of(from.feature, nan_low), {static_cast<int32_t>(yes), static_cast<int32_t>(no)}};
  };
  const bool missing = from.missing_is_true;
  switch (from.mode) {
    case TreeMode::kLeq: tell(to[0], split, from.yes, from.no, missing); return 1;
    case TreeMode::kGt: tell(to[0], split, from.no, from.yes, !missing); return 1;
    case TreeMode::kLt:
      if (split == kLowest) return 0;
      tell(to[0], below, from.yes, from.no, missing);
      return 1;
    case TreeMode::kGte:
      if (split == kLowest) return 0;
      tell(to[0], below, from.no, from.yes, !missing);
      return 1;
    default: break;
  }
  // x == split is x <= split, but not x <= the number below; NaN differs from every split.
  const bool equal = from.mode == TreeMode::kEq;
  const int64_t yes = equal ? from.yes : from.no, no = equal ? from.no : from.yes;
  const bool nan_low = equal && missing;
  if (split == kLowest) {
    tell(to[0], split, yes, no, nan_low);
    return 1;
  }
  tell(to[0], split, kNext, no, nan_low);
  tell(to[1], below, no, yes, false);
  return 2;
}

// In the order in which a walk down meets them; meeting a node on its own path again is a cycle.
template <typename T>
void Trees<T>::place_nodes(const NodeView& node, const TreeSource& source) {
  const auto count = static_cast<int32_t>(source.nodes.size());
  std::vector<Place> places(source.nodes.size() + source.leaf_begin.size() - 1);
  auto id_of = [&](int64_t child) { return static_cast<int32_t>(child >= 0 ? child : count - 1 - child); };
  auto place_of = [&](int32_t id) -> Place& { return places[static_cast<size_t>(id)]; };
  nodes_.reserve(places.size());
  const bool sums = aggregate_ <= TreeAggregate::kSum;
  std::vector<int32_t> path;
  bool one = sums;
  for (int64_t root : source.roots) {
    path.push_back(id_of(root));
    while (!path.empty()) {
      const int32_t id = path.back();
      Place& place = place_of(id);
      if (place.height >= 0) {
        path.pop_back();
        continue;
      }
      if (id >= count) {
        const auto leaf = static_cast<size_t>(id - count);
        place.at = static_cast<int32_t>(nodes_.size());
        place.height = 0;
        if (leaf_begin_[leaf + 1] - leaf_begin_[leaf] == 1)
          place.target = votes_[static_cast<size_t>(leaf_begin_[leaf])].target;
        nodes_.push_back({T(0), 0, {place.at, place.at}});
        const auto number = static_cast<int32_t>(leaf);
        std::memcpy(&nodes_.back().split, &number, sizeof(number));
        path.pop_back();
        continue;
      }
      const TreeSource::Node& from = source.nodes[static_cast<size_t>(id)];
      const int32_t children[2] = {id_of(from.yes), id_of(from.no)};
      if (place.height == Place::kUnseen) {
        Node told[2];
        int used = told_as_leq(from, told);
        place.at = static_cast<int32_t>(nodes_.size());
        if (used == 0) {
          place.special = true;
          told[0] = {T(0),
                     kSpecial + static_cast<uint32_t>(special_.size()),
                     {static_cast<int32_t>(from.yes), static_cast<int32_t>(from.no)}};
          special_.push_back({from.mode, from.missing_is_true, from.set, from.feature, static_cast<T>(from.split)});
          used = 1;
        }
        nodes_.insert(nodes_.end(), told, told + used);
        node.require(static_cast<int64_t>(nodes_.size()) < kMaxCount, "has more nodes than can be indexed");
        place.height = Place::kOpen;
        for (int i : {1, 0}) {
          node.require(place_of(children[i]).height != Place::kOpen, "its nodes form a cycle through node ",
                       children[i]);
          if (place_of(children[i]).height == Place::kUnseen) path.push_back(children[i]);
        }
        continue;
      }
      const Place &yes = place_of(children[0]), &no = place_of(children[1]);
      Node* placed = &nodes_[static_cast<size_t>(place.at)];
      int32_t levels = 1;
      for (int i = 0; i < levels; ++i) {
        for (int32_t& child : placed[i].child) {
          if (child == kNext) levels = 2;
          child = child == kNext ? place.at + 1 : place_of(id_of(child)).at;
        }
      }
      place.height = levels + std::max(yes.height, no.height);
      place.target = yes.target == no.target ? yes.target : -1;
      place.special = place.special || yes.special || no.special;
      path.pop_back();
    }
    const Place& place = place_of(id_of(root));
    trees_.push_back({place.at, place.height, place.target, -1, place.special});
    one = one && place.target >= 0;
  }
  column_numbers_.clear();
  if (!one) return;
  voting_ = Voting::kOne;
  for (const Tree& tree : trees_) voted_[static_cast<size_t>(tree.target)] = 1;
  for (Node& leaf : nodes_) {
    if (leaf.child[0] != &leaf - nodes_.data()) continue;
    const auto number = static_cast<size_t>(number_of(leaf));
    leaf.split = votes_[static_cast<size_t>(leaf_begin_[number])].weight;
  }
}

template <typename T>
int32_t Trees<T>::number_of(const Node& leaf) const {
  int32_t number;
  std::memcpy(&number, &leaf.split, sizeof(number));
  return number;
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
      if (is_leaf(next.at)) {
        const bool one = voting_ == Voting::kOne;
        leaves.push_back({one ? node.split : T(0), one ? 0 : number_of(node)});
        continue;
      }
      path.push_back({node.child[1], static_cast<int32_t>(tests.size())});
      path.push_back({node.child[0], -1});
      tests.push_back({node.split, node.column, leaf, 0});
    }
    if (path.empty() && leaves.size() <= most) tree.steps = steps_.add(tests, leaves);
  }
  steps_on_ = !steps_.empty() && steps_.finish(columns_);
  for (size_t t = 0; t < trees_.size(); ++t) {
    Tree& tree = trees_[t];
    if (!steps_on_) tree.steps = -1;
    walks_ = walks_ || tree.steps < 0;
    visits_ += tree.steps < 0 ? tree.depth + 1 : static_cast<double>(steps_.leaf_count(tree.steps)) / kStepsPerVisit;
    if (!tree.special) by_depth_.push_back(static_cast<int32_t>(t));
  }
  std::stable_sort(by_depth_.begin(), by_depth_.end(), [&](int32_t a, int32_t b) {
    return trees_[static_cast<size_t>(a)].depth < trees_[static_cast<size_t>(b)].depth;
  });
}

// --- Walking

template <typename T>
bool Trees<T>::takes_yes(const Node& node, const T* x) const {
  if (node.column < kSpecial) {
    const TreeColumn& column = columns_[node.column];
    const T value = x[column.feature];
    return std::isnan(value) ? column.nan_low : value <= node.split;
  }
  const Special& special = special_[node.column - kSpecial];
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

// Lane i reads column c at x[c * kStride + i], or at x[c] where kStride is 1.
template <typename T>
template <int kStride>
void Trees<T>::walk(const T* x, int32_t depth, int32_t* at) const {
  static_assert(kStride == 1 || kStride == kLanes, "lanes share a row or have one each");
  constexpr int32_t kLevels = 4;  // between looks whether all have arrived
  const Node* nodes = nodes_.data();
  int32_t lane[kLanes];
  std::copy_n(at, kLanes, lane);
  auto next = [&](int i) {
    const Node& node = nodes[lane[i]];
    return node.child[x[size_t{node.column} * kStride + (kStride > 1 ? i : 0)] <= node.split ? 0 : 1];
  };
  while (depth > 0) {
    for (int32_t level = std::min(depth, kLevels) - 1; level > 0; --level) {
#pragma GCC unroll 8
      for (int i = 0; i < kLanes; ++i) lane[i] = next(i);
    }
    int32_t moved = 0;
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; ++i) {
      const int32_t to = next(i);
      moved |= to ^ lane[i];
      lane[i] = to;
    }
    if (moved == 0) break;
    depth -= kLevels;
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

template <typename T>
T read_column(const TreeColumn& column, const T* x) {
  const T value = x[column.feature];
  return column.nan_low && std::isnan(value) ? -std::numeric_limits<T>::infinity() : value;
}

// The lanes are trees.
template <typename T>
void Trees<T>::run_row(const T* x, double* sums, uint8_t* seen) const {
  const size_t value_bytes = (columns_.size() * sizeof(T) + 63) / 64 * 64;
  auto* values =
      static_cast<T*>(thread_scratch(ScratchSlot::kOperator3, value_bytes + trees_.size() * sizeof(int32_t)));
  auto* leaf = reinterpret_cast<int32_t*>(reinterpret_cast<char*>(values) + value_bytes);
  for (size_t c = 0; c < columns_.size(); ++c) values[c] = read_column(columns_[c], x);
  for (size_t first = 0; first < by_depth_.size(); first += kLanes) {
    const size_t count = std::min<size_t>(kLanes, by_depth_.size() - first);
    const int32_t* group = by_depth_.data() + first;
    int32_t at[kLanes];
    for (size_t i = 0; i < kLanes; ++i) at[i] = trees_[static_cast<size_t>(group[std::min(i, count - 1)])].root;
    walk<1>(values, trees_[static_cast<size_t>(group[count - 1])].depth, at);
    for (size_t i = 0; i < count; ++i) leaf[group[i]] = at[i];
  }
  for (size_t t = 0; t < trees_.size(); ++t) {
    const Tree& tree = trees_[t];
    int32_t at = tree.special ? tree.root : leaf[t];
    while (!is_leaf(at)) {
      const Node& node = nodes_[static_cast<size_t>(at)];
      at = node.child[takes_yes(node, x) ? 0 : 1];
    }
    const Node& node = nodes_[static_cast<size_t>(at)];
    if (voting_ == Voting::kOne) sums[tree.target] += static_cast<double>(node.split);
    else vote(number_of(node), sums, seen);
  }
}

template <typename T>
struct Trees<T>::Block {
  const T* x;
  int64_t rows, width;
  int64_t groups;  // of kLanes rows, the last one filled up
  T* lanes;        // [group][column][lane]
  int8_t* bins;
  uint8_t* leaf;   // [kTogether][tree_block()]
  double* totals;  // of kOne, [target][tree_block()]
  double* sums;    // [row][target]
  uint8_t* seen;
};

template <typename T>
void Trees<T>::walk_tree(const Tree& tree, const Block& block) const {
  double* totals = voting_ == Voting::kOne ? block.totals + tree.target * tree_block() : nullptr;
  auto arrive = [&](int64_t row, int32_t at) {
    const Node& node = nodes_[static_cast<size_t>(at)];
    if (voting_ == Voting::kOne) totals[row] += static_cast<double>(node.split);
    else vote(number_of(node), block.sums + row * targets_, block.seen + row * targets_);
  };
  if (tree.special) {
    for (int64_t row = 0; row < block.rows; ++row) {
      int32_t at = tree.root;
      while (!is_leaf(at)) {
        const Node& node = nodes_[static_cast<size_t>(at)];
        at = node.child[takes_yes(node, block.x + row * block.width) ? 0 : 1];
      }
      arrive(row, at);
    }
    return;
  }
  const auto group_size = static_cast<int64_t>(columns_.size()) * kLanes;
  for (int64_t g = 0; g < block.groups; ++g) {
    int32_t at[kLanes];
    std::fill_n(at, kLanes, tree.root);
    walk<kLanes>(block.lanes + g * group_size, tree.depth, at);
    const int64_t count = std::min<int64_t>(kLanes, block.rows - g * kLanes);
    for (int64_t i = 0; i < count; ++i) arrive(g * kLanes + i, at[i]);
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
  const bool stepping = steps_on_ && rows >= kFewRows;
  const bool walking = walks_ || !stepping;
  const bool one = voting_ == Voting::kOne;
  const int64_t stride = tree_block();
  const auto columns = static_cast<int64_t>(columns_.size());
  const int64_t groups = (rows + kLanes - 1) / kLanes;
  const int64_t total_bytes = one ? checked_mul(targets_ * stride, sizeof(double)) : 0;
  const int64_t lane_bytes = walking ? checked_mul(groups * kLanes * columns, sizeof(T)) : 0;
  const int64_t leaf_bytes = stepping ? static_cast<int64_t>(kTogether) * stride : 0;
  const int64_t bin_bytes = stepping ? steps_.bin_bytes() : 0;
  auto* memory = static_cast<char*>(
      thread_scratch(ScratchSlot::kOperator3,
                     static_cast<size_t>(checked_add(checked_add(total_bytes, lane_bytes), leaf_bytes + bin_bytes))));
  Block block;
  block.x = x;
  block.rows = rows;
  block.width = width;
  block.groups = groups;
  block.totals = reinterpret_cast<double*>(memory);
  block.lanes = reinterpret_cast<T*>(memory + total_bytes);
  block.leaf = reinterpret_cast<uint8_t*>(memory + total_bytes + lane_bytes);
  block.bins = reinterpret_cast<int8_t*>(memory + total_bytes + lane_bytes + leaf_bytes);
  block.sums = sums;
  block.seen = seen;
  if (one) std::fill_n(block.totals, targets_ * stride, 0.0);
  if (stepping) steps_.bins(x, rows, width, block.bins);
  if (walking) {
    for (int64_t i = 0; i < groups * kLanes; ++i) {
      const T* row = x + std::min(i, rows - 1) * width;
      T* to = block.lanes + i / kLanes * columns * kLanes + i % kLanes;
      for (int64_t c = 0; c < columns; ++c) to[c * kLanes] = read_column(columns_[static_cast<size_t>(c)], row);
    }
  }
  for (size_t t = 0; t < trees_.size();) {
    if (!stepping || trees_[t].steps < 0) {
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
    if (count >= kLanes) {
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
  const int64_t least = steps_on_ ? tree_vector() : kLanes;
  const auto wanted = static_cast<int64_t>(std::min(kGrainVisits / visits_, 1e6)) + 1;
  return (wanted + least - 1) / least * least;
}

template class Trees<float>;
template class Trees<double>;

}  // namespace sx
