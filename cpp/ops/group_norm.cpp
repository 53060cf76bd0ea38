// GroupNormalization and InstanceNormalization: (x - mean) / sqrt(variance + epsilon) * scale + bias per group of
// channels.
#include <algorithm>
#include <cmath>

#include "kernels/rows.h"
#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

struct Extents {
  int64_t images, channels, groups, size;
};

void normalize(const float* x, const Extents& e, const float* scale, const float* bias, double epsilon, float* y) {
  ChannelNorm norm;
  norm.images = e.images;
  norm.channels = e.channels;
  norm.groups = e.groups;
  norm.size = e.size;
  norm.x = x;
  norm.y = y;
  norm.scale = scale;
  norm.bias = bias;
  norm.epsilon = static_cast<float>(epsilon);
  normalize_groups(norm);
}

void normalize(const double* x, const Extents& e, const double* scale, const double* bias, double epsilon, double* y) {
  const int64_t per_group = e.channels / e.groups;
  const int64_t n = per_group * e.size;
  parallel_for(e.images * e.groups, std::max<int64_t>(1, kElementGrain / 2 / n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const double* from = x + row * n;
      double mean = 0;
      for (int64_t i = 0; i < n; ++i) mean += from[i];
      mean /= static_cast<double>(n);
      double variance = 0;
      for (int64_t i = 0; i < n; ++i) variance += (from[i] - mean) * (from[i] - mean);
      const double inverse = 1 / std::sqrt(variance / static_cast<double>(n) + epsilon);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t channel = row % e.groups * per_group + i / e.size;
        y[row * n + i] = (from[i] - mean) * inverse * scale[channel] + bias[channel];
      }
    }
  });
}

Kernel norm_kernel(double epsilon, int64_t given_groups) {
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() >= 2, "x has the shape ", x.shape().str(), "; images and channels expected first");
    Extents e{x.dim(0), x.dim(1), 0, x.shape().size(2, x.rank())};
    e.groups = given_groups > 0 ? given_groups : e.channels;
    SX_CHECK(run, e.groups > 0 ? e.channels % e.groups == 0 : x.size() == 0, e.channels,
             " channels cannot be split into ", e.groups, " groups");
    for (int i = 1; i <= 2; ++i)
      SX_CHECK(run, run.in(i).size() == e.channels, i == 1 ? "scale" : "bias", " has the shape ",
               run.in(i).shape().str(), "; [", e.channels, "] expected for x of shape ", x.shape().str());
    Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    if (x.dtype() == DType::kFloat64)
      return normalize(x.data<double>(), e, run.in(1).data<double>(), run.in(2).data<double>(), epsilon,
                       y.data<double>());
    const FloatIn in(x);
    const FloatIn scale(run.in(1));
    const FloatIn bias(run.in(2));
    const FloatOut out(y);
    normalize(in.data(), e, scale.data(), bias.data(), epsilon, out.data());
    out.store();
  };
}

void infer_norm(InferContext& c) {
  c.out(0, c.type(0));
  if (!c.has_shape(0)) return;
  SX_CHECK(c, c.rank(0) >= 2, "x is ", c.type(0).str(), "; images and channels expected first");
  const Dim& channels = c.shape(0)[1];
  for (int i = 1; i <= 2; ++i) {
    if (!c.has_shape(i)) continue;
    const bool fits = c.rank(i) == 1 && (!c.shape(i)[0].known() || !channels.known() || c.shape(i)[0] == channels);
    SX_CHECK(c, fits, i == 1 ? "scale" : "bias", " is ", c.type(i).str(), "; [", channels.str(),
             "] expected for x: ", c.type(0).str());
  }
}

void infer_group_norm(InferContext& c) {
  infer_norm(c);
  const int64_t groups = c.attr_int("num_groups");
  SX_CHECK(c, groups > 0, "num_groups is ", groups, "; a positive number expected");
  if (c.has_shape(0) && c.shape(0)[1].known())
    SX_CHECK(c, c.shape(0)[1].value() % groups == 0, c.shape(0)[1].value(), " channels cannot be split into ", groups,
             " groups");
}

