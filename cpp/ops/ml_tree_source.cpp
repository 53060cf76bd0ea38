// Trees read from the attributes of the operators of ai.onnx.ml.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "ops/ml_trees.h"

namespace sx {
namespace {

// Finds the nodes of numbered trees. Most models list tree after tree and the nodes of each from 0 on, which costs a
// comparison; any other order costs a search.
class NodeIndex {
 public:
  // Fails in the node's name when a tree has two nodes of one id.
  NodeIndex(const NodeView& node, const std::vector<int64_t>& trees, const std::vector<int64_t>& ids)
      : trees_(trees), ids_(ids) {
    auto before = [&](int64_t a, int64_t b) {
      const auto i = static_cast<size_t>(a), j = static_cast<size_t>(b);
      return trees[i] != trees[j] ? trees[i] < trees[j] : ids[i] < ids[j];
    };
    const auto count = static_cast<int64_t>(trees.size());
    bool ascending = true;
    for (int64_t i = 1; ascending && i < count; ++i) ascending = before(i - 1, i);
    if (ascending) return;
    order_.resize(trees.size());
    std::iota(order_.begin(), order_.end(), int64_t{0});
    std::sort(order_.begin(), order_.end(), before);
    for (int64_t i = 1; i < count; ++i)
      SX_CHECK(node, before(at(i - 1), at(i)), "tree ", tree(i), " has two nodes of id ", id(i));
  }

