// LayerNormalization: (x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes; RMSNormalization: x /
// rms * scale.
#include <algorithm>
#include <cmath>

#include "kernels/rows.h"
#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

struct Norm {
  int64_t rows, n;
  double epsilon;
  bool rms;
};

// scale and bias hold n values or are null; mean and inverse, where set, receive one value for each row.
void normalize(const Norm& norm, const float* x, const float* scale, const float* bias, float* y, float* mean,
               float* inverse) {
  NormRows rows;
  rows.rows = norm.rows;
  rows.n = norm.n;
  rows.x = x;
  rows.y = y;
  rows.scale = scale;
  rows.bias = bias;
  rows.epsilon = static_cast<float>(norm.epsilon);
  rows.rms = norm.rms;
  rows.mean = mean;
  rows.inv_std = inverse;
  normalize_rows(rows);
}

void normalize(const Norm& norm, const double* x, const double* scale, const double* bias, double* y, double* mean,
               double* inverse) {
  const int64_t n = norm.n;
  parallel_for(norm.rows, std::max<int64_t>(1, kElementGrain / 2 / n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const double* from = x + row * n;
      double* to = y + row * n;
      double center = 0;
      for (int64_t i = 0; i < n && !norm.rms; ++i) center += from[i];
      center /= static_cast<double>(n);
      double variance = 0;
      for (int64_t i = 0; i < n; ++i) variance += (from[i] - center) * (from[i] - center);
      const double factor = 1 / std::sqrt(variance / static_cast<double>(n) + norm.epsilon);
      for (int64_t i = 0; i < n; ++i)
        to[i] = (from[i] - center) * factor * (scale ? scale[i] : 1) + (bias ? bias[i] : 0);
      if (mean) mean[row] = center;
      if (inverse) inverse[row] = factor;
    }
  });
}

// Multiplies or adds a scale or bias that does not simply repeat for each row.
template <typename T>
void combine(const Run& run, const Shape& shape, T* y, const T* other, const Shape& other_shape, bool multiply) {
  const Broadcast plan = plan_broadcast(run, {&shape, &other_shape});
  SX_CHECK(run, plan.shape == shape, multiply ? "scale" : "bias", " of shape ", other_shape.str(),
           " does not broadcast to x of shape ", shape.str());
  for_each_tile(plan, kElementGrain, [&](const Tile& tile) {
    if (multiply) binary_tile<T, T>(y, other, y, tile, [](T a, T b) { return a * b; });
    else binary_tile<T, T>(y, other, y, tile, [](T a, T b) { return a + b; });
  });
}

// Whether the extents are those of x from `axis` on, leading ones aside.
bool repeats_for_rows(const Shape& scale, const Shape& x, int axis) {
  const int last = x.rank() - axis;
  for (int i = 0; i < std::max(scale.rank(), last); ++i) {
    const int64_t have = i < scale.rank() ? scale[scale.rank() - 1 - i] : 1;
    const int64_t want = i < last ? x[x.rank() - 1 - i] : 1;
    if (have != want) return false;
  }
  return true;
}

template <typename T>
void run_norm(Run& run, const Norm& norm, int axis, const T* x, const T* scale, const T* bias, T* y, T* mean,
              T* inverse) {
  const Shape& shape = run.in(0).shape();
  const bool plain_scale = repeats_for_rows(run.in(1).shape(), shape, axis);
  const bool plain_bias = bias == nullptr || (plain_scale && repeats_for_rows(run.in(2).shape(), shape, axis));
  normalize(norm, x, plain_scale ? scale : nullptr, plain_bias && plain_scale ? bias : nullptr, y, mean, inverse);
  if (!plain_scale) combine(run, shape, y, scale, run.in(1).shape(), true);
  if (bias != nullptr && !(plain_bias && plain_scale)) combine(run, shape, y, bias, run.in(2).shape(), false);
}

