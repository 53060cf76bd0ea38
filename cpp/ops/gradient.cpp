// Expressions over a graph, and the bookkeeping of one step backwards.
#include "ops/gradient.h"

#include <algorithm>

#include "ops/convert.h"
#include "ops/infer.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Whether both provably have the same shape.
bool same_shape(const Expr& x, const Expr& like) {
  const auto& a = x.type().shape;
  const auto& b = like.type().shape;
  return a && b && *a == *b;
}

// One element.
Tensor number(double value, DType dtype, const Shape& shape) {
  Tensor tensor(dtype, shape);
  convert_elements(DType::kFloat64, dtype, &value, tensor.raw(), 1);
  return tensor;
}

}  // namespace

const Facts& Expr::facts() const { return emitter_->graph().value(id_).facts; }

Expr operator-(const Expr& a) { return a.emitter().op("Neg", {a}); }
Expr operator+(const Expr& a, const Expr& b) { return a.emitter().op("Add", {a, b}); }
Expr operator-(const Expr& a, const Expr& b) { return a.emitter().op("Sub", {a, b}); }
Expr operator*(const Expr& a, const Expr& b) { return a.emitter().op("Mul", {a, b}); }
Expr operator/(const Expr& a, const Expr& b) { return a.emitter().op("Div", {a, b}); }
Expr operator+(const Expr& a, double b) { return a + a.emitter().scalar(b, a.dtype()); }
Expr operator-(const Expr& a, double b) { return a - a.emitter().scalar(b, a.dtype()); }
Expr operator*(const Expr& a, double b) { return a * a.emitter().scalar(b, a.dtype()); }
Expr operator/(const Expr& a, double b) { return a / a.emitter().scalar(b, a.dtype()); }
Expr operator+(double a, const Expr& b) { return b.emitter().scalar(a, b.dtype()) + b; }
Expr operator-(double a, const Expr& b) { return b.emitter().scalar(a, b.dtype()) - b; }
Expr operator*(double a, const Expr& b) { return b.emitter().scalar(a, b.dtype()) * b; }
Expr operator/(double a, const Expr& b) { return b.emitter().scalar(a, b.dtype()) / b; }

std::vector<Expr> Emitter::ops(size_t outputs, const std::string& op, const std::vector<Expr>& inputs,
                               Attributes attributes, const std::string& domain, std::vector<Body> bodies) {
  Node node;
  node.op = &get_op(op, domain);
  node.name = name_;
  node.origin = origin_;
  node.attributes = std::move(attributes);
  node.bodies = std::move(bodies);
  for (const Expr& input : inputs) node.inputs.push_back(input.id());
  std::vector<Expr> results;
  for (size_t i = 0; i < outputs; ++i) {
    node.outputs.push_back(graph_.add_value(graph_.fresh_name((name_.empty() ? "grad" : name_) + "." + op)));
    results.push_back(expr(node.outputs.back()));
  }
  check_node(node);
  infer_node(graph_, graph_.add_node(std::move(node)));
  return results;
}

Expr Emitter::op(const std::string& op, const std::vector<Expr>& inputs, Attributes attributes,
                 const std::string& domain) {
  return ops(1, op, inputs, std::move(attributes), domain)[0];
}

Expr Emitter::constant(const Tensor& tensor) {
  return expr(graph_.add_constant(graph_.fresh_name((name_.empty() ? "grad" : name_) + ".constant"), tensor));
}

Expr Emitter::scalar(double value, DType dtype) { return constant(number(value, dtype, {})); }

Expr Emitter::ints(const std::vector<int64_t>& values) { return constant(Tensor::vector(values)); }

Expr Emitter::shape(const Expr& x) {
  if (const auto known = x.type().concrete_shape()) return ints(known->vector());
  return op("Shape", {x});
}

Expr Emitter::zeros_like(const Expr& x) {
  if (x.type().kind == Type::Kind::kSequence) {
    BodyBuilder body(*this);
    const Expr zeros = body.emitter().zeros_like(body.input("item", *x.type().element));
    std::vector<Body> bodies;
    bodies.push_back(body.finish("body", {zeros}));
    return ops(1, "SequenceMap", {x}, {}, "", std::move(bodies))[0];
  }
  return op("ConstantOfShape", {shape(x)}, {{"value", number(0, x.dtype(), {1})}});
}

