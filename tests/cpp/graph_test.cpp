// The graph's bookkeeping: names, edges, order, clones, captures, and what verify() catches.
#include "ir/graph.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "check.h"
#include "ops/registry.h"
#include "ops/text.h"

namespace sx {
namespace {

Node make_node(const char* op, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  Node node;
  node.op = &get_op(op, "");
  node.inputs = std::move(inputs);
  node.outputs = std::move(outputs);
  node.origin = std::string(op) + " of a test";
  return node;
}

// x -> a = Neg(x) -> b = Add(a, a) -> y = Abs(b)
struct Chain {
  Chain() {
    x = graph.add_input("x", Type::tensor(DType::kFloat32, Shape{2}));
    a = graph.add_value("a");
    b = graph.add_value("b");
    y = graph.add_value("y");
    neg = graph.add_node(make_node("Neg", {x}, {a}));
    add = graph.add_node(make_node("Add", {a, a}, {b}));
    abs = graph.add_node(make_node("Abs", {b}, {y}));
    graph.outputs = {y};
  }
  Graph graph;
  ValueId x, a, b, y;
  NodeId neg, add, abs;
};

constexpr const char* kBranches = R"(graph g (x: f32[2], c: bool[]) => (y) {
  w = const f32[2] {3}
  t = Neg(x)
  y = If<then_branch=graph (; t1: f32[2] = t, w1: f32[2] = w) => (u) {
    u = Add(t1, w1)
  }, else_branch=graph (; t2: f32[2] = t) => (v) {
    v = Abs(t2)
  }>(c)
})";

NodeId node_of(const Graph& graph, const std::string& output) { return graph.value(graph.find_value(output)).producer; }

TEST(graph_records_edges) {
  Chain c;
  c.graph.verify();
  CHECK_EQ(c.graph.use_count(c.a), 2u);
  const std::vector<Graph::Use> uses = c.graph.uses(c.a);
  CHECK_EQ(uses.size(), 2u);
  CHECK_EQ(uses[0].node, c.add);
  CHECK_EQ(uses[0].index, 0);
  CHECK_EQ(uses[1].index, 1);
  CHECK_EQ(c.graph.value(c.b).producer, c.add);
  CHECK_EQ(c.graph.use_count(c.y), 1u);  // as the graph's output
  CHECK(c.graph.is_output(c.y));
  CHECK(!c.graph.is_output(c.b));
  CHECK(c.graph.uses(c.y).empty());
}

TEST(graph_names_are_unique) {
  Chain c;
  CHECK_EQ(c.graph.find_value("b"), c.b);
  CHECK_EQ(c.graph.find_value("nowhere"), kNone);
  CHECK_THROWS(c.graph.add_value("b"), "two values");
  CHECK_EQ(c.graph.fresh_name("new"), "new");
  CHECK_EQ(c.graph.fresh_name("b"), "b_1");
  c.graph.add_value("b_1");
  CHECK_EQ(c.graph.fresh_name("b"), "b_2");
  CHECK(!c.graph.fresh_name("").empty());
}

TEST(graph_renames_values) {
  Chain c;
  c.graph.rename(c.b, "b");  // its own name
  c.graph.rename(c.b, "sum");
  CHECK_EQ(c.graph.find_value("sum"), c.b);
  CHECK_EQ(c.graph.find_value("b"), kNone);
  CHECK_EQ(c.graph.value(c.b).name, "sum");
  CHECK_THROWS(c.graph.rename(c.b, "x"), "");
  c.graph.rename(c.a, "b");  // the freed name
  c.graph.verify();
}

