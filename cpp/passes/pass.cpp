// Applies rules to a fixed point and keeps the log.
#include "passes/pass.h"

#include <algorithm>

#include "ops/op_def.h"

namespace sx {

void PassLog::add(const std::string& pass, const Node& node, const Outcome& outcome) {
  events_.push_back({pass, node.origin.empty() ? label(node) : node.origin, outcome});
}

void PassLog::forget_misses(const std::string& pass) {
  events_.erase(std::remove_if(events_.begin(), events_.end(),
                               [&](const PassEvent& event) {
                                 return event.pass == pass && event.outcome.kind == Outcome::Kind::kMissed;
                               }),
                events_.end());
}

void for_each_graph(Graph& graph, const std::function<void(Graph&)>& visit) {
  for (NodeId id : graph.order())
    for (Body& body : graph.node(id).bodies) for_each_graph(*body.graph, visit);
  visit(graph);
}

static bool apply_once(Graph& graph, const std::vector<Rule>& rules, PassLog& log, bool verify_each) {
  bool changed = false;
  const std::vector<NodeId> order = graph.order();  // rules add and erase nodes
  for (NodeId id : order) {
    for (const Rule& rule : rules) {
      if (!graph.has_node(id)) break;
      const std::string name = graph.node(id).op->full_name();
      if (!rule.roots.empty() && std::find(rule.roots.begin(), rule.roots.end(), name) == rule.roots.end()) continue;
      Node description;  // the root may be gone when its name is wanted
      description.op = graph.node(id).op;
      description.name = graph.node(id).name;
      description.origin = graph.node(id).origin;
      const Outcome outcome = rule.apply(graph, id);
      if (outcome.kind == Outcome::Kind::kNoMatch) continue;
      log.add(rule.name, description, outcome);
      if (outcome.kind != Outcome::Kind::kFired) continue;
      changed = true;
      if (verify_each) graph.verify();
    }
  }
  return changed;
}

bool apply_rules(Graph& graph, const std::vector<Rule>& rules, PassLog& log, bool verify_each) {
  // Rules shrink or canonicalise, so a fixed point exists; the bound guards against a pair that undo each other.
  constexpr int kMaxRounds = 32;
  bool changed = false;
  for (const Rule& rule : rules) log.forget_misses(rule.name);
  for_each_graph(graph, [&](Graph& part) {
    PassLog own;
    for (int round = 0; round < kMaxRounds; ++round) {
      for (const Rule& rule : rules) own.forget_misses(rule.name);
      if (!apply_once(part, rules, own, verify_each)) break;
      changed = true;
    }
    log.add(own);
  });
  return changed;
}

}  // namespace sx
