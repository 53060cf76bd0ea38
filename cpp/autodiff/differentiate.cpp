// The walk backwards over a graph, in which each node's rule adds the gradients of its inputs.
#include "autodiff/differentiate.h"

#include <algorithm>

#include "base/error.h"
#include "ops/gradient.h"
#include "ops/infer.h"

namespace sx {
namespace {

bool carries(const Graph& graph, ValueId id) { return carries_gradient(graph.type(id)); }

// Marks, by value, what depends on the xs and, by node, what the ys are computed with.
struct Reach {
  std::vector<bool> depends;
  std::vector<bool> leads;

  Reach(const Graph& graph, const GradientRequest& request)
      : depends(dependents(graph, request.xs, request.independent, request.first)), leads(graph.node_limit(), false) {
    std::vector<ValueId> waiting = request.ys;
    while (!waiting.empty()) {
      const ValueId value = waiting.back();
      waiting.pop_back();
      const NodeId producer = graph.value(value).producer;
      if (producer == kNone || !depends[static_cast<size_t>(value)] || request.independent.count(value) != 0) continue;
      if (leads[static_cast<size_t>(producer)]) continue;
      leads[static_cast<size_t>(producer)] = true;
      for (ValueId read : graph.reads(producer))
        if (read != kNone && depends[static_cast<size_t>(read)]) waiting.push_back(read);
    }
  }
};

void accumulate(Graph& graph, std::vector<ValueId>& grads, ValueId of, ValueId gradient) {
  ValueId& sum = grads[static_cast<size_t>(of)];
  if (sum == kNone) {
    sum = gradient;
    return;
  }
  const std::string& name = graph.value(of).name;
  Emitter emitter(graph, name, "gradient of '" + name + "'");
  sum = emitter.sum(emitter.expr(sum), emitter.expr(gradient)).id();
}

[[noreturn]] void refuse(const Node& node) {
  const char* reason = node.op->no_gradient_reason();
  fail(ErrorKind::kNotImplemented, label(node), " has no gradient", reason != nullptr ? ": " : "",
       reason != nullptr ? reason : "", "; keep it off the way from the parameters to the result, or freeze them");
}

}  // namespace

std::vector<ValueId> add_gradients(Graph& graph, const GradientRequest& request) {
  SX_ASSERT(request.ys.size() == request.seeds.size());
  for (ValueId x : request.xs)
    SX_REQUIRE(carries(graph, x), kInvalidArgument, "a gradient with respect to '", graph.value(x).name,
               "' does not exist: it is ", graph.type(x).str(), "; a tensor of floating-point numbers expected");
  const Reach reach(graph, request);
  const size_t known_values = graph.value_limit();
  std::vector<ValueId> grads(known_values, kNone);
  for (size_t i = 0; i < request.ys.size(); ++i) {
    const ValueId y = request.ys[i];
    SX_REQUIRE(carries(graph, y), kInvalidArgument, "the gradient of '", graph.value(y).name,
               "' does not exist: it is ", graph.type(y).str(), "; a tensor of floating-point numbers expected");
    ValueId seed = request.seeds[i];
    if (seed == kNone) {
      Emitter emitter(graph, graph.value(y).name, "gradient of '" + graph.value(y).name + "'");
      seed = emitter.ones_like(emitter.expr(y)).id();
    }
    accumulate(graph, grads, y, seed);
  }
  const auto first = graph.order().begin() + static_cast<std::ptrdiff_t>(request.first);
  const std::vector<NodeId> order(first, graph.order().end());
  for (auto at = order.rbegin(); at != order.rend(); ++at) {
    const NodeId id = *at;
    if (static_cast<size_t>(id) >= reach.leads.size() || !reach.leads[static_cast<size_t>(id)]) continue;
    const Node& node = graph.node(id);
    std::vector<ValueId> outputs;
    for (ValueId output : node.outputs)
      outputs.push_back(output == kNone || request.independent.count(output) != 0 ? kNone
                                                                                  : grads[static_cast<size_t>(output)]);
    const std::vector<ValueId> reads = graph.reads(id);
    std::vector<bool> wanted;
    for (ValueId read : reads) wanted.push_back(read != kNone && reach.depends[static_cast<size_t>(read)]);
    const bool flows = std::any_of(outputs.begin(), outputs.end(), [](ValueId grad) { return grad != kNone; });
    if (!flows || std::find(wanted.begin(), wanted.end(), true) == wanted.end()) continue;
    if (!node.op->gradient_function()) refuse(node);
    GradientContext context(graph, id, std::move(outputs), std::move(wanted), &add_gradients);
    node.op->gradient_function()(context);
    for (size_t i = 0; i < reads.size(); ++i)
      if (context.given()[i] != kNone) accumulate(graph, grads, reads[i], context.given()[i]);
  }
  std::vector<ValueId> found;
  for (ValueId x : request.xs) found.push_back(grads[static_cast<size_t>(x)]);
  return found;
}

ValueId recompute(Graph& graph, ValueId y, std::unordered_map<ValueId, ValueId> replaced) {
  // What y is computed with, not looking behind the keys.
  std::vector<bool> leads(graph.node_limit(), false);
  std::vector<ValueId> waiting = {y};
  while (!waiting.empty()) {
    const ValueId value = waiting.back();
    waiting.pop_back();
    const NodeId producer = graph.value(value).producer;
    if (producer == kNone || replaced.count(value) != 0 || leads[static_cast<size_t>(producer)]) continue;
    leads[static_cast<size_t>(producer)] = true;
    for (ValueId read : graph.reads(producer))
      if (read != kNone) waiting.push_back(read);
  }
  const std::vector<NodeId> order = graph.order();
  auto twin_of = [&](ValueId id) {
    const auto found = replaced.find(id);
    return found == replaced.end() ? id : found->second;
  };
  for (NodeId id : order) {
    if (!leads[static_cast<size_t>(id)]) continue;
    const std::vector<ValueId> reads = graph.reads(id);
    if (std::none_of(reads.begin(), reads.end(), [&](ValueId read) { return replaced.count(read) != 0; })) continue;
    const Node& node = graph.node(id);
    Node twin;
    twin.op = node.op;
    twin.name = node.name;
    twin.attributes = node.attributes;
    twin.origin = node.origin;
    for (ValueId input : node.inputs) twin.inputs.push_back(twin_of(input));
    for (const Body& body : node.bodies) {
      twin.bodies.push_back({body.attribute, body.graph->clone(), {}});
      for (ValueId capture : body.captures) twin.bodies.back().captures.push_back(twin_of(capture));
    }
    for (ValueId output : node.outputs) {
      if (output == kNone || replaced.count(output) != 0) {
        twin.outputs.push_back(kNone);
        continue;
      }
      const ValueId copy = graph.add_value(graph.fresh_name(graph.value(output).name));
      twin.outputs.push_back(copy);
      replaced.emplace(output, copy);
    }
    infer_node(graph, graph.add_node(std::move(twin)));
  }
  return twin_of(y);
}

}  // namespace sx
