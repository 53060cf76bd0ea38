// y[n, f, p] = act(sum over c, k of x[n, c, stride p + dilation k - pad] w[f, c, k] + b[f] + residual[n, f, p])
#include "ops/conv.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/scratch.h"
#include "kernels/conv/conv.h"
#include "ops/float_io.h"
#include "ops/fused_activation.h"
#include "ops/registry.h"

namespace sx {

ConvSpec::ConvSpec(const NodeView& node) : window(node), groups(node.attr_int("group")) {
  SX_CHECK(node, groups >= 1, "attribute 'group' is ", groups, "; at least 1 expected");
}

OpDef& add_conv_attrs(OpDef& op) {
  return op.attr("auto_pad", "NOTSET")
      .attr("group", 1)
      .optional_attr("dilations", AttrKind::kInts)
      .optional_attr("kernel_shape", AttrKind::kInts)
      .optional_attr("pads", AttrKind::kInts)
      .optional_attr("strides", AttrKind::kInts);
}

void infer_conv(InferContext& c, int x, int w, DType dtype) {
  const ConvSpec spec(c);
  const int rank = c.has_shape(x) ? c.rank(x) : c.rank(w);
  if (rank < 0) return c.out(0, dtype, std::nullopt);
  SX_CHECK(c, rank >= 3, "convolves ", c.type(x).str(),
           "; a batch axis, a channel axis and at least one spatial axis expected");
  SX_CHECK(c, rank - 2 <= kMaxSpatialRank, "convolves over ", rank - 2, " axes; at most ", kMaxSpatialRank,
           " are supported");
  SX_CHECK(c, !c.has_shape(w) || c.rank(w) == rank, "convolves ", c.type(x).str(), " with weights ", c.type(w).str(),
           "; both must have the same rank");
  spec.window.check_rank(c, rank - 2);
  SymShape out(static_cast<size_t>(rank));
  if (c.has_shape(x)) out[0] = c.shape(x)[0];
  if (c.has_shape(w)) out[1] = c.shape(w)[0];
  if (c.has_shape(x) && c.has_shape(w)) {
    const Dim& channels = c.shape(x)[1];
    const Dim per_group = c.shape(w)[1] * Dim(spec.groups);
    SX_CHECK(c, !channels.known() || !per_group.known() || channels == per_group, "convolves ", c.type(x).str(),
             " with weights ", c.type(w).str(), " in ", spec.groups, " groups; the weights fit data with ",
             per_group.str(), " channels");
  }
  if (out[1].known())
    SX_CHECK(c, out[1].value() % spec.groups == 0, "has ", out[1].str(), " filters, which ", spec.groups,
             " groups cannot share");
  for (int i = 0; i < rank - 2; ++i) {
    const auto axis = static_cast<size_t>(i + 2);
    Dim kernel = spec.window.kernel().empty() ? Dim() : Dim(spec.window.kernel()[static_cast<size_t>(i)]);
    if (c.has_shape(w)) {
      const Dim& stored = c.shape(w)[axis];
      SX_CHECK(c, !kernel.known() || !stored.known() || kernel == stored, "attribute 'kernel_shape' is ",
               Shape(spec.window.kernel()).str(), " but the weights are ", c.type(w).str());
      if (stored.known()) kernel = stored;
    }
    if (!kernel.known() || !c.has_shape(x)) continue;
    check_kernel(c, {kernel.value()});
    out[axis] = spec.window.extent(c, i, kernel.value(), c.shape(x)[axis]);
  }
  c.out(0, dtype, out);
}

ConvShape conv_shape(const NodeView& node, const ConvSpec& spec, const Shape& x, const Shape& w) {
  SX_CHECK(node, x.rank() >= 3 && x.rank() - 2 <= kMaxSpatialRank && w.rank() == x.rank(), "convolves ", x.str(),
           " with weights ", w.str(), "; equal ranks from 3 to ", kMaxSpatialRank + 2, " expected");
  SX_CHECK(node, x[1] > 0 && w[1] > 0 && x[1] / w[1] == spec.groups && x[1] % w[1] == 0 && w[0] % spec.groups == 0,
           "convolves ", x.str(), " with weights ", w.str(), ", which do not fit together in ", spec.groups, " groups");
  ConvShape s;
  s.batch = x[0];
  s.channels = x[1];
  s.filters = w[0];
  s.groups = spec.groups;
  s.rank = x.rank() - 2;
  spec.window.check_rank(node, s.rank);
  for (int i = 0; i < s.rank; ++i) {
    SX_CHECK(node, spec.window.kernel().empty() || spec.window.kernel()[static_cast<size_t>(i)] == w[i + 2],
             "attribute 'kernel_shape' is ", Shape(spec.window.kernel()).str(), " but the weights are ", w.str());
    check_kernel(node, {w[i + 2]});
    const WindowSpec::Axis axis = spec.window.axis(node, i, w[i + 2], x[i + 2]);
    s.in[i] = x[i + 2];
    s.out[i] = axis.out;
    s.kernel[i] = w[i + 2];
    s.stride[i] = spec.window.stride(i);
    s.dilation[i] = spec.window.dilation(i);
    s.pad_begin[i] = axis.pad_begin;
    s.pad_end[i] = axis.pad_end;
  }
  return s;
}

Shape conv_result(const ConvShape& shape) {
  Shape out{shape.batch, shape.filters};
  for (int i = 0; i < shape.rank; ++i) out.push_back(shape.out[i]);
  return out;
}

namespace {

// One plane of the result in f64: rows along the last axis, for each tap the columns that it reaches.
void plane_f64(const ConvShape& s, const double* x, const double* w, double bias, double* y) {
  const int last = s.rank - 1;
  const int64_t width = s.out[last];
  const int64_t rows = s.out_size() / width;
  const int64_t channels = s.channels / s.groups;
  const int64_t taps = s.kernel_size();
  std::fill(y, y + rows * width, bias);
  for (int64_t channel = 0; channel < channels; ++channel, x += s.in_size(), w += taps)
    for (int64_t row = 0; row < rows; ++row) {
      double* to = y + row * width;
      for (int64_t tap = 0; tap < taps; ++tap) {
        int64_t from_row = 0, step = 1, outer = row, outer_tap = tap / s.kernel[last];
        bool inside = true;
        for (int axis = last - 1; axis >= 0 && inside; --axis) {
          const int64_t at =
              outer % s.out[axis] * s.stride[axis] + outer_tap % s.kernel[axis] * s.dilation[axis] - s.pad_begin[axis];
          inside = at >= 0 && at < s.in[axis];
          from_row += at * step;
          step *= s.in[axis];
          outer /= s.out[axis];
          outer_tap /= s.kernel[axis];
        }
        if (!inside) continue;
        const double* from = x + from_row * s.in[last];
        const int64_t shift = tap % s.kernel[last] * s.dilation[last] - s.pad_begin[last];
        const double factor = w[tap];
        for (int64_t j = 0; j < width; ++j) {
          const int64_t at = j * s.stride[last] + shift;
          if (at >= 0 && at < s.in[last]) to[j] += factor * from[at];
        }
      }
    }
}

}  // namespace

void conv_f64(const ConvShape& s, const double* x, const double* w, const double* bias, double* y) {
  parallel_for(s.batch * s.filters, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t filter = i % s.filters;
      const int64_t group = filter / (s.filters / s.groups);
      const int64_t first = i / s.filters * s.channels + group * (s.channels / s.groups);
      plane_f64(s, x + first * s.in_size(), w + filter * (s.channels / s.groups) * s.kernel_size(),
                bias ? bias[filter] : 0.0, y + i * s.out_size());
    }
  });
}

