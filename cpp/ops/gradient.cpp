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
                               Attributes attributes, const std::string& domain) {
  Node node;
  node.op = &get_op(op, domain);
  node.name = name_;
  node.origin = origin_;
  node.attributes = std::move(attributes);
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

GradientContext::GradientContext(Graph& graph, NodeId node, std::vector<ValueId> grads, std::vector<bool> wanted)
    : NodeView(graph.node(node)),
      Emitter(graph, graph.node(node).name.empty() ? graph.node(node).op->name() : graph.node(node).name,
              "gradient of " + graph.node(node).origin),
      id_(node),
      grads_(std::move(grads)),
      wanted_(std::move(wanted)),
      given_(wanted_.size(), kNone) {}

Expr GradientContext::in(size_t i) { return expr(i < node().inputs.size() ? node().inputs[i] : kNone); }

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
  given_[i] = given_[i] == kNone ? gradient.id() : (expr(given_[i]) + gradient).id();
}

void GradientContext::give_sum(size_t i, const Expr& gradient) {
  if (wants(i)) give(i, sum_like(gradient, in(i)));
}

}  // namespace sx
