// Walks over the nodes: wider types first, then the operators' own steps, newest first, then a look at the schema.
#include "onnx/lowering.h"

#include <algorithm>
#include <set>

#include "ops/downgrade.h"
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/registry.h"
#include "ops/schema_history.h"

namespace sx {
namespace {

// Operators that say something else about wider elements, or name a type themselves.
const std::set<std::string> kOwnTypes = {"BitCast",
                                         "BitShift",
                                         "BitwiseNot",
                                         "Cast",
                                         "CastLike",
                                         "ConstantOfShape",
                                         "ConvInteger",
                                         "CumProd",
                                         "CumSum",
                                         "Gemm",
                                         "MatMul",
                                         "MatMulInteger",
                                         "Pow",
                                         "PRelu",
                                         "DequantizeLinear",
                                         "DynamicQuantizeLinear",
                                         "QLinearConv",
                                         "QLinearMatMul",
                                         "QuantizeLinear",
                                         "ReduceMean",
                                         "ReduceProd",
                                         "ReduceSum",
                                         "ReduceSumSquare",
                                         "SequenceMap",
                                         "Trilu"};
// Operators that compare integers or move them around: exact in floating point too, as long as it holds them.
const std::set<std::string> kExactInFloat = {
    "Clip",     "Compress", "Concat",         "Equal",   "Expand", "Flatten",   "Gather",    "Greater",   "Identity",
    "Less",     "Max",      "MaxPool",        "Min",     "Pad",    "ReduceMax", "ReduceMin", "Relu",      "Reshape",
    "Sign",     "Slice",    "Split",          "Squeeze", "Tile",   "TopK",      "Transpose", "Unsqueeze", "Where",
    "Upsample", "Resize",   "ScatterElements"};

// Newer operators that only move or compare elements: their parts do no arithmetic that could round.
const std::set<std::string> kMoving = {
    "BitCast",  "CastLike",        "CenterCropPad", "Compress", "Dropout", "Expand",   "EyeLike",
    "GatherND", "IsInf",           "IsNaN",         "NonZero",  "OneHot",  "Optional", "Range",
    "Scatter",  "ScatterElements", "ScatterND",     "Sign",     "Trilu",   "Unique",   "Where"};

// Types that hold all values of `dtype`, the nearest first.
std::vector<DType> wider(DType dtype, bool integers, bool floats) {
  std::vector<DType> types;
  switch (dtype) {
    case DType::kBFloat16:
    case DType::kFloat16: return {DType::kFloat32};
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ: return {DType::kFloat16, DType::kFloat32};
    case DType::kInt8:
    case DType::kUInt8:
    case DType::kInt16:
    case DType::kUInt16:
      if (integers) types = {DType::kInt32, DType::kInt64};
      if (floats) types.insert(types.end(), {DType::kFloat32, DType::kFloat64});
      return types;
    case DType::kInt32:
    case DType::kUInt32:
      if (integers) types = {DType::kInt64};
      if (floats) types.push_back(DType::kFloat64);
      return types;
    case DType::kBool:
      // Of the numbers 0 and 1 only.
      if (integers && floats) types = {DType::kInt32, DType::kFloat32};
      return types;
    default: return {};
  }
}

bool takes(const SchemaPort* port, DType dtype) { return port != nullptr && port->tensor.has(dtype); }

class Lowering {
 public:
  Lowering(Graph& graph, const std::map<std::string, int64_t>& opsets, std::vector<Blocker>& blockers)
      : graph_(graph), opsets_(opsets), blockers_(blockers) {}

  void run() {
    std::set<ValueId> used;
    for (ValueId id = 0; id < static_cast<ValueId>(graph_.value_limit()); ++id)
      if (graph_.has_value(id) && graph_.use_count(id) > 0) used.insert(id);
    const auto known = static_cast<ValueId>(graph_.value_limit());
    // Nodes that are added on the way come last and are lowered in their turn.
    for (NodeId id = 0; id < static_cast<NodeId>(graph_.node_limit()); ++id) {
      if (!graph_.has_node(id)) continue;
      for (Body& body : graph_.node(id).bodies) Lowering(*body.graph, opsets_, blockers_).run();
      lower(id);
    }
    graph_.sort();
    drop_unused(used, known);
  }

