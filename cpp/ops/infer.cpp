// Drives shape and type inference over nodes and graphs.
#include "ops/infer.h"

#include <unordered_map>

#include "base/thread_pool.h"
#include "ops/named_error.h"

namespace sx {
namespace {

// Longer integer tensors are data, not shapes.
constexpr int64_t kMaxElements = 64;

bool holds_integers(DType dtype) { return dtype == DType::kInt64 || dtype == DType::kInt32; }

void check_type(const NodeView& view, const PortSpec& spec, const Type& type, const char* what,
                std::unordered_map<std::string, DType>& variables) {
  if (spec.any_kind || type.kind == Type::Kind::kUnknown) return;
  SX_CHECK(view, type.is_tensor(), what, " '", spec.name, "' is ", type.str(), "; a tensor expected");
  SX_CHECK(view, spec.types.has(type.dtype), what, " '", spec.name, "' is ", type.str(), "; expected one of ",
           spec.types.str());
  if (spec.variable.empty()) return;
  auto [known, added] = variables.emplace(spec.variable, type.dtype);
  SX_CHECK(view, added || known->second == type.dtype, what, " '", spec.name, "' is ", type.str(), "; ",
           name_of(known->second), " expected, as for the operator's other inputs of type ", spec.variable);
}

}  // namespace

std::optional<std::vector<Dim>> InferContext::elements(int i) const {
  if (!has(i)) return std::nullopt;
  if (facts(i).elements) return facts(i).elements;
  const Tensor* known = constant(i);
  if (known != nullptr && holds_integers(known->dtype()) && known->rank() <= 1 && known->size() <= kMaxElements) {
    std::vector<Dim> dims;
    for (int64_t x : known->integers()) dims.emplace_back(x);
    return dims;
  }
  const Type& t = type(i);
  if (t.is_tensor() && holds_integers(t.dtype) && t.shape && t.shape->size() <= 1) {
    if (t.shape->empty()) return std::vector<Dim>(1);
    const Dim& length = (*t.shape)[0];
    if (length.known() && length.value() >= 0 && length.value() <= kMaxElements)
      return std::vector<Dim>(static_cast<size_t>(length.value()));
  }
  return std::nullopt;
}

std::optional<std::vector<int64_t>> InferContext::integers(int i) const {
  const Tensor* known = constant(i);
  if (known != nullptr && (is_integer(known->dtype()) || known->dtype() == DType::kBool)) return known->integers();
  const auto dims = elements(i);
  if (!dims) return std::nullopt;
  std::vector<int64_t> values;
  for (const Dim& dim : *dims) {
    if (!dim.known()) return std::nullopt;
    values.push_back(dim.value());
  }
  return values;
}

void InferContext::out(int i, const Type& type) {
  if (i >= outputs()) return;
  if (type.is_tensor() && type.dtype == DType::kUndefined) return;  // it follows from an input of unknown type
  if (type.shape) {
    SX_CHECK(*this, type.shape->size() <= static_cast<size_t>(kMaxRank), "output ", i, " would have rank ",
             type.shape->size(), "; at most ", kMaxRank, " is supported");
    for (const Dim& dim : *type.shape)
      SX_CHECK(*this, !dim.known() || dim.value() >= 0, "output ", i, " would have the shape ", to_string(*type.shape));
  }
  outputs_[static_cast<size_t>(i)].type = type;
}

void InferContext::out_elements(int i, std::vector<Dim> elements) {
  if (i < outputs() && elements.size() <= static_cast<size_t>(kMaxElements))
    outputs_[static_cast<size_t>(i)].elements = std::move(elements);
}

std::vector<Facts> InferContext::infer_body(const std::string& attribute,
                                            const std::vector<Facts>& formal_inputs) const {
  for (size_t k = 0; k < node().bodies.size(); ++k) {
    const Body& body = node().bodies[k];
    if (body.attribute != attribute) continue;
    FactTable facts = facts_of(*body.graph);
    const std::vector<ValueId>& inputs = body.graph->inputs;
    const size_t formal = inputs.size() - body.captures.size();
    SX_CHECK(*this, formal_inputs.size() == formal, "its body '", attribute, "' has ", formal, " inputs; ",
             formal_inputs.size(), " expected");
    for (size_t i = 0; i < formal; ++i) {
      Facts& to = facts[static_cast<size_t>(inputs[i])];
      if (formal_inputs[i].type.kind != Type::Kind::kUnknown) to = formal_inputs[i];
    }
    for (size_t i = 0; i < body.captures.size() && k < captures_.size(); ++i)
      facts[static_cast<size_t>(inputs[formal + i])] = captures_[k][i];
    infer_graph(*body.graph, facts);
    std::vector<Facts> results;
    for (ValueId output : body.graph->outputs) results.push_back(facts[static_cast<size_t>(output)]);
    return results;
  }
  error("has no body '", attribute, "'");
}

InferFn same_as(int i) {
  return [i](InferContext& c) {
    if (c.has(i)) c.out(0, c.type(i));
  };
}

SymShape broadcast(const NodeView& node, const SymShape& a, const SymShape& b) {
  const SymShape& longer = a.size() >= b.size() ? a : b;
  const SymShape& shorter = a.size() >= b.size() ? b : a;
  SymShape result = longer;
  const size_t lead = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) {
    const Dim& x = longer[lead + i];
    const Dim& y = shorter[i];
    if (y == Dim(1) || x == y) continue;
    if (x == Dim(1)) {
      result[lead + i] = y;
    } else if (x.known() && y.known()) {
      node.error("the shapes ", to_string(a), " and ", to_string(b), " do not broadcast: ", x.str(), " against ",
                 y.str());
    } else if (y.known()) {
      result[lead + i] = y;  // the other is y or 1
    } else if (!x.known()) {
      result[lead + i] = Dim();
    }
  }
  return result;
}

