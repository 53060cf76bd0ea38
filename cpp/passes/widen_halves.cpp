// Computes f16 and bf16 graphs in f32 from one product to the next: rounded where a value leaves, not at every node.
#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ops/float_io.h"
#include "ops/infer.h"
#include "ops/registry.h"
#include "passes/match.h"
#include "passes/pass.h"
#include "passes/relaid_values.h"

namespace sx {
namespace {

// What is worth two conversions, or rounds to the worse.
const std::unordered_set<std::string>& heavy() {
  static const std::unordered_set<std::string> ops = {"Conv",   "ConvTranspose", "MatMul", "Gemm",
                                                      "Einsum", "Attention",     "Softmax"};
  return ops;
}

// What goes on in f32 where one of its inputs is there already. All its half inputs and outputs have one type.
const std::unordered_set<std::string>& light() {
  static const std::unordered_set<std::string> ops = {"Abs",
                                                      "Add",
                                                      "AveragePool",
                                                      "BatchNormalization",
                                                      "Ceil",
                                                      "Celu",
                                                      "Clip",
                                                      "Concat",
                                                      "Cos",
                                                      "CumSum",
                                                      "DepthToSpace",
                                                      "Div",
                                                      "Elu",
                                                      "Erf",
                                                      "Exp",
                                                      "Expand",
                                                      "Flatten",
                                                      "Floor",
                                                      "GRU",
                                                      "Gather",
                                                      "Gelu",
                                                      "GlobalAveragePool",
                                                      "GlobalLpPool",
                                                      "GlobalMaxPool",
                                                      "GroupNormalization",
                                                      "HardSigmoid",
                                                      "HardSwish",
                                                      "Identity",
                                                      "InstanceNormalization",
                                                      "LRN",
                                                      "LSTM",
                                                      "LayerNormalization",
                                                      "LeakyRelu",
                                                      "Log",
                                                      "LogSoftmax",
                                                      "LpNormalization",
                                                      "Max",
                                                      "MaxPool",
                                                      "Mean",
                                                      "MeanVarianceNormalization",
                                                      "Min",
                                                      "Mish",
                                                      "Mul",
                                                      "Neg",
                                                      "PRelu",
                                                      "Pad",
                                                      "Pow",
                                                      "RMSNormalization",
                                                      "RNN",
                                                      "Reciprocal",
                                                      "ReduceL1",
                                                      "ReduceL2",
                                                      "ReduceLogSum",
                                                      "ReduceLogSumExp",
                                                      "ReduceMax",
                                                      "ReduceMean",
                                                      "ReduceMin",
                                                      "ReduceProd",
                                                      "ReduceSum",
                                                      "ReduceSumSquare",
                                                      "Relu",
                                                      "Reshape",
                                                      "Resize",
                                                      "RotaryEmbedding",
                                                      "Round",
                                                      "Selu",
                                                      "Sigmoid",
                                                      "Sign",
                                                      "SimplifiedLayerNormalization",
                                                      "Sin",
                                                      "Slice",
                                                      "Softplus",
                                                      "Softsign",
                                                      "SpaceToDepth",
                                                      "Split",
                                                      "Sqrt",
                                                      "Squeeze",
                                                      "Sub",
                                                      "Sum",
                                                      "Swish",
                                                      "Tanh",
                                                      "ThresholdedRelu",
                                                      "Tile",
                                                      "Transpose",
                                                      "Unsqueeze",
                                                      "Where"};
  return ops;
}

// Of those, what only moves elements, and does so faster in two bytes.
const std::unordered_set<std::string>& moves() {
  static const std::unordered_set<std::string> ops = {
      "Concat", "DepthToSpace", "SpaceToDepth", "Expand", "Flatten", "Gather", "Identity",  "MaxPool",
      "Pad",    "Reshape",      "Slice",        "Split",  "Squeeze", "Tile",   "Transpose", "Unsqueeze"};
  return ops;
}

class Widening {
 public:
  explicit Widening(Graph& graph)
      : graph_(graph),
        values_(
            graph,
            [this](ValueId value, NodeId at) { return emit_before(graph_, at, "Cast", {value}, to(DType::kFloat32)); },
            [this](ValueId value) {
              Node node;
              node.op = &get_op("Cast", "");
              node.attributes = to(graph_.type(value).dtype);
              return node;
            }) {}

  bool run(PassLog& log) {
    const std::vector<NodeId> order = graph_.order();
    for (NodeId id : order)
      if (follows(id)) widening_.insert(id);
    for (size_t i = order.size(); i-- > 0;)
      if (leads(order[i])) widening_.insert(order[i]);
    for (NodeId id : order) {
      if (drop_cast(id)) continue;
      if (widens(id)) {
        log.add(kName, graph_.node(widen(id)), Outcome::fired());
      } else if (reads_shape(id)) {
        graph_.set_input(id, 0, values_.either(graph_.node(id).inputs[0]));
      } else {
        for (ValueId read : graph_.reads(id)) values_.need_plain(read, id);
      }
    }
    values_.finish();
    return changed_;
  }

 private:
  static constexpr const char* kName = "widen_halves";

  static Attributes to(DType dtype) { return {{"to", static_cast<int64_t>(dtype)}}; }

