// Recognises activations and normalizations that exporters spell out: Swish, HardSwish, Gelu, LayerNormalization,
// GroupNormalization.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

// Whether `result`, computed from `x` and one-element constants, may become one node that reads `x`. The attributes of
// activations are f32, which f64 would notice.
bool fits(const Graph& graph, ValueId x, NodeId result) {
  constexpr DTypeSet kRecognised = kHalfFloats | DType::kFloat32;
  return kRecognised.has(graph.type(x).dtype) && same_rank(graph, x, graph.node(result).outputs[0]);
}

// For a commutative node with a constant scalar near `expected`: the other operand; else kNone.
ValueId beside_scalar(const Graph& graph, NodeId id, double expected) {
  const std::vector<ValueId>& inputs = graph.node(id).inputs;
  for (size_t side = 0; side < 2; ++side)
    if (is_near_scalar(graph, inputs[side], expected)) return inputs[1 - side];
  return kNone;
}

// x * sigmoid(alpha * x)
Outcome match_swish(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  for (size_t side = 0; side < 2; ++side) {
    const NodeId sigmoid = producer(graph, inputs[side], {"Sigmoid"});
    if (sigmoid == kNone) continue;
    const ValueId x = inputs[1 - side];
    const ValueId inner = graph.node(sigmoid).inputs[0];
    float alpha = 1.0f;
    if (inner != x) {
      const NodeId scaled = producer(graph, inner, {"Mul"});
      if (scaled == kNone || (graph.node(scaled).inputs[0] != x && graph.node(scaled).inputs[1] != x)) continue;
      const auto factor = scalar(graph, other_input(graph, scaled, x));
      if (!factor) continue;
      alpha = static_cast<float>(*factor);
    }
    if (!fits(graph, x, id)) continue;
    if (only_reader(graph, inputs[side]) != id) return Outcome::missed("the sigmoid has other readers");
    replace(graph, id, "Swish", {x}, {{"alpha", alpha}});
    return Outcome::fired();
  }
  return Outcome::no_match();
}

// x * hard_sigmoid(x) with slope 1/6 and offset 1/2
Outcome match_hard_swish(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  for (size_t side = 0; side < 2; ++side) {
    const NodeId gate = producer(graph, inputs[side], {"HardSigmoid"});
    if (gate == kNone || graph.node(gate).inputs[0] != inputs[1 - side]) continue;
    if (!fits(graph, inputs[1 - side], id)) continue;
    const bool standard = std::abs(attribute<float>(graph, gate, "alpha") - 1.0f / 6.0f) < 2e-7f &&
                          attribute<float>(graph, gate, "beta") == 0.5f;
    if (!standard) return Outcome::missed("slope and offset of the gate are not 1/6 and 1/2");
    if (only_reader(graph, inputs[side]) != id) return Outcome::missed("the gate has other readers");
    replace(graph, id, "HardSwish", {inputs[1 - side]});
    return Outcome::fired();
  }
  return Outcome::no_match();
}

// clip(x + 3, 0, 6) whose sum and clip have no other readers; gives x, or kNone.
ValueId shifted_relu6(const Graph& graph, ValueId value, NodeId reader) {
  const NodeId clip = producer(graph, value, {"Clip"});
  if (clip == kNone || only_reader(graph, value) != reader) return kNone;
  const Node& node = graph.node(clip);
  if (node.inputs.size() < 3 || !is_scalar(graph, node.inputs[1], 0.0) || !is_scalar(graph, node.inputs[2], 6.0))
    return kNone;
  const NodeId sum = producer(graph, node.inputs[0], {"Add"});
  if (sum == kNone || only_reader(graph, node.inputs[0]) != clip) return kNone;
  return beside_scalar(graph, sum, 3.0);
}