 private:
  void lower(NodeId id) {
    const Node& node = graph_.node(id);
    const std::string& domain = node.op->domain();
    if (domain == "sardonyx") {
      blockers_.push_back({node.origin, 0,
                           "is computed by an operator of this library's own, " + node.op->name() +
                               ", which ONNX does not have: export the model before it is optimised"});
      return;
    }
    const auto wanted = opsets_.find(domain);
    if (wanted == opsets_.end() || !has_schemas(domain)) return;
    const auto target = static_cast<int>(wanted->second);
    const Newest newest{node.op, node.attributes, node.inputs, node.outputs};
    const Schema* schema = schema_of(domain, node.op->name(), target);
    try {
      if (schema != nullptr ? widen(id, *schema) : compute_in_f32(id)) return;
      if (step_down(id, target)) return;
      schema = schema_of(domain, node.op->name(), target);
      if (schema == nullptr) throw Blocked{node.op->first_version(), came_with(node)};
      trim(id);
      const std::string fault = misfit(graph_, node, *schema);
      if (fault.empty()) return drop_defaults(id, *schema);
      const int64_t needs = lowest_opset(graph_, node, target);
      throw Blocked{static_cast<int>(needs),
                    join("needs a newer ", node.op->name(), ": that of opset ", target, " ", fault)};
    } catch (const Blocked& fault) {
      if (!fold(id, newest)) blockers_.push_back({node.origin, fault.needs, fault.reason});
    } catch (const Error& fault) {
      // A step built what older operators do not take.
      if (!fold(id, newest)) blockers_.push_back({node.origin, 0, std::string("has no older form: ") + fault.what()});
    }
  }

  static std::string came_with(const Node& node) {
    return join(node.op->name(), " came with opset ", node.op->first_version(),
                node.op->domain().empty() ? "" : " of " + node.op->domain(),
                ", and no older operators compute the same");
  }

  // Whether the node was replaced on the way down.
  bool step_down(NodeId id, int target) {
    for (;;) {
      const OpDef* op = graph_.node(id).op;
      const auto& steps = downgrades().of(*op);
      for (auto step = steps.rbegin(); step != steps.rend() && step->first > target; ++step) {
        DowngradeContext context(graph_, id, step->first, target);
        step->second(context);
        if (context.replaced()) return true;
        if (graph_.node(id).op != op) break;  // goes on with the steps of another operator
      }
      if (graph_.node(id).op == op) return false;
    }
  }

  // Replaces a node whose types its opset lacks by one that works on wider ones.
  bool widen(NodeId id, const Schema& schema) {
    const Node& node = graph_.node(id);
    const std::string& name = node.op->name();
    if (!node.bodies.empty() || kOwnTypes.count(name) != 0) return false;
    std::map<std::string, DType> change;  // by type variable
    const auto look = [&](const std::vector<ValueId>& values, const auto& spec, const auto& port) {
      for (size_t i = 0; i < values.size(); ++i) {
        if (values[i] == kNone || spec(i) == nullptr || port(i) == nullptr || spec(i)->variable.empty()) continue;
        const Type& type = graph_.type(values[i]);
        if (!type.is_tensor() || port(i)->accepts(type)) continue;
        change.emplace(spec(i)->variable, type.dtype);
      }
    };
    look(node.inputs, [&](size_t i) { return node.op->input(i); }, [&](size_t i) { return schema.input(i); });
    look(node.outputs, [&](size_t i) { return node.op->output(i); }, [&](size_t i) { return schema.output(i); });
    if (change.empty()) return false;
    std::map<std::string, DType> to;
    for (const auto& [variable, dtype] : change) {
      const DType found = wide_enough(node, schema, variable, dtype);
      if (found == DType::kUndefined) return false;
      to[variable] = found;
    }
    retype(id, to);
    return true;
  }

