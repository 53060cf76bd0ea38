// Moves selections in front of what computes slice by slice.
#include "ops/early_selection.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "ops/infer.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr int kWhole = -1;  // of an input: all of it is read

// A Slice or Gather that takes the same few slices along one axis whatever the data.
struct Selection {
  NodeId node;
  ValueId from;
  int axis;
  int64_t count;
  bool drops_axis;
};

const SymShape* shape_of(const Graph& graph, ValueId value) {
  const auto& shape = graph.type(value).shape;
  return value != kNone && shape ? &*shape : nullptr;
}

std::optional<std::vector<int64_t>> integers(const Graph& graph, ValueId value) {
  if (value == kNone || !graph.value(value).facts.constant.defined()) return std::nullopt;
  return graph.value(value).facts.constant.integers();
}

std::optional<Selection> selection_of(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const std::string& name = node.op->full_name();
  if (name != "Slice" && name != "Gather") return std::nullopt;
  const ValueId x = node.inputs[0];
  const SymShape* shape = shape_of(graph, x);
  const SymShape* result = shape_of(graph, node.outputs[0]);
  if (shape == nullptr || result == nullptr || shape->empty()) return std::nullopt;
  const auto rank = static_cast<int64_t>(shape->size());
  Selection found{id, x, 0, 0, false};
  int64_t axis = 0;
  if (name == "Gather") {
    const auto indices = integers(graph, node.inputs[1]);
    const int index_rank = graph.type(node.inputs[1]).rank();
    if (!indices || index_rank > 1) return std::nullopt;
    axis = NodeView(node).attr_int("axis");
    found.count = static_cast<int64_t>(indices->size());
    found.drops_axis = index_rank == 0;
  } else {
    const auto axes = node.inputs.size() > 3 ? integers(graph, node.inputs[3]) : std::nullopt;
    const bool known = integers(graph, node.inputs[1]) && integers(graph, node.inputs[2]) &&
                       (node.inputs.size() < 5 || node.inputs[4] == kNone || integers(graph, node.inputs[4]));
    if (!known || !axes || axes->size() != 1 || graph.type(node.inputs[1]).dtype != DType::kInt64) return std::nullopt;
    axis = (*axes)[0];
  }
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return std::nullopt;
  found.axis = static_cast<int>(axis);
  const Dim extent = (*shape)[static_cast<size_t>(axis)];
  if (name == "Slice") {
    const Dim taken = (*result)[static_cast<size_t>(axis)];
    if (!taken.known()) return std::nullopt;
    found.count = taken.value();
  }
  if (found.count < 1 || (extent.known() && extent.value() < 2 * found.count)) return std::nullopt;
  return found;
}

bool is_product(const std::string& op) { return op == "MatMul" || op == "Gemm" || op == "Attention"; }

bool is_elementwise(const std::string& op) {
  static const std::set<std::string> kNames = {
      "Abs",      "Add",         "Cast",      "Celu",     "Clip",       "Div",  "Elu",  "Erf",     "Exp",
      "Gelu",     "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",  "Log",  "Max",  "Min",     "Mish",
      "Mul",      "Neg",         "Not",       "Pow",      "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus",
      "Softsign", "Sqrt",        "Sub",       "Sum",      "Swish",      "Tanh", "Where"};
  return kNames.count(op) != 0;
}

