// Puts the branch of an If whose condition is known in its place.
#include <algorithm>
#include <map>

#include "ops/infer.h"
#include "ops/registry.h"
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

Outcome inline_branch(Graph& graph, NodeId id) {
  const Tensor* condition = constant(graph, graph.node(id).inputs[0]);
  if (condition == nullptr) return Outcome::missed("its condition is not known before a run");
  if (condition->size() != 1) return Outcome::missed(join("its condition has ", condition->size(), " elements"));
  const char* taken = condition->scalar_as_int() != 0 ? "then_branch" : "else_branch";
  Node& node = graph.node(id);
  Body* body = nullptr;
  for (Body& candidate : node.bodies)
    if (candidate.attribute == taken) body = &candidate;
  if (body == nullptr) return Outcome::no_match();
  Graph& inner = *body->graph;
  std::map<ValueId, ValueId> outer_of;
  outer_of[kNone] = kNone;
  for (size_t k = 0; k < body->captures.size(); ++k) outer_of[inner.inputs[k]] = body->captures[k];
  for (ValueId value = 0; value < static_cast<ValueId>(inner.value_limit()); ++value) {
    if (!inner.has_value(value) || outer_of.count(value) != 0) continue;
    const ValueId copy = graph.add_value(graph.fresh_name(inner.value(value).name));
    graph.value(copy).facts = inner.value(value).facts;
    outer_of[value] = copy;
  }
  for (NodeId inner_id : inner.order()) {
    Node& from = inner.node(inner_id);
    Node moved;
    moved.op = from.op;
    moved.name = from.name;
    moved.origin = from.origin;
    moved.attributes = from.attributes;
    for (ValueId input : from.inputs) moved.inputs.push_back(outer_of[input]);
    for (ValueId output : from.outputs) moved.outputs.push_back(outer_of[output]);
    for (Body& nested : from.bodies) {
      std::vector<ValueId> captures;
      for (ValueId captured : nested.captures) captures.push_back(outer_of[captured]);
      moved.bodies.push_back({nested.attribute, nested.graph->clone(), std::move(captures)});
    }
    graph.add_node(std::move(moved), id);
  }
  const std::vector<ValueId> outputs = node.outputs;
  std::vector<ValueId> results;
  for (size_t i = 0; i < outputs.size(); ++i) results.push_back(outer_of[inner.outputs[i]]);
  const std::string origin = node.origin;
  const std::vector<ValueId> reads = graph.reads(id);
  NodeId place = kNone;
  const std::vector<NodeId>& order = graph.order();
  const auto next = std::find(order.begin(), order.end(), id) + 1;
  if (next != order.end()) place = *next;
  graph.erase_node(id);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] == kNone) continue;
    graph.replace_uses(outputs[i], results[i], false);
    if (!graph.is_output(outputs[i])) {
      graph.erase_value(outputs[i]);
      continue;
    }
    Node named;  // keeps the name of the graph's output; what can go without it is dropped later
    named.op = &get_op("Identity");
    named.origin = origin;
    named.inputs = {results[i]};
    named.outputs = {outputs[i]};
    infer_node(graph, graph.add_node(std::move(named), place));
  }
  for (ValueId read : reads) erase_if_dead(graph, read);
  return Outcome::fired(taken);
}

}  // namespace

std::vector<Rule> branch_rules() { return {{"inline_known_branch", {"If"}, inline_branch}}; }

}  // namespace sx
