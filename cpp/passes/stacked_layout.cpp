// Gives convolutions whose weights change, their gradients and what lies between them stacked data: blocks of channels
// with the images of the batch side by side (kernels/conv/stacked.h).
#include <algorithm>

#include "ops/registry.h"
#include "ops/sliding_window.h"
#include "passes/match.h"
#include "passes/pass.h"
#include "passes/relaid_values.h"

namespace sx {
namespace {

// Convolutions of fewer channels read plain data, and those of fewer filters stay as they are: blocks would be mostly
// empty.
constexpr int64_t kFewChannels = 8, kFewFilters = 8;

class Stacking {
 public:
  Stacking(Graph& graph, bool winograd)
      : graph_(graph),
        winograd_(winograd),
        values_(
            graph,
            [this](ValueId value, NodeId at) { return emit_before(graph_, at, "Stack", {value}, {}, "sardonyx"); },
            [this](ValueId value) {
              Node node;
              node.op = &get_op("Unstack", "sardonyx");
              node.attributes = {{"channels", channels(value)}};
              return node;
            }) {}

  bool run(PassLog& log) {
    const std::vector<NodeId> order = graph_.order();
    if (std::none_of(order.begin(), order.end(), [&](NodeId id) { return fitting_conv(id); })) return false;
    for (NodeId id : order) relu_gradient(id);
    for (NodeId id : std::vector<NodeId>(graph_.order())) {
      const Outcome outcome = convert(id);
      if (outcome.kind == Outcome::Kind::kFired) continue;
      if (outcome.kind == Outcome::Kind::kMissed) log.add(kName, graph_.node(id), outcome);
      for (ValueId read : graph_.reads(id)) values_.need_plain(read, id);
    }
    values_.finish();
    return true;
  }

 private:
  static constexpr const char* kName = "stack_images";

  const Type& type(ValueId value) const { return graph_.type(value); }
  static bool has(const Node& node, size_t i) { return i < node.inputs.size() && node.inputs[i] != kNone; }

  // The number of channels of plain data that could be stacked, or 0.
  int64_t channels(ValueId value) const {
    const Type& t = type(value);
    if (!t.is_tensor() || t.dtype != DType::kFloat32 || t.rank() != 4 || !(*t.shape)[1].known()) return 0;
    return (*t.shape)[1].value();
  }
  bool is_stacked(ValueId value) const { return values_.has(value); }
  ValueId stacked(ValueId value, NodeId at) { return values_.get(value, at); }

  // Replaces node `id` by `op`, which gives its first output stacked and the others as they are.
  Outcome replace_by(NodeId id, const std::string& op, std::vector<ValueId> inputs, Attributes attributes,
                     const std::string& domain = "sardonyx") {
    values_.replace(id, op, std::move(inputs), std::move(attributes), domain);
    return Outcome::fired();
  }

  // The node of `op` that computes `value` for node `reader` alone, without the input `absent` and relu; else
  // kNone.
  NodeId open_node(ValueId value, NodeId reader, const char* op, size_t absent) const {
    const NodeId id = values_.open_node(value, reader, op);
    return id == kNone || has(graph_.node(id), absent) || graph_.node(id).attributes.count("relu") != 0 ? kNone : id;
  }
  Outcome extend(NodeId open, ValueId value, NodeId reader, std::vector<ValueId> inputs, Attributes attributes) {
    values_.extend(open, value, reader, std::move(inputs), std::move(attributes));
    return Outcome::fired();
  }

  // Where(Greater(y, 0), dy, 0), the gradient of Relu, becomes one operator.
  void relu_gradient(NodeId id) {
    if (!is(graph_, id, "Where") || channels(graph_.node(id).outputs[0]) == 0) return;
    const std::vector<ValueId> inputs = graph_.node(id).inputs;
    const NodeId greater = producer(graph_, inputs[0], {"Greater"});
    if (greater == kNone || !is_scalar(graph_, inputs[2], 0.0)) return;
    const ValueId y = graph_.node(greater).inputs[0];
    if (!is_scalar(graph_, graph_.node(greater).inputs[1], 0.0) || channels(y) == 0 ||
        type(y).shape != type(inputs[1]).shape)
      return;
    replace(graph_, id, "ReluGradient", {inputs[1], y}, {}, "sardonyx");
  }

