// What an operator's upgrade function sees while a model of an older opset is imported.
#pragma once

#include <string>
#include <vector>

#include "ops/op_def.h"

namespace sx {

// The node is a draft: not in the graph yet, its inputs are, with facts inferred. Upgrades change the draft, put nodes
// before it with emit(), or behind it with emit_after().
class UpgradeContext {
 public:
  UpgradeContext(Graph& graph, Node& draft, int opset) : graph_(graph), draft_(draft), opset_(opset) {}

  Graph& graph() { return graph_; }
  Node& draft() { return draft_; }
  // Reads the draft's attributes; the draft's operator must know them ; use take() for those that only old opsets have.
  NodeView view() const { return NodeView(draft_); }
  int opset() const { return opset_; }
  bool has_input(size_t i) const { return i < draft_.inputs.size() && draft_.inputs[i] != kNone; }
  // Input `i` or its facts; InvalidGraph is thrown when the node does not have it.
  ValueId input_id(size_t i) const;
  const Facts& input(size_t i) const { return graph_.value(input_id(i)).facts; }

  // Removes an attribute and gives it back; `otherwise` where it was not given.
  template <typename T>
  T take(const std::string& name, T otherwise) {
    auto found = draft_.attributes.find(name);
    if (found == draft_.attributes.end()) return otherwise;
    const T* typed = std::get_if<T>(&found->second);
    SX_REQUIRE(typed != nullptr, kInvalidGraph, label(draft_), " attribute '", name, "' is a ",
               kind_name(found->second), ", which its opset does not allow");
    T value = *typed;
    draft_.attributes.erase(found);
    return value;
  }
  bool has(const std::string& name) const { return draft_.attributes.count(name) != 0; }
  void set(const std::string& name, Attribute value) { draft_.attributes[name] = std::move(value); }
  void set_input(size_t i, ValueId value);  // pads with absent inputs
  ValueId constant(const Tensor& tensor);
  // A new node before the draft; its first output.
  ValueId emit(const std::string& op, std::vector<ValueId> inputs, Attributes attributes = {},
               const std::string& domain = "");
  // The draft's output `i` becomes a new value, which is returned; the old one must be produced with emit_after().
  ValueId detach_output(size_t i);
  // A new node behind the draft that produces `output`.
  void emit_after(ValueId output, const std::string& op, std::vector<ValueId> inputs, Attributes attributes = {});
  // The draft becomes a node of another operator (Upsample -> Resize).
  void become(const std::string& op, const std::string& domain = "");

  // Nodes that the importer adds behind the draft.
  std::vector<Node>& after() { return after_; }

 private:
  Graph& graph_;
  Node& draft_;
  int opset_;
  std::vector<Node> after_;
};

// Moves an attribute of a list of integers into input `index` (axes of Squeeze, ReduceSum ...); nothing when not given.
UpgradeFn ints_to_input(const std::string& attribute, size_t index);

}  // namespace sx
