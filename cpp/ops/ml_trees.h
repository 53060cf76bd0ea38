// Decision trees in compact layouts, and the sums of their leaves over rows.
#pragma once

#include <cstdint>
#include <type_traits>
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
  // Values as unsigned integers in the same order, so that a test is a compare and an add with carry.
  using Key = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  // Where key < x, a row goes on to nodes_[next + 1], else to nodes_[next]. A leaf's next is the leaf itself and its
  // column is 0, in which all rows hold 0, so that rows and trees may walk in step.
  struct Node {
    Key key;          // of a leaf: the bits of its value where voting_ is kOne, else its number
    uint32_t column;  // 1 + a place in columns_, or kSpecial + one in special_
    int32_t next;
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

  struct Test {  // key < x, or one of special_, and where to go if not, if so: children as in the source, or kNext
    Key key;
    uint32_t column;
    int64_t child[2];
  };
  static bool is_special(const TreeSource::Node& from);
  // Writes the node as one or two tests; the first one's kNext is the second.
  int told(const TreeSource::Node& from, Test* to);
  uint32_t column_of(int64_t feature, bool nan_low);
  void read_votes(const NodeView& node, const TreeSource& source);
  void measure(const NodeView& node, const TreeSource& source, std::vector<Place>* places);
  void place_nodes(const NodeView& node, const TreeSource& source);
  void make_steps();

  static Key key_of(T value);
  static Key key_of(const TreeColumn& column, const T* x);
  static T split_of(Key key);
  static T value_of(const Node& leaf);
  bool holds(const Special& special, const T* x) const;
  const Node& walk_special(int32_t root, const T* x) const;
  template <int kStride>
  void descend(const Key* x, int32_t levels, int32_t* at) const;
  void vote(int32_t leaf, double* sums, uint8_t* seen) const;
  void walk_row(const Key* keys, Node* leaf, int32_t* at, int32_t* tree_of) const;
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
  std::vector<int32_t> walked_;  // trees that a single row walks: neither special nor in steps with lanes
  int32_t depth_ = 0;            // the largest of theirs
  std::vector<TreeColumn> columns_;
  std::unordered_map<int64_t, uint32_t> column_numbers_;
  TreeSteps<T> steps_;
  std::vector<Vote> votes_;          // by leaf
  std::vector<int32_t> leaf_begin_;  // in votes_
  std::vector<uint8_t> voted_;       // targets that meet a leaf for every row, where voting_ is not kAny
};

}  // namespace sx
