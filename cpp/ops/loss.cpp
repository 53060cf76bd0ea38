// NegativeLogLikelihoodLoss: -x[target] * weight[target], reduced; SoftmaxCrossEntropyLoss: that of the logarithm of
// the softmax.
#include <limits>

#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"
#include "ops/softmax.h"

namespace sx {
namespace {

enum class Reduction { kNone, kMean, kSum };

struct Options {
  Reduction reduction = Reduction::kMean;
  bool ignores = false;
  int64_t ignored = 0;
};

Reduction reduction_of(const NodeView& node) {
  const std::string& name = node.attr_string("reduction");
  SX_CHECK(node, name == "none" || name == "mean" || name == "sum", "reduction is '", name,
           "'; 'none', 'mean' or 'sum' expected");
  return name == "none" ? Reduction::kNone : name == "mean" ? Reduction::kMean : Reduction::kSum;
}

// x is [images, classes, positions]. Writes one loss for each target, or their sum or mean; sums are made in double in
// the order of the targets.
template <typename T, typename Index>
void likelihood(const Run& run, const T* x, const SoftmaxExtents& e, const Index* targets, const T* weights,
                const Options& options, T* loss) {
  double sum = 0;
  double total_weight = 0;
  for (int64_t k = 0; k < e.outer * e.inner; ++k) {
    const auto target = static_cast<int64_t>(targets[k]);
    T found = 0;
    if (!options.ignores || target != options.ignored) {
      SX_CHECK(run, target >= 0 && target < e.n, "target ", target, " at position ", k, " is out of range: there are ",
               e.n, " classes");
      const T weight = weights ? weights[target] : T(1);
      found = -x[(k / e.inner * e.n + target) * e.inner + k % e.inner] * weight;
      total_weight += static_cast<double>(weight);
    }
    if (options.reduction == Reduction::kNone) loss[k] = found;
    else sum += static_cast<double>(found);
  }
  if (options.reduction == Reduction::kSum) *loss = static_cast<T>(sum);
  if (options.reduction == Reduction::kMean) *loss = static_cast<T>(sum / total_weight);
}

template <typename T>
void dispatch(const Run& run, const T* x, const SoftmaxExtents& e, const T* weights, const Options& options, T* loss) {
  if (run.in(1).dtype() == DType::kInt32) likelihood(run, x, e, run.in(1).data<int32_t>(), weights, options, loss);
  else likelihood(run, x, e, run.in(1).data<int64_t>(), weights, options, loss);
}

// Checks the shapes at run time; they may not have been known before.
SoftmaxExtents extents_of(const Run& run) {
  const Shape& x = run.in(0).shape();
  SX_CHECK(run, x.rank() >= 2, "input has the shape ", x.str(), "; images and classes expected first");
  Shape expected = x;
  expected.erase(1);
  SX_CHECK(run, run.in(1).shape() == expected, "the targets have the shape ", run.in(1).shape().str(), "; ",
           expected.str(), " expected for input of shape ", x.str());
  SX_CHECK(run, !run.has(2) || run.in(2).size() == x[1], "the weights have the shape ",
           run.has(2) ? run.in(2).shape().str() : "", "; [", x[1], "] expected");
  return {x[0], x[1], x.size(2, x.rank())};
}

Kernel loss_kernel(Prepare& p, bool softmax) {
  Options options;
  options.reduction = reduction_of(p);
  options.ignores = p.has_attr("ignore_index");
  if (options.ignores) options.ignored = p.attr_int("ignore_index");
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const SoftmaxExtents e = extents_of(run);
    Tensor& loss = run.out(0, options.reduction == Reduction::kNone ? run.in(1).shape() : Shape{});
    Tensor* wanted = softmax && run.wants(1) ? &run.out(1, x.shape()) : nullptr;
    const bool has_weights = run.has(2);
    if (x.dtype() == DType::kFloat64) {
      const double* logs = x.data<double>();
      Tensor held;
      if (softmax) {
        held = wanted ? *wanted : Tensor(DType::kFloat64, x.shape());
        if (x.size() > 0) softmax_axis(true, logs, e, held.data<double>());
        logs = held.data<double>();
      }
      return dispatch(run, logs, e, has_weights ? run.in(2).data<double>() : nullptr, options, loss.data<double>());
    }
    const FloatIn in(x);
    const FloatIn weights(has_weights ? run.in(2) : x);
    const float* logs = in.data();
    Tensor held;
    if (softmax) {
      held = wanted && wanted->dtype() == DType::kFloat32 ? *wanted : Tensor(DType::kFloat32, x.shape());
      if (x.size() > 0) softmax_axis(true, logs, e, held.data<float>());
      logs = held.data<float>();
      if (wanted && wanted->dtype() != DType::kFloat32) store_f32(logs, *wanted);
    }
    const FloatOut out(loss);
    dispatch(run, logs, e, has_weights ? weights.data() : nullptr, options, out.data());
    out.store();
  };
}

Kernel make_likelihood(Prepare& p) { return loss_kernel(p, false); }
Kernel make_cross_entropy(Prepare& p) { return loss_kernel(p, true); }

void infer_loss(InferContext& c) {
  const Reduction reduction = reduction_of(c);
  if (c.has_shape(0) && c.has_shape(1)) {
    SX_CHECK(c, c.rank(0) >= 2 && c.rank(1) == c.rank(0) - 1, "the targets are ", c.type(1).str(),
             "; one dimension less than in ", c.type(0).str(), " expected");
    for (int i = 0; i < c.rank(1); ++i) {
      const Dim& target = c.shape(1)[static_cast<size_t>(i)];
      const Dim& input = c.shape(0)[static_cast<size_t>(i == 0 ? 0 : i + 1)];
      SX_CHECK(c, !target.known() || !input.known() || target == input, "the targets are ", c.type(1).str(),
               ", which does not go with ", c.type(0).str());
    }
  }
  if (reduction == Reduction::kNone) c.out(0, c.dtype(0), c.type(1).shape);
  else c.out(0, c.dtype(0), SymShape{});
  c.out(1, c.type(0));
}

// --- gradients

// With the classes along axis 1: what the target chose, 1 or 0, and the gradient of each sample's loss times its
// weight, both with an axis for the classes.
struct Chosen {
  Expr one_hot, scale;
};

Chosen chosen_by_target(GradientContext& c) {
  SX_CHECK(c, !c.wants(2), "has no gradient with respect to its weights");
  const Expr x = c.in(0);
  const DType dtype = x.dtype();
  Expr target = c.in(1);
  Expr weight = c.ones_like(target);
  weight = c.cast(weight, dtype);
  if (c.has_attr("ignore_index")) {
    const Expr ignored =
        c.op("Equal", {target, c.scalar(static_cast<double>(c.attr_int("ignore_index")), target.dtype())});
    weight = c.where(ignored, c.scalar(0, dtype), weight);
    target = c.where(ignored, c.scalar(0, target.dtype()), target);
  }
  if (c.in(2)) weight = weight * c.op("Gather", {c.in(2), target});
  const Expr depth = c.op("Gather", {c.op("Shape", {x}), c.ints({1})});
  const Expr values = c.op("Concat", {c.unsqueeze(c.scalar(0, dtype), {0}), c.unsqueeze(c.scalar(1, dtype), {0})},
                           {{"axis", int64_t{0}}});
  const std::string& reduction = c.attr_string("reduction");
  Expr scale = c.grad_or_zeros(0) * weight;
  if (reduction == "mean") scale = scale / c.op("ReduceSum", {weight}, {{"keepdims", int64_t{0}}});
  return {c.op("OneHot", {target, depth, values}, {{"axis", int64_t{1}}}), c.unsqueeze(scale, {1})};
}

void differentiate_likelihood(GradientContext& c) {
  const Chosen chosen = chosen_by_target(c);
  c.give(0, -(chosen.one_hot * chosen.scale));
}

// scale (softmax(x) - one_hot), and what comes back through log_prob.
void differentiate_cross_entropy(GradientContext& c) {
  const Expr probability = c.op("Exp", {c.out(1)});
  if (c.grad(0)) {
    const Chosen chosen = chosen_by_target(c);
    c.give(0, (probability - chosen.one_hot) * chosen.scale);
  }
  if (c.grad(1)) c.give(0, c.grad(1) - probability * c.reduce_sum(c.grad(1), {1}, true));
}

OpDef loss(const char* name, int since) {
  OpDef op(name);
  op.since(since, 12)
      .attr("reduction", "mean")
      .optional_attr("ignore_index", AttrKind::kInt)
      .in("input", "T", kFloats)
      .in("target", "Tind", DType::kInt32 | DType::kInt64)
      .optional_in("weight", "T", kFloats)
      .out("loss", "T")
      .infer(infer_loss);
  return op;
}

}  // namespace

void define_loss(OpList& ops) {
  ops.add(loss("NegativeLogLikelihoodLoss", 22).kernel(make_likelihood).gradient(differentiate_likelihood));
  ops.add(loss("SoftmaxCrossEntropyLoss", 13)
              .optional_out("log_prob", "T")
              .kernel(make_cross_entropy)
              .gradient(differentiate_cross_entropy));
}

}  // namespace sx