Kernel norm_kernel(Prepare& p, bool rms) {
  const int64_t axis_attribute = p.attr_int("axis");
  const double epsilon = p.attr_float("epsilon");
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const int axis = node.axis(axis_attribute, x.rank());
    const Norm norm{x.shape().size(0, axis), x.shape().size(axis, x.rank()), epsilon, rms};
    Shape statistics = x.shape();
    for (int i = axis; i < x.rank(); ++i) statistics[i] = 1;
    Tensor* wanted[2] = {};
    for (int i = 1; i <= 2; ++i)
      if (run.wants(i)) wanted[i - 1] = &run.out(i, statistics);
    Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    const bool has_bias = !rms && run.has(2);
    if (x.dtype() == DType::kFloat64 && y.dtype() == DType::kFloat64) {
      Tensor held[2];
      double* found[2] = {};
      for (int i = 0; i < 2; ++i) {
        if (!wanted[i]) continue;
        held[i] = Tensor(DType::kFloat64, statistics);
        found[i] = held[i].data<double>();
      }
      run_norm(run, norm, axis, x.data<double>(), run.in(1).data<double>(),
               has_bias ? run.in(2).data<double>() : nullptr, y.data<double>(), found[0], found[1]);
      for (int i = 0; i < 2; ++i)
        if (wanted[i]) store_f32(to_f32(held[i]).data<float>(), *wanted[i]);
      return;
    }
    const FloatIn in(x);
    const FloatIn scale(run.in(1));
    const FloatIn bias(has_bias ? run.in(2) : run.in(1));
    const FloatOut out(y);
    Tensor held[2];
    float* found[2] = {};
    for (int i = 0; i < 2; ++i) {
      if (!wanted[i]) continue;
      held[i] = wanted[i]->dtype() == DType::kFloat32 ? *wanted[i] : Tensor(DType::kFloat32, statistics);
      found[i] = held[i].data<float>();
    }
    run_norm(run, norm, axis, in.data(), scale.data(), has_bias ? bias.data() : nullptr, out.data(), found[0],
             found[1]);
    for (int i = 0; i < 2; ++i)
      if (wanted[i] && wanted[i]->dtype() != DType::kFloat32) store_f32(found[i], *wanted[i]);
    out.store();
  };
}

Kernel make_layer_norm(Prepare& p) { return norm_kernel(p, false); }
Kernel make_rms_norm(Prepare& p) { return norm_kernel(p, true); }

void check_scale(InferContext& c, int i, const char* what) {
  if (!c.has_shape(0) || !c.has_shape(i)) return;
  SX_CHECK(c, c.rank(i) <= c.rank(0), what, " ", c.type(i).str(), " has more dimensions than x ", c.type(0).str());
  const SymShape shape = broadcast(c, c.shape(0), c.shape(i));
  for (size_t k = 0; k < shape.size(); ++k) {
    const Dim& x = c.shape(0)[k];
    SX_CHECK(c, !x.known() || !shape[k].known() || x == shape[k], what, " ", c.type(i).str(),
             " does not broadcast to x ", c.type(0).str());
  }
}

void infer_layer_norm(InferContext& c) {
  c.out(0, c.type(0));
  const int64_t stash = c.attr_int("stash_type");
  SX_CHECK(c, stash == 1 || stash == 16, "stash_type is ", stash, "; 1 (float) or 16 (bfloat16) expected");
  std::optional<SymShape> statistics;
  if (c.has_shape(0)) {
    statistics = c.shape(0);
    const int axis = c.axis(c.attr_int("axis"), c.rank(0));
    for (int i = axis; i < c.rank(0); ++i) (*statistics)[static_cast<size_t>(i)] = Dim(1);
  }
  check_scale(c, 1, "scale");
  if (c.has(2)) check_scale(c, 2, "bias");
  for (int i = 1; i < c.outputs(); ++i) c.out(i, static_cast<DType>(stash), statistics);
}

void infer_rms_norm(InferContext& c) {
  if (c.has_shape(0)) c.axis(c.attr_int("axis"), c.rank(0));
  check_scale(c, 1, "scale");
  c.out(0, c.dtype(1), c.type(0).shape);
}

// --- gradients

Expr mean(GradientContext& c, const Expr& x, const std::vector<int64_t>& axes) {
  return c.op("ReduceMean", {x, c.ints(axes)}, {{"keepdims", int64_t{1}}});
}