// x * clip(x + 3, 0, 6) / 6, with the division before or after the product, and clip(x + 3, 0, 6) / 6 alone.
Outcome match_clipped_hard_swish(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  const bool divides = is(graph, id, "Div") && is_scalar(graph, inputs[1], 6.0);
  const bool scales = is(graph, id, "Mul") && beside_scalar(graph, id, 1.0 / 6.0) != kNone;
  if (!divides && !scales) return Outcome::no_match();
  const ValueId scaled = divides ? inputs[0] : beside_scalar(graph, id, 1.0 / 6.0);
  const ValueId gated = shifted_relu6(graph, scaled, id);
  if (gated != kNone && fits(graph, gated, id)) {
    replace(graph, id, "HardSigmoid", {gated}, {{"alpha", 1.0f / 6.0f}, {"beta", 0.5f}});
    return Outcome::fired("HardSigmoid");
  }
  const NodeId product = producer(graph, scaled, {"Mul"});
  if (product == kNone || only_reader(graph, scaled) != id) return Outcome::no_match();
  for (size_t side = 0; side < 2; ++side) {
    const ValueId x = shifted_relu6(graph, graph.node(product).inputs[side], product);
    if (x == kNone || x != graph.node(product).inputs[1 - side] || !fits(graph, x, id)) continue;
    replace(graph, id, "HardSwish", {x});
    return Outcome::fired("HardSwish");
  }
  return Outcome::no_match();
}

// erf(x / sqrt(2)); gives x, or kNone.
ValueId erf_operand(const Graph& graph, ValueId value) {
  const NodeId erf = producer(graph, value, {"Erf"});
  if (erf == kNone) return kNone;
  const NodeId scaled = producer(graph, graph.node(erf).inputs[0], {"Div", "Mul"});
  if (scaled == kNone) return kNone;
  if (is(graph, scaled, "Mul")) return beside_scalar(graph, scaled, std::sqrt(0.5));
  const std::vector<ValueId>& operands = graph.node(scaled).inputs;
  return is_near_scalar(graph, operands[1], std::sqrt(2.0)) ? operands[0] : kNone;
}

// The factors of a tree of products, at most four of them.
void factors(const Graph& graph, ValueId value, NodeId reader, std::vector<ValueId>& found) {
  const NodeId product = producer(graph, value, {"Mul"});
  if (product == kNone || found.size() > 3 || only_reader(graph, value) != reader) {
    found.push_back(value);
    return;
  }
  for (ValueId operand : graph.node(product).inputs) factors(graph, operand, product, found);
}

// Whether `value` is x^power, spelled as Pow or as products.
bool is_power(const Graph& graph, ValueId value, ValueId x, int power) {
  if (power == 1) return value == x;
  const NodeId node = producer(graph, value, {"Pow", "Mul"});
  if (node == kNone) return false;
  const std::vector<ValueId>& inputs = graph.node(node).inputs;
  if (is(graph, node, "Pow")) return inputs[0] == x && is_scalar(graph, inputs[1], power);
  return (inputs[0] == x && is_power(graph, inputs[1], x, power - 1)) ||
         (inputs[1] == x && is_power(graph, inputs[0], x, power - 1));
}

// Whether `value` is 0.044715 * x^power, in any order of the products.
bool is_cubic_term(const Graph& graph, ValueId value, ValueId x, int power) {
  const NodeId product = producer(graph, value, {"Mul"});
  if (product == kNone) return false;
  const ValueId rest = beside_scalar(graph, product, 0.044715);
  if (rest != kNone) return is_power(graph, rest, x, power);
  const std::vector<ValueId>& inputs = graph.node(product).inputs;
  return power > 1 && ((inputs[0] == x && is_cubic_term(graph, inputs[1], x, power - 1)) ||
                       (inputs[1] == x && is_cubic_term(graph, inputs[0], x, power - 1)));
}

// tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)), or with x before the brackets; gives x, or kNone.
ValueId tanh_operand(const Graph& graph, ValueId value) {
  const NodeId tanh = producer(graph, value, {"Tanh"});
  if (tanh == kNone) return kNone;
  std::vector<ValueId> parts;
  factors(graph, graph.node(tanh).inputs[0], tanh, parts);
  const auto scale = std::find_if(parts.begin(), parts.end(),
                                  [&](ValueId part) { return is_near_scalar(graph, part, std::sqrt(2.0 / M_PI)); });
  if (scale == parts.end() || parts.size() > 3) return kNone;
  parts.erase(scale);
  for (ValueId part : parts) {
    const NodeId sum = producer(graph, part, {"Add"});
    if (sum == kNone) continue;
    const std::vector<ValueId>& terms = graph.node(sum).inputs;
    for (size_t side = 0; side < 2; ++side) {
      if (parts.size() == 1 && is_cubic_term(graph, terms[side], terms[1 - side], 3)) return terms[1 - side];
      if (parts.size() == 2 && is_scalar(graph, terms[1 - side], 1.0)) {
        const ValueId x = part == parts[0] ? parts[1] : parts[0];
        if (is_cubic_term(graph, terms[side], x, 2)) return x;
      }
    }
  }
  return kNone;
}

// 0.5 * x * (1 + erf(x / sqrt(2))) in any order of the products, and its approximation with tanh.
Outcome match_gelu(Graph& graph, NodeId id) {
  std::vector<ValueId> parts;
  for (ValueId operand : graph.node(id).inputs) factors(graph, operand, id, parts);
  if (parts.size() != 3) return Outcome::no_match();
  for (size_t e = 0; e < 3; ++e) {
    const NodeId sum = producer(graph, parts[e], {"Add"});
    const ValueId function = sum == kNone ? kNone : beside_scalar(graph, sum, 1.0);
    if (function == kNone) continue;
    const ValueId exact = erf_operand(graph, function);
    const ValueId x = exact == kNone ? tanh_operand(graph, function) : exact;
    if (x == kNone) continue;
    const ValueId a = parts[(e + 1) % 3];
    const ValueId b = parts[(e + 2) % 3];
    const bool halved = (a == x && is_scalar(graph, b, 0.5)) || (b == x && is_scalar(graph, a, 0.5));
    if (halved && fits(graph, x, id)) {
      Attributes attributes;
      if (exact == kNone) attributes = {{"approximate", std::string("tanh")}};
      replace(graph, id, "Gelu", {x}, std::move(attributes));
      return Outcome::fired();
    }
  }
  return Outcome::no_match();
}

// Max or Min of a tensor and a constant of one element.
Outcome match_clip(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  if (inputs.size() != 2) return Outcome::no_match();
  for (size_t side = 0; side < 2; ++side) {
    const auto bound = scalar(graph, inputs[side]);
    const ValueId x = inputs[1 - side];
    if (!bound || !fits(graph, x, id)) continue;
    if (std::isnan(*bound)) return Outcome::missed("the bound is not a number");
    Tensor limit(graph.type(x).dtype, Shape{});
    std::memcpy(limit.raw(), constant(graph, inputs[side])->raw(), size_of(limit.dtype()));
    const ValueId value = add_constant(graph, graph.value(inputs[side]).name, limit);
    std::vector<ValueId> operands = {x, value};
    if (is(graph, id, "Min")) operands.insert(operands.begin() + 1, kNone);
    replace(graph, id, "Clip", operands);
    return Outcome::fired();
  }
  return Outcome::no_match();
}

// Whether a reduction runs over the last axis alone and keeps it.
bool over_last_axis(const Graph& graph, NodeId reduce) {
  const Node& node = graph.node(reduce);
  if (node.inputs.size() < 2 || node.inputs[1] == kNone) return false;
  const Tensor* axes = constant(graph, node.inputs[1]);
  const int rank = graph.type(node.inputs[0]).rank();
  if (axes == nullptr || axes->size() != 1 || attribute<int64_t>(graph, reduce, "keepdims") != 1) return false;
  const int64_t axis = axes->integers()[0];
  return axis == -1 || (rank > 0 && axis == rank - 1);
}