Expr Emitter::ones_like(const Expr& x) {
  return op("ConstantOfShape", {shape(x)}, {{"value", number(1, x.dtype(), {1})}});
}

Expr Emitter::cast(const Expr& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  return op("Cast", {x}, {{"to", static_cast<int64_t>(dtype)}});
}

Expr Emitter::reshape_like(const Expr& x, const Expr& like) {
  if (same_shape(x, like)) return x;
  return op("Reshape", {x, shape(like)}, {{"allowzero", int64_t{1}}});
}

Expr Emitter::expand_like(const Expr& x, const Expr& like) {
  if (same_shape(x, like)) return x;
  return op("Expand", {x, shape(like)});
}

Expr Emitter::where(const Expr& condition, const Expr& a, const Expr& b) { return op("Where", {condition, a, b}); }

Expr Emitter::transpose(const Expr& x, const std::vector<int64_t>& perm) {
  return op("Transpose", {x}, {{"perm", perm}});
}

Expr Emitter::swap_last(const Expr& x) {
  std::vector<int64_t> perm;
  for (int i = 0; i < x.rank(); ++i) perm.push_back(i);
  SX_ASSERT(perm.size() >= 2);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return transpose(x, perm);
}

Expr Emitter::extents(const Expr& x, int64_t first, int64_t last) {
  if (const auto known = x.type().concrete_shape())
    return ints(std::vector<int64_t>(known->begin() + first, known->begin() + last));
  return op("Shape", {x}, {{"start", first}, {"end", last}});
}

Expr Emitter::reshape(const Expr& x, const std::vector<int64_t>& shape) { return op("Reshape", {x, ints(shape)}); }

Expr Emitter::reshape_to(const Expr& x, const std::vector<Expr>& shape) {
  return op("Reshape", {x, shape.size() == 1 ? shape[0] : concat(shape, 0)});
}

Expr Emitter::concat(const std::vector<Expr>& parts, int64_t axis) { return op("Concat", parts, {{"axis", axis}}); }

Expr Emitter::iota(const Expr& count) {
  return op("Range", {constant(Tensor::scalar<int64_t>(0)), op("Reshape", {count, ints({})}),
                      constant(Tensor::scalar<int64_t>(1))});
}

Expr Emitter::sum(const Expr& a, const Expr& b) {
  if (a.type().kind != Type::Kind::kSequence) return a + b;
  BodyBuilder body(*this);
  const Expr left = body.input("left", *a.type().element);
  const Expr right = body.input("right", *b.type().element);
  std::vector<Body> bodies;
  bodies.push_back(body.finish("body", {left + right}));
  return ops(1, "SequenceMap", {a, b}, {}, "", std::move(bodies))[0];
}

Expr Emitter::reduce_mean(const Expr& x, const std::vector<int64_t>& axes) {
  if (axes.empty()) return x;
  return op("ReduceMean", {x, ints(axes)}, {{"keepdims", int64_t{1}}});
}

Expr Emitter::reduce_sum(const Expr& x, const std::vector<int64_t>& axes, bool keepdims) {
  if (axes.empty()) return x;
  return op("ReduceSum", {x, ints(axes)}, {{"keepdims", static_cast<int64_t>(keepdims)}});
}

Expr Emitter::unsqueeze(const Expr& x, const std::vector<int64_t>& axes) {
  if (axes.empty()) return x;
  return op("Unsqueeze", {x, ints(axes)});
}

Expr Emitter::sum_like(const Expr& x, const Expr& like) {
  if (same_shape(x, like)) return x;
  const auto& from = x.type().shape;
  const auto& to = like.type().shape;
  if (!from || !to) return op("SumLike", {x, like}, {}, "sardonyx");
  const size_t lead = from->size() - std::min(from->size(), to->size());
  std::vector<int64_t> leading;
  std::vector<int64_t> axes;
  for (size_t i = 0; i < from->size(); ++i) {
    if (i < lead) leading.push_back(static_cast<int64_t>(i));
    const Dim extent = i < lead ? Dim(1) : (*to)[i - lead];
    if (i >= lead && extent == (*from)[i]) continue;
    // Whether an unknown extent was broadcast shows at run time only.
    if (!(extent == Dim(1))) return op("SumLike", {x, like}, {}, "sardonyx");
    axes.push_back(static_cast<int64_t>(i));
  }
  const Expr sum = reduce_sum(x, axes, true);
  return leading.empty() ? sum : op("Squeeze", {sum, ints(leading)});
}

