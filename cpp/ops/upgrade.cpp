// Edits that upgrade functions make to a draft node.
#include "ops/upgrade.h"

#include "ops/infer.h"
#include "ops/registry.h"

namespace sx {

ValueId UpgradeContext::input_id(size_t i) const {
  if (has_input(i)) return draft_.inputs[i];
  const PortSpec* port = draft_.op->input(i);
  fail(ErrorKind::kInvalidGraph, label(draft_), " input '", port ? port->name : join(i), "' is required but missing");
}

void UpgradeContext::set_input(size_t i, ValueId value) {
  if (draft_.inputs.size() <= i) draft_.inputs.resize(i + 1, kNone);
  draft_.inputs[i] = value;
}

ValueId UpgradeContext::constant(const Tensor& tensor) {
  return graph_.add_constant(graph_.fresh_name((draft_.name.empty() ? draft_.op->name() : draft_.name) + ".constant"),
                             tensor);
}

ValueId UpgradeContext::emit(const std::string& op, std::vector<ValueId> inputs, Attributes attributes,
                             const std::string& domain) {
  Node node;
  node.op = &get_op(op, domain);
  node.name = draft_.name;
  node.origin = draft_.origin;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  const ValueId output =
      graph_.add_value(graph_.fresh_name((draft_.name.empty() ? draft_.op->name() : draft_.name) + "." + op));
  node.outputs = {output};
  check_node(node);
  infer_node(graph_, graph_.add_node(std::move(node)));
  return output;
}

ValueId UpgradeContext::detach_output(size_t i) {
  const ValueId fresh = graph_.add_value(graph_.fresh_name(graph_.value(draft_.outputs[i]).name + ".inner"));
  draft_.outputs[i] = fresh;
  return fresh;
}

void UpgradeContext::emit_after(ValueId output, const std::string& op, std::vector<ValueId> inputs,
                                Attributes attributes) {
  Node node;
  node.op = &get_op(op);
  node.name = draft_.name;
  node.origin = draft_.origin;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  node.outputs = {output};
  after_.push_back(std::move(node));
}

void UpgradeContext::become(const std::string& op, const std::string& domain) { draft_.op = &get_op(op, domain); }

UpgradeFn ints_to_input(const std::string& attribute, size_t index) {
  return [attribute, index](UpgradeContext& c) {
    if (!c.has(attribute)) return;
    c.set_input(index, c.constant(Tensor::vector(c.take<std::vector<int64_t>>(attribute, {}))));
  };
}

}  // namespace sx