Kernel make_instance_norm(Prepare& p) { return norm_kernel(p.attr_float("epsilon"), 0); }
Kernel make_group_norm(Prepare& p) { return norm_kernel(p.attr_float("epsilon"), p.attr_int("num_groups")); }

// GroupNormalization-18 had one scale and bias for each group: each is repeated for the group's channels.
void upgrade_group_norm(UpgradeContext& c) {
  const int64_t groups = c.view().attr_int("num_groups");
  SX_REQUIRE(groups > 0, kInvalidGraph, label(c.draft()), " num_groups is ", groups, "; a positive number expected");
  const ValueId channels = c.emit("Shape", {c.input_id(0)}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
  const ValueId count = c.constant(Tensor::vector({groups}));
  const ValueId per_group = c.emit("Div", {channels, count});
  const ValueId shape = c.emit("Concat", {count, per_group}, {{"axis", int64_t{0}}});
  for (size_t i = 1; i <= 2; ++i) {
    const ValueId column = c.emit("Unsqueeze", {c.input_id(i), c.constant(Tensor::vector({1}))});
    const ValueId repeated = c.emit("Expand", {column, shape});
    c.set_input(i, c.emit("Reshape", {repeated, c.constant(Tensor::vector({-1}))}));
  }
}

// With n the normalised data, s = 1 / sqrt(variance + epsilon) and g = dy scale, by rows of [images, groups, rest]:
// dx = s (g - mean(g) - n mean(g n)), dscale = sum(dy n), dbias = sum(dy).
void differentiate_norm(GradientContext& c, int64_t groups) {
  const Expr x = c.in(0);
  SX_CHECK(c, x.rank() >= 2, "has no gradient where the rank of its input is unknown");
  std::vector<int64_t> behind, summed = {0};
  for (int i = 2; i < x.rank(); ++i) behind.push_back(i - 1), summed.push_back(i);
  const auto rows = [&](const Expr& v) { return c.reshape(v, {0, groups, -1}); };
  const auto mean = [&](const Expr& v) { return c.reduce_mean(v, {2}); };
  const Expr centred = rows(x) - mean(rows(x));
  const Expr s =
      c.op("Reciprocal", {c.op("Sqrt", {mean(centred * centred) + static_cast<double>(c.attr_float("epsilon"))})});
  const Expr n = centred * s;
  const Expr g = rows(c.grad() * c.unsqueeze(c.in(1), behind));
  if (c.wants(0)) c.give(0, c.reshape_like(s * (g - mean(g) - n * mean(g * n)), x));
  if (c.wants(1)) c.give(1, c.reduce_sum(c.grad() * c.reshape_like(n, x), summed, false));
  if (c.wants(2)) c.give(2, c.reduce_sum(c.grad(), summed, false));
}

void differentiate_instance_norm(GradientContext& c) { differentiate_norm(c, 0); }
void differentiate_group_norm(GradientContext& c) { differentiate_norm(c, c.attr_int("num_groups")); }

}  // namespace

void define_group_norm(OpList& ops) {
  ops.add(OpDef("InstanceNormalization")
              .since(22)
              .attr("epsilon", 1e-5f)
              .in("input", "T", kFloats)
              .in("scale", "T", kFloats)
              .in("B", "T", kFloats)
              .out("output", "T")
              .in_place({0})
              .infer(infer_norm)
              .kernel(make_instance_norm)
              .gradient(differentiate_instance_norm)
              .upgrade(6, drop_consumed_inputs));
  ops.add(OpDef("GroupNormalization")
              .since(21, 18)
              .attr("epsilon", 1e-5f)
              .required_attr("num_groups", AttrKind::kInt)
              .attr("stash_type", 1)
              .in("X", "T", kFloats)
              .in("scale", "T", kFloats)
              .in("bias", "T", kFloats)
              .out("Y", "T")
              .in_place({0})
              .infer(infer_group_norm)
              .kernel(make_group_norm)
              .gradient(differentiate_group_norm)
              .upgrade(21, upgrade_group_norm));
}

}  // namespace sx