namespace {

Kernel make_f64(const NodeView& node, const ConvSpec& spec) {
  return [node, spec](Run& run) {
    const ConvShape s = conv_shape(node, spec, run.in(0).shape(), run.in(1).shape());
    Tensor& y = run.out(0, conv_result(s));
    if (y.size() == 0) return;
    const double* bias = run.has(2) ? run.in(2).data<double>() : nullptr;
    if (bias != nullptr)
      SX_CHECK(run, run.in(2).size() == s.filters, "the bias has ", run.in(2).size(), " elements; ", s.filters,
               " expected");
    conv_f64(s, run.in(0).data<double>(), run.in(1).data<double>(), bias, y.data<double>());
  };
}

// Constant weights packed for each method that comes up: ahead of time where the plan's shapes tell the method, at the
// first run that needs it otherwise.
class PackedWeights {
 public:
  PackedWeights(Prepare& p, const ConvSpec& spec) : weights_(*p.constant(1)) {
    const auto x = p.shape(0);
    if (!x || x->size() == 0 || weights_.size() == 0) return;
    const ConvShape shape = conv_shape(p, spec, *x, weights_.shape());
    packed_[index(shape)] = p.shared(name_of(conv_method(shape)), [&] { return pack(shape); });
  }

  const float* get(const ConvShape& shape) {
    std::lock_guard<std::mutex> lock(mutex_);
    Tensor& packed = packed_[index(shape)];
    if (!packed.defined()) packed = pack(shape);
    return packed.data<float>();
  }

 private:
  static size_t index(const ConvShape& shape) { return static_cast<size_t>(conv_method(shape)); }
  Tensor pack(const ConvShape& shape) const {
    Tensor packed(DType::kFloat32, Shape{packed_conv_size(shape)});
    pack_conv(shape, to_f32(weights_.borrow()).data<float>(), packed.data<float>());
    return packed;
  }

