// Small questions that rules ask of a graph, and the edits they share.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace sx {

// Whether the node is the operator (full name, such as "Conv" or "sardonyx::Conv").
bool is(const Graph& graph, NodeId id, const char* op);
// The node that produces `value` when it is one of these operators, else kNone.
NodeId producer(const Graph& graph, ValueId value, std::initializer_list<const char*> ops);
// The only reader of `value` when there is one, it reads it once and the value is no output of the graph; else kNone.
NodeId only_reader(const Graph& graph, ValueId value);
// For a node with two inputs: the one that is not `value`.
ValueId other_input(const Graph& graph, NodeId id, ValueId value);

// The tensor of a constant, else nullptr.
const Tensor* constant(const Graph& graph, ValueId value);
// The value of a constant of one element and any real dtype.
std::optional<double> scalar(const Graph& graph, ValueId value);
// Whether the value is a one-element constant equal to `expected`, and whether it is as near to it as its dtype can be,
// give or take a rounding (1e-6 where f32 could be nearer).
bool is_scalar(const Graph& graph, ValueId value, double expected);
bool is_near_scalar(const Graph& graph, ValueId value, double expected);
// Whether both are known to have the same rank. Where `result` is computed from `x` and one-element constants element
// by element, it has the shape of `x` then: a constant of a higher rank has not widened it.
bool same_rank(const Graph& graph, ValueId x, ValueId result);
// The node's attribute with defaults.
template <typename T>
T attribute(const Graph& graph, NodeId id, const std::string& name);

// The activation (kernels/epilogue.h) that a node computes of its first input, with its parameters; none where it
// computes something else or its bounds are not constant.
struct NamedActivation {
  std::string name;
  float alpha = 0.0f;
  float beta = 0.0f;
};
std::optional<NamedActivation> activation_of(const Graph& graph, NodeId id);

// Adds a node of `op` in the place of `at`, which stays; its first output is a new value with facts inferred. The
// origin says what it was made from.
ValueId emit_before(Graph& graph, NodeId at, const std::string& op, std::vector<ValueId> inputs,
                    Attributes attributes = {}, const std::string& domain = "");
// Erases the producer of `value` when nothing reads any of its outputs, and so on upwards. Rules call it for what they
// cut off, so that later rules count readers right.
void erase_if_dead(Graph& graph, ValueId value);
// Replaces node `at` by a node of `op` that produces the same output value under the same name. Nodes that fed only
// the old one are erased. Returns the new node.
NodeId replace(Graph& graph, NodeId at, const std::string& op, std::vector<ValueId> inputs, Attributes attributes = {},
               const std::string& domain = "");
// Makes all readers of the node's first output read `by` and erases the node; where that output is one of the graph's,
// its name moves on. False, and nothing done, when the graph needs the node itself: the output is the graph's and `by`
// is an input, a constant or an output of the graph. kNeeded is that in words.
constexpr const char* kNeeded =
    "its result is an output of the graph, which an input, constant or other output cannot be as well";
bool bypass(Graph& graph, NodeId id, ValueId by);
ValueId add_constant(Graph& graph, const std::string& stem, const Tensor& tensor);

}  // namespace sx