// (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias over the last axis; rooted at the last Add.
Outcome match_layer_normalization(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  for (size_t side = 0; side < 2; ++side) {
    const Tensor* bias = constant(graph, inputs[side]);
    const NodeId scaling = producer(graph, inputs[1 - side], {"Mul"});
    if (bias == nullptr || scaling == kNone) continue;
    for (size_t k = 0; k < 2; ++k) {
      const Tensor* scale = constant(graph, graph.node(scaling).inputs[k]);
      const NodeId division = producer(graph, graph.node(scaling).inputs[1 - k], {"Div"});
      if (scale == nullptr || division == kNone) continue;
      const ValueId centred = graph.node(division).inputs[0];
      const NodeId root = producer(graph, graph.node(division).inputs[1], {"Sqrt"});
      const NodeId subtraction = producer(graph, centred, {"Sub"});
      if (root == kNone || subtraction == kNone) continue;
      const NodeId sum = producer(graph, graph.node(root).inputs[0], {"Add"});
      if (sum == kNone) continue;
      for (size_t e = 0; e < 2; ++e) {
        const auto epsilon = scalar(graph, graph.node(sum).inputs[e]);
        const NodeId variance = producer(graph, graph.node(sum).inputs[1 - e], {"ReduceMean"});
        if (!epsilon || variance == kNone) continue;
        const NodeId square = producer(graph, graph.node(variance).inputs[0], {"Mul", "Pow"});
        if (square == kNone || graph.node(square).inputs[0] != centred) continue;
        const bool squared = is(graph, square, "Mul") ? graph.node(square).inputs[1] == centred
                                                      : is_scalar(graph, graph.node(square).inputs[1], 2.0);
        const ValueId x = graph.node(subtraction).inputs[0];
        const NodeId mean = producer(graph, graph.node(subtraction).inputs[1], {"ReduceMean"});
        if (!squared || mean == kNone || graph.node(mean).inputs[0] != x || !fits(graph, x, id)) continue;
        if (!over_last_axis(graph, mean) || !over_last_axis(graph, variance))
          return Outcome::missed("mean and variance are not over the last axis alone, kept as one");
        const auto& shape = graph.type(x).shape;
        if (!shape || shape->empty() || scale->rank() != 1 || bias->shape() != scale->shape() ||
            shape->back() != Dim(scale->dim(0)))
          return Outcome::missed("scale and bias are not vectors of the last axis' extent");
        const ValueId scale_id = graph.node(scaling).inputs[k];
        replace(graph, id, "LayerNormalization", {x, scale_id, inputs[side]},
                {{"epsilon", static_cast<float>(*epsilon)}});
        return Outcome::fired();
      }
    }
  }
  return Outcome::no_match();
}

// The constant vector `value` of a value for each group, repeated for the channels of each.
ValueId repeat_for_channels(Graph& graph, ValueId value, int64_t per_group) {
  const Tensor& from = *constant(graph, value);
  Tensor repeated(DType::kFloat32, Shape{from.size() * per_group});
  for (int64_t i = 0; i < repeated.size(); ++i) repeated.data<float>()[i] = from.data<float>()[i / per_group];
  return add_constant(graph, graph.value(value).name, repeated);
}

bool is_f32_vector(const Tensor* tensor, int64_t size) {
  return tensor != nullptr && tensor->dtype() == DType::kFloat32 && tensor->size() == size;
}

// InstanceNormalization of x as [images, groups, all the rest], reshaped back; rooted at the last Reshape.
Outcome match_group_normalization(Graph& graph, NodeId id) {
  const NodeId norm = producer(graph, graph.node(id).inputs[0], {"InstanceNormalization"});
  if (norm == kNone) return Outcome::no_match();
  const std::vector<ValueId> parts = graph.node(norm).inputs;
  const NodeId split = producer(graph, parts[0], {"Reshape"});
  if (split == kNone) return Outcome::no_match();
  const ValueId x = graph.node(split).inputs[0];
  const Type &whole = graph.type(x), &grouped = graph.type(parts[0]);
  if (whole.dtype != DType::kFloat32 || !whole.shape || !grouped.shape || whole.rank() < 3 || grouped.rank() != 3 ||
      !(graph.type(graph.node(id).outputs[0]).shape == whole.shape))
    return Outcome::no_match();
  const Dim &channels = (*whole.shape)[1], &groups = (*grouped.shape)[1];
  if (!((*grouped.shape)[0] == (*whole.shape)[0]) || !channels.known() || !groups.known() || groups.value() <= 0 ||
      channels.value() % groups.value() != 0)
    return Outcome::missed("the axes are not images, groups of channels and the rest");
  if (!is_f32_vector(constant(graph, parts[1]), groups.value()) ||
      !is_f32_vector(constant(graph, parts[2]), groups.value()))
    return Outcome::missed("scale and bias are not constant f32");
  if (only_reader(graph, graph.node(norm).outputs[0]) != id) return Outcome::missed("the norm has other readers");
  const int64_t per_group = channels.value() / groups.value();
  const Attributes attributes = {{"epsilon", attribute<float>(graph, norm, "epsilon")}, {"num_groups", groups.value()}};
  const ValueId scale = repeat_for_channels(graph, parts[1], per_group);
  const ValueId bias = repeat_for_channels(graph, parts[2], per_group);
  replace(graph, id, "GroupNormalization", {x, scale, bias}, attributes);
  return Outcome::fired();
}

