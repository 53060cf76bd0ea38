// Graph transformations: rules tried at every node, whole-graph passes, and the log of what fired and what did not.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/precision.h"
#include "ir/graph.h"

namespace sx {

// What a rule did at one node.
struct Outcome {
  enum class Kind { kNoMatch, kMissed, kFired };
  Kind kind = Kind::kNoMatch;
  std::string reason;  // of a miss: what stood in the way, for `sardonyx explain`

  static Outcome no_match() { return {}; }
  static Outcome missed(std::string reason) { return {Kind::kMissed, std::move(reason)}; }
  static Outcome fired(std::string what = "") { return {Kind::kFired, std::move(what)}; }
};

struct PassEvent {
  std::string pass;
  std::string node;  // origin of the node at the root of the match
  Outcome outcome;
};

class PassLog {
 public:
  void add(const std::string& pass, const Node& node, const Outcome& outcome);
  void add(const PassLog& other) { events_.insert(events_.end(), other.events_.begin(), other.events_.end()); }
  // Misses are reported once, as they stood when the pass last looked.
  void forget_misses(const std::string& pass);
  const std::vector<PassEvent>& events() const { return events_; }

 private:
  std::vector<PassEvent> events_;
};

// A local rewrite: looks at the node `id`, and either leaves the graph alone or rewrites around that node. A rule may
// erase its root and nodes that feed only it; it must leave the graph valid and the facts of new values inferred.
struct Rule {
  std::string name;
  std::vector<std::string> roots;  // full operator names to try it at; empty: every node
  std::function<Outcome(Graph&, NodeId)> apply;
};

// Applies rules at all nodes, bodies included, until none fires; the graph is verified after each patch when
// `verify_each`. Returns whether anything changed.
bool apply_rules(Graph& graph, const std::vector<Rule>& rules, PassLog& log, bool verify_each);

struct FoldOptions {
  // Whether constants are dequantized and cast, however much larger that makes them: not for a model that is kept.
  bool dequantize = false;
};
// Whole-graph passes, bodies included. Each returns whether it changed anything.
bool eliminate_dead_code(Graph& graph, PassLog& log);
bool fold_constants(Graph& graph, PassLog& log, const FoldOptions& options = {});
bool merge_common_subexpressions(Graph& graph, PassLog& log);
// Captured constants become constants of the body, so that bodies can be folded and their weights packed.
bool sink_constants(Graph& graph, PassLog& log);

// What selects a few slices of a result moves in front of the products that compute it (ops/early_selection.h).
bool move_selections(Graph& graph, PassLog& log);

// Computes f16 and bf16 in f32 from one product to the next. What leaves is rounded, what stays is not.
bool widen_halves(Graph& graph, PassLog& log);
// Convolutions and what lies between them take and give data in blocks of channels (ops/blocked.cpp).
bool block_channels(Graph& graph, PassLog& log, bool winograd = true, Precision precision = Precision::kF32);

// Convolutions whose weights change, their gradients and what lies between them take and give stacked data
// (ops/stacked.cpp).
bool stack_images(Graph& graph, PassLog& log, bool winograd = true);

// What products in bf16 read comes to them rounded and laid out, where the CPU multiplies bf16 (ops/row_panels.cpp).
bool hand_panels(Graph& graph, PassLog& log);

// Graphs of elementwise f32 nodes of one shape become one node each, which passes memory once
// (ops/elementwise_chain.cpp).
bool chain_elementwise(Graph& graph, PassLog& log);

// Calls visit(graph) for the graph and all bodies in it, innermost first.
void for_each_graph(Graph& graph, const std::function<void(Graph&)>& visit);

}  // namespace sx