  // An operator of half precision rounds once; its parts would round one by one, so they stand in f32.
  bool compute_in_f32(NodeId id) {
    const Node& node = graph_.node(id);
    if (!node.bodies.empty() || kMoving.count(node.op->name()) != 0 || downgrades().of(*node.op).empty()) return false;
    std::map<std::string, DType> to;
    const auto look = [&](const std::vector<ValueId>& values, const auto& spec) {
      for (size_t i = 0; i < values.size(); ++i)
        if (values[i] != kNone && spec(i) != nullptr && kHalfFloats.has(graph_.type(values[i]).dtype) &&
            graph_.type(values[i]).is_tensor() && spec(i)->types.has(DType::kFloat32) && !spec(i)->variable.empty())
          to[spec(i)->variable] = DType::kFloat32;
    };
    look(node.inputs, [&](size_t i) { return node.op->input(i); });
    if (to.empty()) return false;
    retype(id, to);
    return true;
  }

  // Replaces the node by one whose type variables are these, between casts.
  void retype(NodeId id, const std::map<std::string, DType>& to) {
    const Node& node = graph_.node(id);
    const std::string name = node.op->name();
    DowngradeContext context(graph_, id, 0, 0);
    std::vector<Expr> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Expr input = context.in(i);
      const PortSpec* spec = node.op->input(i);
      const auto wide = input && spec != nullptr ? to.find(spec->variable) : to.end();
      inputs.push_back(wide == to.end() ? input : context.cast(input, wide->second));
    }
    Attributes attributes = node.attributes;
    std::vector<DType> dtypes;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      dtypes.push_back(node.outputs[i] == kNone ? DType::kUndefined : context.out_type(i).dtype);
      const PortSpec* spec = node.op->output(i);
      const auto wide = spec != nullptr ? to.find(spec->variable) : to.end();
      if (wide != to.end() && attributes.count("dtype") != 0) attributes["dtype"] = static_cast<int64_t>(wide->second);
    }
    std::vector<Expr> outputs =
        context.ops(node.outputs.size(), name, inputs, std::move(attributes), node.op->domain());
    for (size_t i = 0; i < outputs.size(); ++i)
      if (dtypes[i] != DType::kUndefined) outputs[i] = context.cast(outputs[i], dtypes[i]);
    context.replace(outputs);
  }

  DType wide_enough(const Node& node, const Schema& schema, const std::string& variable, DType dtype) const {
    const auto casts = opsets_.find("");
    const Schema* cast = casts == opsets_.end() ? nullptr : schema_of("", "Cast", casts->second);
    if (cast == nullptr || !takes(cast->input(0), dtype)) return DType::kUndefined;
    const bool exact = kExactInFloat.count(node.op->name()) != 0;
    for (DType candidate : wider(dtype, true, exact)) {
      bool good = takes(cast->input(0), candidate);
      for (size_t i = 0; i < node.inputs.size() && good; ++i)
        if (node.inputs[i] != kNone && node.op->input(i)->variable == variable)
          good = takes(schema.input(i), candidate);
      for (size_t i = 0; i < node.outputs.size() && good; ++i)
        if (node.outputs[i] != kNone && node.op->output(i)->variable == variable)
          good = takes(schema.output(i), candidate);
      if (good) return candidate;
    }
    return DType::kUndefined;
  }

  // Absent inputs and outputs at the end are left out.
  void trim(NodeId id) {
    Node& node = graph_.node(id);
    while (!node.inputs.empty() && node.inputs.back() == kNone) node.inputs.pop_back();
    while (!node.outputs.empty() && node.outputs.back() == kNone) node.outputs.pop_back();
  }

  void drop_defaults(NodeId id, const Schema& schema) {
    Attributes& attributes = graph_.node(id).attributes;
    for (auto entry = attributes.begin(); entry != attributes.end();)
      entry = schema.has_attribute(entry->first) ? std::next(entry) : attributes.erase(entry);
  }

