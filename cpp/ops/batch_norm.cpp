// BatchNormalization: y = (x - mean) / sqrt(var + epsilon) * scale + bias, with given statistics or those of the batch.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/scratch.h"
#include "kernels/unary.h"
#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

// x is [images, channels, size].
struct Extents {
  int64_t images, channels, size;
};

// y = factor[c] * x + shift[c]
template <typename T>
void affine_channels(const T* x, const Extents& e, const T* factor, const T* shift, T* y) {
  if (e.size == 1) {
    parallel_for(e.images, std::max<int64_t>(1, kElementGrain / e.channels), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        for (int64_t c = 0; c < e.channels; ++c) y[n * e.channels + c] = x[n * e.channels + c] * factor[c] + shift[c];
    });
    return;
  }
  parallel_for(e.images * e.channels, std::max<int64_t>(1, kElementGrain / e.size), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const int64_t c = plane % e.channels;
      const T* from = x + plane * e.size;
      T* to = y + plane * e.size;
      if constexpr (std::is_same_v<T, float>) {
        apply(Activation::kAffine, from, to, e.size, factor[c], shift[c]);
      } else {
        for (int64_t i = 0; i < e.size; ++i) to[i] = factor[c] * from[i] + shift[c];
      }
    }
  });
}

// The mean and population variance of each channel, summed in double in the order of the data.
template <typename T>
void channel_statistics(const T* x, const Extents& e, double* mean, double* variance) {
  const double count = static_cast<double>(e.images * e.size);
  parallel_for(e.channels, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, e.images * e.size)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t c = begin; c < end; ++c) {
                   double sum = 0;
                   for (int64_t n = 0; n < e.images; ++n)
                     for (int64_t i = 0; i < e.size; ++i) sum += x[(n * e.channels + c) * e.size + i];
                   mean[c] = sum / count;
                   double squares = 0;
                   for (int64_t n = 0; n < e.images; ++n) {
                     for (int64_t i = 0; i < e.size; ++i) {
                       const double off = x[(n * e.channels + c) * e.size + i] - mean[c];
                       squares += off * off;
                     }
                   }
                   variance[c] = squares / count;
                 }
               });
}

// The elements of a tensor of one of kFloats as double.
void load_doubles(const Tensor& x, double* y) {
  if (x.dtype() == DType::kFloat64) {
    std::copy_n(x.data<double>(), x.size(), y);
  } else {
    const FloatIn in(x);
    std::copy_n(in.data(), x.size(), y);
  }
}

void store_doubles(const double* x, Tensor& y) {
  if (y.dtype() == DType::kFloat64) {
    std::copy_n(x, y.size(), y.data<double>());
  } else {
    const FloatOut out(y);
    std::copy_n(x, y.size(), out.data());
    out.store();
  }
}

template <typename T>
void normalize(const T* x, const Extents& e, const double* factor, const double* shift, T* y) {
  if constexpr (std::is_same_v<T, double>) {
    affine_channels(x, e, factor, shift, y);
  } else {
    float* narrow = static_cast<float*>(
        thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(2 * e.channels) * sizeof(float)));
    std::copy_n(factor, e.channels, narrow);
    std::copy_n(shift, e.channels, narrow + e.channels);
    affine_channels<float>(x, e, narrow, narrow + e.channels, y);
  }
}

Kernel make_batch_norm(Prepare& p) {
  const double epsilon = p.attr_float("epsilon");
  const double momentum = p.attr_float("momentum");
  const bool training = p.attr_int("training_mode") != 0;
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() >= 1, "x is a scalar; at least one dimension expected");
    const Extents e{x.dim(0), x.rank() > 1 ? x.dim(1) : 1, x.rank() > 2 ? x.shape().size(2, x.rank()) : 1};
    for (int i = 1; i <= 4; ++i)
      SX_CHECK(run, run.in(i).size() == e.channels, "input ", i, " has the shape ", run.in(i).shape().str(), "; [",
               e.channels, "] expected for x of shape ", x.shape().str());
    const auto channels = static_cast<size_t>(e.channels);
    double* scale = static_cast<double*>(thread_scratch(ScratchSlot::kOperator, 4 * channels * sizeof(double)));
    double* bias = scale + channels;
    double* mean = bias + channels;
    double* variance = mean + channels;
    load_doubles(run.in(1), scale);
    load_doubles(run.in(2), bias);
    load_doubles(run.in(3), mean);
    load_doubles(run.in(4), variance);
    Tensor& y = run.out(0, x.shape());
    const bool wide = x.dtype() == DType::kFloat64;
    if (training) {
      Tensor batch(DType::kFloat64, Shape{2, e.channels});
      double* batch_mean = batch.data<double>();
      double* batch_variance = batch_mean + channels;
      if (wide) channel_statistics(x.data<double>(), e, batch_mean, batch_variance);
      else channel_statistics(FloatIn(x).data(), e, batch_mean, batch_variance);
      for (int output = 1; output <= 2; ++output) {
        double* given = output == 1 ? mean : variance;
        const double* found = output == 1 ? batch_mean : batch_variance;
        for (size_t c = 0; c < channels; ++c) given[c] = given[c] * momentum + found[c] * (1 - momentum);
        if (run.wants(output)) store_doubles(given, run.out(output, Shape{e.channels}));
        std::copy_n(found, channels, given);
      }
    }
    for (size_t c = 0; c < channels; ++c) {
      scale[c] /= std::sqrt(variance[c] + epsilon);
      bias[c] -= mean[c] * scale[c];
    }
    if (x.size() == 0) return;
    if (wide) return normalize(x.data<double>(), e, scale, bias, y.data<double>());
    const FloatIn in(x);
    const FloatOut out(y);
    normalize(in.data(), e, scale, bias, out.data());
    out.store();
  };
}

