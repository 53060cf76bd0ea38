// Edits that downgrade functions make, and steps that several operators share.
#include "ops/downgrade.h"

#include <algorithm>

#include "ops/infer.h"
#include "ops/registry.h"

namespace sx {

DowngradeContext::DowngradeContext(Graph& graph, NodeId id, int version, int target)
    : NodeView(graph.node(id)),
      Emitter(graph, graph.node(id).name.empty() ? graph.node(id).op->name() : graph.node(id).name,
              graph.node(id).origin),
      id_(id),
      version_(version),
      target_(target) {}

Expr DowngradeContext::in(size_t i) { return has_in(i) ? expr(node().inputs[i]) : Expr(); }

const Tensor* DowngradeContext::constant_in(size_t i) const {
  if (!has_in(i)) return nullptr;
  const Tensor& known = graph().value(node().inputs[i]).facts.constant;
  return known.defined() ? &known : nullptr;
}

std::vector<int64_t> DowngradeContext::integers_in(size_t i, const std::string& what) const {
  const Tensor* known = constant_in(i);
  if (known == nullptr && has_in(i)) {
    // Shape arithmetic may have a known result without being constants.
    const auto& elements = graph().value(node().inputs[i]).facts.elements;
    std::vector<int64_t> numbers;
    for (size_t k = 0; elements && k < elements->size() && (*elements)[k].known(); ++k)
      numbers.push_back((*elements)[k].value());
    if (elements && numbers.size() == elements->size()) return numbers;
  }
  SX_CHECK(*this, known != nullptr,
           join("computes '", node().op->input(i) ? node().op->input(i)->name : what, "', which is the attribute '",
                what, "' before opset ", version_, ": make it a constant"));
  return known->integers();
}

int DowngradeContext::rank_in(size_t i, const std::string& why) const {
  const int rank = has_in(i) ? graph().type(node().inputs[i]).rank() : -1;
  SX_CHECK(*this, rank >= 0, "reads a tensor of unknown rank, and " + why);
  return rank;
}

void DowngradeContext::set_in(size_t i, const Expr& value) {
  Node& node = mine();
  if (node.inputs.size() <= i) node.inputs.resize(i + 1, kNone);
  graph().set_input(id_, static_cast<int>(i), value.id());
}

void DowngradeContext::keep_inputs(size_t count) {
  Node& node = mine();
  for (size_t i = count; i < node.inputs.size(); ++i) graph().set_input(id_, static_cast<int>(i), kNone);
  if (node.inputs.size() > count) node.inputs.resize(count);
}

void DowngradeContext::become(const std::string& op) { mine().op = &get_op(op, node().op->domain()); }

Expr DowngradeContext::detach_output(size_t i, const Type& type) {
  Graph& g = graph();
  const ValueId old = mine().outputs[i];
  const ValueId fresh = g.add_value(g.fresh_name(g.value(old).name + ".inner"), type);
  g.value(old).producer = kNone;
  mine().outputs[i] = kNone;
  g.add_output(id_, i, fresh);
  return expr(fresh);
}

void DowngradeContext::give(ValueId old, const Expr& value) {
  Graph& g = graph();
  Expr result = value;
  // An input, a constant or another output of the graph keeps its own name.
  if (g.value(result.id()).producer == kNone || g.is_output(result.id())) result = op("Identity", {result});
  g.replace_uses(old, result.id(), true);
  const std::string name = g.value(old).name;
  const Type type = g.type(old);
  g.erase_value(old);
  g.rename(result.id(), name);
  Facts& facts = g.value(result.id()).facts;
  if (facts.type.kind == Type::Kind::kUnknown || !facts.type.shape) facts.type = type;
}

void DowngradeContext::replace(const std::vector<Expr>& by) {
  const std::vector<ValueId> outputs = node().outputs;
  SX_ASSERT(by.size() >= outputs.size());
  replaced_ = true;
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i] != kNone) SX_ASSERT(static_cast<bool>(by[i]));
  graph().erase_node(id_);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i] != kNone) give(outputs[i], by[i]);
}

void Downgrades::add(const std::string& op, int version, DowngradeFn step, const std::string& domain) {
  get_op(op, domain);
  SX_ASSERT((steps_[{domain, op}].emplace(version, std::move(step)).second));
}

void Downgrades::add_each(const std::vector<std::string>& ops, int version, const DowngradeFn& step) {
  for (const std::string& op : ops) add(op, version, step);
}

const std::map<int, DowngradeFn>& Downgrades::of(const OpDef& op) const {
  static const std::map<int, DowngradeFn> kNoSteps;
  const auto found = steps_.find({op.domain(), op.name()});
  return found == steps_.end() ? kNoSteps : found->second;
}

const Downgrades& downgrades() {
  static const auto* instance = [] {
    auto* all = new Downgrades;
    add_attribute_downgrades(*all);
    add_quantization_downgrades(*all);
    add_function_downgrades(*all);
    add_movement_downgrades(*all);
    add_normalization_downgrades(*all);
    add_resize_downgrades(*all);
    add_sequence_model_downgrades(*all);
    return all;
  }();
  return *instance;
}

DowngradeFn input_to_ints(const std::string& attribute, size_t index) {
  return [attribute, index](DowngradeContext& c) {
    if (c.has_in(index)) c.set(attribute, c.integers_in(index, attribute));
    c.keep_inputs(index);
  };
}

DowngradeFn input_to_int(const std::string& attribute, size_t index) {
  return [attribute, index](DowngradeContext& c) {
    if (!c.has_in(index)) return;
    const std::vector<int64_t> values = c.integers_in(index, attribute);
    SX_CHECK(c, values.size() == 1, "has a list where '" + attribute + "' is one number");
    c.set(attribute, values[0]);
    c.keep_inputs(index);
  };
}

DowngradeFn count_axes_from_front(const std::string& attribute) {
  return [attribute](DowngradeContext& c) {
    const auto given = c.node().attributes.find(attribute);
    if (given == c.node().attributes.end()) return;
    std::vector<int64_t> axes;
    if (const auto* list = std::get_if<std::vector<int64_t>>(&given->second)) axes = *list;
    if (const auto* one = std::get_if<int64_t>(&given->second)) axes = {*one};
    const bool negative = std::any_of(axes.begin(), axes.end(), [](int64_t axis) { return axis < 0; });
    if (!negative) return;
    int rank = c.rank_in(0, "counts '" + attribute + "' from the back, which began with opset 11");
    // Axes of Unsqueeze are those of the result.
    if (c.node().op->name() == "Unsqueeze") rank += static_cast<int>(axes.size());
    for (int64_t& axis : axes) axis += axis < 0 ? rank : 0;
    if (std::holds_alternative<int64_t>(given->second)) c.set(attribute, axes[0]);
    else c.set(attribute, axes);
  };
}

DowngradeFn drop_ones(const std::string& attribute) {
  return [attribute](DowngradeContext& c) {
    if (!c.has(attribute)) return;
    const std::vector<int64_t>& steps = c.attr_ints(attribute);
    if (std::all_of(steps.begin(), steps.end(), [](int64_t step) { return step == 1; })) c.drop(attribute);
  };
}

DowngradeFn blocked(const std::string& reason) {
  return [reason](DowngradeContext& c) { c.error(reason); };
}

}  // namespace sx