  Tensor weights_;
  std::mutex mutex_;
  Tensor packed_[kConvMethods];
};

class FloatConv {
 public:
  FloatConv(Prepare& p, const FusedActivation& activation) : node_(p.node()), spec_(p) {
    activation.set(epilogue_);
    if (p.constant(1) != nullptr) packed_ = std::make_shared<PackedWeights>(p, spec_);
  }

  void operator()(Run& run) const {
    const ConvShape s = conv_shape(node_, spec_, run.in(0).shape(), run.in(1).shape());
    const Shape result = conv_result(s);
    const FloatIn x(run.in(0));
    std::optional<FloatIn> bias, residual;
    Epilogue epilogue = epilogue_;
    if (run.has(2)) {
      SX_CHECK(run, run.in(2).size() == s.filters, "the bias has ", run.in(2).size(), " elements; ", s.filters,
               " expected");
      epilogue.row_bias = bias.emplace(run.in(2)).data();
    }
    if (run.has(3)) {
      SX_CHECK(run, run.in(3).shape() == result, "the residual is ", run.in(3).shape().str(), " but the result is ",
               result.str());
      epilogue.residual = residual.emplace(run.in(3)).data();
    }
    Tensor& y = run.out(0, result);
    if (y.size() == 0) return;
    const FloatOut out(y);
    if (packed_ != nullptr) {
      conv(s, x.data(), packed_->get(s), out.data(), epilogue);
    } else {
      const FloatIn weights(run.in(1));
      const auto bytes = static_cast<size_t>(checked_mul(packed_conv_size(s), sizeof(float)));
      auto* packed = static_cast<float*>(thread_scratch(ScratchSlot::kOperator, bytes));
      pack_conv(s, weights.data(), packed);
      conv(s, x.data(), packed, out.data(), epilogue);
    }
    out.store();
  }

 private:
  NodeView node_;
  ConvSpec spec_;
  Epilogue epilogue_;
  std::shared_ptr<PackedWeights> packed_;
};

// com.microsoft's FusedConv keeps the parameters of its activation in a list.
FusedActivation listed_activation(const NodeView& node) {
  FusedActivation activation{activation_named(node, node.attr_string("activation"))};
  const auto parameters = node.attr_or<std::vector<float>>("activation_params", {});
  if (!parameters.empty()) activation.alpha = parameters[0];
  if (parameters.size() > 1) activation.beta = parameters[1];
  return activation;
}

// Through the convolution, the sum with Z and the activation.
void differentiate_fused(GradientContext& c) {
  Attributes attributes = c.node().attributes;
  attributes.erase("activation");
  attributes.erase("activation_params");
  Expr y = c.op("Conv", {c.in(0), c.in(1), c.in(2)}, attributes);
  if (c.in(3)) y = y + c.in(3);
  c.give_through({activated(c, listed_activation(c), y)});
}

}  // namespace

void define_conv(OpList& ops) {
  const auto infer = [](InferContext& c) { infer_conv(c, 0, 1, c.dtype(0)); };
  add_conv_attrs(ops.add(OpDef("Conv")
                             .since(22)
                             .in("X", "T", kFloats)
                             .in("W", "T", kFloats)
                             .optional_in("B", "T", kFloats)
                             .out("Y", "T")
                             .infer(infer)
                             .kernel([](Prepare& p) -> Kernel {
                               if (p.dtype(0) == DType::kFloat64) return make_f64(p, ConvSpec(p));
                               return FloatConv(p, {});
                             })
                             .gradient(differentiate_conv)));
  constexpr DTypeSet kComputed = kHalfFloats | DType::kFloat32;
  OpDef& lowered = ops.add(OpDef("Conv", "sardonyx")
                               .in("X", "T", kComputed)
                               .in("W", "T", kComputed)
                               .optional_in("B", "T", kComputed)
                               .optional_in("residual", "T", kComputed)
                               .out("Y", "T")
                               .in_place({3})
                               .infer(infer)
                               .kernel([](Prepare& p) -> Kernel { return FloatConv(p, read_fused_activation(p)); }));
  add_conv_attrs(lowered);
  add_fused_activation_attrs(lowered);
  add_conv_attrs(ops.add(OpDef("FusedConv", "com.microsoft")
                             .attr("activation", "")
                             .optional_attr("activation_params", AttrKind::kFloats)
                             .in("X", "T", kComputed)
                             .in("W", "T", kComputed)
                             .optional_in("B", "T", kComputed)
                             .optional_in("Z", "T", kComputed)
                             .out("Y", "T")
                             .in_place({3})
                             .infer(infer)
                             .kernel([](Prepare& p) -> Kernel { return FloatConv(p, listed_activation(p)); })
                             .gradient(differentiate_fused)));
}

}  // namespace sx