void infer_batch_norm(InferContext& c) {
  std::optional<SymShape> statistics;
  if (c.has_shape(0)) {
    SX_CHECK(c, c.rank(0) >= 1, "x is a scalar; at least one dimension expected");
    const Dim channels = c.rank(0) > 1 ? c.shape(0)[1] : Dim(1);
    statistics = SymShape{channels};
    for (int i = 1; i <= 4; ++i) {
      if (!c.has_shape(i)) continue;
      const bool fits = c.rank(i) == 1 && (!c.shape(i)[0].known() || !channels.known() || c.shape(i)[0] == channels);
      SX_CHECK(c, fits, "input ", i, " is ", c.type(i).str(), "; [", channels.str(),
               "] expected for x: ", c.type(0).str());
    }
  }
  c.out(0, c.type(0));
  SX_CHECK(c, c.attr_int("training_mode") != 0 || c.outputs() <= 1, "has ", c.outputs(),
           " outputs; only training_mode=1 gives statistics");
  for (int i = 1; i < c.outputs(); ++i) c.out(i, c.dtype(3), statistics);
}

// Output `i` of the draft, which the newest version does not have: the mean or the variance that training divided by.
void give_saved_statistic(UpgradeContext& c, size_t i, ValueId x, const std::vector<int64_t>& axes) {
  const ValueId wanted = c.draft().outputs[i];
  if (wanted == kNone) return;
  const ValueId over = c.constant(Tensor::vector(axes));
  const Attributes flat{{"keepdims", int64_t{0}}};
  if (i == 3) return c.emit_after(wanted, "ReduceMean", {x, over}, flat);
  const ValueId distance = c.emit("Sub", {x, c.emit("ReduceMean", {x, over})});
  c.emit_after(wanted, "ReduceMean", {c.emit("Mul", {distance, distance}), over}, flat);
}

// Before opset 14, further outputs meant training; before opset 9, `spatial` 0 meant statistics for every position.
void upgrade_batch_norm(UpgradeContext& c) {
  drop_consumed_inputs(c);
  const bool tests = c.take<int64_t>("is_test", c.opset() < 7 ? 0 : 1) != 0;
  const bool spatial = c.take<int64_t>("spatial", 1) != 0;
  const Type& type = c.input(0).type;
  for (size_t i = 1; i <= 4; ++i) c.input(i);
  const ValueId x = c.input_id(0);
  std::vector<ValueId>& outputs = c.draft().outputs;
  SX_REQUIRE(!outputs.empty() && outputs.size() <= 5, kInvalidGraph, label(c.draft()), " has ", outputs.size(),
             " outputs; from 1 to 5 expected");
  bool training = false;
  for (size_t i = 1; i < outputs.size(); ++i) training = training || outputs[i] != kNone;
  if (training && !(tests && c.opset() < 7)) {
    c.set("training_mode", int64_t{1});
    SX_REQUIRE(outputs.size() <= 3 || !spatial || type.rank() >= 2, kNotImplemented, label(c.draft()),
               " gives statistics of ", type.str(), "; a known rank from 2 on expected");
    std::vector<int64_t> axes{0};
    for (int axis = 2; spatial && axis < type.rank(); ++axis) axes.push_back(axis);
    for (size_t i = 3; i < outputs.size(); ++i) give_saved_statistic(c, i, x, axes);
    outputs.resize(std::min<size_t>(outputs.size(), 3));
  } else {
    for (size_t i = 1; i < outputs.size(); ++i)
      SX_REQUIRE(outputs[i] == kNone, kInvalidGraph, label(c.draft()), " has ", outputs.size(),
                 " outputs; only training gives statistics");
    outputs.resize(1);
  }
  if (spatial) return;
  const ValueId shape = c.emit("Shape", {x});
  const ValueId position = c.emit("Shape", {x}, {{"start", int64_t{1}}});
  c.set_input(0, c.emit("Flatten", {x}, {{"axis", int64_t{1}}}));
  for (size_t i = 1; i <= 4; ++i) c.set_input(i, c.emit("Reshape", {c.input_id(i), c.constant(Tensor::vector({-1}))}));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const ValueId result = outputs[i];
    if (result == kNone) continue;
    const ValueId flat = c.detach_output(i);
    c.emit_after(result, "Reshape", {flat, i == 0 ? shape : position}, {{"allowzero", int64_t{1}}});
  }
}

