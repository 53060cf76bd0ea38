// Questions and edits shared by rules.
#include "passes/match.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/infer.h"
#include "ops/registry.h"

namespace sx {

bool is(const Graph& graph, NodeId id, const char* op) {
  const OpDef& def = *graph.node(id).op;
  if (def.domain().empty()) return def.name() == op;
  return def.full_name() == op;
}

NodeId producer(const Graph& graph, ValueId value, std::initializer_list<const char*> ops) {
  if (value == kNone) return kNone;
  const NodeId id = graph.value(value).producer;
  if (id == kNone) return kNone;
  for (const char* op : ops)
    if (is(graph, id, op)) return id;
  return kNone;
}

NodeId only_reader(const Graph& graph, ValueId value) {
  if (graph.use_count(value) != 1 || graph.is_output(value)) return kNone;
  const Graph::Use use = graph.uses(value).front();
  const bool captured = static_cast<size_t>(use.index) >= graph.node(use.node).inputs.size();
  return captured ? kNone : use.node;
}

ValueId other_input(const Graph& graph, NodeId id, ValueId value) {
  const std::vector<ValueId>& inputs = graph.node(id).inputs;
  return inputs[0] == value ? inputs[1] : inputs[0];
}

const Tensor* constant(const Graph& graph, ValueId value) {
  return graph.is_constant(value) ? &graph.value(value).facts.constant : nullptr;
}

std::optional<double> scalar(const Graph& graph, ValueId value) {
  const Tensor* tensor = constant(graph, value);
  if (tensor == nullptr || tensor->size() != 1) return std::nullopt;
  const DType dtype = tensor->dtype();
  if (!kFloats.has(dtype) && !kIntegers.has(dtype)) return std::nullopt;
  return tensor->scalar_as_double();
}

bool is_scalar(const Graph& graph, ValueId value, double expected) {
  const auto found = scalar(graph, value);
  return found && *found == expected;
}

bool is_near_scalar(const Graph& graph, ValueId value, double expected) {
  const auto found = scalar(graph, value);
  if (!found) return false;
  double relative = 1e-6;
  switch (graph.type(value).dtype) {
    case DType::kFloat64: relative = 0x1p-52; break;
    case DType::kFloat16: relative = 0x1p-10; break;
    case DType::kBFloat16: relative = 0x1p-7; break;
    default: break;
  }
  return std::abs(*found - expected) <= relative * std::abs(expected);
}

bool same_rank(const Graph& graph, ValueId x, ValueId result) {
  const int rank = graph.type(x).rank();
  return rank >= 0 && rank == graph.type(result).rank();
}

template <typename T>
T attribute(const Graph& graph, NodeId id, const std::string& name) {
  return NodeView(graph.node(id)).attr<T>(name);
}
template int64_t attribute<int64_t>(const Graph&, NodeId, const std::string&);
template float attribute<float>(const Graph&, NodeId, const std::string&);
template std::string attribute<std::string>(const Graph&, NodeId, const std::string&);
template std::vector<int64_t> attribute<std::vector<int64_t>>(const Graph&, NodeId, const std::string&);

std::optional<NamedActivation> activation_of(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const std::string& name = node.op->name();
  if (!node.op->domain().empty()) return std::nullopt;
  for (const char* plain : {"Relu", "Sigmoid", "Tanh", "HardSwish", "Mish", "Softplus", "Softsign"})
    if (name == plain) return NamedActivation{name};
  for (const char* scaled : {"LeakyRelu", "Elu", "Swish", "Celu"})
    if (name == scaled) return NamedActivation{name, attribute<float>(graph, id, "alpha")};
  if (name == "HardSigmoid")
    return NamedActivation{name, attribute<float>(graph, id, "alpha"), attribute<float>(graph, id, "beta")};
  if (name == "Gelu")
    return NamedActivation{attribute<std::string>(graph, id, "approximate") == "tanh" ? "GeluTanh" : "Gelu"};
  if (name != "Clip") return std::nullopt;
  float bounds[2] = {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};
  for (size_t i = 0; i < 2; ++i) {
    if (node.inputs.size() <= i + 1 || node.inputs[i + 1] == kNone) continue;
    const auto bound = scalar(graph, node.inputs[i + 1]);
    if (!bound) return std::nullopt;
    bounds[i] = static_cast<float>(*bound);
  }
  return NamedActivation{"Clip", bounds[0], bounds[1]};
}

ValueId emit_before(Graph& graph, NodeId at, const std::string& op, std::vector<ValueId> inputs, Attributes attributes,
                    const std::string& domain) {
  Node node;
  node.op = &get_op(op, domain);
  node.name = graph.node(at).name;
  node.origin = graph.node(at).origin;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  const ValueId output = graph.add_value(graph.fresh_name((node.name.empty() ? op : node.name) + "." + op));
  node.outputs = {output};
  infer_node(graph, graph.add_node(std::move(node), at));
  return output;
}

static bool is_dead(const Graph& graph, const Node& node) {
  return std::all_of(node.outputs.begin(), node.outputs.end(),
                     [&](ValueId output) { return output == kNone || graph.use_count(output) == 0; });
}

void erase_if_dead(Graph& graph, ValueId value) {
  std::vector<ValueId> suspects = {value};  // a list, since chains may be longer than the stack is deep
  while (!suspects.empty()) {
    const ValueId suspect = suspects.back();
    suspects.pop_back();
    if (suspect == kNone || !graph.has_value(suspect)) continue;
    const NodeId id = graph.value(suspect).producer;
    if (id == kNone || !is_dead(graph, graph.node(id))) continue;
    const std::vector<ValueId> outputs = graph.node(id).outputs;
    const std::vector<ValueId> reads = graph.reads(id);
    graph.erase_node(id);
    for (ValueId output : outputs)
      if (output != kNone) graph.erase_value(output);
    suspects.insert(suspects.end(), reads.begin(), reads.end());
  }
}

NodeId replace(Graph& graph, NodeId at, const std::string& op, std::vector<ValueId> inputs, Attributes attributes,
               const std::string& domain) {
  Node node;
  node.op = &get_op(op, domain);
  node.name = graph.node(at).name;
  node.origin = graph.node(at).origin;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  node.outputs = {graph.node(at).outputs[0]};
  const std::vector<ValueId> old_outputs = graph.node(at).outputs;
  const std::vector<NodeId>& order = graph.order();
  const auto next = std::find(order.begin(), order.end(), at) + 1;
  const NodeId before = next == order.end() ? kNone : *next;
  const std::vector<ValueId> old_reads = graph.reads(at);
  graph.erase_node(at);
  for (size_t i = 1; i < old_outputs.size(); ++i)
    if (old_outputs[i] != kNone && graph.use_count(old_outputs[i]) == 0) graph.erase_value(old_outputs[i]);
  const NodeId id = graph.add_node(std::move(node), before);
  infer_node(graph, id);
  for (ValueId read : old_reads) erase_if_dead(graph, read);
  return id;
}

bool bypass(Graph& graph, NodeId id, ValueId by) {
  const ValueId output = graph.node(id).outputs[0];
  if (graph.is_output(output)) {
    if (graph.value(by).producer == kNone || graph.is_output(by)) return false;
    const std::string name = graph.value(output).name;
    graph.replace_uses(output, by, true);
    graph.erase_node(id);
    graph.erase_value(output);
    graph.rename(by, name);
    return true;
  }
  graph.replace_uses(output, by, false);
  erase_if_dead(graph, output);
  return true;
}

ValueId add_constant(Graph& graph, const std::string& stem, const Tensor& tensor) {
  return graph.add_constant(graph.fresh_name(stem), tensor);
}

}  // namespace sx