TEST(graph_erases_nodes_and_values) {
  Chain c;
  CHECK_THROWS(c.graph.erase_value(c.b), "");  // it has a producer and a reader
  CHECK_THROWS(c.graph.erase_value(c.y), "");
  c.graph.outputs = {c.b};
  c.graph.erase_node(c.abs);
  c.graph.erase_value(c.y);
  c.graph.verify();
  CHECK(!c.graph.has_node(c.abs));
  CHECK(!c.graph.has_value(c.y));
  CHECK_EQ(c.graph.find_value("y"), kNone);
  CHECK_EQ(c.graph.use_count(c.b), 1u);
  CHECK_EQ(c.graph.order().size(), 2u);
  CHECK_EQ(c.graph.value(c.a).producer, c.neg);  // ids of the others stay
  CHECK_EQ(c.graph.add_value("y"), static_cast<ValueId>(4));
}

TEST(graph_erased_input_leaves_the_list) {
  Chain c;
  const ValueId unused = c.graph.add_input("unused", {});
  CHECK_EQ(c.graph.inputs.size(), 2u);
  c.graph.erase_value(unused);
  CHECK_EQ(c.graph.inputs.size(), 1u);
  c.graph.verify();
}

TEST(graph_inserts_before_a_node) {
  Chain c;
  const ValueId t = c.graph.add_value("t");
  const NodeId id = c.graph.add_node(make_node("Abs", {c.a}, {t}), c.add);
  c.graph.set_input(c.add, 1, t);
  c.graph.verify();
  const std::vector<NodeId> expected = {c.neg, id, c.add, c.abs};
  CHECK(c.graph.order() == expected);
  CHECK_EQ(c.graph.use_count(c.a), 2u);
  CHECK_EQ(c.graph.use_count(t), 1u);
}

TEST(graph_replaces_uses) {
  Chain c;
  c.graph.replace_uses(c.a, c.x, false);
  CHECK_EQ(c.graph.use_count(c.a), 0u);
  CHECK_EQ(c.graph.use_count(c.x), 3u);
  c.graph.verify();
  c.graph.replace_uses(c.y, c.b, false);
  CHECK(c.graph.is_output(c.y));
  c.graph.replace_uses(c.y, c.b, true);
  CHECK(c.graph.is_output(c.b));
  CHECK(!c.graph.is_output(c.y));
  c.graph.verify();
}

TEST(graph_gives_each_value_one_producer) {
  Chain c;
  CHECK_THROWS(c.graph.add_node(make_node("Abs", {c.x}, {c.b})), "produced more than once");
  const ValueId constant = c.graph.add_constant("w", Tensor::scalar(1.0f));
  CHECK(c.graph.is_constant(constant));
  CHECK(!c.graph.is_constant(c.b));
  CHECK(!c.graph.is_constant(kNone));
}

TEST(graph_counts_captures_as_uses) {
  const auto graph = parse_graph(kBranches);
  const ValueId t = graph->find_value("t");
  const NodeId branch = node_of(*graph, "y");
  CHECK_EQ(graph->use_count(t), 2u);
  const std::vector<Graph::Use> uses = graph->uses(t);
  CHECK_EQ(uses.size(), 2u);
  CHECK_EQ(uses[0].index, 1);  // behind the condition
  CHECK_EQ(uses[1].index, 3);  // behind both captures of the first body
  CHECK_EQ(graph->reads(branch).size(), 4u);

  const ValueId x = graph->find_value("x");
  graph->set_input(branch, 3, x);
  CHECK_EQ(graph->node(branch).bodies[1].captures[0], x);
  graph->verify();
  graph->replace_uses(t, x, false);
  CHECK_EQ(graph->node(branch).bodies[0].captures[0], x);
  CHECK_EQ(graph->use_count(t), 0u);
  graph->verify();
}

TEST(graph_drops_captures) {
  const auto graph = parse_graph(kBranches);
  const NodeId branch = node_of(*graph, "y");
  Body& body = graph->node(branch).bodies[0];
  const ValueId inner = body.graph->find_value("w1");
  const ValueId constant = body.graph->add_constant("w2", Tensor::scalar(2.0f));
  body.graph->replace_uses(inner, constant, false);
  graph->drop_capture(branch, 0, 1);
  body.graph->erase_value(inner);
  graph->verify();
  CHECK_EQ(graph->use_count(graph->find_value("w")), 0u);
  CHECK_EQ(body.captures.size(), 1u);
}

