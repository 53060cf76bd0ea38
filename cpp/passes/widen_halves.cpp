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

namespace sx {
namespace {

// What is worth two conversions, or rounds to the worse.
const std::unordered_set<std::string>& heavy() {
  static const std::unordered_set<std::string> ops = {"Conv", "ConvTranspose", "MatMul",
                                                      "Gemm", "Attention",     "Softmax"};
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
                                                      "CumSum",
                                                      "Div",
                                                      "Elu",
                                                      "Erf",
                                                      "Exp",
                                                      "Expand",
                                                      "Flatten",
                                                      "Floor",
                                                      "Gather",
                                                      "Gelu",
                                                      "GlobalAveragePool",
                                                      "GlobalMaxPool",
                                                      "GroupNormalization",
                                                      "HardSigmoid",
                                                      "HardSwish",
                                                      "Identity",
                                                      "InstanceNormalization",
                                                      "LayerNormalization",
                                                      "LeakyRelu",
                                                      "Log",
                                                      "LogSoftmax",
                                                      "MaxPool",
                                                      "Mish",
                                                      "Mul",
                                                      "Neg",
                                                      "PRelu",
                                                      "Pad",
                                                      "Pow",
                                                      "RMSNormalization",
                                                      "Reciprocal",
                                                      "ReduceL2",
                                                      "ReduceMax",
                                                      "ReduceMean",
                                                      "ReduceMin",
                                                      "ReduceSum",
                                                      "ReduceSumSquare",
                                                      "Relu",
                                                      "Reshape",
                                                      "RotaryEmbedding",
                                                      "Round",
                                                      "Sigmoid",
                                                      "Sign",
                                                      "Slice",
                                                      "Softplus",
                                                      "Softsign",
                                                      "Split",
                                                      "Sqrt",
                                                      "Squeeze",
                                                      "Sub",
                                                      "Swish",
                                                      "Tanh",
                                                      "Tile",
                                                      "Transpose",
                                                      "Unsqueeze",
                                                      "Where"};
  return ops;
}

class Widening {
 public:
  explicit Widening(Graph& graph) : graph_(graph) {}

  bool run(PassLog& log) {
    for (NodeId id : std::vector<NodeId>(graph_.order())) {
      if (drop_cast(id)) continue;
      if (widens(id)) {
        log.add(kName, graph_.node(widen(id)), Outcome::fired());
      } else {
        for (ValueId read : graph_.reads(id)) need_half(read, id);
      }
    }
    for (ValueId output : std::vector<ValueId>(graph_.outputs)) need_half(output, kNone);
    for (const auto& [value, wide] : waiting_)
      if (graph_.use_count(value) == 0) graph_.erase_value(value);
    return changed_;
  }

 private:
  static constexpr const char* kName = "widen_halves";

  bool is_half(ValueId value) const {
    return value != kNone && graph_.type(value).is_tensor() && kHalfFloats.has(graph_.type(value).dtype);
  }

  bool widens(NodeId id) const {
    const Node& node = graph_.node(id);
    if (!node.op->domain().empty() || !node.bodies.empty()) return false;
    const auto stays = [&](ValueId y) { return y != kNone && !is_half(y); };
    if (std::any_of(node.outputs.begin(), node.outputs.end(), stays)) return false;
    const bool any_half = std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return is_half(v); });
    if (!any_half) return false;
    if (heavy().count(node.op->name()) != 0) return true;
    if (light().count(node.op->name()) == 0) return false;
    return std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return wide_.count(v) != 0; });
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
    const auto found = wide_.find(value);
    if (found != wide_.end()) return found->second;
    const Tensor* tensor = constant(graph_, value);
    if (tensor == nullptr) {
      const ValueId made = emit_before(graph_, at, "Cast", {value}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
      return wide_[value] = made;
    }
    const auto known = constants_.find(value);
    if (known != constants_.end()) return known->second;
    return constants_[value] = add_constant(graph_, graph_.value(value).name, to_f32(*tensor));
  }

  // A value whose producer was widened is rounded where something wants it as it was.
  void need_half(ValueId value, NodeId at) {
    const auto found = waiting_.find(value);
    if (found == waiting_.end()) return;
    Node node;
    node.op = &get_op("Cast", "");
    node.name = node.origin = graph_.value(value).name;
    node.inputs = {found->second};
    node.outputs = {value};
    node.attributes = {{"to", static_cast<int64_t>(graph_.type(value).dtype)}};
    waiting_.erase(found);
    infer_node(graph_, graph_.add_node(std::move(node), at));
  }

  // A Cast to f32 of what is there in f32.
  bool drop_cast(NodeId id) {
    const Node& node = graph_.node(id);
    if (!is(graph_, id, "Cast") || graph_.type(node.outputs[0]).dtype != DType::kFloat32) return false;
    const auto found = wide_.find(node.inputs[0]);
    return found != wide_.end() && bypass(graph_, id, found->second);
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
      if (old[i] != kNone) wide_[old[i]] = waiting_[old[i]] = made[i];
    changed_ = true;
    return wider;
  }

  Graph& graph_;
  std::unordered_map<ValueId, ValueId> wide_;       // half value -> the same in f32, where something computes it
  std::unordered_map<ValueId, ValueId> constants_;  // likewise for constants
  std::unordered_map<ValueId, ValueId> waiting_;    // those that nothing produces as halves now
  bool changed_ = false;
};

}  // namespace

bool widen_halves(Graph& graph, PassLog& log) {
  bool changed = false;
  for_each_graph(graph, [&](Graph& each) { changed = Widening(each).run(log) || changed; });
  return changed;
}

}  // namespace sx
