// What an operator's inference function sees, and inference for common cases.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/op_def.h"

namespace sx {

// Facts of a graph's values, indexed by ValueId.
using FactTable = std::vector<Facts>;

class InferContext : public NodeView {
 public:
  InferContext(const Node& node, std::vector<const Facts*> inputs, std::vector<Facts>& outputs)
      : NodeView(node), inputs_(std::move(inputs)), outputs_(outputs) {}

  int inputs() const { return static_cast<int>(inputs_.size()); }
  bool has(int i) const { return i < inputs() && inputs_[static_cast<size_t>(i)] != nullptr; }
  const Facts& facts(int i) const { return *inputs_[static_cast<size_t>(i)]; }
  const Type& type(int i) const { return facts(i).type; }
  DType dtype(int i) const { return type(i).dtype; }
  bool has_shape(int i) const { return has(i) && type(i).shape.has_value(); }
  const SymShape& shape(int i) const { return *type(i).shape; }   // only where has_shape(i)
  int rank(int i) const { return has(i) ? type(i).rank() : -1; }  // -1: unknown
  // The tensor when it is known, else nullptr.
  const Tensor* constant(int i) const { return has(i) && facts(i).constant.defined() ? &facts(i).constant : nullptr; }
  // The elements of an integer tensor of rank 0 or 1, when at least their number is known.
  std::optional<std::vector<Dim>> elements(int i) const;
  // The elements when all are known integers.
  std::optional<std::vector<int64_t>> integers(int i) const;

  int outputs() const { return static_cast<int>(outputs_.size()); }
  void out(int i, DType dtype, std::optional<SymShape> shape) { out(i, Type::tensor(dtype, std::move(shape))); }
  void out(int i, const Type& type);  // ignored for an output that the node does not want
  void out_elements(int i, std::vector<Dim> elements);

  // The facts of a body's outputs given those of its inputs (captures included, taken from the node's).
  std::vector<Facts> infer_body(const std::string& attribute, const std::vector<Facts>& formal_inputs) const;
  // Facts of captured values, per body in order; set by the driver.
  void set_captures(std::vector<std::vector<Facts>> captures) { captures_ = std::move(captures); }

 private:
  std::vector<const Facts*> inputs_;
  std::vector<Facts>& outputs_;
  std::vector<std::vector<Facts>> captures_;
};

// Type and shape of output 0 are those of input `i`.
InferFn same_as(int i);
// Output 0 has the NumPy broadcast of the shapes of all inputs, and the dtype of input `i` / the given dtype.
InferFn broadcast_like(int i);
InferFn broadcast_to(DType dtype);
// The broadcast of symbolic shapes; throws through `node` when two known extents disagree. Unknown extents stay
// unknown.
SymShape broadcast(const NodeView& node, const SymShape& a, const SymShape& b);

// Derives the facts of a node's outputs from a table of facts and stores them there. Checks element types against the
// OpDef. Evaluates nothing (see plan/fold.h for known values).
void infer_node(const Graph& graph, NodeId id, FactTable& facts);
// The same with the facts that the graph's own values hold.
void infer_node(Graph& graph, NodeId id);
// infer_node over the whole graph in order; the table must hold the facts of inputs and constants.
void infer_graph(const Graph& graph, FactTable& facts);
// A table filled from the graph's own values.
FactTable facts_of(const Graph& graph);
// Infers with what the graph itself knows and stores the results in its values; declared output types are kept where
// nothing better is known.
void infer_types(Graph& graph);

}  // namespace sx
