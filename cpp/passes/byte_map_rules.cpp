// Makes a table of what is computed of one 8-bit value, element by element, and becomes one 8-bit value.
#include <algorithm>
#include <vector>

#include "ops/evaluate.h"
#include "ops/op_def.h"
#include "passes/match.h"
#include "passes/rules.h"

namespace sx {
namespace {

constexpr DTypeSet kBytes = DTypeSet(DType::kUInt8) | DType::kInt8;
constexpr size_t kMostNodes = 24;

// Operators whose elements depend on elements in the same place, where their other operands are single.
bool is_elementwise(const Node& node) {
  static const char* const kNames[] = {"QuantizeLinear",
                                       "DequantizeLinear",
                                       "Relu",
                                       "Sigmoid",
                                       "HardSigmoid",
                                       "HardSwish",
                                       "Swish",
                                       "LeakyRelu",
                                       "Elu",
                                       "Selu",
                                       "Celu",
                                       "Gelu",
                                       "Tanh",
                                       "Mish",
                                       "Softplus",
                                       "Softsign",
                                       "Clip",
                                       "Exp",
                                       "Neg",
                                       "Abs",
                                       "Sqrt",
                                       "Erf",
                                       "Add",
                                       "Sub",
                                       "Mul",
                                       "Div",
                                       "Min",
                                       "Max",
                                       "Pow",
                                       "com.microsoft::QLinearSigmoid",
                                       "com.microsoft::QLinearLeakyRelu",
                                       "com.microsoft::QLinearAdd",
                                       "com.microsoft::QLinearMul",
                                       "sardonyx::MapBytes"};
  const std::string name = node.op->full_name();
  return node.outputs.size() == 1 &&
         std::any_of(std::begin(kNames), std::end(kNames), [&](const char* known) { return name == known; });
}

// The nodes between `from`, an 8-bit value, and the root, in an order in which they can be computed.
struct Cone {
  ValueId from = kNone;
  std::vector<NodeId> nodes;
};

// Takes nodes in from the root upwards, the last of them in graph order first, and notes where all hangs on one value.
Cone find_cone(const Graph& graph, NodeId root) {
  std::vector<NodeId> order;
  const auto place = [&](NodeId id) {
    if (order.empty()) order = graph.order();
    return std::find(order.begin(), order.end(), id) - order.begin();
  };
  Cone best, cone;
  std::vector<ValueId> open = {graph.node(root).outputs[0]};
  while (cone.nodes.size() < kMostNodes) {
    NodeId last = kNone;
    for (ValueId value : open) {
      const NodeId id = graph.value(value).producer;
      if (id != kNone && (last == kNone || (last != id && place(id) > place(last)))) last = id;
    }
    if (last == kNone || !is_elementwise(graph.node(last))) return best;
    const Node& node = graph.node(last);
    open.erase(std::find(open.begin(), open.end(), node.outputs[0]));
    cone.nodes.insert(cone.nodes.begin(), last);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId input = node.inputs[i];
      if (input == kNone) continue;
      const Tensor* known = constant(graph, input);
      const bool table = is(graph, last, "sardonyx::MapBytes") && i == 1;
      if (known != nullptr && !table && known->size() != 1) return best;
      if (known == nullptr && std::find(open.begin(), open.end(), input) == open.end()) open.push_back(input);
    }
    if (open.empty()) return best;
    if (open.size() == 1 && kBytes.has(graph.type(open[0]).dtype)) {
      best = cone;
      best.from = open[0];
    }
  }
  return best;
}

// What the cone makes of each code of its input.
Tensor table_of(const Graph& graph, const Cone& cone, ValueId result) {
  FactTable facts(graph.value_limit());
  Tensor codes(graph.type(cone.from).dtype, Shape{256});
  for (int i = 0; i < 256; ++i) static_cast<uint8_t*>(codes.raw())[i] = static_cast<uint8_t>(i);
  const auto of = [&](ValueId value) -> Facts& { return facts[static_cast<size_t>(value)]; };
  const auto set = [&](ValueId value, const Tensor& tensor) {
    of(value) = {Type::tensor(tensor.dtype(), tensor.shape()), tensor, std::nullopt};
  };
  set(cone.from, codes);
  for (NodeId id : cone.nodes) {
    const Node& node = graph.node(id);
    for (ValueId input : node.inputs)
      if (input != kNone && constant(graph, input) != nullptr) set(input, *constant(graph, input));
    const ValueId output = node.outputs[0];
    of(output).type = Type::tensor(graph.type(output).dtype, Shape{256});
    set(output, evaluate(graph, id, facts)[0]);
  }
  return of(result).constant;
}

Outcome map_bytes(Graph& graph, NodeId id) {
  const ValueId result = graph.node(id).outputs[0];
  if (!kBytes.has(graph.type(result).dtype) || !is_elementwise(graph.node(id))) return Outcome::no_match();
  const Cone cone = find_cone(graph, id);
  if (cone.from == kNone || (cone.nodes.size() == 1 && is(graph, id, "sardonyx::MapBytes"))) return Outcome::no_match();
  const auto &before = graph.type(cone.from).shape, &after = graph.type(result).shape;
  if (!before || !after || !(*before == *after)) return Outcome::missed("the shapes are not known to be equal");
  const Tensor table = table_of(graph, cone, result);
  if (table.size() != 256) return Outcome::missed("its constants have several dimensions");
  const ValueId from = cone.from;
  replace(graph, id, "MapBytes", {from, add_constant(graph, "table", table.reshaped(Shape{256}))}, {}, "sardonyx");
  return Outcome::fired("MapBytes");
}

}  // namespace

std::vector<Rule> byte_map_rules() {
  return {{"map_bytes",
           {"QuantizeLinear", "com.microsoft::QLinearSigmoid", "com.microsoft::QLinearLeakyRelu",
            "com.microsoft::QLinearAdd", "com.microsoft::QLinearMul", "sardonyx::MapBytes"},
           map_bytes}};
}

}  // namespace sx