  // A node as it was before it was edited.
  struct Newest {
    const OpDef* op;
    Attributes attributes;
    std::vector<ValueId> inputs, outputs;
  };

  // A node of constants that no older operator computes becomes its result.
  bool fold(NodeId id, const Newest& newest) {
    Node& edited = graph_.node(id);
    if (edited.outputs != newest.outputs) return false;
    edited.op = newest.op;
    edited.attributes = newest.attributes;
    edited.inputs.resize(std::max(edited.inputs.size(), newest.inputs.size()), kNone);
    for (size_t i = 0; i < edited.inputs.size(); ++i)
      graph_.set_input(id, static_cast<int>(i), i < newest.inputs.size() ? newest.inputs[i] : kNone);
    edited.inputs.resize(newest.inputs.size());
    FactTable facts = facts_of(graph_);
    const std::vector<ValueId> outputs = graph_.node(id).outputs;
    std::vector<Tensor> results;
    if (can_evaluate(graph_, id, facts)) {
      try {
        results = evaluate(graph_, id, facts);
      } catch (const Error&) {
        return false;
      }
    } else if (settle_elements(graph_, id, facts)) {
      for (ValueId output : outputs)
        results.push_back(output == kNone ? Tensor() : facts[static_cast<size_t>(output)].constant);
    } else {
      return false;
    }
    graph_.erase_node(id);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i] == kNone) continue;
      Facts& value = graph_.value(outputs[i]).facts;
      value.constant = results[i];
      value.type = Type::tensor(results[i].dtype(), results[i].shape());
    }
    return true;
  }

  // Constants that became attributes, and what else was read before and no longer is; new nodes that nothing reads.
  void drop_unused(const std::set<ValueId>& used, ValueId known) {
    const std::vector<NodeId> order = graph_.order();
    for (auto id = order.rbegin(); id != order.rend(); ++id) {
      const std::vector<ValueId> outputs = graph_.node(*id).outputs;
      const bool dead = std::all_of(outputs.begin(), outputs.end(), [&](ValueId output) {
        return output == kNone || (graph_.use_count(output) == 0 && (output >= known || used.count(output) != 0));
      });
      if (!dead) continue;
      graph_.erase_node(*id);
      for (ValueId output : outputs)
        if (output != kNone) graph_.erase_value(output);
    }
    for (ValueId id = 0; id < static_cast<ValueId>(graph_.value_limit()); ++id) {
      if (!graph_.has_value(id) || !graph_.is_constant(id) || graph_.use_count(id) > 0) continue;
      const bool input = std::find(graph_.inputs.begin(), graph_.inputs.end(), id) != graph_.inputs.end();
      if (!input && (id >= known || used.count(id) != 0)) graph_.erase_value(id);
    }
  }

  Graph& graph_;
  const std::map<std::string, int64_t>& opsets_;
  std::vector<Blocker>& blockers_;
};

}  // namespace

std::vector<Blocker> lower_to(Graph& graph, const std::map<std::string, int64_t>& opsets) {
  std::vector<Blocker> found;
  Lowering(graph, opsets, found).run();
  // A node may be refused for several of the nodes that it became.
  std::vector<Blocker> blockers;
  std::set<std::pair<std::string, std::string>> seen;
  for (Blocker& blocker : found)
    if (seen.emplace(blocker.node, blocker.reason).second) blockers.push_back(std::move(blocker));
  return blockers;
}

int64_t lowest_opset(const Graph& graph, const Node& node, int64_t from) {
  const std::string& domain = node.op->domain();
  const int64_t newest = domain.empty() ? kNewestOpset : kNewestMlOpset;
  for (int64_t opset = from; opset < newest; ++opset) {
    const Schema* schema = schema_of(domain, node.op->name(), opset);
    if (schema != nullptr && misfit(graph, node, *schema).empty()) return opset;
  }
  return newest;
}

int64_t ml_opset_of(int64_t opset) {
  if (opset >= 21) return 5;
  if (opset >= 20) return 4;
  if (opset >= 16) return 3;
  return opset >= 9 ? 2 : 1;
}

}  // namespace sx
