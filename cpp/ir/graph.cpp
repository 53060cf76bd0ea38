// The graph's bookkeeping: names, edges, order and verification.
#include "ir/graph.h"

#include <algorithm>

#include "base/error.h"

namespace sx {

std::unique_ptr<Graph> Graph::clone() const {
  auto copy = std::make_unique<Graph>();
  copy->name = name;
  copy->inputs = inputs;
  copy->outputs = outputs;
  copy->order_ = order_;
  copy->readers_ = readers_;
  copy->names_ = names_;
  copy->values_.reserve(values_.size());
  for (const auto& value : values_) copy->values_.push_back(value ? std::make_unique<Value>(*value) : nullptr);
  copy->nodes_.reserve(nodes_.size());
  for (const auto& node : nodes_) {
    if (!node) {
      copy->nodes_.push_back(nullptr);
      continue;
    }
    auto twin = std::make_unique<Node>();
    twin->op = node->op;
    twin->name = node->name;
    twin->attributes = node->attributes;
    twin->inputs = node->inputs;
    twin->outputs = node->outputs;
    twin->origin = node->origin;
    for (const Body& body : node->bodies) twin->bodies.push_back({body.attribute, body.graph->clone(), body.captures});
    copy->nodes_.push_back(std::move(twin));
  }
  return copy;
}

ValueId Graph::add_value(const std::string& name, const Type& type) {
  SX_ASSERT(!name.empty());
  SX_REQUIRE(names_.count(name) == 0, kInvalidGraph, "the name '", name, "' is given to two values of the graph");
  const auto id = static_cast<ValueId>(values_.size());
  auto value = std::make_unique<Value>();
  value->name = name;
  value->facts.type = type;
  values_.push_back(std::move(value));
  readers_.emplace_back();
  names_.emplace(name, id);
  return id;
}

ValueId Graph::add_constant(const std::string& name, const Tensor& tensor) {
  const ValueId id = add_value(name, Type::tensor(tensor.dtype(), tensor.shape()));
  value(id).facts.constant = tensor;
  return id;
}

ValueId Graph::add_input(const std::string& name, const Type& type) {
  const ValueId id = add_value(name, type);
  inputs.push_back(id);
  return id;
}

std::string Graph::fresh_name(const std::string& stem) const {
  if (!stem.empty() && names_.count(stem) == 0) return stem;
  for (size_t i = 1;; ++i) {
    std::string name = stem + "_" + std::to_string(i);
    if (names_.count(name) == 0) return name;
  }
}

ValueId Graph::find_value(const std::string& name) const {
  auto found = names_.find(name);
  return found == names_.end() ? kNone : found->second;
}

void Graph::rename(ValueId id, const std::string& name) {
  if (value(id).name == name) return;
  SX_ASSERT(names_.count(name) == 0);
  names_.erase(value(id).name);
  names_.emplace(name, id);
  value(id).name = name;
}

void Graph::erase_value(ValueId id) {
  SX_ASSERT(value(id).producer == kNone && readers_[static_cast<size_t>(id)].empty() && !is_output(id));
  names_.erase(value(id).name);
  inputs.erase(std::remove(inputs.begin(), inputs.end(), id), inputs.end());
  values_[static_cast<size_t>(id)] = nullptr;
}

void Graph::add_use(ValueId value, NodeId node) {
  if (value != kNone) readers_[static_cast<size_t>(value)].push_back(node);
}

void Graph::drop_use(ValueId value, NodeId node) {
  if (value == kNone) return;
  auto& readers = readers_[static_cast<size_t>(value)];
  auto found = std::find(readers.begin(), readers.end(), node);
  SX_ASSERT(found != readers.end());
  readers.erase(found);
}

NodeId Graph::add_node(Node node, NodeId before) {
  const auto id = static_cast<NodeId>(nodes_.size());
  nodes_.push_back(std::make_unique<Node>(std::move(node)));
  Node& added = *nodes_.back();
  for (size_t i = 0; i < added.outputs.size(); ++i) {
    if (added.outputs[i] == kNone) continue;
    Value& output = value(added.outputs[i]);
    SX_REQUIRE(output.producer == kNone && !output.facts.constant.defined(), kInvalidGraph, "the value '", output.name,
               "' is produced more than once");
    output.producer = id;
    output.output_index = static_cast<int>(i);
  }
  for (ValueId read : reads(id)) add_use(read, id);
  order_.insert(before == kNone ? order_.end() : std::find(order_.begin(), order_.end(), before), id);
  return id;
}

void Graph::erase_node(NodeId id) {
  for (ValueId read : reads(id)) drop_use(read, id);
  for (ValueId output : node(id).outputs)
    if (output != kNone) value(output).producer = kNone;
  order_.erase(std::find(order_.begin(), order_.end(), id));
  nodes_[static_cast<size_t>(id)] = nullptr;
}

void Graph::add_output(NodeId id, size_t index, ValueId output) {
  std::vector<ValueId>& outputs = node(id).outputs;
  if (outputs.size() <= index) outputs.resize(index + 1, kNone);
  SX_ASSERT(outputs[index] == kNone && value(output).producer == kNone && !value(output).facts.constant.defined());
  outputs[index] = output;
  value(output).producer = id;
  value(output).output_index = static_cast<int>(index);
}

std::vector<ValueId> Graph::reads(NodeId id) const {
  std::vector<ValueId> all = node(id).inputs;
  for (const Body& body : node(id).bodies) all.insert(all.end(), body.captures.begin(), body.captures.end());
  return all;
}

std::vector<Graph::Use> Graph::uses(ValueId id) const {
  std::vector<NodeId> nodes = readers_[static_cast<size_t>(id)];
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  std::vector<Use> found;
  for (NodeId reader : nodes) {
    const std::vector<ValueId> all = reads(reader);
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i] == id) found.push_back({reader, static_cast<int>(i)});
  }
  return found;
}