  // The first position of each tree, ascending.
  std::vector<int64_t> first_nodes() const {
    std::vector<int64_t> found;
    for (int64_t i = 0; i < size(); ++i) {
      if (i == 0 || tree(i) != tree(i - 1)) found.push_back(at(i));
      else found.back() = std::min(found.back(), at(i));
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  // The position of a node in the lists, -1 where there is none.
  int64_t find(int64_t tree_id, int64_t node_id) {
    if (begin_ == end_ || tree(begin_) != tree_id) {
      begin_ = first([&](int64_t i) { return tree(i) >= tree_id; }, 0, size());
      end_ = first([&](int64_t i) { return tree(i) > tree_id; }, begin_, size());
      if (begin_ == end_) return -1;
    }
    const int64_t lowest = id(begin_);
    int64_t place = node_id >= 0 && lowest >= 0 && node_id >= lowest ? node_id - lowest : end_;
    place = place < end_ - begin_ ? begin_ + place : end_;
    if (place == end_ || id(place) != node_id) place = first([&](int64_t i) { return id(i) >= node_id; }, begin_, end_);
    return place < end_ && id(place) == node_id ? at(place) : -1;
  }

 private:
  int64_t size() const { return static_cast<int64_t>(trees_.size()); }
  int64_t at(int64_t i) const { return order_.empty() ? i : order_[static_cast<size_t>(i)]; }
  int64_t tree(int64_t i) const { return trees_[static_cast<size_t>(at(i))]; }
  int64_t id(int64_t i) const { return ids_[static_cast<size_t>(at(i))]; }
  // The first place in [begin, end) where `reached` holds, end where there is none.
  template <typename Reached>
  static int64_t first(const Reached& reached, int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t middle = begin + (end - begin) / 2;
      if (reached(middle)) end = middle;
      else begin = middle + 1;
    }
    return begin;
  }

  const std::vector<int64_t>& trees_;
  const std::vector<int64_t>& ids_;
  std::vector<int64_t> order_;   // positions by tree and id; empty: as they are
  int64_t begin_ = 0, end_ = 0;  // in that order, of the tree that was asked for last
};

// False for a leaf.
bool read_mode(const NodeView& node, size_t i, const std::string& name, TreeMode* mode) {
  static const std::pair<const char*, TreeMode> kModes[] = {
      {"BRANCH_LEQ", TreeMode::kLeq}, {"BRANCH_LT", TreeMode::kLt}, {"BRANCH_GTE", TreeMode::kGte},
      {"BRANCH_GT", TreeMode::kGt},   {"BRANCH_EQ", TreeMode::kEq}, {"BRANCH_NEQ", TreeMode::kNeq}};
  if (name == "LEAF") return false;
  for (const auto& [text, value] : kModes) {
    *mode = value;
    if (name == text) return true;
  }
  node.error("node ", i, " has the mode '", name,
             "'; LEAF, BRANCH_LEQ, BRANCH_LT, BRANCH_GTE, BRANCH_GT, BRANCH_EQ or BRANCH_NEQ expected");
}

std::vector<double> numbers_of(const NodeView& node, const std::string& name) {
  if (!node.has_attr(name)) return {};
  const Tensor& tensor = node.attr<Tensor>(name);
  std::vector<double> values(static_cast<size_t>(tensor.size()));
  read_as(tensor, 0, tensor.size(), values.data());
  return values;
}

}  // namespace

TreeSource read_numbered_trees(const NodeView& node, const std::string& kind) {
  const std::vector<int64_t> trees = ints_attr(node, "nodes_treeids");
  const std::vector<int64_t> ids = ints_attr(node, "nodes_nodeids");
  const std::vector<int64_t> features = ints_attr(node, "nodes_featureids");
  const std::vector<int64_t> yes = ints_attr(node, "nodes_truenodeids");
  const std::vector<int64_t> no = ints_attr(node, "nodes_falsenodeids");
  const std::vector<int64_t> missing = ints_attr(node, "nodes_missing_value_tracks_true");
  const std::vector<double> values = numbers_attr(node, "nodes_values");
  const std::vector<std::string> no_modes;
  const auto& modes = node.has_attr("nodes_modes") ? node.attr<std::vector<std::string>>("nodes_modes") : no_modes;
  const size_t count = trees.size();
  auto check = [&](const char* name, size_t size, bool optional = false) {
    SX_CHECK(node, size == count || (optional && size == 0), "attribute '", name, "' has ", size, " entries; ", count,
             " expected, as nodes_treeids has");
  };
  SX_CHECK(node, count > 0, "has no tree nodes");
  check("nodes_nodeids", ids.size());
  check("nodes_featureids", features.size());
  check("nodes_truenodeids", yes.size());
  check("nodes_falsenodeids", no.size());
  check("nodes_values", values.size());
  check("nodes_modes", modes.size());
  check("nodes_missing_value_tracks_true", missing.size(), true);

  NodeIndex index(node, trees, ids);
  TreeSource source;
  source.nodes.reserve(count);
  std::vector<int64_t> places(count);  // children as in TreeSource
  int64_t leaves = 0;
  for (size_t i = 0; i < count; ++i) {
    TreeSource::Node branch;
    if (read_mode(node, i, modes[i], &branch.mode)) {
      branch.feature = features[i];
      branch.split = values[i];
      branch.missing_is_true = !missing.empty() && missing[i] != 0;
      places[i] = static_cast<int64_t>(source.nodes.size());
      source.nodes.push_back(branch);
    } else {
      places[i] = -1 - leaves++;
    }
  }
  // A tree's root is its node that is listed first; trees are in the order of their roots.
  for (int64_t i : index.first_nodes()) source.roots.push_back(places[static_cast<size_t>(i)]);
  for (size_t i = 0; i < count; ++i) {
    if (places[i] < 0) continue;
    auto child = [&](int64_t id) {
      const int64_t found = index.find(trees[i], id);
      SX_CHECK(node, found >= 0, "node ", ids[i], " of tree ", trees[i], " has the child ", id,
               ", which does not exist");
      return places[static_cast<size_t>(found)];
    };
    TreeSource::Node& branch = source.nodes[static_cast<size_t>(places[i])];
    branch.yes = child(yes[i]);
    branch.no = child(no[i]);
  }

  const std::vector<int64_t> vote_trees = ints_attr(node, kind + "_treeids");
  const std::vector<int64_t> vote_nodes = ints_attr(node, kind + "_nodeids");
  const std::vector<int64_t> targets = ints_attr(node, kind + "_ids");
  const std::vector<double> weights = numbers_attr(node, kind + "_weights");
  SX_CHECK(node,
           vote_nodes.size() == vote_trees.size() && targets.size() == vote_trees.size() &&
               weights.size() == vote_trees.size(),
           "its ", kind, "_treeids, ", kind, "_nodeids, ", kind, "_ids and ", kind, "_weights have ", vote_trees.size(),
           ", ", vote_nodes.size(), ", ", targets.size(), " and ", weights.size(),
           " entries; as many of each expected");
  // By leaf, in the order in which they are listed: counted, then placed.
  std::vector<int64_t> leaf_of(targets.size());
  source.leaf_begin.assign(static_cast<size_t>(leaves) + 1, 0);
  for (size_t i = 0; i < targets.size(); ++i) {
    const int64_t found = index.find(vote_trees[i], vote_nodes[i]);
    SX_CHECK(node, found >= 0, "a weight is given to node ", vote_nodes[i], " of tree ", vote_trees[i],
             ", which does not exist");
    leaf_of[i] = -1 - places[static_cast<size_t>(found)];
    if (leaf_of[i] >= 0) ++source.leaf_begin[static_cast<size_t>(leaf_of[i]) + 1];
  }
  std::partial_sum(source.leaf_begin.begin(), source.leaf_begin.end(), source.leaf_begin.begin());
  source.votes.resize(static_cast<size_t>(source.leaf_begin.back()));
  std::vector<int64_t> next(source.leaf_begin.begin(), source.leaf_begin.end() - 1);
  for (size_t i = 0; i < targets.size(); ++i) {
    if (leaf_of[i] < 0) continue;
    source.votes[static_cast<size_t>(next[static_cast<size_t>(leaf_of[i])]++)] = {targets[i], weights[i]};
  }
  return source;
}

TreeSource read_indexed_trees(const NodeView& node) {
  const std::vector<int64_t>& features = node.attr_ints("nodes_featureids");
  const std::vector<int64_t>& yes = node.attr_ints("nodes_truenodeids");
  const std::vector<int64_t>& no = node.attr_ints("nodes_falsenodeids");
  const std::vector<int64_t>& yes_leaf = node.attr_ints("nodes_trueleafs");
  const std::vector<int64_t>& no_leaf = node.attr_ints("nodes_falseleafs");
  const std::vector<int64_t> modes = node.attr<Tensor>("nodes_modes").integers();
  const std::vector<double> splits = numbers_of(node, "nodes_splits");
  const std::vector<int64_t> missing = ints_attr(node, "nodes_missing_value_tracks_true");
  const std::vector<double> members = numbers_of(node, "membership_values");
  const size_t count = features.size();
  for (size_t size : {yes.size(), no.size(), yes_leaf.size(), no_leaf.size(), modes.size(), splits.size()})
    SX_CHECK(node, size == count, "a list of node properties has ", size, " entries; ", count,
             " expected, as nodes_featureids has");
  SX_CHECK(node, missing.empty() || missing.size() == count, "nodes_missing_value_tracks_true has ", missing.size(),
           " entries; ", count, " expected");
  TreeSource source;
  source.nodes.reserve(count);
  auto member = members.begin();
  for (size_t i = 0; i < count; ++i) {
    TreeSource::Node branch;
    branch.feature = features[i];
    branch.split = splits[i];
    SX_CHECK(node, modes[i] >= 0 && modes[i] <= 6, "node ", i, " has the mode ", modes[i], "; 0 to 6 expected");
    branch.mode = static_cast<TreeMode>(modes[i]);
    branch.missing_is_true = !missing.empty() && missing[i] != 0;
    // A leaf's index that is negative would name a node: leaves are the negative children of TreeSource.
    SX_CHECK(node, yes[i] >= 0 && no[i] >= 0, "node ", i, " has a negative child");
    branch.yes = yes_leaf[i] != 0 ? -1 - yes[i] : yes[i];
    branch.no = no_leaf[i] != 0 ? -1 - no[i] : no[i];
    if (branch.mode == TreeMode::kMember) {
      SX_CHECK(node, member != members.end(), "node ", i, " tests membership but membership_values has no set for it");
      const auto end = std::find_if(member, members.end(), [](double value) { return std::isnan(value); });
      branch.set = static_cast<int32_t>(source.sets.size());
      source.sets.emplace_back(member, end);
      member = end == members.end() ? end : end + 1;
    }
    source.nodes.push_back(branch);
  }
  const std::vector<double> weights = numbers_of(node, "leaf_weights");
  const std::vector<int64_t>& targets = node.attr_ints("leaf_targetids");
  SX_CHECK(node, weights.size() == targets.size(), "leaf_weights has ", weights.size(), " entries; ", targets.size(),
           " expected");
  source.votes.reserve(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) source.votes.push_back({targets[i], weights[i]});
  source.leaf_begin.resize(weights.size() + 1);
  std::iota(source.leaf_begin.begin(), source.leaf_begin.end(), int64_t{0});
  source.roots = node.attr_ints("tree_roots");
  for (int64_t root : source.roots) SX_CHECK(node, root >= 0, "a root is ", root);
  return source;
}

}  // namespace sx