  // Whether the node is a convolution, or a gradient of one, that this pass is for.
  bool fitting_conv(NodeId id) const { return conv_weights(id) != kNone && why_not(id).empty(); }
  ValueId conv_weights(NodeId id) const {
    const Node& node = graph_.node(id);
    const std::string op = node.op->full_name();
    if (op == "Conv" || op == "sardonyx::Conv" || op == "sardonyx::ConvInputGradient") return node.inputs[1];
    return op == "sardonyx::ConvWeightGradient" ? node.inputs[2] : kNone;
  }
  std::string why_not(NodeId id) const {
    const Node& node = graph_.node(id);
    const ValueId weights = conv_weights(id);
    const Type& w = type(weights);
    if (w.dtype != DType::kFloat32 || w.rank() != 4) return "it is not 2-D in f32";
    for (const Dim& extent : *w.shape)
      if (!extent.known() || extent.value() < 1) return "the shape of its weights is not known";
    const bool forward = node.op->name() == "Conv";
    if (forward && constant(graph_, weights) != nullptr) return "its weights are constant";
    if (attribute<int64_t>(graph_, id, "group") != 1) return "it has groups";
    if ((*w.shape)[0].value() < kFewFilters) return "it has few filters";
    const size_t data = forward || node.op->name() == "ConvWeightGradient" ? 0 : 2;
    if (channels(node.inputs[data]) != (*w.shape)[1].value()) return "its weights do not fit its data";
    return "";
  }

  Outcome convert(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.outputs.empty() || !node.bodies.empty()) return Outcome::no_match();
    const std::string op = node.op->full_name();
    if (conv_weights(id) != kNone) return convolution(id);
    if (op == "BatchNormalization") return batch_normalization(id);
    if (op == "sardonyx::BatchNormalizationGradient") return batch_normalization_gradient(id);
    if (node.inputs.empty() || node.outputs.size() > 1 || !has(node, 0)) return Outcome::no_match();
    if (op == "ReduceSum") return channel_sums(id);
    if (op == "Add" || op == "Sub" || op == "Mul" || op == "sardonyx::ReluGradient") return binary(id);
    if (op == "sardonyx::MaxPoolGradient") return max_pool_gradient(id);
    if (!is_stacked(node.inputs[0]) || channels(node.outputs[0]) == 0) return Outcome::no_match();
    if (op == "MaxPool") return max_pool(id);
    if (op == "GlobalAveragePool") return global_mean(id);
    for (const char* unary : {"Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "LeakyRelu", "Elu", "Gelu",
                              "Tanh", "Clip", "Mish", "Softplus", "Neg"})
      if (op == unary) return elementwise(id);
    return Outcome::no_match();
  }

  Outcome convolution(NodeId id) {
    const std::string reason = why_not(id);
    if (!reason.empty()) return Outcome::missed(reason);
    const Node& node = graph_.node(id);
    const std::vector<ValueId> old = node.inputs;
    Attributes attributes = node.attributes;
    const std::string op = node.op->name();
    if (!winograd_ && op != "ConvWeightGradient") attributes["allow_winograd"] = int64_t{0};
    if (op == "ConvInputGradient")
      return replace_by(id, "StackedConvInputGradient", {stacked(old[0], id), old[1], values_.either(old[2])},
                        attributes);
    const WindowSpec window{NodeView(node)};
    const SymShape& w = *type(conv_weights(id)).shape;
    if (channels(old[0]) < kFewChannels && !is_stacked(old[0]) && window.is_compact(0, w[2].value()) &&
        window.is_compact(1, w[3].value()))
      attributes["plain_input"] = int64_t{1};
    const ValueId x = attributes.count("plain_input") != 0 ? old[0] : stacked(old[0], id);
    if (op == "ConvWeightGradient") {
      replace(graph_, id, "StackedConvWeightGradient", {x, stacked(old[1], id), old[2]}, attributes, "sardonyx");
      return Outcome::fired();
    }
    std::vector<ValueId> inputs = {x, old[1]};
    if (old.size() > 2) inputs.push_back(old[2]);
    if (old.size() > 3) inputs.push_back(old[3] == kNone ? kNone : stacked(old[3], id));
    return replace_by(id, "StackedConv", inputs, attributes);
  }

  bool are_vectors(const std::vector<ValueId>& inputs, size_t first) const {
    return std::all_of(inputs.begin() + static_cast<std::ptrdiff_t>(first), inputs.end(),
                       [&](ValueId v) { return type(v).dtype == DType::kFloat32 && type(v).rank() == 1; });
  }

  Outcome batch_normalization(NodeId id) {
    const Node& node = graph_.node(id);
    if (!is_stacked(node.inputs[0]) || attribute<int64_t>(graph_, id, "training_mode") == 0) return Outcome::no_match();
    if (!are_vectors(node.inputs, 1)) return Outcome::missed("its parameters are not f32");
    Attributes attributes = node.attributes;
    attributes.erase("training_mode");
    std::vector<ValueId> inputs = node.inputs;
    inputs[0] = stacked(inputs[0], id);
    return replace_by(id, "StackedBatchNorm", inputs, attributes);
  }

