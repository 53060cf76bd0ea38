// Gradients of f32 Softmax and LayerNormalization over the last axes, in one pass over each row.
//
// SoftmaxGradient(y, dy): (dy - sum(dy y)) y. LayerNormalizationGradient(x, scale, dy), with h the normalised data and
// g = dy scale: dx = (g - mean(g) - h mean(g h)) / std, and dy h, which the gradient of scale sums up.
#include "kernels/rows.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

Kernel make_softmax_gradient(Prepare&) {
  return [](Run& run) {
    const Tensor &y = run.in(0), &dy = run.in(1);
    SX_CHECK(run, y.shape() == dy.shape() && y.rank() > 0, "the result is ", y.shape().str(), " but its gradient ",
             dy.shape().str());
    Tensor& dx = run.out(0, y.shape());
    if (y.size() == 0) return;
    const int64_t n = y.shape().back();
    softmax_gradient_rows(y.data<float>(), dy.data<float>(), dx.data<float>(), y.size() / n, n);
  };
}

Kernel make_norm_gradient(Prepare& p) {
  const int64_t axis_attribute = p.attr_int("axis");
  const float epsilon = p.attr_float("epsilon");
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor &x = run.in(0), &scale = run.in(1), &dy = run.in(2);
    const int axis = node.axis(axis_attribute, x.rank());
    NormGradientRows rows;
    rows.n = x.shape().size(axis, x.rank());
    SX_CHECK(run, dy.shape() == x.shape() && scale.size() == rows.n, "x is ", x.shape().str(), ", dy ",
             dy.shape().str(), " and scale ", scale.shape().str(), "; ", rows.n, " scales expected");
    Tensor& dx = run.out(0, x.shape());
    Tensor& product = run.out(1, x.shape());
    if (x.size() == 0) return;
    rows.rows = x.size() / rows.n;
    rows.x = x.data<float>();
    rows.scale = scale.data<float>();
    rows.dy = dy.data<float>();
    rows.dx = dx.data<float>();
    rows.product = product.data<float>();
    rows.epsilon = epsilon;
    normalize_gradient_rows(rows);
  };
}

void differentiate_softmax_gradient(GradientContext& c) {
  const Expr y = c.in(0), dy = c.in(1);
  c.give_through({(dy - c.reduce_sum(dy * y, {-1}, true)) * y});
}

void differentiate_norm_gradient(GradientContext& c) {
  const Expr x = c.in(0), scale = c.in(1), dy = c.in(2);
  SX_CHECK(c, x.rank() >= 0, "has no gradient where the rank of its input is unknown");
  std::vector<int64_t> axes;
  for (int i = c.axis(c.attr_int("axis"), x.rank()); i < x.rank(); ++i) axes.push_back(i);
  const Expr centred = x - c.reduce_mean(x, axes);
  const Expr variance = c.reduce_mean(centred * centred, axes);
  const Expr s = c.op("Reciprocal", {c.op("Sqrt", {variance + static_cast<double>(c.attr_float("epsilon"))})});
  const Expr h = centred * s;
  const Expr g = dy * scale;
  c.give_through({s * (g - c.reduce_mean(g, axes) - h * c.reduce_mean(g * h, axes)), dy * h});
}

}  // namespace

void define_row_gradients(OpList& ops) {
  ops.add(OpDef("SoftmaxGradient", "sardonyx")
              .in("y", "", DType::kFloat32)
              .in("dy", "", DType::kFloat32)
              .out("dx", "", DType::kFloat32)
              .in_place({1})
              .infer(same_as(0))
              .kernel(make_softmax_gradient)
              .gradient(differentiate_softmax_gradient));
  ops.add(OpDef("LayerNormalizationGradient", "sardonyx")
              .attr("axis", -1)
              .attr("epsilon", 1e-5f)
              .in("x", "", DType::kFloat32)
              .in("scale", "", DType::kFloat32)
              .in("dy", "", DType::kFloat32)
              .out("dx", "", DType::kFloat32)
              .out("product", "", DType::kFloat32)
              .in_place({2, 0})
              .infer([](InferContext& c) {
                for (int i = 0; i < 2; ++i) c.out(i, c.type(0));
              })
              .kernel(make_norm_gradient)
              .gradient(differentiate_norm_gradient));
}

}  // namespace sx
