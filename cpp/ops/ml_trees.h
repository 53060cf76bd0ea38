// Decision trees in a compact layout, and the sums of their leaves over rows.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/ml_common.h"

namespace sx {

enum class TreeMode : uint8_t { kLeq, kLt, kGte, kGt, kEq, kNeq, kMember };
enum class TreeAggregate : uint8_t { kAverage, kSum, kMin, kMax };

// Trees as an operator's attributes give them. Child c >= 0 is node c, child -1 - l is leaf l.
struct TreeSource {
  struct Node {
    int64_t feature = 0;
    double split = 0;
    TreeMode mode = TreeMode::kLeq;
    bool missing_is_true = false;  // NaN takes the true branch
    int64_t yes = 0, no = 0;
    int64_t set_begin = 0, set_count = 0;  // of kMember, in `sets`
  };
  struct Vote {
    int64_t target;
    double weight;
  };
  std::vector<Node> nodes;
  std::vector<std::vector<Vote>> leaves;
  std::vector<int64_t> roots;  // children as above
  std::vector<double> sets;
};

// T: float, or double for inputs or weights in f64.
template <typename T>
class Trees {
 public:
  // Fails in the node's name when a child, feature or target is out of range or the children form a cycle.
  Trees(const NodeView& node, const TreeSource& source, int64_t targets, TreeAggregate aggregate);

  int64_t targets() const { return targets_; }
  int64_t tree_count() const { return static_cast<int64_t>(roots_.size()); }
  // The number of features that a row must have at least.
  int64_t features() const { return features_; }
  // The aggregate over all trees (without averaging) of `rows` rows of `width` features each into sums[rows][targets];
  // seen[rows][targets] says which targets met a leaf, the others' sums are 0. On the calling thread. Sums are f64, so
  // that equal numbers of votes for two classes stay a tie once they are rounded to f32.
  void run(const T* x, int64_t rows, int64_t width, double* sums, uint8_t* seen) const;
  // Rows that are worth a thread of their own.
  int64_t grain() const;

 private:
  // A leaf has both children equal to itself, so that rows of one block may walk in step.
  struct Node {
    T split;
    uint32_t feature;  // times two, plus one where NaN takes child[1]
    int32_t child[2];  // where x <= split, where not: an index, for compilers would make a branch of a choice
  };
  struct Special {  // what the node says, where some node cannot be told as x <= split
    TreeMode mode;
    bool missing_is_true;
    int32_t set_begin, set_end;
  };
  struct Leaf {
    int32_t begin, end;  // in votes_
  };
  struct Vote {
    int32_t target;
    T weight;
  };
  enum class Test { kPlain, kTracksMissing, kSpecial };
  // The node as the test x <= split, where it can be told so.
  bool told_as_leq(const TreeSource::Node& from, Node& node) const;
  bool takes_yes(int32_t node, const T* x) const;
  template <Test kTest>
  void walk(int32_t depth, const T* const* rows, int32_t* at) const;
  void vote(int32_t leaf, double* sums, uint8_t* seen) const;
  template <Test kTest>
  void run_rows(const T* x, int64_t rows, int64_t width, double* sums, uint8_t* seen) const;

  int64_t targets_;
  TreeAggregate aggregate_;
  int64_t features_ = 0;
  Test test_ = Test::kPlain;  // kPlain: NaN takes child[1] everywhere
  bool one_vote_ = true;      // one target, and every leaf votes for it once
  std::vector<Node> nodes_;
  std::vector<Special> special_;  // per node, of Test::kSpecial
  std::vector<Leaf> leaves_;      // per node
  std::vector<T> value_;          // per node, where one_vote_
  std::vector<Vote> votes_;
  std::vector<int32_t> roots_;
  std::vector<int32_t> depths_;  // per tree
  std::vector<T> sets_;
};

}  // namespace sx