// --- bodies

BodyBuilder::BodyBuilder(const Emitter& outer)
    : graph_(std::make_unique<Graph>()), enclosing_(outer.graph()), emitter_(outer.inside(*graph_)) {}

BodyBuilder::BodyBuilder(const Emitter& outer, const Body& body)
    : graph_(body.graph->clone()), enclosing_(outer.graph()), emitter_(outer.inside(*graph_)) {
  const auto behind = graph_->inputs.end() - static_cast<std::ptrdiff_t>(body.captures.size());
  copied_.assign(graph_->inputs.begin(), behind);
  copied_outputs_ = graph_->outputs;
  const std::vector<ValueId> inner(behind, graph_->inputs.end());
  for (size_t i = 0; i < inner.size(); ++i) {
    const ValueId outer = body.captures[i];
    graph_->value(inner[i]).facts.type = enclosing_.value(outer).facts.type;
    if (enclosing_.is_constant(outer)) {
      put_in_place(inner[i], capture(emitter_.expr(outer)).id());
    } else {
      captured_.push_back(inner[i]);
      captures_.push_back(outer);
    }
  }
}

void BodyBuilder::put_in_place(ValueId from, ValueId to) {
  graph_->replace_uses(from, to, true);
  std::replace(copied_outputs_.begin(), copied_outputs_.end(), from, to);
  graph_->inputs.erase(std::find(graph_->inputs.begin(), graph_->inputs.end(), from));
  graph_->erase_value(from);
}

Expr BodyBuilder::input(const std::string& name, const Type& type) {
  const ValueId id = graph_->add_value(graph_->fresh_name(name), type);
  formal_.push_back(id);
  return emitter_.expr(id);
}

Expr BodyBuilder::use(size_t i, const Type& type) {
  formal_.push_back(copied_[i]);
  graph_->value(copied_[i]).facts = {};
  graph_->value(copied_[i]).facts.type = type;
  return copied(i);
}

void BodyBuilder::replace(size_t i, const Expr& value) { put_in_place(copied_[i], value.id()); }

Expr BodyBuilder::capture(const Expr& value) {
  const Value& outer = enclosing_.value(value.id());
  if (enclosing_.is_constant(value.id()))
    return emitter_.expr(graph_->add_constant(graph_->fresh_name(outer.name), outer.facts.constant));
  for (size_t i = 0; i < captures_.size(); ++i)
    if (captures_[i] == value.id()) return emitter_.expr(captured_[i]);
  captures_.push_back(value.id());
  captured_.push_back(graph_->add_value(graph_->fresh_name(outer.name), outer.facts.type));
  return emitter_.expr(captured_.back());
}

void BodyBuilder::infer() { infer_types(*graph_); }

Body BodyBuilder::finish(const std::string& attribute, const std::vector<Expr>& outputs) {
  graph_->inputs = formal_;
  graph_->inputs.insert(graph_->inputs.end(), captured_.begin(), captured_.end());
  graph_->outputs.clear();
  for (const Expr& output : outputs) {
    const bool fresh = graph_->value(output.id()).producer != kNone &&
                       std::find(graph_->outputs.begin(), graph_->outputs.end(), output.id()) == graph_->outputs.end();
    graph_->outputs.push_back(fresh ? output.id() : emitter_.op("Identity", {output}).id());
  }
  Body body;
  body.attribute = attribute;
  body.captures = captures_;
  body.graph = std::move(graph_);
  return body;
}

// --- one step backwards

bool carries_gradient(const Type& type) {
  if (type.kind == Type::Kind::kSequence || type.kind == Type::Kind::kOptional) return carries_gradient(*type.element);
  return type.is_tensor() && is_float(type.dtype);
}

