// Graphs as text, for dumps and for tests of passes.
//
//   graph main (x: f32[N,4], c: bool[]) => (y) {
//     w = const f32[4,3] random 1
//     b = const f32[3] {0.5}
//     t: f32[N,3] = MatMul(x, w)
//     s = com.acme::Scale<alpha=0.5, mode="up", axes=[0, 1]>(t, _, b)
//     y = If<then_branch=graph (; t: f32[N,3] = t) => (u) {
//       u = Neg(t)
//     }, else_branch=graph (; v: f32[N,3] = s) => (v) {
//     }>(c)
//   }
//
// A name that is not made of letters, digits, '_', '.', '/' and '$', or begins with a digit, stands in double quotes.
// `_` is an absent input or output. Types behind nodes' outputs are optional. Behind ';' in the inputs of a body come
// its captures, each with the value of the graph around it. Elements of constants are listed in braces, one for all of
// them when they are equal; `random SEED` gives floats in [-1, 1), the same ones everywhere. '#' begins a comment.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace sx {

// One line a node, in the graph's order; constants first. Long constants are cut, so not every dump can be parsed.
std::string dump(const Graph& graph);

// Operators have their newest meaning. Nodes are checked, types inferred and the graph verified. Throws InvalidArgument
// that gives the line for a text that is not understood, and what check_node and inference throw.
std::unique_ptr<Graph> parse_graph(std::string_view text);

}  // namespace sx
