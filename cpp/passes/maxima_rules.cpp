// Makes the maximum of 2 x 2 part of the convolution in blocks of channels that it follows.
#include "ops/conv.h"
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

// Whether the node, a BlockedPool, takes the maxima of 2 x 2 elements that lie side by side.
bool takes_maxima_of_four(const Graph& graph, NodeId id) {
  if (attribute<std::string>(graph, id, "kind") != "max" || attribute<int64_t>(graph, id, "ceil_mode") != 0)
    return false;
  const WindowSpec window{NodeView(graph.node(id))};
  if (window.same() || window.kernel() != std::vector<int64_t>{2, 2}) return false;
  for (int axis = 0; axis < 2; ++axis)
    if (window.stride(axis) != 2 || window.dilation(axis) != 1 || window.pad_begin(axis) != 0 ||
        window.pad_end(axis) != 0)
      return false;
  return true;
}

Outcome fuse_maxima(Graph& graph, NodeId id) {
  const ValueId x = graph.node(id).inputs[0];
  const NodeId conv = producer(graph, x, {"sardonyx::BlockedConv"});
  if (conv == kNone || !takes_maxima_of_four(graph, id)) return Outcome::no_match();
  const Node& node = graph.node(conv);
  if (attribute<int64_t>(graph, conv, "bf16") != 0) return Outcome::missed("data in blocks are bf16");
  if (only_reader(graph, x) != id) return Outcome::missed("the convolution has other readers");
  if (node.inputs.size() > 3 && node.inputs[3] != kNone) return Outcome::missed("the convolution has a residual");
  const Tensor* w = constant(graph, node.inputs[1]);
  if (attribute<int64_t>(graph, conv, "group") != 1) return Outcome::missed("the convolution is depthwise");
  if (w == nullptr || w->dim(2) * w->dim(3) == 1) return Outcome::missed("the convolution is 1 x 1");
  const std::vector<ValueId> inputs = node.inputs;
  Attributes attributes = node.attributes;
  attributes["maxima"] = int64_t{1};
  replace(graph, id, "BlockedConv", inputs, attributes, "sardonyx");
  return Outcome::fired();
}

}  // namespace

std::vector<Rule> maxima_rules() { return {{"fuse_maxima", {"sardonyx::BlockedPool"}, fuse_maxima}}; }

}  // namespace sx