TEST(graph_sorts_and_keeps_a_right_order) {
  Chain c;
  const std::vector<NodeId> before = c.graph.order();
  c.graph.sort();
  CHECK(c.graph.order() == before);

  const ValueId late = c.graph.add_value("late");
  const NodeId id = c.graph.add_node(make_node("Abs", {c.x}, {late}));
  c.graph.set_input(c.add, 1, late);
  CHECK_THROWS(c.graph.verify(), "");
  c.graph.sort();
  c.graph.verify();
  const std::vector<NodeId> expected = {c.neg, id, c.add, c.abs};
  CHECK(c.graph.order() == expected);
}

TEST(graph_sort_counts_captures) {
  const auto graph = parse_graph(kBranches);
  const NodeId branch = node_of(*graph, "y");
  const ValueId late = graph->add_value("late");
  const NodeId id = graph->add_node(make_node("Abs", {graph->find_value("x")}, {late}));
  graph->set_input(branch, 3, late);
  graph->sort();
  graph->verify();
  const std::vector<NodeId>& order = graph->order();
  CHECK(std::find(order.begin(), order.end(), id) < std::find(order.begin(), order.end(), branch));
}

TEST(graph_sort_names_a_cycle) {
  Chain c;
  c.graph.set_input(c.neg, 0, c.b);
  CHECK_THROWS(c.graph.sort(), "cycle");
  CHECK_THROWS(c.graph.sort(), "Neg of a test");
}

TEST(graph_clone_is_deep) {
  const auto graph = parse_graph(kBranches);
  const std::string text = dump(*graph);
  const auto copy = graph->clone();
  copy->verify();
  CHECK_EQ(dump(*copy), text);
  const ValueId w = graph->find_value("w");
  CHECK(copy->value(w).facts.constant.raw() == graph->value(w).facts.constant.raw());

  const NodeId branch = node_of(*copy, "y");
  copy->rename(copy->find_value("t"), "renamed");
  copy->node(branch).bodies[0].graph->rename(copy->node(branch).bodies[0].graph->find_value("u"), "other");
  copy->set_input(branch, 1, copy->find_value("x"));
  copy->verify();
  graph->verify();
  CHECK_EQ(dump(*graph), text);
}

TEST(graph_verify_catches_what_is_broken) {
  {
    Chain c;
    c.graph.node(c.add).inputs[0] = c.x;  // past set_input
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.node(c.add).inputs.pop_back();
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.node(c.add).inputs[0] = 99;
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.value(c.b).producer = c.neg;
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.value(c.b).output_index = 1;
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.value(c.b).name = "other";  // past rename
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.outputs = {77};
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.inputs.push_back(c.b);  // an input has no producer
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.set_input(c.neg, 0, c.b);  // read before it is produced
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    Chain c;
    c.graph.node(c.abs).op = nullptr;
    CHECK_THROWS(c.graph.verify(), "");
  }
  {
    const auto graph = parse_graph(kBranches);
    Graph& body = *graph->node(node_of(*graph, "y")).bodies[1].graph;
    body.node(node_of(body, "v")).inputs.clear();
    CHECK_THROWS(graph->verify(), "");
  }
  {
    const auto graph = parse_graph(kBranches);
    graph->node(node_of(*graph, "y")).bodies[0].graph->inputs.clear();  // fewer inputs than captures
    CHECK_THROWS(graph->verify(), "");
  }
}

TEST(graph_text_survives_a_round_trip) {
  const auto graph = parse_graph(kBranches);
  CHECK_EQ(dump(*parse_graph(dump(*graph))), dump(*graph));
}

}  // namespace
}  // namespace sx