  Outcome batch_normalization_gradient(NodeId id) {
    std::vector<ValueId> inputs = graph_.node(id).inputs;
    if (!is_stacked(inputs[1]) || !are_vectors(inputs, 2)) return Outcome::no_match();
    const ValueId dy = inputs[0];
    for (size_t i = 0; i < 2; ++i) inputs[i] = stacked(inputs[i], id);
    // The gradient of Relu on the way is computed as the data are read.
    const NodeId relu = open_node(dy, id, "sardonyx::ReluGradient", 2);
    const Attributes attributes = graph_.node(id).attributes;
    if (relu == kNone) return replace_by(id, "StackedBatchNormGradient", inputs, attributes);
    inputs.push_back(graph_.node(relu).inputs[1]);
    inputs[0] = graph_.node(relu).inputs[0];
    const Outcome outcome = replace_by(id, "StackedBatchNormGradient", inputs, attributes);
    values_.erase(relu, dy);
    return outcome;
  }

  // The sum over everything but channels.
  Outcome channel_sums(NodeId id) {
    const Node& node = graph_.node(id);
    const ValueId x = node.inputs[0];
    const Tensor* axes = has(node, 1) ? constant(graph_, node.inputs[1]) : nullptr;
    if (!is_stacked(x) || axes == nullptr || attribute<int64_t>(graph_, id, "keepdims") != 0 || axes->size() != 3)
      return Outcome::no_match();
    bool reduced[4] = {};
    for (int64_t axis : axes->integers())
      if (axis >= -4 && axis < 4) reduced[(axis + 4) % 4] = true;
    if (reduced[1] || !reduced[0] || !reduced[2] || !reduced[3]) return Outcome::no_match();
    replace(graph_, id, "ChannelSums", {stacked(x, id)}, {{"channels", channels(x)}}, "sardonyx");
    return Outcome::fired();
  }

  Outcome binary(NodeId id) {
    const Node& node = graph_.node(id);
    std::vector<ValueId> inputs = node.inputs;
    if (channels(inputs[0]) == 0 || type(inputs[0]).shape != type(inputs[1]).shape ||
        (!is_stacked(inputs[0]) && !is_stacked(inputs[1])))
      return Outcome::no_match();
    if (is(graph_, id, "Add")) {
      // One of them adds the other one itself.
      for (size_t own = 0; own < 2; ++own)
        for (const auto& [op, residual] : {std::pair<const char*, size_t>{"sardonyx::StackedBatchNorm", 5},
                                           {"sardonyx::StackedConvInputGradient", 3}}) {
          const NodeId open = open_node(inputs[own], id, op, residual);
          if (open == kNone) continue;
          std::vector<ValueId> extended = graph_.node(open).inputs;
          extended.resize(residual, kNone);
          extended.push_back(stacked(inputs[1 - own], id));
          return extend(open, inputs[own], id, extended, graph_.node(open).attributes);
        }
    }
    for (ValueId& input : inputs) input = stacked(input, id);
    return replace_by(id, node.op->name(), inputs, node.attributes, node.op->domain());
  }

  Outcome max_pool(NodeId id) {
    Attributes attributes = graph_.node(id).attributes;
    attributes.erase("storage_order");
    return replace_by(id, "StackedMaxPool", {stacked(graph_.node(id).inputs[0], id)}, attributes);
  }

  Outcome max_pool_gradient(NodeId id) {
    std::vector<ValueId> inputs = graph_.node(id).inputs;
    if (!is_stacked(inputs[1]) || channels(inputs[1]) == 0) return Outcome::no_match();
    for (ValueId& input : inputs) input = stacked(input, id);
    return replace_by(id, "StackedMaxPoolGradient", inputs, graph_.node(id).attributes);
  }

  Outcome global_mean(NodeId id) {
    const ValueId axes = add_constant(graph_, "axes", Tensor::vector({1, 2}));
    return replace_by(id, "ReduceMean", {stacked(graph_.node(id).inputs[0], id), axes}, {{"keepdims", int64_t{1}}}, "");
  }

  // One tensor, perhaps with constants of one element (the bounds of Clip).
  Outcome elementwise(NodeId id) {
    const Node& node = graph_.node(id);
    std::vector<ValueId> inputs = node.inputs;
    for (size_t i = 1; i < inputs.size(); ++i)
      if (inputs[i] != kNone && (constant(graph_, inputs[i]) == nullptr || constant(graph_, inputs[i])->size() != 1))
        return Outcome::no_match();
    const NodeId norm = is(graph_, id, "Relu") ? open_node(inputs[0], id, "sardonyx::StackedBatchNorm", 6) : kNone;
    if (norm != kNone) {
      Attributes attributes = graph_.node(norm).attributes;
      attributes["relu"] = int64_t{1};
      return extend(norm, inputs[0], id, graph_.node(norm).inputs, attributes);
    }
    inputs[0] = stacked(inputs[0], id);
    return replace_by(id, node.op->name(), inputs, node.attributes, node.op->domain());
  }

  Graph& graph_;
  const bool winograd_;
  RelaidValues values_;
};

}  // namespace

bool stack_images(Graph& graph, PassLog& log, bool winograd) {
  bool changed = false;
  for_each_graph(graph, [&](Graph& each) { changed = Stacking(each, winograd).run(log) || changed; });
  return changed;
}

}  // namespace sx
