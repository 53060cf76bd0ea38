// Makes a 1 x 1 convolution in blocks of channels part of the depthwise convolution that reads it.
#include "ops/conv.h"
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

constexpr int64_t kMostTaps = 9;  // along an axis

bool has_input(const Node& node, size_t i) { return node.inputs.size() > i && node.inputs[i] != kNone; }

// Whether the node, a BlockedConv, moves a 1 x 1 kernel by 1 over unpadded data.
bool is_pointwise(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const Tensor* w = constant(graph, node.inputs[1]);
  if (w == nullptr || w->dim(2) != 1 || w->dim(3) != 1 || attribute<int64_t>(graph, id, "group") != 1 ||
      attribute<int64_t>(graph, id, "plain_input") != 0)
    return false;
  const WindowSpec window{NodeView(node)};
  for (int axis = 0; axis < 2; ++axis)
    if (window.stride(axis) != 1 || window.pad_begin(axis) != 0 || window.pad_end(axis) != 0) return false;
  return true;
}

Outcome fuse_expansion(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const Tensor* w = constant(graph, node.inputs[1]);
  if (w == nullptr || w->dim(0) < 2 || attribute<int64_t>(graph, id, "group") != w->dim(0)) return Outcome::no_match();
  const NodeId expand = producer(graph, node.inputs[0], {"sardonyx::BlockedConv"});
  if (expand == kNone || !is_pointwise(graph, expand)) return Outcome::no_match();
  if (only_reader(graph, node.inputs[0]) != id) return Outcome::missed("the expansion has other readers");
  if (has_input(graph.node(expand), 3) || has_input(node, 3))
    return Outcome::missed("one of the convolutions has a residual");
  const WindowSpec window{NodeView(node)};
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t taps = w->dim(axis + 2);
    if (taps > kMostTaps || window.dilation(axis) != 1 || window.stride(axis) > taps)
      return Outcome::missed("its windows are large, dilated or leave inputs out");
  }
  Attributes attributes;
  for (const auto& [name, value] : node.attributes)
    if (name != "plain_input" && name != "allow_winograd" && name != "bf16") attributes[name] = value;
  for (const char* part : {"", "_alpha", "_beta"}) {
    const auto found = graph.node(expand).attributes.find(std::string("activation") + part);
    if (found != graph.node(expand).attributes.end())
      attributes[*part == 0 ? std::string("expand_activation") : std::string("expand") + part] = found->second;
  }
  const std::vector<ValueId>&first = graph.node(expand).inputs, &second = node.inputs;
  const auto bias = [](const std::vector<ValueId>& inputs) { return inputs.size() > 2 ? inputs[2] : kNone; };
  std::vector<ValueId> inputs = {first[0], first[1], bias(first), second[1]};
  if (bias(second) != kNone) inputs.push_back(bias(second));
  replace(graph, id, "BlockedExpandConv", inputs, attributes, "sardonyx");
  return Outcome::fired();
}

}  // namespace

std::vector<Rule> expansion_rules() { return {{"fuse_expansion", {"sardonyx::BlockedConv"}, fuse_expansion}}; }

}  // namespace sx