std::vector<bool> dependents(const Graph& graph, const std::vector<ValueId>& roots,
                             const std::unordered_set<ValueId>& independent, size_t first) {
  std::vector<bool> depends(graph.value_limit(), false);
  for (ValueId root : roots) depends[static_cast<size_t>(root)] = true;
  for (size_t at = first; at < graph.order().size(); ++at) {
    const NodeId id = graph.order()[at];
    const Node& node = graph.node(id);
    const std::vector<ValueId> reads = graph.reads(id);
    const bool any = std::any_of(reads.begin(), reads.end(),
                                 [&](ValueId read) { return read != kNone && depends[static_cast<size_t>(read)]; });
    if (!any || node.op->has_zero_gradient()) continue;
    for (ValueId output : node.outputs)
      if (output != kNone && independent.count(output) == 0 && carries_gradient(graph.type(output)))
        depends[static_cast<size_t>(output)] = true;
  }
  return depends;
}

GradientContext::GradientContext(Graph& graph, NodeId node, std::vector<ValueId> grads, std::vector<bool> wanted,
                                 DifferentiateFn differentiate)
    : NodeView(graph.node(node)),
      Emitter(graph, graph.node(node).name.empty() ? graph.node(node).op->name() : graph.node(node).name,
              "gradient of " + graph.node(node).origin),
      id_(node),
      grads_(std::move(grads)),
      wanted_(std::move(wanted)),
      given_(wanted_.size(), kNone),
      differentiate_(differentiate),
      first_(graph.order().size()) {}

Expr GradientContext::in(size_t i) {
  if (i < node().inputs.size()) return expr(node().inputs[i]);
  const std::vector<ValueId> all = graph().reads(id_);
  return expr(i < all.size() ? all[i] : kNone);
}

Expr GradientContext::out(size_t i) {
  if (i >= node().outputs.size() || node().outputs[i] == kNone) {
    SX_ASSERT(node().op->output(i) != nullptr);
    graph().add_output(id_, i, graph().add_value(graph().fresh_name(node().name + "." + node().op->output(i)->name)));
    infer_node(graph(), id_);
  }
  return expr(node().outputs[i]);
}

Expr GradientContext::grad(size_t i) { return expr(i < grads_.size() ? grads_[i] : kNone); }

Expr GradientContext::grad_or_zeros(size_t i) {
  const Expr known = grad(i);
  return known ? known : zeros_like(out(i));
}

void GradientContext::give(size_t i, const Expr& gradient) {
  if (!wants(i)) return;
  given_[i] = given_[i] == kNone ? gradient.id() : sum(expr(given_[i]), gradient).id();
}

void GradientContext::give_sum(size_t i, const Expr& gradient) {
  if (wants(i)) give(i, sum_like(gradient, in(i)));
}

void GradientContext::give_through(const std::vector<Expr>& outputs) {
  GradientRequest request;
  request.first = first_;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Expr dy = grad(i);
    if (!outputs[i] || !dy) continue;
    request.ys.push_back(outputs[i].id());
    request.seeds.push_back(cast(dy, outputs[i].dtype()).id());
  }
  std::vector<size_t> first;  // of the reads of one value
  for (size_t i = 0; i < wanted_.size(); ++i) {
    if (!wanted_[i] || !request.independent.insert(in(i).id()).second) continue;
    request.xs.push_back(in(i).id());
    first.push_back(i);
  }
  const std::vector<ValueId> found = differentiate_(graph(), request);
  for (size_t k = 0; k < found.size(); ++k)
    if (found[k] != kNone) give(first[k], expr(found[k]));
}

Expr GradientContext::positions(const Expr& x) {
  const Expr count = op("Size", {x});
  return reshape_like(iota(count) + scalar(1, DType::kInt64), x);
}

void GradientContext::give_moved(size_t i, const Expr& indices) {
  const Expr x = in(i);
  const Expr flat = ints({-1});
  const Expr slots = reshape(op("Size", {x}) + scalar(1, DType::kInt64), {1});
  const Expr zeros = op("ConstantOfShape", {slots}, {{"value", number(0, x.dtype(), {1})}});
  const Expr sums = op("ScatterElements", {zeros, op("Reshape", {indices, flat}), op("Reshape", {grad(), flat})},
                       {{"reduction", std::string("add")}});
  const Expr behind = op("Slice", {sums, ints({1}), slots});
  give(i, reshape_like(behind, x));
}

}  // namespace sx
