// What an operator's downgrade function sees while a graph is exported for an older opset.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ops/gradient.h"

namespace sx {

// Thrown by a downgrade function for a node that the older opset cannot hold.
struct Blocked {
  int needs;           // the opset that can
  std::string reason;  // a sentence about the node, without its name: "pads by wrapping around, which ..."
};

// The node is in the graph. A function edits it in place, which gives it the form just before the step's version, or
// replaces it by expressions; nodes that those add have their newest meaning and are lowered afterwards. Nodes are
// added at the end of the graph, which is sorted again in the end.
class DowngradeContext : public NodeView, public Emitter {
 public:
  // `version` is that of the step, `target` the opset that the node is to have in the end.
  DowngradeContext(Graph& graph, NodeId id, int version, int target);

  int version() const { return version_; }
  int target() const { return target_; }
  Expr in(size_t i);  // none where the input is absent
  bool has_in(size_t i) const { return i < node().inputs.size() && node().inputs[i] != kNone; }
  // The tensor where it is known, else nullptr.
  const Tensor* constant_in(size_t i) const;
  // The integers of input `i`, which must be known: the older form has them as the attribute that `what` names.
  std::vector<int64_t> integers_in(size_t i, const std::string& what) const;
  bool wants(size_t i) const { return i < node().outputs.size() && node().outputs[i] != kNone; }
  const Type& out_type(size_t i = 0) const { return graph().type(node().outputs[i]); }
  // The rank of input `i`; blocks where it is not known.
  int rank_in(size_t i, const std::string& why) const;

  // --- in place
  bool has(const std::string& name) const { return node().attributes.count(name) != 0; }
  void set(const std::string& name, Attribute value) { mine().attributes[name] = std::move(value); }
  void drop(const std::string& name) { mine().attributes.erase(name); }
  void set_in(size_t i, const Expr& value);  // pads with absent inputs
  void keep_inputs(size_t count);
  // Another operator of the same domain with the same ports.
  void become(const std::string& op);
  // Output `i` becomes a new value of this type; the old one is then to be given with give().
  Expr detach_output(size_t i, const Type& type);
  // `value` takes the place and name of a value that detach_output() left without producer.
  void give(ValueId old, const Expr& value);

  // --- instead
  // The node's outputs in order become these, under the names that they had; an empty Expr for an unwanted one.
  void replace(const std::vector<Expr>& by);
  bool replaced() const { return replaced_; }

  // The node stays as it is: `reason` says why it cannot be lowered.
  [[noreturn]] void error(const std::string& reason) const { throw Blocked{version_, reason}; }

 private:
  Node& mine() { return graph().node(id_); }

  NodeId id_;
  int version_;
  int target_;
  bool replaced_ = false;
};

using DowngradeFn = std::function<void(DowngradeContext&)>;

// The steps down of all operators, by domain and name: the mirror of OpDef::upgrade.
class Downgrades {
 public:
  // `step` takes a node that means what `version` says to the form just before it, or replaces it. Steps are applied in
  // descending order of version.
  void add(const std::string& op, int version, DowngradeFn step, const std::string& domain = "");
  // The same for several operators.
  void add_each(const std::vector<std::string>& ops, int version, const DowngradeFn& step);
  const std::map<int, DowngradeFn>& of(const OpDef& op) const;

 private:
  std::map<std::pair<std::string, std::string>, std::map<int, DowngradeFn>> steps_;
};
const Downgrades& downgrades();

// One for each file cpp/ops/downgrade_*.cpp.
void add_attribute_downgrades(Downgrades& all);
void add_quantization_downgrades(Downgrades& all);
void add_function_downgrades(Downgrades& all);
void add_movement_downgrades(Downgrades& all);
void add_normalization_downgrades(Downgrades& all);
void add_resize_downgrades(Downgrades& all);
void add_sequence_model_downgrades(Downgrades& all);

// --- steps that several operators share

// Input `index`, a constant list of integers, becomes an attribute; an absent input leaves it out.
DowngradeFn input_to_ints(const std::string& attribute, size_t index);
// The same for an input of one element.
DowngradeFn input_to_int(const std::string& attribute, size_t index);
// Negative axes, which operators know from opset 11 on, are counted from the front.
DowngradeFn count_axes_from_front(const std::string& attribute);
// Leaves out a list of ones.
DowngradeFn drop_ones(const std::string& attribute);
// Blocks, with the reason.
DowngradeFn blocked(const std::string& reason);

}  // namespace sx