// By input, along which axis it is read where only some slices of the node's first output along `axis` are; none where
// a slice takes more than that. kWhole: the input is read whole.
std::optional<std::vector<int>> read_axes(const Graph& graph, const Node& node, int axis) {
  const std::string op = node.op->full_name();
  const SymShape* result = shape_of(graph, node.outputs[0]);
  if (result == nullptr) return std::nullopt;
  const int rank = static_cast<int>(result->size());
  const Dim extent = (*result)[static_cast<size_t>(axis)];
  std::vector<int> axes(node.inputs.size(), kWhole);
  // Input i, which is broadcast to the result: false where it cannot be told how.
  const auto broadcast = [&](size_t i) {
    if (node.inputs[i] == kNone) return true;
    const SymShape* shape = shape_of(graph, node.inputs[i]);
    if (shape == nullptr) return false;
    const int at = axis - (rank - static_cast<int>(shape->size()));
    if (at < 0) return true;
    const Dim own = (*shape)[static_cast<size_t>(at)];
    if (own == Dim(1)) return true;
    if (!(own == extent) && node.inputs.size() > 1) return false;
    axes[i] = at;
    return true;
  };
  const auto rank_of = [&](size_t i) { return graph.type(node.inputs[i]).rank(); };
  const NodeView view(node);
  if (is_elementwise(op)) {
    for (size_t i = 0; i < axes.size(); ++i)
      if (!broadcast(i)) return std::nullopt;
    return axes;
  }
  if (op == "MatMul") {
    if (rank_of(0) < 2 || rank_of(1) < 2 || axis != rank - 2) return std::nullopt;
    axes[0] = rank_of(0) - 2;
    return axes;
  }
  if (op == "Gemm") {
    if (axis != 0 || (node.inputs.size() > 2 && !broadcast(2))) return std::nullopt;
    axes[0] = view.attr_int("transA") != 0 ? 1 : 0;
    return axes;
  }
  if (op == "Attention") {
    // A query by itself; which keys it sees must not depend on its place.
    if (axis != rank - 2 || view.attr_int("is_causal") != 0 || view.attr_int("left_window_size") != -1 ||
        view.attr_int("right_window_size") != -1 || node.inputs.size() > 4)
      return std::nullopt;
    axes[0] = axis;
    if (node.inputs.size() < 4 || node.inputs[3] == kNone) return axes;
    const SymShape* mask = shape_of(graph, node.inputs[3]);
    if (mask == nullptr || mask->size() < 2) return std::nullopt;
    const Dim rows = (*mask)[mask->size() - 2];
    if (rows == Dim(1)) return axes;
    if (!(rows == extent)) return std::nullopt;
    axes[3] = static_cast<int>(mask->size()) - 2;
    return axes;
  }
  if (op == "Dropout") {
    axes[0] = axis;
    return axes;
  }
  if (op == "LayerNormalization" || op == "RMSNormalization") {
    const int norm = view.axis(view.attr_int("axis"), rank);
    if (axis >= norm) return std::nullopt;
    for (size_t i = 1; i < axes.size(); ++i)
      if (node.inputs[i] != kNone && (rank_of(i) < 0 || rank_of(i) > rank - norm)) return std::nullopt;
    axes[0] = axis;
    return axes;
  }
  if (op == "Softmax" || op == "LogSoftmax") {
    if (view.axis(view.attr_int("axis"), rank) == axis) return std::nullopt;
    axes[0] = axis;
    return axes;
  }
  if (op == "ReduceMean" || op == "ReduceSum") {
    const auto reduced = node.inputs.size() > 1 ? integers(graph, node.inputs[1]) : std::nullopt;
    if (!reduced || reduced->empty() || view.attr_int("keepdims") == 0) return std::nullopt;
    for (int64_t each : *reduced)
      if (view.axis(each, rank) == axis) return std::nullopt;
    axes[0] = axis;
    return axes;
  }
  if (op == "Transpose") {
    if (!view.has_attr("perm")) return std::nullopt;
    axes[0] = static_cast<int>(view.attr<std::vector<int64_t>>("perm")[static_cast<size_t>(axis)]);
    return axes;
  }
  if (op == "Reshape") {
    // The axes up to this one stay as they are.
    const SymShape* shape = shape_of(graph, node.inputs[0]);
    const auto target = integers(graph, node.inputs[1]);
    if (shape == nullptr || !target || static_cast<int>(shape->size()) <= axis) return std::nullopt;
    for (size_t i = 0; i <= static_cast<size_t>(axis); ++i)
      if (!((*shape)[i] == (*result)[i])) return std::nullopt;
    axes[0] = axis;
    return axes;
  }
  return std::nullopt;
}

class Mover {
 public:
  Mover(Graph& graph, const Selection& selection, const std::unordered_set<ValueId>& fixed)
      : graph_(graph), selection_(selection), fixed_(fixed) {}

  // The node that gives the selection's result where a product works on less now, else kNone.
  NodeId move() {
    find();
    const bool pays = std::any_of(taken_.begin(), taken_.end(), [&](const auto& entry) {
      return is_product(graph_.node(entry.first).op->full_name());
    });
    if (!pays) return kNone;
    for (auto at = backwards_.rbegin(); at != backwards_.rend(); ++at) copy(*at);
    return finish();
  }

