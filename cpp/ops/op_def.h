// OpDef: everything that is known of one operator, in one place; see docs/developer/add-an-op.md.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "ir/graph.h"

namespace sx {

class GradientContext;
class InferContext;
class Prepare;
class Run;
class UpgradeContext;

// Computes the outputs of one node; immutable, called by any number of threads at a time.
using Kernel = std::function<void(Run&)>;
// Chooses and prepares the kernel of a node when a plan is made. Throws where the node asks for what cannot be done.
using KernelFactory = std::function<Kernel(Prepare&)>;
// Derives the outputs' facts from the inputs'. Called with symbolic shapes at load and with concrete ones for a plan.
using InferFn = std::function<void(InferContext&)>;
// Rewrites a node of an older opset; see UpgradeContext.
using UpgradeFn = std::function<void(UpgradeContext&)>;
// Adds to the graph what computes the gradients of a node's inputs from those of its outputs; see GradientContext.
using GradientFn = std::function<void(GradientContext&)>;

enum class AttrKind { kInt, kFloat, kString, kTensor, kType, kInts, kFloats, kStrings, kTensors, kGraph };

struct AttrSpec {
  std::string name;
  AttrKind kind;
  bool required = false;
  bool has_default = false;
  Attribute value{};  // the default
};

struct PortSpec {
  enum class Presence { kRequired, kOptional, kVariadic };
  std::string name;
  std::string variable;  // ports with the same type variable have the same element type; empty: its own
  DTypeSet types;        // allowed element types of a tensor
  Presence presence = Presence::kRequired;
  bool any_kind = false;  // sequences, optionals and maps pass too
};

class OpDef {
 public:
  explicit OpDef(std::string name, std::string domain = "") : name_(std::move(name)), domain_(std::move(domain)) {}

  // The opset version of the domain in which the meaning kept here appeared, and the first version of the operator.
  OpDef& since(int version, int first = 1);

  OpDef& attr(const std::string& name, int64_t value);
  OpDef& attr(const std::string& name, int value) { return attr(name, static_cast<int64_t>(value)); }
  OpDef& attr(const std::string& name, float value);
  OpDef& attr(const std::string& name, const char* value);
  OpDef& attr(const std::string& name, std::vector<int64_t> value);
  OpDef& attr(const std::string& name, std::vector<std::string> value);
  OpDef& optional_attr(const std::string& name, AttrKind kind);
  OpDef& required_attr(const std::string& name, AttrKind kind);

  // Ports in order. `variable` ties element types: .in("a", "T", kNumbers).in("b", "T", kNumbers).
  OpDef& in(const std::string& name, const std::string& variable, DTypeSet types);
  OpDef& optional_in(const std::string& name, const std::string& variable, DTypeSet types);
  OpDef& variadic_in(const std::string& name, const std::string& variable, DTypeSet types);
  OpDef& any_in(const std::string& name, PortSpec::Presence presence = PortSpec::Presence::kRequired);
  OpDef& out(const std::string& name, const std::string& variable = "", DTypeSet types = kAllTypes);
  OpDef& optional_out(const std::string& name, const std::string& variable = "", DTypeSet types = kAllTypes);
  OpDef& variadic_out(const std::string& name, const std::string& variable = "", DTypeSet types = kAllTypes);
  OpDef& any_out(const std::string& name, PortSpec::Presence presence = PortSpec::Presence::kRequired);

  OpDef& infer(InferFn function);
  OpDef& kernel(KernelFactory factory);
  // For a node written for an opset older than `version`: `function` gives it the meaning of `version`. Steps are
  // applied in ascending order of version, so each may assume the ones before.
  OpDef& upgrade(int version, UpgradeFn function);
  OpDef& gradient(GradientFn function);
  // The outputs do not depend on the inputs, or in steps only (Round): gradients end here, as zeros.
  OpDef& zero_gradient();
  // Why there is no gradient though the outputs depend on the inputs, for the error that says so.
  OpDef& no_gradient(const char* reason);
  // Output 0 is input `input` under another shape and shares its memory (Reshape).
  OpDef& aliases(int input);
  // Output 0 may be written over any of these inputs when it is read for the last time there and has the same size in
  // bytes. Where outputs are variadic, each of them may that has the input's dtype too.
  OpDef& in_place(std::vector<int> inputs);
  // Outputs may hold on to the memory of inputs in some other way (If, sequences): the planner keeps its hands off it.
  OpDef& retains();
  // Two runs differ (random operators): neither folded nor merged.
  OpDef& nondeterministic();
  // Reads only the shape, never the elements, of these inputs.
  OpDef& shape_only(std::vector<int> inputs);
  // Takes any attribute but graphs; for operators of users.
  OpDef& any_attributes();

