// Joins elementwise f32 nodes that hand each other values of one shape into sardonyx::ElementwiseChain.
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ops/elementwise_chain.h"
#include "ops/infer.h"
#include "ops/registry.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace sx {
namespace {

// One function of the chain.
struct Function {
  std::string name;
  std::vector<ValueId> operands;
  float alpha = 0.0f;
  float beta = 0.0f;
};
constexpr ValueId kPrevious = -2;  // as an operand: the function just before

bool is_f32(const Graph& graph, ValueId value) {
  return value != kNone && graph.type(value).is_tensor() && graph.type(value).dtype == DType::kFloat32;
}
bool is_bool(const Graph& graph, ValueId value) {
  return value != kNone && graph.type(value).is_tensor() && graph.type(value).dtype == DType::kBool;
}

// What the node computes, in terms of ElementwiseChain; empty where that cannot say it with the same bits.
std::vector<Function> functions_of(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (!node.op->domain().empty() || node.outputs.size() != 1 || node.inputs.empty()) return {};
  const std::string& name = node.op->name();
  const std::vector<ValueId>& in = node.inputs;
  if (std::find(in.begin(), in.end(), kNone) != in.end() && name != "Clip") return {};
  const bool numbers = std::all_of(in.begin(), in.end(), [&](ValueId value) { return is_f32(graph, value); });
  const bool masks = std::all_of(in.begin(), in.end(), [&](ValueId value) { return is_bool(graph, value); });
  for (const char* mask : {"And", "Or", "Xor", "Not"})
    if (name == mask && masks) return {{name, in}};
  if (name == "Cast" && masks && is_f32(graph, node.outputs[0])) return {{name, in}};
  if (name == "Where" && is_bool(graph, in[0]) && is_f32(graph, in[1]) && is_f32(graph, in[2])) return {{name, in}};
  if (name == "Pow" && is_f32(graph, in[0])) {
    const auto exponent = scalar(graph, in[1]);
    if (!exponent || !same_rank(graph, in[0], node.outputs[0])) return {};
    if (*exponent == 2.0) return {{"Square", {in[0]}}};
    if (*exponent == -1.0) return {{"Reciprocal", {in[0]}}};
    if (*exponent == 3.0) return {{"Mul", {in[0], in[0]}}, {"Mul", {kPrevious, in[0]}}};
    return {};
  }
  if (name == "Clip" && is_f32(graph, in[0])) {
    const auto clip = activation_of(graph, id);
    return clip ? std::vector<Function>{{clip->name, {in[0]}, clip->alpha, clip->beta}} : std::vector<Function>();
  }
  if (!numbers) return {};
  for (const char* two : {"Add", "Sub", "Mul", "Div", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
    if (name == two) return {{name, in}};
  for (const char* one :
       {"Exp", "Log", "Sqrt", "Reciprocal", "Erf",  "Abs",  "Neg",  "Sign", "Floor", "Ceil",  "Round",
        "Sin", "Cos", "Tan",  "Asin",       "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"})
    if (name == one) return {{name, in}};
  for (const auto& [many, binary] : {std::pair("Max", "Max"), std::pair("Min", "Min"), std::pair("Sum", "Add")}) {
    if (name != many || in.size() < 2) continue;
    std::vector<Function> functions = {{binary, {in[0], in[1]}}};
    for (size_t i = 2; i < in.size(); ++i) functions.push_back({binary, {kPrevious, in[i]}});
    return functions;
  }
  const auto activation = activation_of(graph, id);
  if (activation) return {{activation->name, {in[0]}, activation->alpha, activation->beta}};
  return {};
}

// Nodes that will be one, in the place of the last of them.
struct Group {
  std::vector<NodeId> nodes;
  size_t functions = 0;
  std::vector<ValueId> inputs;  // from outside
};

class Grouping {
 public:
  explicit Grouping(const Graph& graph) : graph_(graph), group_of_(graph.node_limit(), -1) {
    position_.assign(graph.node_limit(), 0);
    for (size_t i = 0; i < graph.order().size(); ++i) position_[static_cast<size_t>(graph.order()[i])] = i;
    for (NodeId id : graph.order()) visit(id);
  }
  const std::vector<Group>& groups() const { return groups_; }

 private:
  void visit(NodeId id) {
    const std::vector<Function> functions = functions_of(graph_, id);
    const ValueId result = functions.empty() ? kNone : graph_.node(id).outputs[0];
    if (result == kNone || !has_known_shape(result)) return;
    Group own = {{id}, functions.size(), unique(graph_.node(id).inputs)};
    group_of_[static_cast<size_t>(id)] = static_cast<int>(groups_.size());
    groups_.push_back(own);
    for (ValueId input : graph_.node(id).inputs) {
      const NodeId from = input == kNone ? kNone : graph_.value(input).producer;
      if (from != kNone && group_of_[static_cast<size_t>(from)] >= 0) join(group_of_[static_cast<size_t>(from)], id);
    }
  }

  bool has_known_shape(ValueId value) const {
    const auto& shape = graph_.type(value).shape;
    return shape && std::none_of(shape->begin(), shape->end(), [](const Dim& dim) { return dim.unknown(); });
  }

  static std::vector<ValueId> unique(const std::vector<ValueId>& values) {
    std::vector<ValueId> found;
    for (ValueId value : values)
      if (value != kNone && std::find(found.begin(), found.end(), value) == found.end()) found.push_back(value);
    return found;
  }

  // Takes the group into that of the node `id`, the last one visited, where the shape is the same and everything else
  // that reads from the group comes later, so that all of it can move to the place of `id`.
  void join(int from, NodeId id) {
    const int to = group_of_[static_cast<size_t>(id)];
    if (from == to) return;
    Group& source = groups_[static_cast<size_t>(from)];
    Group& target = groups_[static_cast<size_t>(to)];
    if (*graph_.type(graph_.node(source.nodes[0]).outputs[0]).shape != *graph_.type(graph_.node(id).outputs[0]).shape)
      return;
    Group both;
    both.nodes = source.nodes;
    both.nodes.insert(both.nodes.end(), target.nodes.begin(), target.nodes.end());
    std::sort(both.nodes.begin(), both.nodes.end(), [&](NodeId a, NodeId b) { return at(a) < at(b); });
    both.functions = source.functions + target.functions;
    for (NodeId node : source.nodes)
      for (const Graph::Use& use : graph_.uses(graph_.node(node).outputs[0]))
        if (at(use.node) < at(id) && !is_in(use.node, from) && !is_in(use.node, to)) return;
    std::vector<ValueId> reads;
    for (const Group* part : {&source, &target})
      for (ValueId value : part->inputs) {
        const NodeId producer = graph_.value(value).producer;
        if (producer == kNone || (!is_in(producer, from) && !is_in(producer, to))) reads.push_back(value);
      }
    both.inputs = unique(reads);
    if (both.functions > kMostChainFunctions || both.inputs.size() > kMostChainInputs) return;
    for (NodeId node : source.nodes) group_of_[static_cast<size_t>(node)] = to;
    target = std::move(both);
    source = Group();
  }

  size_t at(NodeId id) const { return position_[static_cast<size_t>(id)]; }
  bool is_in(NodeId id, int group) const { return group_of_[static_cast<size_t>(id)] == group; }

  const Graph& graph_;
  std::vector<size_t> position_;
  std::vector<int> group_of_;
  std::vector<Group> groups_;
};

void rewrite(Graph& graph, const Group& group, PassLog& log) {
  std::vector<ValueId> inputs;
  std::map<ValueId, int64_t> number_of;
  struct Step {
    Function function;
    ValueId result = kNone;
  };
  std::vector<Step> steps;
  for (NodeId id : group.nodes) {
    for (Function& function : functions_of(graph, id)) steps.push_back({std::move(function), kNone});
    steps.back().result = graph.node(id).outputs[0];
  }
  std::vector<ValueId> made;
  for (const Step& step : steps) {
    for (ValueId operand : step.function.operands) {
      const bool inner = operand == kPrevious || std::find(made.begin(), made.end(), operand) != made.end();
      if (inner || std::find(inputs.begin(), inputs.end(), operand) != inputs.end()) continue;
      number_of[operand] = static_cast<int64_t>(inputs.size());
      inputs.push_back(operand);
    }
    if (step.result != kNone) made.push_back(step.result);
  }
  std::vector<std::string> functions;
  std::vector<int64_t> operands;
  std::vector<float> numbers;
  std::vector<int64_t> results;
  std::vector<ValueId> outputs;
  const auto is_member = [&](NodeId id) {
    return std::find(group.nodes.begin(), group.nodes.end(), id) != group.nodes.end();
  };
  for (size_t s = 0; s < steps.size(); ++s) {
    const auto number = static_cast<int64_t>(inputs.size() + s);
    const Function& function = steps[s].function;
    functions.push_back(function.name);
    for (size_t i = 0; i < 3; ++i) {
      const bool given = i < function.operands.size();
      operands.push_back(!given                              ? -1
                         : function.operands[i] == kPrevious ? number - 1
                                                             : number_of.at(function.operands[i]));
    }
    numbers.push_back(function.alpha);
    numbers.push_back(function.beta);
    const ValueId result = steps[s].result;
    if (result == kNone) continue;
    number_of[result] = number;
    const std::vector<Graph::Use> uses = graph.uses(result);
    const bool leaves = graph.is_output(result) || std::any_of(uses.begin(), uses.end(), [&](const Graph::Use& use) {
                          return !is_member(use.node);
                        });
    if (!leaves) continue;
    results.push_back(static_cast<int64_t>(s));
    outputs.push_back(result);
  }

  const NodeId last = group.nodes.back();
  log.add("chain_elementwise", graph.node(last), Outcome::fired(join(steps.size(), " functions")));
  Node node;
  node.op = &get_op("ElementwiseChain", "sardonyx");
  node.name = graph.node(last).name;
  node.origin = graph.node(last).origin;
  node.inputs = inputs;
  node.outputs = outputs;
  node.attributes = {{"functions", functions}, {"operands", operands}, {"numbers", numbers}, {"results", results}};
  const std::vector<NodeId>& order = graph.order();
  const auto next = std::find(order.begin(), order.end(), last) + 1;
  const NodeId before = next == order.end() ? kNone : *next;
  std::vector<ValueId> inner;
  for (auto id = group.nodes.rbegin(); id != group.nodes.rend(); ++id) {
    inner.push_back(graph.node(*id).outputs[0]);
    graph.erase_node(*id);
  }
  for (ValueId value : inner)
    if (std::find(outputs.begin(), outputs.end(), value) == outputs.end()) graph.erase_value(value);
  infer_node(graph, graph.add_node(std::move(node), before));
}

// The input of a chain that is a ScatterND of sums into zeros, row by row, and that nothing else reads; else -1.
int scattered_input(const Graph& graph, const Node& chain) {
  for (size_t i = 0; i < chain.inputs.size(); ++i) {
    const ValueId value = chain.inputs[i];
    const NodeId scatter = producer(graph, value, {"ScatterND"});
    if (scatter == kNone || only_reader(graph, value) == kNone || !is_f32(graph, value)) continue;
    const Node& node = graph.node(scatter);
    const NodeId zeros = producer(graph, node.inputs[0], {"ConstantOfShape"});
    const auto& indices = graph.type(node.inputs[1]).shape;
    if (zeros == kNone || NodeView(node).attr_string("reduction") != "add" || !indices || indices->empty() ||
        !(indices->back() == Dim(1)))
      continue;
    const NodeView filled(graph.node(zeros));
    if (filled.has_attr("value") && filled.attr<Tensor>("value").data<float>()[0] != 0.0f) continue;
    const auto& shape = graph.type(value).shape;
    const bool alike = std::any_of(chain.inputs.begin(), chain.inputs.end(),
                                   [&](ValueId other) { return other != value && graph.type(other).shape == shape; });
    if (shape && alike && graph.type(chain.outputs[0]).shape == shape) return static_cast<int>(i);
  }
  return -1;
}

// A chain that reads such an input reads the sums instead, of rows that there are.
bool read_rows(Graph& graph, NodeId id, PassLog& log) {
  const Node& chain = graph.node(id);
  const int at = scattered_input(graph, chain);
  if (at < 0) return false;
  const Node& scatter = graph.node(graph.value(chain.inputs[static_cast<size_t>(at)]).producer);
  const Node& zeros = graph.node(graph.value(scatter.inputs[0]).producer);
  Node sums;
  sums.op = &get_op("RowSums", "sardonyx");
  sums.name = scatter.name;
  sums.origin = scatter.origin;
  sums.inputs = {zeros.inputs[0], scatter.inputs[1], scatter.inputs[2]};
  const std::string stem = scatter.name.empty() ? "RowSums" : scatter.name;
  for (const char* name : {".sums", ".places"}) sums.outputs.push_back(graph.add_value(graph.fresh_name(stem + name)));
  Node rows;
  rows.op = &get_op("ElementwiseChainOfRows", "sardonyx");
  rows.name = chain.name;
  rows.origin = chain.origin;
  rows.attributes = chain.attributes;
  rows.inputs = sums.outputs;
  for (size_t i = 0; i < chain.inputs.size(); ++i)
    if (static_cast<int>(i) != at) rows.inputs.push_back(chain.inputs[i]);
  auto operands = NodeView(chain).attr_ints("operands");
  for (int64_t& operand : operands) {
    if (operand == at) operand = 0;
    else if (operand >= 0 && operand < at) ++operand;
  }
  rows.attributes["operands"] = operands;
  rows.outputs = chain.outputs;
  log.add("read_rows", chain, Outcome::fired());
  const ValueId scattered = chain.inputs[static_cast<size_t>(at)];
  infer_node(graph, graph.add_node(std::move(sums), id));
  const std::vector<NodeId>& order = graph.order();
  const auto next = std::find(order.begin(), order.end(), id) + 1;
  const NodeId before = next == order.end() ? kNone : *next;
  graph.erase_node(id);
  infer_node(graph, graph.add_node(std::move(rows), before));
  erase_if_dead(graph, scattered);
  return true;
}

}  // namespace

bool chain_elementwise(Graph& graph, PassLog& log) {
  bool changed = false;
  for_each_graph(graph, [&](Graph& part) {
    const Grouping grouping(part);
    for (const Group& group : grouping.groups()) {
      if (group.nodes.size() < 2) continue;
      rewrite(part, group, log);
      changed = true;
    }
    const std::vector<NodeId> order = part.order();
    for (NodeId id : order)
      if (part.has_node(id) && is(part, id, "sardonyx::ElementwiseChain"))
        changed = read_rows(part, id, log) || changed;
  });
  return changed;
}

}  // namespace sx