  bool is_half(ValueId value) const {
    return value != kNone && graph_.type(value).is_tensor() && kHalfFloats.has(graph_.type(value).dtype);
  }

  // Whether it can do in f32 what it does.
  bool can_widen(NodeId id) const {
    const Node& node = graph_.node(id);
    if (!node.op->domain().empty() || !node.bodies.empty()) return false;
    const auto stays = [&](ValueId y) { return y != kNone && !is_half(y); };
    if (std::any_of(node.outputs.begin(), node.outputs.end(), stays)) return false;
    if (heavy().count(node.op->name()) == 0 && light().count(node.op->name()) == 0) return false;
    return std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return is_half(v); });
  }

  // Whether it is a product, or reads from what widens.
  bool follows(NodeId id) const {
    if (!can_widen(id)) return false;
    if (heavy().count(graph_.node(id).op->name()) != 0) return true;
    const auto& inputs = graph_.node(id).inputs;
    return std::any_of(inputs.begin(), inputs.end(),
                       [&](ValueId x) { return is_half(x) && widening_.count(graph_.value(x).producer) != 0; });
  }

  // Whether it does more than to move elements, and all that reads the elements of its results widens.
  bool leads(NodeId id) const {
    if (!can_widen(id) || moves().count(graph_.node(id).op->name()) != 0) return false;
    bool any = false;
    for (ValueId y : graph_.node(id).outputs) {
      if (y == kNone) continue;
      if (graph_.is_output(y)) return false;
      for (const Graph::Use& use : graph_.uses(y)) {
        if (reads_shape(use.node)) continue;
        if (widening_.count(use.node) == 0) return false;
        any = true;
      }
    }
    return any;
  }

  bool reads_shape(NodeId id) const { return is(graph_, id, "Shape") || is(graph_, id, "Size"); }

  // What is there in f32 may be so for another reader.
  bool widens(NodeId id) const {
    if (widening_.count(id) != 0) return true;
    const auto& inputs = graph_.node(id).inputs;
    return can_widen(id) && std::any_of(inputs.begin(), inputs.end(), [&](ValueId v) { return values_.has(v); });
  }

  // Whether the type of an input is not known, but must be that of another, which is a half.
  bool has_type_of_half(NodeId id, size_t i) const {
    const Node& node = graph_.node(id);
    if (node.inputs[i] == kNone || graph_.type(node.inputs[i]).dtype != DType::kUndefined) return false;
    const auto variable = [&](size_t at) { return node.op->input(at)->variable; };
    for (size_t other = 0; other < node.inputs.size(); ++other)
      if (is_half(node.inputs[other]) && !variable(i).empty() && variable(other) == variable(i)) return true;
    return false;
  }

  // `value` in f32, made before node `at` where it is not there yet.
  ValueId wide(ValueId value, NodeId at) {
    const Tensor* tensor = constant(graph_, value);
    if (tensor == nullptr) return values_.get(value, at);
    const auto known = constants_.find(value);
    if (known != constants_.end()) return known->second;
    return constants_[value] = add_constant(graph_, graph_.value(value).name, to_f32(*tensor));
  }

  // A Cast to f32 of what is there in f32.
  bool drop_cast(NodeId id) {
    const Node& node = graph_.node(id);
    if (!is(graph_, id, "Cast") || graph_.type(node.outputs[0]).dtype != DType::kFloat32) return false;
    return values_.has(node.inputs[0]) && bypass(graph_, id, values_.either(node.inputs[0]));
  }

  // The node as it is, but for its types.
  NodeId widen(NodeId id) {
    const std::vector<ValueId> old = graph_.node(id).outputs;
    std::vector<ValueId> inputs = graph_.node(id).inputs;
    for (size_t i = 0; i < inputs.size(); ++i)
      if (is_half(inputs[i]) || has_type_of_half(id, i)) inputs[i] = wide(inputs[i], id);
    Node node;
    node.op = graph_.node(id).op;
    node.name = graph_.node(id).name;
    node.origin = graph_.node(id).origin;
    node.attributes = graph_.node(id).attributes;
    node.inputs = std::move(inputs);
    for (ValueId output : old)
      node.outputs.push_back(
          output == kNone ? kNone : graph_.add_value(graph_.fresh_name(graph_.value(output).name + ".wide")));
    const std::vector<ValueId> made = node.outputs;
    const NodeId wider = graph_.add_node(std::move(node), id);
    infer_node(graph_, wider);
    graph_.erase_node(id);
    for (size_t i = 0; i < old.size(); ++i)
      if (old[i] != kNone) values_.produced(old[i], made[i]);
    changed_ = true;
    return wider;
  }

  Graph& graph_;
  RelaidValues values_;                             // half values that are there in f32
  std::unordered_map<ValueId, ValueId> constants_;  // likewise for constants
  std::unordered_set<NodeId> widening_;
  bool changed_ = false;
};

}  // namespace

bool widen_halves(Graph& graph, PassLog& log) {
  bool changed = false;
  for_each_graph(graph, [&](Graph& each) { changed = Widening(each).run(log) || changed; });
  return changed;
}

}  // namespace sx