// GroupNormalization times or plus a constant for each channel.
Outcome fold_into_group_normalization(Graph& graph, NodeId id) {
  const std::vector<ValueId> inputs = graph.node(id).inputs;
  for (size_t side = 0; side < 2; ++side) {
    const NodeId norm = producer(graph, inputs[side], {"GroupNormalization"});
    if (norm == kNone) continue;
    const std::vector<ValueId> operands = graph.node(norm).inputs;
    const auto& shape = graph.type(operands[0]).shape;
    const Tensor* by = constant(graph, inputs[1 - side]);
    if (by == nullptr || !shape || !(*shape)[1].known()) continue;
    const int64_t count = (*shape)[1].value();
    const int rank = by->rank(), full = static_cast<int>(shape->size());
    // [channels, 1, 1] or [1, channels, 1, 1]
    if (!is_f32_vector(by, count) || rank < full - 1 || rank > full || by->dim(rank - full + 1) != count ||
        !is_f32_vector(constant(graph, operands[1]), count) || !is_f32_vector(constant(graph, operands[2]), count))
      return Outcome::missed("the constant is not one f32 value for each channel");
    if (only_reader(graph, inputs[side]) != id) return Outcome::missed("the norm has other readers");
    const bool scales = is(graph, id, "Mul");
    Tensor scale(DType::kFloat32, Shape{count}), bias(DType::kFloat32, Shape{count});
    for (int64_t c = 0; c < count; ++c) {
      const float factor = scales ? by->data<float>()[c] : 1.0f, term = scales ? 0.0f : by->data<float>()[c];
      scale.data<float>()[c] = constant(graph, operands[1])->data<float>()[c] * factor;
      bias.data<float>()[c] = constant(graph, operands[2])->data<float>()[c] * factor + term;
    }
    const Attributes attributes = graph.node(norm).attributes;
    const std::string stem = graph.value(inputs[1 - side]).name;
    const ValueId new_scale = add_constant(graph, stem + ".scale", scale);
    const ValueId new_bias = add_constant(graph, stem + ".bias", bias);
    replace(graph, id, "GroupNormalization", {operands[0], new_scale, new_bias}, attributes);
    return Outcome::fired();
  }
  return Outcome::no_match();
}

}  // namespace

std::vector<Rule> activation_rules() {
  return {
      {"recognise_swish", {"Mul"}, match_swish},
      {"recognise_hard_swish", {"Mul"}, match_hard_swish},
      {"recognise_clipped_hard_swish", {"Div", "Mul"}, match_clipped_hard_swish},
      {"recognise_gelu", {"Mul"}, match_gelu},
      {"recognise_clip", {"Max", "Min"}, match_clip},
      {"recognise_layer_normalization", {"Add"}, match_layer_normalization},
  };
}

std::vector<Rule> group_normalization_rules() {
  return {
      {"recognise_group_normalization", {"Reshape"}, match_group_normalization},
      {"fold_into_group_normalization", {"Mul", "Add"}, fold_into_group_normalization},
  };
}

}  // namespace sx