std::vector<int64_t> axes_from(const GradientContext& c, int64_t axis, int rank) {
  SX_CHECK(c, rank >= 0, "has no gradient where the rank of its input is unknown");
  std::vector<int64_t> axes;
  for (int64_t i = c.axis(axis, rank); i < rank; ++i) axes.push_back(i);
  return axes;
}

// Whether scale is known to have the extents of the axes that are normalised.
bool is_one_row(const Expr& scale, const Expr& x, size_t axes) {
  const auto &have = scale.type().shape, &of = x.type().shape;
  return have && of && have->size() == axes && std::equal(have->begin(), have->end(), of->end() - scale.rank());
}

// With n the normalised data, s = 1 / sqrt(variance + epsilon) and g = dy scale:
// dx = s (g - mean(g) - n mean(g n)), dscale = sum(dy n), dB = sum(dy).
void differentiate_layer_norm(GradientContext& c) {
  const Expr x = c.in(0);
  const std::vector<int64_t> axes = axes_from(c, c.attr_int("axis"), x.rank());
  if (c.wants(2)) c.give_sum(2, c.grad());
  if (x.dtype() == DType::kFloat32 && is_one_row(c.in(1), x, axes.size())) {
    const Attributes attributes = {{"axis", c.attr_int("axis")}, {"epsilon", c.attr_float("epsilon")}};
    const auto found = c.ops(2, "LayerNormalizationGradient", {x, c.in(1), c.grad()}, attributes, "sardonyx");
    if (c.wants(0)) c.give(0, found[0]);
    if (c.wants(1)) c.give_sum(1, found[1]);
    return;
  }
  const Expr centred = x - mean(c, x, axes);
  const Expr s = c.op(
      "Reciprocal", {c.op("Sqrt", {mean(c, centred * centred, axes) + static_cast<double>(c.attr_float("epsilon"))})});
  const Expr n = centred * s;
  const Expr g = c.grad() * c.in(1);
  if (c.wants(0)) c.give(0, s * (g - mean(c, g, axes) - n * mean(c, g * n, axes)));
  if (c.wants(1)) c.give_sum(1, c.grad() * n);
}

// As above without the mean: n = x s, s = 1 / sqrt(mean(x^2) + epsilon).
void differentiate_rms_norm(GradientContext& c) {
  const Expr x = c.in(0);
  const std::vector<int64_t> axes = axes_from(c, c.attr_int("axis"), x.rank());
  const Expr s =
      c.op("Reciprocal", {c.op("Sqrt", {mean(c, x * x, axes) + static_cast<double>(c.attr_float("epsilon"))})});
  const Expr n = x * s;
  const Expr g = c.grad() * c.in(1);
  if (c.wants(0)) c.give(0, s * (g - n * mean(c, g * n, axes)));
  if (c.wants(1)) c.give_sum(1, c.grad() * n);
}

}  // namespace

void define_layer_norm(OpList& ops) {
  const DTypeSet stashed = DType::kFloat32 | DType::kBFloat16;
  ops.add(OpDef("LayerNormalization")
              .since(17, 17)
              .attr("axis", -1)
              .attr("epsilon", 1e-5f)
              .attr("stash_type", 1)
              .in("X", "T", kFloats)
              .in("Scale", "T", kFloats)
              .optional_in("B", "T", kFloats)
              .out("Y", "T")
              .optional_out("Mean", "U", stashed)
              .optional_out("InvStdDev", "U", stashed)
              .in_place({0})
              .infer(infer_layer_norm)
              .kernel(make_layer_norm)
              .gradient(differentiate_layer_norm));
  ops.add(OpDef("RMSNormalization")
              .since(23, 23)
              .attr("axis", -1)
              .attr("epsilon", 1e-5f)
              .attr("stash_type", 1)
              .in("X", "T", kFloats)
              .in("scale", "V", kFloats)
              .out("Y", "V")
              .infer(infer_rms_norm)
              .kernel(make_rms_norm)
              .gradient(differentiate_rms_norm));
}

}  // namespace sx
