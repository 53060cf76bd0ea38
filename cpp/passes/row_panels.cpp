// Values that bf16 products read are handed to them in the panels that they multiply by (ops/row_panels.cpp): rounded
// and laid out once, where they are computed, and half as large.
#include <algorithm>

#include "ops/infer.h"
#include "ops/op_def.h"
#include "ops/registry.h"
#include "passes/match.h"
#include "passes/pass.h"

namespace sx {
namespace {

class Handing {
 public:
  explicit Handing(Graph& graph) : graph_(graph) {}

  bool run(PassLog& log) {
    std::vector<ValueId> values;
    for (NodeId id : graph_.order()) {
      const std::vector<ValueId>& inputs = graph_.node(id).inputs;
      if (multiplies_panels(id) && std::find(values.begin(), values.end(), inputs[0]) == values.end())
        values.push_back(inputs[0]);
    }
    for (ValueId value : values) hand(value, log);
    return changed_;
  }

 private:
  static constexpr const char* kName = "hand_panels";

  const Type& type(ValueId value) const { return graph_.type(value); }
  bool has(NodeId id, size_t i) const {
    return i < graph_.node(id).inputs.size() && graph_.node(id).inputs[i] != kNone;
  }
  bool wants_only_first(NodeId id) const {
    const std::vector<ValueId>& outputs = graph_.node(id).outputs;
    return std::all_of(outputs.begin() + 1, outputs.end(), [](ValueId value) { return value == kNone; });
  }

  // Rows of f32 with an even number of columns.
  bool fits(ValueId value) const {
    const Type& t = type(value);
    return t.is_tensor() && t.dtype == DType::kFloat32 && t.rank() >= 2 && t.shape->back().known() &&
           t.shape->back().value() % 2 == 0;
  }

  // A product of rows by a constant matrix.
  bool multiplies_rows(NodeId id) const {
    if (!is(graph_, id, "sardonyx::MatMul") && !is(graph_, id, "sardonyx::PanelMatMul")) return false;
    const std::vector<ValueId>& inputs = graph_.node(id).inputs;
    const Tensor* b = constant(graph_, inputs[1]);
    const auto is_f32 = [&](ValueId v) { return v == kNone || type(v).dtype == DType::kFloat32; };
    return b != nullptr && b->rank() == 2 && b->size() > 0 && std::all_of(inputs.begin() + 1, inputs.end(), is_f32) &&
           attribute<int64_t>(graph_, id, "transA") == 0;
  }
  bool multiplies_panels(NodeId id) const { return multiplies_rows(id) && fits(graph_.node(id).inputs[0]); }

  // What is known to be a vector of one value for each column of `x`.
  bool is_row(ValueId value, ValueId x) const {
    const Type& t = type(value);
    return t.dtype == DType::kFloat32 && t.rank() == 1 && (*t.shape)[0] == type(x).shape->back();
  }

  void hand(ValueId value, PassLog& log) {
    std::vector<NodeId> readers;
    bool all = !graph_.is_output(value);
    for (const Graph::Use& use : graph_.uses(value)) {
      if (use.index == 0 && multiplies_panels(use.node)) readers.push_back(use.node);
      else all = false;
    }
    const NodeId from = graph_.value(value).producer;
    ValueId panels = kNone;
    if (from != kNone && graph_.value(value).output_index == 0) {
      if (all && multiplies_rows(from)) panels = result_of(from, "PanelMatMul", {{"y_panels", int64_t{1}}});
      else if (all && gives_rows_of_heads(from)) panels = result_of(from, "Attention", {{"y_panels", int64_t{1}}});
      else if (normalizes_rows(from)) panels = normalized(from, all);
    }
    // Two products share the work, one does it as well itself.
    if (panels == kNone && readers.size() > 1)
      panels = emit_before(graph_, first(readers), "RowPanels", {value}, {}, "sardonyx");
    if (panels == kNone) return;
    log.add(kName, graph_.node(graph_.value(panels).producer), Outcome::fired());
    for (NodeId reader : readers) read_panels(reader, panels);
    changed_ = true;
  }