// --- gradients

std::vector<int64_t> reduced_axes(const Expr& x) {
  std::vector<int64_t> axes = {0};
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  return axes;
}

// A value for each channel in the type of x and so that it meets x.
Expr along_channels(Emitter& e, const Expr& v, const Expr& x) {
  std::vector<int64_t> behind;
  for (int i = 2; i < x.rank(); ++i) behind.push_back(i - 1);
  return e.unsqueeze(e.cast(v, x.dtype()), behind);
}

// n and s = 1 / sqrt(variance + epsilon) of x.
std::pair<Expr, Expr> normalised(Emitter& e, const Expr& x, const Expr& mean, const Expr* variance, float epsilon) {
  const Expr centred = x - mean;
  const Expr spread = variance ? *variance : e.reduce_mean(centred * centred, reduced_axes(x));
  const Expr s = e.op("Reciprocal", {e.op("Sqrt", {spread + static_cast<double>(epsilon)})});
  return {centred * s, s};
}

// In training, with g = dy scale over batch and space: dx = s (g - mean(g) - n mean(g n)). Otherwise mean and variance
// are inputs: dx = g s.
void differentiate_batch_norm(GradientContext& c) {
  const Expr x = c.in(0);
  SX_CHECK(c, x.rank() >= 2, "has no gradient where the rank of its input is unknown");
  const Expr dy = c.grad();
  SX_CHECK(c, static_cast<bool>(dy), "has no gradient through its running mean and variance");
  const float epsilon = c.attr_float("epsilon");
  if (c.attr_int("training_mode") != 0) {
    const std::vector<Expr> grads =
        c.ops(3, "BatchNormalizationGradient", {dy, x, c.in(1)}, {{"epsilon", epsilon}}, "sardonyx");
    c.give(0, grads[0]);
    c.give(1, grads[1]);
    if (c.wants(2)) c.give(2, c.cast(grads[2], c.in(2).dtype()));
    return;
  }
  const std::vector<int64_t> axes = reduced_axes(x);
  const auto sum = [&](const Expr& v) { return c.reduce_sum(v, axes, false); };
  const Expr variance = along_channels(c, c.in(4), x);
  const auto [n, s] = normalised(c, x, along_channels(c, c.in(3), x), &variance, epsilon);
  const Expr g = dy * along_channels(c, c.in(1), x);
  if (c.wants(0)) c.give(0, g * s);
  if (c.wants(1)) c.give(1, c.cast(sum(dy * n), c.in(1).dtype()));
  if (c.wants(2)) c.give(2, c.cast(sum(dy), c.in(2).dtype()));
  if (c.wants(3)) c.give(3, c.cast(sum(-(g * s)), c.in(3).dtype()));
  if (c.wants(4)) c.give(4, c.cast(sum(g * n * s * s * -0.5), c.in(4).dtype()));
}

template <typename T>
void training_gradient(const T* dy, const T* x, const Extents& e, const double* scale, double epsilon, T* dx,
                       double* dscale, double* dbias) {
  const double count = static_cast<double>(e.images * e.size);
  parallel_for(e.channels, std::max<int64_t>(1, 4096 / std::max<int64_t>(1, e.images * e.size)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t c = begin; c < end; ++c) {
                   const auto each = [&](auto body) {
                     for (int64_t n = 0; n < e.images; ++n)
                       for (int64_t i = 0; i < e.size; ++i) body((n * e.channels + c) * e.size + i);
                   };
                   double sum = 0, squares = 0, sum_dy = 0, products = 0;
                   each([&](int64_t at) { sum += x[at]; });
                   const double mean = count > 0 ? sum / count : 0.0;
                   each([&](int64_t at) {
                     const double off = x[at] - mean;
                     squares += off * off;
                     sum_dy += dy[at];
                     products += dy[at] * off;
                   });
                   const double s = count > 0 ? 1 / std::sqrt(squares / count + epsilon) : 0.0;
                   dscale[c] = products * s;
                   dbias[c] = sum_dy;
                   const double by = scale[c] * s, by_x = s * s * products / count, mean_dy = sum_dy / count;
                   each([&](int64_t at) { dx[at] = static_cast<T>(by * (dy[at] - mean_dy - (x[at] - mean) * by_x)); });
                 }
               });
}