  const std::string& name() const { return name_; }
  const std::string& domain() const { return domain_; }
  std::string full_name() const;  // "Softmax", "com.microsoft::FusedConv"
  int since_version() const { return since_; }
  int first_version() const { return first_; }
  const std::vector<AttrSpec>& attrs() const { return attrs_; }
  const AttrSpec* find_attr(const std::string& name) const;
  const std::vector<PortSpec>& inputs() const { return inputs_; }
  const std::vector<PortSpec>& outputs() const { return outputs_; }
  // The spec of input/output `index`, variadic tails included; nullptr where there is none.
  const PortSpec* input(size_t index) const;
  const PortSpec* output(size_t index) const;
  const InferFn& infer_function() const { return infer_; }
  const KernelFactory& kernel_factory() const { return kernel_; }
  const std::map<int, UpgradeFn>& upgrades() const { return upgrades_; }
  // Empty where the operator has no rule.
  const GradientFn& gradient_function() const { return gradient_; }
  bool has_zero_gradient() const { return zero_gradient_; }
  const char* no_gradient_reason() const { return no_gradient_; }  // nullptr where none was given
  int aliased_input() const { return alias_; }
  const std::vector<int>& in_place_inputs() const { return in_place_; }
  bool retains_inputs() const { return retains_; }
  bool deterministic() const { return deterministic_; }
  const std::vector<int>& shape_only_inputs() const { return shape_only_; }
  bool takes_any_attributes() const { return any_attributes_; }

 private:
  OpDef& add_attr(AttrSpec spec);

  std::string name_;
  std::string domain_;
  int since_ = 1;
  int first_ = 1;
  std::vector<AttrSpec> attrs_;
  std::vector<PortSpec> inputs_;
  std::vector<PortSpec> outputs_;
  InferFn infer_;
  KernelFactory kernel_;
  std::map<int, UpgradeFn> upgrades_;
  GradientFn gradient_;
  bool zero_gradient_ = false;
  const char* no_gradient_ = nullptr;
  int alias_ = kNone;
  std::vector<int> in_place_;
  bool retains_ = false;
  bool deterministic_ = true;
  std::vector<int> shape_only_;
  bool any_attributes_ = false;
};

// "[Softmax 'encoder/3']": how messages name a node.
std::string label(const Node& node);

// Reads a node's attributes with the operator's defaults, and fails in the node's name.
class NodeView {
 public:
  explicit NodeView(const Node& node) : node_(&node) {}
  const Node& node() const { return *node_; }
  bool has_attr(const std::string& name) const { return find(name) != nullptr; }
  // T is one of the alternatives of Attribute. Throws InvalidGraph when it is neither given nor has a default.
  template <typename T>
  const T& attr(const std::string& name) const {
    const Attribute* value = find(name);
    const T* typed = value ? std::get_if<T>(value) : nullptr;
    if (typed == nullptr) bad_attr(name, value);
    return *typed;
  }
  int64_t attr_int(const std::string& name) const { return attr<int64_t>(name); }
  float attr_float(const std::string& name) const { return attr<float>(name); }
  const std::string& attr_string(const std::string& name) const { return attr<std::string>(name); }
  const std::vector<int64_t>& attr_ints(const std::string& name) const { return attr<std::vector<int64_t>>(name); }
  // The given value or default, else `otherwise`.
  template <typename T>
  T attr_or(const std::string& name, T otherwise) const {
    return has_attr(name) ? attr<T>(name) : otherwise;
  }
  const Graph* body(const std::string& attribute) const;

  // Throws with "[Op 'name'] " before the parts.
  template <typename... Parts>
  [[noreturn]] void error(const Parts&... parts) const {
    fail(ErrorKind::kInvalidGraph, label(*node_), " ", parts...);
  }

  // `axis` counted from the front; an error that names the attribute's value, `what` and the range otherwise.
  int axis(int64_t axis, int rank) const;

 private:
  const Attribute* find(const std::string& name) const;
  [[noreturn]] void bad_attr(const std::string& name, const Attribute* found) const;
  const Node* node_;
};

// SX_CHECK(view, condition, parts...) for a NodeView or Run, but the parts are evaluated only where the condition
// fails.
#define SX_CHECK(view, condition, ...)           \
  do {                                           \
    if (!(condition)) (view).error(__VA_ARGS__); \
  } while (false)

// Checks a node against its OpDef: number of inputs and outputs, attributes known, of the right kind and present.
void check_node(const Node& node);

}  // namespace sx
