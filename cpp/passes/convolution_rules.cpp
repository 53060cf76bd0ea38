// Folds what stands around a convolution into it: Pad before, BatchNormalization, Mul and Add of constants behind.
#include <algorithm>
#include <cmath>
#include <limits>

#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

// Filter c of `w` times scale[c].
Tensor scaled_filters(const Tensor& w, const std::vector<float>& scale) {
  Tensor scaled(DType::kFloat32, w.shape());
  const Tensor held = w.borrow();
  const float* from = held.data<float>();
  float* to = scaled.data<float>();
  const int64_t each = w.size() / w.dim(0);
  for (int64_t c = 0; c < w.dim(0); ++c, from += each, to += each)
    for (int64_t i = 0; i < each; ++i) to[i] = from[i] * scale[static_cast<size_t>(c)];
  return scaled;
}

bool all_finite(const Tensor& x) {
  return std::all_of(x.data<float>(), x.data<float>() + x.size(), [](float value) { return std::isfinite(value); });
}

// y = conv(x, w) * scale[c] + shift[c] for each output channel c, as a new Conv in the place of `last`.
Outcome fold_affine(Graph& graph, NodeId conv, NodeId last, const std::vector<float>& scale,
                    const std::vector<float>& shift) {
  const Node& node = graph.node(conv);
  const Tensor* w = constant(graph, node.inputs[1]);
  const bool has_bias = node.inputs.size() > 2 && node.inputs[2] != kNone;
  const Tensor* b = has_bias ? constant(graph, node.inputs[2]) : nullptr;
  if (w == nullptr || (has_bias && b == nullptr)) return Outcome::missed("the convolution's weights are not constant");
  if (w->dtype() != DType::kFloat32) return Outcome::missed(join("the weights are ", name_of(w->dtype()), ", not f32"));
  const int64_t channels = w->dim(0);
  if (w->size() == 0 || channels != static_cast<int64_t>(scale.size()) || (b != nullptr && b->size() != channels))
    return Outcome::missed("the constants do not have one value for each channel");
  Tensor bias(DType::kFloat32, Shape{channels});
  for (int64_t c = 0; c < channels; ++c)
    bias.data<float>()[c] =
        (b ? b->data<float>()[c] : 0.0f) * scale[static_cast<size_t>(c)] + shift[static_cast<size_t>(c)];
  const auto make_weights = [from = *w, scale] { return scaled_filters(from, scale); };
  const Tensor weights = make_weights();
  if (!all_finite(weights) || !all_finite(bias)) return Outcome::missed("a folded weight would not be finite");
  const std::string stem = graph.value(node.inputs[1]).name;
  const ValueId x = node.inputs[0];
  const Attributes attributes = node.attributes;
  const ValueId new_weights =
      add_constant(graph, stem + ".folded", Tensor::on_demand(DType::kFloat32, weights.shape(), make_weights, weights));
  const ValueId new_bias = add_constant(graph, stem + ".bias", bias);
  replace(graph, last, "Conv", {x, new_weights, new_bias}, attributes);
  return Outcome::fired();
}

// The convolution whose only reader is `id` through `value`, or kNone.
NodeId sole_convolution(const Graph& graph, ValueId value, NodeId id) {
  const NodeId conv = producer(graph, value, {"Conv"});
  return conv != kNone && only_reader(graph, value) == id ? conv : kNone;
}

Outcome fold_batch_normalization(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const NodeId conv = producer(graph, node.inputs[0], {"Conv"});
  if (conv == kNone) return Outcome::no_match();
  if (only_reader(graph, node.inputs[0]) != id) return Outcome::missed("the convolution has other readers");
  if (attribute<int64_t>(graph, id, "training_mode") != 0) return Outcome::missed("it is in training mode");
  const Tensor* parts[4];
  for (size_t i = 0; i < 4; ++i) {
    parts[i] = constant(graph, node.inputs[i + 1]);
    if (parts[i] == nullptr || parts[i]->dtype() != DType::kFloat32)
      return Outcome::missed("its parameters are not constant f32");
    if (parts[i]->size() != parts[0]->size()) return Outcome::missed("its parameters differ in size");
  }
  const double epsilon = attribute<float>(graph, id, "epsilon");
  std::vector<float> scale;
  std::vector<float> shift;
  for (int64_t c = 0; c < parts[0]->size(); ++c) {
    const double factor = parts[0]->data<float>()[c] / std::sqrt(parts[3]->data<float>()[c] + epsilon);
    scale.push_back(static_cast<float>(factor));
    shift.push_back(static_cast<float>(parts[1]->data<float>()[c] - parts[2]->data<float>()[c] * factor));
  }
  return fold_affine(graph, conv, id, scale, shift);
}