Kernel make_training_gradient(Prepare& p) {
  const double epsilon = p.attr_float("epsilon");
  return [epsilon](Run& run) {
    const Tensor &dy = run.in(0), &x = run.in(1);
    const Extents e{x.dim(0), x.dim(1), x.rank() > 2 ? x.shape().size(2, x.rank()) : 1};
    SX_CHECK(run, dy.shape() == x.shape() && run.in(2).size() == e.channels, "the gradient is ", dy.shape().str(),
             " and the scale ", run.in(2).shape().str(), " for data of shape ", x.shape().str());
    const auto channels = static_cast<size_t>(e.channels);
    double* scale = static_cast<double*>(thread_scratch(ScratchSlot::kOperator, 3 * channels * sizeof(double)));
    double *dscale = scale + channels, *dbias = dscale + channels;
    load_doubles(run.in(2), scale);
    Tensor& dx = run.out(0, x.shape());
    if (x.dtype() == DType::kFloat64) {
      training_gradient(dy.data<double>(), x.data<double>(), e, scale, epsilon, dx.data<double>(), dscale, dbias);
    } else {
      const FloatIn given(dy), data(x);
      const FloatOut out(dx);
      training_gradient(given.data(), data.data(), e, scale, epsilon, out.data(), dscale, dbias);
      out.store();
    }
    if (run.wants(1)) store_doubles(dscale, run.out(1, Shape{e.channels}));
    if (run.wants(2)) store_doubles(dbias, run.out(2, Shape{e.channels}));
  };
}

// Through what it computes, spelled out.
void differentiate_training_gradient(GradientContext& c) {
  const Expr dy = c.in(0), x = c.in(1), scale = c.in(2);
  const std::vector<int64_t> axes = reduced_axes(x);
  const auto [n, s] = normalised(c, x, c.reduce_mean(x, axes), nullptr, c.attr_float("epsilon"));
  const auto mean = [&](const Expr& v) { return c.reduce_mean(v, axes); };
  const auto sum = [&](const Expr& v) { return c.cast(c.reduce_sum(v, axes, false), scale.dtype()); };
  std::vector<Expr> outputs(3);
  if (c.grad(0)) {
    const Expr g = dy * along_channels(c, scale, x);
    outputs[0] = s * (g - mean(g) - n * mean(g * n));
  }
  if (c.grad(1)) outputs[1] = sum(dy * n);
  if (c.grad(2)) outputs[2] = sum(dy);
  c.give_through(outputs);
}

}  // namespace

void define_batch_norm(OpList& ops) {
  ops.add(OpDef("BatchNormalization")
              .since(15)
              .attr("epsilon", 1e-5f)
              .attr("momentum", 0.9f)
              .attr("training_mode", 0)
              .in("X", "T", kFloats)
              .in("scale", "T1", kFloats)
              .in("B", "T1", kFloats)
              .in("input_mean", "T2", kFloats)
              .in("input_var", "T2", kFloats)
              .out("Y", "T")
              .optional_out("running_mean", "T2")
              .optional_out("running_var", "T2")
              .in_place({0})
              .infer(infer_batch_norm)
              .kernel(make_batch_norm)
              .gradient(differentiate_batch_norm)
              .upgrade(14, upgrade_batch_norm));
  ops.add(OpDef("BatchNormalizationGradient", "sardonyx")
              .attr("epsilon", 1e-5f)
              .in("dY", "T", kFloats)
              .in("X", "T", kFloats)
              .in("scale", "T1", kFloats)
              .out("dX", "T")
              .optional_out("dscale", "T1")
              .optional_out("dB", "T1")
              .infer([](InferContext& c) {
                c.out(0, c.type(1));
                for (int i = 1; i <= 2; ++i) c.out(i, c.type(2));
              })
              .kernel(make_training_gradient)
              .gradient(differentiate_training_gradient));
}

}  // namespace sx
