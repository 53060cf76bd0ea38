// The graph: nodes and values held by id, constants, bodies of control flow with explicit captures.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ir/attribute.h"
#include "ir/type.h"

namespace sx {

class Graph;
class OpDef;

using ValueId = int32_t;
using NodeId = int32_t;
constexpr int32_t kNone = -1;  // an absent optional input or output; no producer

// What is known of a value without running the graph.
struct Facts {
  Type type;
  Tensor constant;                           // defined where the value is a known tensor
  std::optional<std::vector<Dim>> elements;  // symbolic elements of a small integer tensor of rank 0 or 1
};

struct Value {
  std::string name;  // the ONNX name; unique within a graph, never empty, kept as it came
  Facts facts;
  NodeId producer = kNone;
  int output_index = 0;  // which output of the producer
};

// A body of a control-flow node. The body's inputs are the formal ones followed by one for each captured value.
struct Body {
  std::string attribute;  // then_branch, body ...
  std::unique_ptr<Graph> graph;
  std::vector<ValueId> captures;  // values of the enclosing graph
};

struct Node {
  const OpDef* op = nullptr;
  std::string name;              // the ONNX name; may be empty
  Attributes attributes;         // only those given; defaults come from the OpDef
  std::vector<ValueId> inputs;   // kNone where an optional input is absent
  std::vector<ValueId> outputs;  // kNone where an optional output is not wanted
  std::vector<Body> bodies;
  std::string origin;  // "Add 'encoder/add_3'": what the model's author would recognise, for messages and profiles
};

// Nodes and values are never moved: an id stays valid until the node or value is erased.
class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  // A deep copy that shares the constants' memory; ids stay the same.
  std::unique_ptr<Graph> clone() const;

  std::string name;

  // --- values
  ValueId add_value(const std::string& name, const Type& type = {});
  ValueId add_constant(const std::string& name, const Tensor& tensor);
  ValueId add_input(const std::string& name, const Type& type);
  // A name not used in this graph yet: `stem`, else stem_1, stem_2 ...
  std::string fresh_name(const std::string& stem) const;
  ValueId find_value(const std::string& name) const;  // kNone when there is none
  void rename(ValueId value, const std::string& name);
  Value& value(ValueId id) { return *values_[static_cast<size_t>(id)]; }
  const Value& value(ValueId id) const { return *values_[static_cast<size_t>(id)]; }
  bool has_value(ValueId id) const {
    return id >= 0 && static_cast<size_t>(id) < values_.size() && values_[static_cast<size_t>(id)] != nullptr;
  }
  size_t value_limit() const { return values_.size(); }  // every ValueId is below this
  const Type& type(ValueId id) const { return value(id).facts.type; }
  bool is_constant(ValueId id) const {
    return id != kNone && value(id).facts.constant.defined() && value(id).producer == kNone;
  }
  void erase_value(ValueId id);  // must have neither producer nor uses

  // --- nodes
  // Appends a node, or inserts it before `before` in the order.
  NodeId add_node(Node node, NodeId before = kNone);
  Node& node(NodeId id) { return *nodes_[static_cast<size_t>(id)]; }
  const Node& node(NodeId id) const { return *nodes_[static_cast<size_t>(id)]; }
  bool has_node(NodeId id) const {
    return id >= 0 && static_cast<size_t>(id) < nodes_.size() && nodes_[static_cast<size_t>(id)] != nullptr;
  }
  size_t node_limit() const { return nodes_.size(); }
  void erase_node(NodeId id);  // its outputs lose their producer
  // Makes `output`, a value without a producer, output `index` of a node that does not have that output yet.
  void add_output(NodeId node, size_t index, ValueId output);
  // The nodes in an order in which every value is produced before it is used.
  const std::vector<NodeId>& order() const { return order_; }
  // Sorts order() again (stable); throws InvalidGraph naming the nodes of a cycle.
  void sort();

  // --- edges
  // Every (node, input index) that reads a value; a capture by a body counts with index inputs.size() + k, k counting
  // the captures of all bodies in turn.
  struct Use {
    NodeId node;
    int index;
  };
  std::vector<Use> uses(ValueId id) const;
  size_t use_count(ValueId id) const;  // graph outputs count as one use each
  bool is_output(ValueId id) const;
  void set_input(NodeId node, int index, ValueId value);  // index as in Use
  // Removes the k-th capture of the node's body `b`; the body's input for it is the caller's to remove.
  void drop_capture(NodeId node, size_t b, size_t k);
  // Makes every reader of `from` (graph outputs too when `outputs`) read `to`.
  void replace_uses(ValueId from, ValueId to, bool outputs);
  // All values a node reads: inputs, then captures of its bodies; kNone among them.
  std::vector<ValueId> reads(NodeId id) const;

  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;

  // Throws std::logic_error when an id dangles, an edge disagrees with its producer, names repeat or the order is
  // wrong.
  void verify() const;

 private:
  void add_use(ValueId value, NodeId node);
  void drop_use(ValueId value, NodeId node);

  std::vector<std::unique_ptr<Value>> values_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<NodeId> order_;
  std::vector<std::vector<NodeId>> readers_;  // per value, one entry for each edge
  std::unordered_map<std::string, ValueId> names_;
};

}  // namespace sx