// A constant that holds one f32 for each channel of a value of rank `rank` (or one for all), spread out to `channels`.
std::vector<float> per_channel(const Tensor& tensor, int rank, int64_t channels) {
  if (tensor.dtype() != DType::kFloat32 || tensor.rank() > rank) return {};
  if (tensor.size() == 1) return std::vector<float>(static_cast<size_t>(channels), tensor.data<float>()[0]);
  const int channel_axis = tensor.rank() - rank + 1;  // axis 1 of the value, counted in the constant
  if (channel_axis < 0 || tensor.size() != channels || tensor.dim(channel_axis) != channels) return {};
  return {tensor.data<float>(), tensor.data<float>() + channels};
}

Outcome fold_scale_or_shift(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  for (size_t side = 0; side < 2; ++side) {
    const NodeId conv = sole_convolution(graph, node.inputs[side], id);
    const Tensor* operand = constant(graph, node.inputs[1 - side]);
    if (conv == kNone || operand == nullptr) continue;
    const Tensor* w = constant(graph, graph.node(conv).inputs[1]);
    const int rank = graph.type(node.inputs[side]).rank();
    if (w == nullptr || rank < 2) return Outcome::missed("the convolution's weights are not constant");
    const std::vector<float> values = per_channel(*operand, rank, w->dim(0));
    if (values.empty()) return Outcome::missed("the constant is not one value for each channel");
    const std::vector<float> ones(values.size(), 1.0f);
    const std::vector<float> zeros(values.size(), 0.0f);
    return is(graph, id, "Mul") ? fold_affine(graph, conv, id, values, zeros)
                                : fold_affine(graph, conv, id, ones, values);
  }
  return Outcome::no_match();
}

// Zero padding in front of a convolution becomes its own.
Outcome fold_pad(Graph& graph, NodeId id) {
  const ValueId x = graph.node(id).inputs[0];
  const NodeId pad = producer(graph, x, {"Pad"});
  if (pad == kNone) return Outcome::no_match();
  const Node& padding = graph.node(pad);
  if (attribute<std::string>(graph, pad, "mode") != "constant") return Outcome::missed("the padding is not constant");
  if (padding.inputs.size() > 2 && padding.inputs[2] != kNone && !is_scalar(graph, padding.inputs[2], 0.0))
    return Outcome::missed("the padding is not zero");
  if (padding.inputs.size() > 3 && padding.inputs[3] != kNone) return Outcome::missed("the padding names its axes");
  const Tensor* amounts = constant(graph, padding.inputs[1]);
  const int rank = graph.type(padding.inputs[0]).rank();
  if (amounts == nullptr || rank < 3 || amounts->size() != 2 * rank)
    return Outcome::missed("the padding's extents are not known");
  const std::string auto_pad = attribute<std::string>(graph, id, "auto_pad");
  if (auto_pad != "NOTSET" && auto_pad != "VALID") return Outcome::missed("the convolution pads by itself (auto_pad)");
  const std::vector<int64_t> pads = amounts->integers();
  const auto spatial = static_cast<size_t>(rank - 2);
  for (size_t i = 0; i < pads.size(); ++i) {
    const bool outer = i % static_cast<size_t>(rank) < 2;
    if (pads[i] < 0 || pads[i] > std::numeric_limits<int32_t>::max() || (outer && pads[i] != 0))
      return Outcome::missed("the padding crops or goes beyond the spatial axes");
  }
  std::vector<int64_t> merged(2 * spatial, 0);
  const auto given = graph.node(id).attributes.find("pads");
  if (given != graph.node(id).attributes.end() && auto_pad == "NOTSET")
    merged = std::get<std::vector<int64_t>>(given->second);
  if (merged.size() != 2 * spatial) return Outcome::missed("the convolution's pads do not fit its rank");
  for (size_t i = 0; i < spatial; ++i) {
    merged[i] = checked_add(merged[i], pads[2 + i]);
    merged[spatial + i] = checked_add(merged[spatial + i], pads[spatial + 4 + i]);
  }
  graph.node(id).attributes.erase("auto_pad");
  graph.node(id).attributes["pads"] = merged;
  graph.set_input(id, 0, padding.inputs[0]);
  erase_if_dead(graph, x);
  return Outcome::fired();
}

}  // namespace

std::vector<Rule> convolution_rules() {
  return {
      {"fold_pad_into_conv", {"Conv"}, fold_pad},
      {"fold_batch_normalization", {"BatchNormalization"}, fold_batch_normalization},
      {"fold_scale_or_shift_into_conv", {"Mul", "Add"}, fold_scale_or_shift},
  };
}

}  // namespace sx
