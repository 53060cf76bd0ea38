// Values that a pass holds in another form, a layout of memory or a type: which they are, and who makes them plain
// where that is wanted.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace sx {

// A pass goes over the nodes in order. It either replaces a node by one that works on the other form (`replace`), or
// leaves it and calls `need_plain` for what it reads; at the end it calls `finish`.
class RelaidValues {
 public:
  // `lay` makes a plain value's counterpart before a node; `unlay` gives the node that makes a value plain again, of
  // which only the operator and its attributes are read.
  using Lay = std::function<ValueId(ValueId plain, NodeId before)>;
  using Unlay = std::function<Node(ValueId plain)>;
  RelaidValues(Graph& graph, Lay lay, Unlay unlay) : graph_(graph), lay_(std::move(lay)), unlay_(std::move(unlay)) {}

  bool has(ValueId value) const { return relaid_.count(value) != 0; }
  // `value` in the other form, made before node `at` where it is not there yet.
  ValueId get(ValueId value, NodeId at);
  // In the other form where it is there already, else as it is: for readers of the shape only.
  ValueId either(ValueId value) const;
  // Says that a node which is being replaced gives `made` in the place of `plain`.
  void produced(ValueId plain, ValueId made) { relaid_[plain] = waiting_[plain] = made; }

  // Sees to it that `value` exists as it was, from before node `at` on (kNone: at the end).
  void need_plain(ValueId value, NodeId at);
  // Makes the graph's outputs plain and drops the values that nothing reads any more.
  void finish();

  // Replaces node `id` by one of `op`, whose first output is the old one's in the other form; the other outputs stay
  // what they were. Returns the new node.
  NodeId replace(NodeId id, const std::string& op, std::vector<ValueId> inputs, Attributes attributes,
                 const std::string& domain);

  // The node of `op` that computes `value` in the other form for `reader` alone, else kNone: one that `reader` could be
  // made part of.
  NodeId open_node(ValueId value, NodeId reader, const char* op) const;
  // Replaces `reader` by the open node that computes `value` for it, with these inputs and attributes. Returns the new
  // node.
  NodeId extend(NodeId open, ValueId value, NodeId reader, std::vector<ValueId> inputs, Attributes attributes);
  // Erases the open node that computes `value`, which nothing reads any more.
  void erase(NodeId open, ValueId value);

 private:
  void forget(ValueId value);
  void move_outputs(const std::vector<ValueId>& outputs, NodeId node);

  Graph& graph_;
  const Lay lay_;
  const Unlay unlay_;
  std::unordered_map<ValueId, ValueId> relaid_;   // plain value -> its counterpart
  std::unordered_map<ValueId, ValueId> waiting_;  // those of them that nothing produces now
};

}  // namespace sx
