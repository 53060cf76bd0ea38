// MatMulInteger with the scales and the bias behind it, as exporters of dynamic quantization write it.
#include <optional>
#include <utility>

#include "ops/op_def.h"
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

constexpr const char* kScaled = "com.microsoft::MatMulIntegerToFloat";

bool is_f32(const Graph& graph, ValueId value) { return graph.type(value).dtype == DType::kFloat32; }

// Whether the value is known to have a single element and no more axes than a scalar or a vector.
bool is_single(const Graph& graph, ValueId value) {
  const auto shape = graph.type(value).concrete_shape();
  return shape && shape->rank() <= 1 && shape->size() == 1;
}

// A constant with one element, or one for each column of `columns`.
bool fits_columns(const Graph& graph, ValueId value, const Dim& columns) {
  const Tensor* tensor = constant(graph, value);
  return tensor != nullptr && tensor->rank() <= 1 &&
         (tensor->size() == 1 || (columns.known() && columns.value() == tensor->size()));
}

// The factors of `scale`: one of a, one of the columns of b.
std::optional<std::pair<ValueId, ValueId>> factors_of(Graph& graph, ValueId scale, const Dim& columns) {
  const NodeId product = producer(graph, scale, {"Mul"});
  if (product != kNone) {
    for (int side = 0; side < 2; ++side) {
      const ValueId a = graph.node(product).inputs[static_cast<size_t>(side)];
      const ValueId b = graph.node(product).inputs[static_cast<size_t>(1 - side)];
      if (is_single(graph, a) && is_f32(graph, a) && fits_columns(graph, b, columns)) return std::make_pair(a, b);
    }
  }
  if (!is_single(graph, scale)) return std::nullopt;
  return std::make_pair(scale, add_constant(graph, "one", Tensor::scalar(1.0f)));
}

// Cast(MatMulInteger(a, b)) * scale
Outcome fuse_scales(Graph& graph, NodeId id) {
  if (!is_f32(graph, graph.node(id).outputs[0])) return Outcome::no_match();
  for (int side = 0; side < 2; ++side) {
    const ValueId converted = graph.node(id).inputs[static_cast<size_t>(side)];
    const ValueId scale = graph.node(id).inputs[static_cast<size_t>(1 - side)];
    const NodeId cast = producer(graph, converted, {"Cast"});
    if (cast == kNone) continue;
    const ValueId sums = graph.node(cast).inputs[0];
    const NodeId product = producer(graph, sums, {"MatMulInteger"});
    if (product == kNone) continue;
    if (only_reader(graph, converted) != id || only_reader(graph, sums) != cast)
      return Outcome::missed("the unscaled product has other readers");
    const Type& type = graph.type(sums);
    if (!type.shape || type.rank() < 2) return Outcome::missed("the product's rank is not known, or below two");
    const auto factors = factors_of(graph, scale, type.shape->back());
    if (!factors) return Outcome::missed("the scale is not one of a times one, or one for each column, of b");
    std::vector<ValueId> inputs = graph.node(product).inputs;
    inputs.insert(inputs.begin() + 2, {factors->first, factors->second});
    replace(graph, id, "MatMulIntegerToFloat", inputs, {}, "com.microsoft");
    return Outcome::fired();
  }
  return Outcome::no_match();
}

// MatMulIntegerToFloat(...) + bias
Outcome fuse_bias(Graph& graph, NodeId id) {
  for (int side = 0; side < 2; ++side) {
    const ValueId scaled = graph.node(id).inputs[static_cast<size_t>(side)];
    const ValueId bias = graph.node(id).inputs[static_cast<size_t>(1 - side)];
    const NodeId product = producer(graph, scaled, {kScaled});
    const Tensor* values = constant(graph, bias);
    if (product == kNone || values == nullptr) continue;
    if (graph.node(product).inputs.size() > 6 && graph.node(product).inputs[6] != kNone) return Outcome::no_match();
    if (only_reader(graph, scaled) != id) return Outcome::missed("the product has other readers");
    const Dim columns = graph.type(scaled).shape->back();
    if (values->rank() != 1 || !columns.known() || columns.value() != values->size())
      return Outcome::missed("what is added is not one value for each column");
    std::vector<ValueId> inputs = graph.node(product).inputs;
    inputs.resize(6, kNone);
    inputs.push_back(bias);
    replace(graph, id, "MatMulIntegerToFloat", inputs, {}, "com.microsoft");
    return Outcome::fired();
  }
  return Outcome::no_match();
}

}  // namespace

std::vector<Rule> integer_product_rules() {
  return {
      {"fuse_integer_product_scales", {"Mul"}, fuse_scales},
      {"fuse_integer_product_bias", {"Add"}, fuse_bias},
  };
}

}  // namespace sx
