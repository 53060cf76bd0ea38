// Updates move to where their gradients are ready, and no further than memory and random draws allow.
#include "plan/schedule.h"

#include <algorithm>

#include "check.h"
#include "ops/registry.h"

namespace sx {
namespace {

// A graph of elementwise nodes over vectors of one size.
struct Sketch {
  Graph graph;
  std::vector<NodeId> order;

  ValueId input(const std::string& name) { return graph.add_input(name, Type::tensor(DType::kFloat32, Shape{256})); }
  ValueId node(const std::string& op, std::vector<ValueId> inputs, const std::string& result) {
    Node made;
    made.op = &get_op(op);
    made.name = result;
    made.inputs = std::move(inputs);
    made.outputs = {graph.add_value(result, Type::tensor(DType::kFloat32, Shape{256}))};
    const ValueId output = made.outputs[0];
    order.push_back(graph.add_node(std::move(made)));
    return output;
  }
  // The results in the order of the nodes that give them.
  std::string scheduled(const std::vector<bool>& donated) {
    std::string names;
    for (NodeId id : update_early(graph, order, std::vector<size_t>(graph.value_limit(), 1024), donated))
      names += graph.node(id).name + " ";
    return names;
  }
};

TEST(schedule_updates_behind_gradients) {
  Sketch s;
  const ValueId w1 = s.input("w1"), w2 = s.input("w2"), x = s.input("x");
  const ValueId h1 = s.node("Mul", {x, w1}, "h1");
  const ValueId h2 = s.node("Mul", {h1, w2}, "h2");
  const ValueId g2 = s.node("Mul", {h2, h1}, "g2");
  const ValueId d1 = s.node("Mul", {h2, w2}, "d1");
  const ValueId g1 = s.node("Mul", {d1, x}, "g1");
  const ValueId n1 = s.node("Sub", {w1, g1}, "n1");
  const ValueId n2 = s.node("Sub", {w2, g2}, "n2");
  s.graph.outputs = {n1, n2};
  // d1 is the last to read w2, whose memory n2 takes.
  CHECK_EQ(s.scheduled({true, true, false}), std::string("h1 h2 d1 g1 n1 g2 n2 "));
}

TEST(schedule_leaves_what_would_take_memory) {
  Sketch s;
  const ValueId w = s.input("w"), x = s.input("x");
  const ValueId a = s.node("Mul", {x, x}, "a");
  const ValueId b = s.node("Mul", {a, a}, "b");
  const ValueId c = s.node("Mul", {b, a}, "c");
  const ValueId big = s.node("Exp", {a}, "big");
  const ValueId n = s.node("Sub", {w, big}, "n");
  const ValueId end = s.node("Mul", {c, big}, "end");
  s.graph.outputs = {n, end};
  CHECK_EQ(s.scheduled({true, false}), std::string("a b c big end n "));
}

TEST(schedule_sinks_what_waits_for_a_reader) {
  Sketch s;
  const ValueId w = s.input("w"), x = s.input("x");
  const ValueId decay = s.node("Neg", {w}, "decay");
  const ValueId a = s.node("Exp", {x}, "a");
  const ValueId b = s.node("Exp", {a}, "b");
  const ValueId sum = s.node("Add", {decay, b}, "sum");
  s.graph.outputs = {sum};
  CHECK_EQ(s.scheduled({true, false}), std::string("a b decay sum "));
}

TEST(schedule_keeps_random_draws_in_order) {
  Sketch s;
  const ValueId w = s.input("w"), x = s.input("x");
  const ValueId early = s.node("Dropout", {w}, "early");
  const ValueId a = s.node("Dropout", {x}, "a");
  const ValueId b = s.node("Exp", {a}, "b");
  const ValueId sum = s.node("Add", {early, b}, "sum");
  s.graph.outputs = {sum};
  CHECK_EQ(s.scheduled({true, false}), std::string("early a b sum "));
}

}  // namespace
}  // namespace sx