static void infer_broadcast(InferContext& c, DType dtype) {
  std::optional<SymShape> shape = SymShape{};
  for (int i = 0; i < c.inputs() && shape; ++i) {
    if (!c.has(i)) continue;
    if (c.has_shape(i)) shape = broadcast(c, *shape, c.shape(i));
    else shape = std::nullopt;
  }
  c.out(0, dtype, shape);
}

InferFn broadcast_like(int i) {
  return [i](InferContext& c) { infer_broadcast(c, c.dtype(i)); };
}

InferFn broadcast_to(DType dtype) {
  return [dtype](InferContext& c) { infer_broadcast(c, dtype); };
}

// Sizes in bytes that do not fit in 63 bits are found here, before anything asks for the memory.
static void check_sizes(const std::vector<Facts>& outputs) {
  for (const Facts& output : outputs) {
    const auto shape = output.type.concrete_shape();
    if (shape && output.type.is_tensor()) checked_mul(shape->size(), static_cast<int64_t>(size_of(output.type.dtype)));
  }
}

static void infer_one(const Node& node, FunctionRef<Facts&(ValueId)> facts) {
  const NodeView view(node);
  std::vector<const Facts*> inputs;
  std::unordered_map<std::string, DType> variables;
  bool reads_unknown = false;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId input = node.inputs[i];
    inputs.push_back(input == kNone ? nullptr : &facts(input));
    const PortSpec* spec = node.op->input(i);
    if (input != kNone && spec != nullptr) check_type(view, *spec, inputs.back()->type, "input", variables);
    reads_unknown = reads_unknown || (input != kNone && inputs.back()->type.kind == Type::Kind::kUnknown);
  }
  std::vector<Facts> outputs(node.outputs.size());
  InferContext context(node, std::move(inputs), outputs);
  if (!node.bodies.empty()) {
    std::vector<std::vector<Facts>> captures;
    for (const Body& body : node.bodies) {
      captures.emplace_back();
      for (ValueId captured : body.captures) captures.back().push_back(facts(captured));
    }
    context.set_captures(std::move(captures));
  }
  if (node.op->infer_function()) {
    try {
      naming(node, [&] {
        node.op->infer_function()(context);
        check_sizes(outputs);
      });
    } catch (const Error&) {
      // An input whose type only a run tells may be what it fails at; it is called again then.
      if (!reads_unknown) throw;
      outputs.assign(node.outputs.size(), Facts());
    }
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.outputs[i] == kNone) continue;
    Facts& to = facts(node.outputs[i]);
    if (outputs[i].type.kind == Type::Kind::kUnknown) continue;
    // A tensor whose shape inference could not tell keeps a shape that was declared for it.
    if (outputs[i].type.is_tensor() && !outputs[i].type.shape && to.type.is_tensor() && to.type.shape &&
        to.type.dtype == outputs[i].type.dtype)
      outputs[i].type.shape = to.type.shape;
    to = std::move(outputs[i]);
  }
}

void infer_node(const Graph& graph, NodeId id, FactTable& facts) {
  infer_one(graph.node(id), [&](ValueId value) -> Facts& { return facts[static_cast<size_t>(value)]; });
}

void infer_node(Graph& graph, NodeId id) {
  infer_one(graph.node(id), [&](ValueId value) -> Facts& { return graph.value(value).facts; });
}

void infer_graph(const Graph& graph, FactTable& facts) {
  for (NodeId id : graph.order()) infer_node(graph, id, facts);
}

FactTable facts_of(const Graph& graph) {
  FactTable facts(graph.value_limit());
  for (size_t i = 0; i < facts.size(); ++i)
    if (graph.has_value(static_cast<ValueId>(i))) facts[i] = graph.value(static_cast<ValueId>(i)).facts;
  return facts;
}

void infer_types(Graph& graph) {
  for (NodeId id : graph.order()) infer_node(graph, id);
}

}  // namespace sx
