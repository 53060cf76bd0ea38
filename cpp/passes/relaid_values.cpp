// Values in another form, and the nodes that make them plain again.
#include "passes/relaid_values.h"

#include "ops/infer.h"
#include "ops/op_def.h"
#include "passes/match.h"

namespace sx {

ValueId RelaidValues::get(ValueId value, NodeId at) {
  const auto found = relaid_.find(value);
  if (found != relaid_.end()) return found->second;
  const ValueId made = lay_(value, at);
  relaid_.emplace(value, made);
  return made;
}

ValueId RelaidValues::either(ValueId value) const {
  const auto found = relaid_.find(value);
  return found != relaid_.end() ? found->second : value;
}

void RelaidValues::need_plain(ValueId value, NodeId at) {
  const auto found = waiting_.find(value);
  if (found == waiting_.end()) return;
  Node node = unlay_(value);
  node.name = graph_.value(value).name;
  node.origin = node.name;
  node.inputs = {found->second};
  node.outputs = {value};
  waiting_.erase(found);
  infer_node(graph_, graph_.add_node(std::move(node), at));
}

void RelaidValues::finish() {
  for (ValueId output : std::vector<ValueId>(graph_.outputs)) need_plain(output, kNone);
  for (const auto& [value, relaid] : waiting_)
    if (graph_.use_count(value) == 0) graph_.erase_value(value);
}

NodeId RelaidValues::replace(NodeId id, const std::string& op, std::vector<ValueId> inputs, Attributes attributes,
                             const std::string& domain) {
  const std::vector<ValueId> old = graph_.node(id).outputs;
  const ValueId made = emit_before(graph_, id, op, std::move(inputs), std::move(attributes), domain);
  const NodeId node = graph_.value(made).producer;
  graph_.erase_node(id);
  move_outputs(old, node);
  produced(old[0], made);
  return node;
}

// Makes all but the first of `outputs` outputs of `node`.
void RelaidValues::move_outputs(const std::vector<ValueId>& outputs, NodeId node) {
  bool moved = false;
  for (size_t i = 1; i < outputs.size(); ++i)
    if (outputs[i] != kNone) {
      graph_.add_output(node, i, outputs[i]);
      moved = true;
    }
  if (moved) infer_node(graph_, node);
}

NodeId RelaidValues::open_node(ValueId value, NodeId reader, const char* op) const {
  const auto found = waiting_.find(value);
  if (found == waiting_.end() || only_reader(graph_, value) != reader || graph_.use_count(found->second) != 0)
    return kNone;
  return producer(graph_, found->second, {op});
}

NodeId RelaidValues::extend(NodeId open, ValueId value, NodeId reader, std::vector<ValueId> inputs,
                            Attributes attributes) {
  const Node& old = graph_.node(open);
  const std::vector<ValueId> outputs = old.outputs;
  const std::string op = old.op->name(), domain = old.op->domain();
  const NodeId made = replace(reader, op, std::move(inputs), std::move(attributes), domain);
  graph_.erase_node(open);
  move_outputs(outputs, made);
  forget(value);
  return made;
}

void RelaidValues::erase(NodeId open, ValueId value) {
  graph_.erase_node(open);
  forget(value);
}

void RelaidValues::forget(ValueId value) {
  const ValueId relaid = waiting_.at(value);
  relaid_.erase(value);
  waiting_.erase(value);
  graph_.erase_value(relaid);
  graph_.erase_value(value);
}

}  // namespace sx