size_t Graph::use_count(ValueId id) const {
  return readers_[static_cast<size_t>(id)].size() + static_cast<size_t>(std::count(outputs.begin(), outputs.end(), id));
}

bool Graph::is_output(ValueId id) const { return std::find(outputs.begin(), outputs.end(), id) != outputs.end(); }

void Graph::set_input(NodeId id, int index, ValueId to) {
  Node& target = node(id);
  auto at = static_cast<size_t>(index);
  ValueId* slot = nullptr;
  if (at < target.inputs.size()) {
    slot = &target.inputs[at];
  } else {
    at -= target.inputs.size();
    for (Body& body : target.bodies) {
      if (at < body.captures.size()) {
        slot = &body.captures[at];
        break;
      }
      at -= body.captures.size();
    }
  }
  SX_ASSERT(slot != nullptr);
  drop_use(*slot, id);
  *slot = to;
  add_use(to, id);
}

void Graph::drop_capture(NodeId id, size_t b, size_t k) {
  std::vector<ValueId>& captures = node(id).bodies[b].captures;
  drop_use(captures[k], id);
  captures.erase(captures.begin() + static_cast<std::ptrdiff_t>(k));
}

void Graph::replace_uses(ValueId from, ValueId to, bool with_outputs) {
  for (const Use& use : uses(from)) set_input(use.node, use.index, to);
  if (with_outputs) std::replace(outputs.begin(), outputs.end(), from, to);
}

void Graph::sort() {
  std::vector<int> waiting(nodes_.size(), 0);
  std::vector<NodeId> ready;
  for (NodeId id : order_) {
    for (ValueId read : reads(id))
      if (read != kNone && value(read).producer != kNone) ++waiting[static_cast<size_t>(id)];
    if (waiting[static_cast<size_t>(id)] == 0) ready.push_back(id);
  }
  // The old position breaks ties, so that an order that is right already stays as it is.
  std::vector<size_t> position(nodes_.size(), 0);
  for (size_t i = 0; i < order_.size(); ++i) position[static_cast<size_t>(order_[i])] = i;
  auto later = [&](NodeId a, NodeId b) { return position[static_cast<size_t>(a)] > position[static_cast<size_t>(b)]; };
  std::make_heap(ready.begin(), ready.end(), later);
  std::vector<NodeId> sorted;
  while (!ready.empty()) {
    std::pop_heap(ready.begin(), ready.end(), later);
    const NodeId id = ready.back();
    ready.pop_back();
    sorted.push_back(id);
    for (ValueId output : node(id).outputs) {
      if (output == kNone) continue;
      for (NodeId reader : readers_[static_cast<size_t>(output)]) {
        if (--waiting[static_cast<size_t>(reader)] == 0) {
          ready.push_back(reader);
          std::push_heap(ready.begin(), ready.end(), later);
        }
      }
    }
  }
  if (sorted.size() != order_.size()) {
    std::string names;
    int shown = 0;
    for (NodeId id : order_)
      if (waiting[static_cast<size_t>(id)] > 0 && shown++ < 5) names += (names.empty() ? "" : ", ") + node(id).origin;
    fail(ErrorKind::kInvalidGraph, "the graph has a cycle; it goes through or feeds ", names);
  }
  order_ = std::move(sorted);
}

void Graph::verify() const {
  std::vector<bool> ready(values_.size(), false);
  for (size_t i = 0; i < values_.size(); ++i) {
    if (!values_[i]) continue;
    auto named = names_.find(values_[i]->name);
    SX_ASSERT(named != names_.end() && named->second == static_cast<ValueId>(i));
    ready[i] = values_[i]->producer == kNone;
  }
  size_t alive = 0;
  for (const auto& node : nodes_) alive += node != nullptr;
  SX_ASSERT(alive == order_.size());
  std::vector<size_t> edges(values_.size(), 0);
  for (NodeId id : order_) {
    SX_ASSERT(has_node(id) && node(id).op != nullptr);
    for (ValueId read : reads(id)) {
      if (read == kNone) continue;
      SX_ASSERT(has_value(read) && ready[static_cast<size_t>(read)]);
      ++edges[static_cast<size_t>(read)];
    }
    for (size_t i = 0; i < node(id).outputs.size(); ++i) {
      const ValueId output = node(id).outputs[i];
      if (output == kNone) continue;
      SX_ASSERT(has_value(output) && value(output).producer == id && value(output).output_index == static_cast<int>(i));
      ready[static_cast<size_t>(output)] = true;
    }
    for (const Body& body : node(id).bodies) {
      SX_ASSERT(body.graph != nullptr && body.graph->inputs.size() >= body.captures.size());
      body.graph->verify();
    }
  }
  for (size_t i = 0; i < values_.size(); ++i) SX_ASSERT(edges[i] == readers_[i].size());
  for (ValueId input : inputs) SX_ASSERT(has_value(input) && value(input).producer == kNone);
  for (ValueId output : outputs) SX_ASSERT(has_value(output) && ready[static_cast<size_t>(output)]);
}

}  // namespace sx