 private:
  // Walks back from the selection over the nodes of which only the slices are read, as long as one is ahead.
  void find() {
    size_t ahead = 0;
    const auto want = [&](ValueId value, int axis) {
      if (wanted_.emplace(value, axis).second && graph_.value(value).producer != kNone) ++ahead;
    };
    want(selection_.from, selection_.axis);
    const std::vector<NodeId>& order = graph_.order();
    const auto start = std::find(order.rbegin(), order.rend(), selection_.node);
    for (auto at = start + 1; at != order.rend() && ahead > 0; ++at) {
      const Node& node = graph_.node(*at);
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        const auto wanted = wanted_.find(node.outputs[i]);
        if (node.outputs[i] == kNone || wanted == wanted_.end()) continue;
        --ahead;
        const auto axes =
            i == 0 && only_slices_read(node, wanted->second) ? read_axes(graph_, node, wanted->second) : std::nullopt;
        if (!axes) continue;
        taken_[*at] = *axes;
        backwards_.push_back(*at);
        for (size_t k = 0; k < axes->size(); ++k)
          if ((*axes)[k] != kWhole) want(node.inputs[k], (*axes)[k]);
      }
    }
  }

  bool only_slices_read(const Node& node, int axis) const {
    for (size_t i = 1; i < node.outputs.size(); ++i)
      if (node.outputs[i] != kNone && graph_.use_count(node.outputs[i]) > 0) return false;
    const ValueId output = node.outputs[0];
    if (graph_.is_output(output) || fixed_.count(output) != 0) return false;
    for (const Graph::Use& use : graph_.uses(output)) {
      if (use.node == selection_.node) continue;
      const auto reader = taken_.find(use.node);
      if (reader == taken_.end() || reader->second[static_cast<size_t>(use.index)] != axis) return false;
    }
    return true;
  }

  ValueId emit(const Node& like, const std::string& op, std::vector<ValueId> inputs, Attributes attributes) {
    Node node;
    node.op = &get_op(op, like.op->name() == op ? like.op->domain() : "");
    node.name = like.name;
    node.origin = like.origin;
    node.inputs = std::move(inputs);
    node.attributes = std::move(attributes);
    node.outputs = {graph_.add_value(graph_.fresh_name((like.name.empty() ? op : like.name) + ".selected"))};
    const ValueId output = node.outputs[0];
    infer_node(graph_, graph_.add_node(std::move(node), selection_.node));
    return output;
  }

  ValueId constant(const std::vector<int64_t>& values) {
    return graph_.add_constant(graph_.fresh_name("selected"), Tensor::vector(values));
  }

  // The slices of a value along an axis.
  ValueId selected(ValueId value, int axis) {
    const auto known = small_.find({value, axis});
    if (known != small_.end()) return known->second;
    const Node& node = graph_.node(selection_.node);
    std::vector<ValueId> inputs = node.inputs;
    inputs[0] = value;
    Attributes attributes;
    if (node.op->name() == "Gather") {
      attributes["axis"] = static_cast<int64_t>(axis);
      if (selection_.drops_axis) inputs[1] = constant(*integers(graph_, inputs[1]));
    } else {
      inputs[3] = constant({axis});
    }
    const ValueId slices = emit(node, node.op->name(), std::move(inputs), std::move(attributes));
    small_[{value, axis}] = slices;
    return slices;
  }

  void copy(NodeId id) {
    const Node& node = graph_.node(id);
    const std::vector<int> axes = taken_.at(id);
    const int axis = wanted_.at(node.outputs[0]);
    std::vector<ValueId> inputs = node.inputs;
    for (size_t i = 0; i < inputs.size(); ++i)
      if (axes[i] != kWhole) inputs[i] = selected(inputs[i], axes[i]);
    if (node.op->name() == "Reshape") {
      std::vector<int64_t> shape = *integers(graph_, inputs[1]);
      if (shape[static_cast<size_t>(axis)] != 0) shape[static_cast<size_t>(axis)] = selection_.count;
      inputs[1] = constant(shape);
    }
    small_[{node.outputs[0], axis}] = emit(node, node.op->name(), std::move(inputs), node.attributes);
  }

  // Gives the selection's output from what was computed.
  NodeId finish() {
    const NodeId at = selection_.node;
    const ValueId slices = small_.at({selection_.from, selection_.axis});
    Node node;
    node.op = &get_op(selection_.drops_axis ? "Squeeze" : "Identity");
    node.name = graph_.node(at).name;
    node.origin = graph_.node(at).origin;
    node.inputs = {slices};
    if (selection_.drops_axis) node.inputs.push_back(constant({selection_.axis}));
    node.outputs = {graph_.node(at).outputs[0]};
    const std::vector<NodeId>& order = graph_.order();
    const auto next = std::find(order.begin(), order.end(), at) + 1;
    const NodeId before = next == order.end() ? kNone : *next;
    graph_.erase_node(at);
    const NodeId id = graph_.add_node(std::move(node), before);
    infer_node(graph_, id);
    return id;
  }

  Graph& graph_;
  const Selection selection_;
  const std::unordered_set<ValueId>& fixed_;
  std::map<ValueId, int> wanted_;             // along which axis slices of a value are read
  std::map<NodeId, std::vector<int>> taken_;  // the nodes that work on slices, with read_axes()
  std::vector<NodeId> backwards_;             // the same from the last to the first
  std::map<std::pair<ValueId, int>, ValueId> small_;
};

}  // namespace

std::vector<NodeId> select_early(Graph& graph, const std::unordered_set<ValueId>& fixed) {
  std::vector<NodeId> moved;
  const std::vector<NodeId> order = graph.order();
  for (NodeId id : order) {
    const auto selection = selection_of(graph, id);
    if (!selection) continue;
    const NodeId result = Mover(graph, *selection, fixed).move();
    if (result != kNone) moved.push_back(result);
  }
  return moved;
}

}  // namespace sx
