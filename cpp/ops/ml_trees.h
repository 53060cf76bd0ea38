// Decision trees in compact layouts, and the sums of their leaves over rows.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "ops/ml_common.h"
#include "ops/ml_tree_steps.h"

namespace sx {

enum class TreeMode : uint8_t { kLeq, kLt, kGte, kGt, kEq, kNeq, kMember };
enum class TreeAggregate : uint8_t { kAverage, kSum, kMin, kMax };

// Trees as an operator's attributes give them. Child c >= 0 is node c, child -1 - l is leaf l. Nodes may share
// children.
struct TreeSource {
  struct Node {
    int64_t feature = 0;
    double split = 0;
    int64_t yes = 0, no = 0;
    int32_t set = 0;  // of kMember, in `sets`
    TreeMode mode = TreeMode::kLeq;
    bool missing_is_true = false;  // NaN takes the true branch
  };
  struct Vote {
    int64_t target;
    double weight;
  };
  std::vector<Node> nodes;
  std::vector<Vote> votes;          // by leaf
  std::vector<int64_t> leaf_begin;  // of each leaf in `votes`, and the end
  std::vector<int64_t> roots;       // children as above
  std::vector<std::vector<double>> sets;
};

// From the attributes of the operators whose nodes have ids in numbered trees; `kind` is "class" or "target".
TreeSource read_numbered_trees(const NodeView& node, const std::string& kind);
// From those of TreeEnsemble, whose nodes and leaves are numbered through.
TreeSource read_indexed_trees(const NodeView& node);

// T: float, or double for inputs or weights in f64.
template <typename T>
class Trees {
 public:
  // Fails in the node's name when a child, feature or target is out of range or the children form a cycle.
  Trees(const NodeView& node, const TreeSource& source, int64_t targets, TreeAggregate aggregate);

  int64_t targets() const { return targets_; }
  int64_t tree_count() const { return static_cast<int64_t>(trees_.size()); }
  // The number of features that a row must have at least.
  int64_t features() const { return features_; }
  // The aggregate over all trees (without averaging) of `rows` rows of `width` features each into sums[rows][targets];
  // seen[rows][targets] says which targets met a leaf, the others' sums are 0. On the calling thread. Sums are f64, so
  // that equal numbers of votes for two classes stay a tie once they are rounded to f32; trees are added in their order
  // whatever the number of rows.
  void run(const T* x, int64_t rows, int64_t width, double* sums, uint8_t* seen) const;
  // Rows to hand to a thread at a time, of `rows`.
  int64_t grain(int64_t rows) const;

 private:
  // A leaf has both children equal to itself, so that rows and trees may walk in step.
  struct Node {
    T split;           // of a leaf: its value where voting_ is kOne, else the bits of its number
    uint32_t column;   // in columns_, or kSpecial + an index in special_
    int32_t child[2];  // where x <= split, where not: an index, for compilers would make a branch of a choice
  };
  struct Special {  // a test that cannot be told as x <= split
    TreeMode mode;
    bool missing_is_true;
    int32_t set;
    int64_t feature;
    T split;
  };
  struct Tree {
    int32_t root;
    int32_t depth;
    int32_t target;  // of kOne
    int32_t steps;   // in steps_, or -1
    bool special;    // has a Special node
  };
  struct Vote {
    int32_t target;
    T weight;
  };
  // kOne: sums, each tree votes for one target; kAll: sums, each leaf votes once for every target, in order.
  enum class Voting { kOne, kAll, kAny };
  struct Place;  // of a node or leaf of the source
  struct Block;  // rows that are at work
  static constexpr uint32_t kSpecial = 1u << 31;

  // Writes the test as one or two tests x <= split to nodes_[at], children as in the source, but at + 1 as kNext.
  // Returns how many, 0 where it cannot be told so.
  int told_as_leq(const TreeSource::Node& from, Node* to);
  uint32_t column_of(int64_t feature, bool nan_low);
  void read_votes(const NodeView& node, const TreeSource& source);
  void place_nodes(const NodeView& node, const TreeSource& source);
  void make_steps();

  bool is_leaf(int32_t at) const { return nodes_[static_cast<size_t>(at)].child[0] == at; }
  int32_t number_of(const Node& leaf) const;
  bool takes_yes(const Node& node, const T* x) const;
  template <int kStride>
  void walk(const T* x, int32_t depth, int32_t* at) const;
  void vote(int32_t leaf, double* sums, uint8_t* seen) const;
  void run_row(const T* x, double* sums, uint8_t* seen) const;
  void run_block(const T* x, int64_t rows, int64_t width, double* sums, uint8_t* seen) const;
  void walk_tree(const Tree& tree, const Block& block) const;
  void step_trees(size_t first, size_t count, const Block& block) const;

  int64_t targets_;
  TreeAggregate aggregate_;
  Voting voting_ = Voting::kAny;
  int64_t features_ = 0;
  bool walks_ = false, steps_on_ = false;  // some tree has no steps, some has
  double visits_ = 1;                      // of nodes, for one row
  std::vector<Node> nodes_;
  std::vector<Special> special_;
  std::vector<std::vector<T>> sets_;
  std::vector<Tree> trees_;
  std::vector<int32_t> by_depth_;  // trees without special nodes
  std::vector<TreeColumn> columns_;
  std::unordered_map<int64_t, uint32_t> column_numbers_;
  TreeSteps<T> steps_;
  std::vector<Vote> votes_;          // by leaf
  std::vector<int32_t> leaf_begin_;  // in votes_
  std::vector<uint8_t> voted_;       // targets that meet a leaf for every row, where voting_ is not kAny
};

}  // namespace sx