  NodeId first(const std::vector<NodeId>& nodes) const {
    for (NodeId id : graph_.order())
      if (std::find(nodes.begin(), nodes.end(), id) != nodes.end()) return id;
    return kNone;
  }

  // The node again as `op`, with these attributes as well; what it gives.
  ValueId result_of(NodeId id, const char* op, const Attributes& more) {
    Attributes attributes = graph_.node(id).attributes;
    for (const auto& [name, attribute] : more) attributes[name] = attribute;
    const std::vector<ValueId> inputs = graph_.node(id).inputs;
    return emit_before(graph_, id, op, inputs, std::move(attributes), "sardonyx");
  }

  bool gives_rows_of_heads(NodeId id) const {
    return (is(graph_, id, "Attention") || is(graph_, id, "sardonyx::Attention")) && wants_only_first(id) &&
           fits(graph_.node(id).outputs[0]) && graph_.type(graph_.node(id).inputs[0]).rank() == 3 &&
           attribute<int64_t>(graph_, id, "q_num_heads") > 0 &&
           type(graph_.node(id).outputs[0]).shape->back().value() / attribute<int64_t>(graph_, id, "q_num_heads") % 2 ==
               0 &&
           has_f32_operands(id);
  }
  bool has_f32_operands(NodeId id) const {
    for (size_t i : {0, 1, 2, 4, 5})
      if (has(id, i) && type(graph_.node(id).inputs[i]).dtype != DType::kFloat32) return false;
    return true;
  }

  bool normalizes_rows(NodeId id) const {
    if (!is(graph_, id, "LayerNormalization") && !is(graph_, id, "RMSNormalization")) return false;
    const Node& node = graph_.node(id);
    if (!wants_only_first(id) || !fits(node.inputs[0]) || !fits(node.outputs[0])) return false;
    const auto axis = attribute<int64_t>(graph_, id, "axis");
    if (axis != -1 && axis != type(node.inputs[0]).rank() - 1) return false;
    return is_row(node.inputs[1], node.inputs[0]) && (!has(id, 2) || is_row(node.inputs[2], node.inputs[0]));
  }

  // The panels of a normalization, which gives the plain value as well unless `only`.
  ValueId normalized(NodeId id, bool only) {
    const ValueId plain = graph_.node(id).outputs[0];
    Node node;
    node.op = &get_op("PanelNormalization", "sardonyx");
    node.name = graph_.node(id).name;
    node.origin = graph_.node(id).origin;
    node.attributes = {{"epsilon", attribute<float>(graph_, id, "epsilon")},
                       {"rms", int64_t{is(graph_, id, "RMSNormalization")}}};
    node.inputs = graph_.node(id).inputs;
    const ValueId panels = graph_.add_value(graph_.fresh_name(graph_.value(plain).name + ".panels"));
    node.outputs = {kNone, panels};
    const NodeId made = graph_.add_node(std::move(node), id);
    if (!only) {
      graph_.erase_node(id);
      graph_.add_output(made, 0, plain);
    }
    infer_node(graph_, made);
    return panels;
  }

  void read_panels(NodeId reader, ValueId panels) {
    std::vector<ValueId> inputs = graph_.node(reader).inputs;
    inputs[0] = panels;
    Attributes attributes = graph_.node(reader).attributes;
    attributes["a_panels"] = int64_t{1};
    replace(graph_, reader, "PanelMatMul", std::move(inputs), std::move(attributes), "sardonyx");
  }

  Graph& graph_;
  bool changed_ = false;
};

}  // namespace

bool hand_panels(Graph& graph, PassLog& log) {
  bool changed = false;
  for_each_graph(graph, [&](Graph& each) { changed = Handing(each).run(log) || changed; });
  return changed;
}

}  // namespace sx
