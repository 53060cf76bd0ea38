// y[n, f, stride p + dilation k - pad] += x[n, c, p] w[c, f, k], plus b[f]: the gradient of a convolution.
#include <algorithm>
#include <mutex>
#include <optional>

#include "base/scratch.h"
#include "kernels/conv/conv.h"
#include "ops/conv.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

struct TransposeSpec {
  ConvSpec conv;
  std::vector<int64_t> output_padding, output_shape;

  explicit TransposeSpec(const NodeView& node) : conv(node) {
    output_padding = list(node, "output_padding");
    output_shape = list(node, "output_shape");
  }

  void check_rank(const NodeView& node, int rank) const {
    SX_CHECK(node, rank >= 1 && rank <= kMaxSpatialRank, "convolves over ", rank, " axes; from 1 to ", kMaxSpatialRank,
             " are supported");
    conv.window.check_rank(node, rank);
    const auto n = static_cast<size_t>(rank);
    SX_CHECK(node, output_padding.empty() || output_padding.size() == n, "attribute 'output_padding' is ",
             Shape(output_padding).str(), "; ", rank, " values expected");
    SX_CHECK(node, output_shape.empty() || output_shape.size() == n || output_shape.size() == n + 2,
             "attribute 'output_shape' is ", Shape(output_shape).str(), "; ", rank, " values expected");
  }

  int64_t padding(int axis) const { return output_padding.empty() ? 0 : output_padding[static_cast<size_t>(axis)]; }

  // What the result would measure without padding.
  template <typename Extent>
  Extent full(int axis, int64_t kernel, const Extent& in) const {
    return (in - Extent(1)) * Extent(conv.window.stride(axis)) + Extent(padding(axis) + conv.window.span(axis, kernel));
  }
  // The extent asked for by output_shape, which may name the batch and channel axes too; none where it is not given.
  std::optional<int64_t> asked(int axis, int rank) const {
    if (output_shape.empty()) return std::nullopt;
    return output_shape[output_shape.size() - static_cast<size_t>(rank - axis)];
  }

 private:
  static std::vector<int64_t> list(const NodeView& node, const char* name) {
    if (!node.has_attr(name)) return {};
    std::vector<int64_t> values = node.attr_ints(name);
    for (int64_t value : values)
      SX_CHECK(node, value >= 0 && value <= int64_t{1} << 30, "attribute '", name, "' is ", Shape(values).str(),
               "; every value must be in 0..", int64_t{1} << 30);
    return values;
  }
};

Dim out_extent(const TransposeSpec& spec, int axis, int rank, int64_t kernel, const Dim& in) {
  if (const auto asked = spec.asked(axis, rank)) return *asked;
  const WindowSpec& window = spec.conv.window;
  if (window.same()) return in * Dim(window.stride(axis));
  return spec.full<Dim>(axis, kernel, in) - Dim(window.pad_begin(axis) + window.pad_end(axis));
}

void infer(InferContext& c) {
  const TransposeSpec spec(c);
  const int rank = c.has_shape(0) ? c.rank(0) : c.rank(1);
  if (rank < 0) return c.out(0, c.dtype(0), std::nullopt);
  SX_CHECK(c, !c.has_shape(1) || c.rank(1) == rank, "convolves ", c.type(0).str(), " with weights ", c.type(1).str(),
           "; both must have the same rank");
  spec.check_rank(c, rank - 2);
  SymShape out(static_cast<size_t>(rank));
  if (c.has_shape(0)) out[0] = c.shape(0)[0];
  if (c.has_shape(1)) out[1] = c.shape(1)[1] * Dim(spec.conv.groups);
  if (c.has_shape(0) && c.has_shape(1)) {
    const Dim& channels = c.shape(0)[1];
    const Dim& expected = c.shape(1)[0];
    SX_CHECK(c, !channels.known() || !expected.known() || channels == expected, "convolves ", c.type(0).str(),
             " with weights ", c.type(1).str(), "; the weights fit data with ", expected.str(), " channels");
  }
  for (int i = 0; i < rank - 2; ++i) {
    const auto axis = static_cast<size_t>(i);
    Dim kernel = spec.conv.window.kernel().empty() ? Dim() : Dim(spec.conv.window.kernel()[axis]);
    if (c.has_shape(1)) {
      const Dim& stored = c.shape(1)[axis + 2];
      SX_CHECK(c, !kernel.known() || !stored.known() || kernel == stored, "attribute 'kernel_shape' is ",
               Shape(spec.conv.window.kernel()).str(), " but the weights are ", c.type(1).str());
      if (stored.known()) kernel = stored;
    }
    if (kernel.known()) check_kernel(c, {kernel.value()});
    if (kernel.known() && c.has_shape(0))
      out[axis + 2] = out_extent(spec, i, rank - 2, kernel.value(), c.shape(0)[axis + 2]);
  }
  c.out(0, c.dtype(0), out);
}

// The convolution whose gradient this is.
ConvShape transposed_shape(const NodeView& node, const TransposeSpec& spec, const Shape& x, const Shape& w) {
  SX_CHECK(node, x.rank() >= 3 && w.rank() == x.rank(), "convolves ", x.str(), " with weights ", w.str(),
           "; equal ranks of at least 3 expected");
  spec.check_rank(node, x.rank() - 2);
  const WindowSpec& window = spec.conv.window;
  SX_CHECK(node, x[1] == w[0] && x[1] > 0 && w[1] > 0 && x[1] % spec.conv.groups == 0, "convolves ", x.str(),
           " with weights ", w.str(), ", which do not fit together in ", spec.conv.groups, " groups");
  ConvShape s;
  s.batch = x[0];
  s.channels = checked_mul(w[1], spec.conv.groups);
  s.filters = x[1];
  s.groups = spec.conv.groups;
  s.rank = x.rank() - 2;
  for (int i = 0; i < s.rank; ++i) {
    check_kernel(node, {w[i + 2]});
    checked_mul(x[i + 2], window.stride(i));
    const int64_t full = spec.full<int64_t>(i, w[i + 2], x[i + 2]);
    int64_t begin = window.pad_begin(i);
    int64_t out = full - begin - window.pad_end(i);
    const auto asked = spec.asked(i, s.rank);
    if (asked || window.same()) {
      out = asked ? *asked : x[i + 2] * window.stride(i);
      begin = window.share_padding(std::max<int64_t>(0, full - out)).first;
    }
    SX_CHECK(node, out >= 0, "the result would have the extent ", out, " along spatial axis ", i);
    s.in[i] = out;
    s.out[i] = x[i + 2];
    s.kernel[i] = w[i + 2];
    s.stride[i] = window.stride(i);
    s.dilation[i] = window.dilation(i);
    s.pad_begin[i] = begin;
    // Whatever output_padding and output_shape add or cut lies at the end.
    s.pad_end[i] = (x[i + 2] - 1) * window.stride(i) + window.span(i, w[i + 2]) - begin - out;
  }
  return s;
}

Shape result_shape(const ConvShape& s) {
  Shape out{s.batch, s.channels};
  for (int i = 0; i < s.rank; ++i) out.push_back(s.in[i]);
  return out;
}

// One plane of the result: every tap of every element of x lands somewhere in it or is cut off.
void plane_f64(const ConvShape& s, const double* x, int64_t x_channels, const double* w, int64_t w_step, double bias,
               double* y) {
  std::fill(y, y + s.in_size(), bias);
  const int64_t positions = s.out_size();
  const int64_t taps = s.kernel_size();
  for (int64_t channel = 0; channel < x_channels; ++channel, x += positions, w += w_step)
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t position = 0; position < positions; ++position) {
        int64_t at = 0, step = 1, rest = position, rest_tap = tap;
        bool inside = true;
        for (int axis = s.rank - 1; axis >= 0 && inside; --axis) {
          const int64_t to =
              rest % s.out[axis] * s.stride[axis] + rest_tap % s.kernel[axis] * s.dilation[axis] - s.pad_begin[axis];
          inside = to >= 0 && to < s.in[axis];
          at += to * step;
          step *= s.in[axis];
          rest /= s.out[axis];
          rest_tap /= s.kernel[axis];
        }
        if (inside) y[at] += x[position] * w[tap];
      }
}

void run_f64(const Run& run, const ConvShape& s, const double* bias, Tensor& y) {
  const int64_t out_channels = s.channels / s.groups;
  const int64_t in_channels = s.filters / s.groups;
  const int64_t taps = s.kernel_size();
  parallel_for(s.batch * s.channels, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t channel = i % s.channels;
      const int64_t first = channel / out_channels * in_channels;
      plane_f64(s, run.in(0).data<double>() + (i / s.channels * s.filters + first) * s.out_size(), in_channels,
                run.in(1).data<double>() + (first * out_channels + channel % out_channels) * taps, out_channels * taps,
                bias ? bias[channel] : 0.0, y.data<double>() + i * s.in_size());
    }
  });
}

class ConvTranspose {
 public:
  explicit ConvTranspose(Prepare& p) : node_(p.node()), spec_(p) {
    const Tensor* weights = p.constant(1);
    const auto x = p.shape(0);
    if (p.dtype(0) == DType::kFloat64 || weights == nullptr || !x || x->size() == 0 || weights->size() == 0) return;
    const ConvShape shape = transposed_shape(p, spec_, *x, weights->shape());
    packed_ = p.shared("w", [&] {
      Tensor packed(DType::kFloat32, Shape{packed_conv_transpose_size(shape)});
      pack_conv_transpose(shape, to_f32(weights->borrow()).data<float>(), packed.data<float>());
      return packed;
    });
  }

  void operator()(Run& run) const {
    const ConvShape s = transposed_shape(node_, spec_, run.in(0).shape(), run.in(1).shape());
    const bool has_bias = run.has(2);
    if (has_bias)
      SX_CHECK(run, run.in(2).size() == s.channels, "the bias has ", run.in(2).size(), " elements; ", s.channels,
               " expected");
    Tensor& y = run.out(0, result_shape(s));
    if (y.size() == 0) return;
    if (y.dtype() == DType::kFloat64) return run_f64(run, s, has_bias ? run.in(2).data<double>() : nullptr, y);
    const FloatIn x(run.in(0));
    std::optional<FloatIn> bias;
    Epilogue epilogue;
    if (has_bias) epilogue.row_bias = bias.emplace(run.in(2)).data();
    const FloatOut out(y);
    if (packed_.defined()) {
      conv_transpose(s, x.data(), packed_.data<float>(), out.data(), epilogue);
    } else {
      const FloatIn weights(run.in(1));
      const auto bytes = static_cast<size_t>(checked_mul(packed_conv_transpose_size(s), sizeof(float)));
      auto* packed = static_cast<float*>(thread_scratch(ScratchSlot::kOperator, bytes));
      pack_conv_transpose(s, weights.data(), packed);
      conv_transpose(s, x.data(), packed, out.data(), epilogue);
    }
    out.store();
  }

 private:
  NodeView node_;
  TransposeSpec spec_;
  Tensor packed_;
};

// --- gradients: of the data, which is a convolution, and of the weights

// The geometry for dY and what is x, or x where w is given, and the check of the gradient's shape.
ConvShape checked_shape(const Run& run, const NodeView& node, const TransposeSpec& spec, const Shape& x, const Shape& w,
                        const Shape& dy) {
  const ConvShape s = transposed_shape(node, spec, x, w);
  SX_CHECK(run, dy == result_shape(s), "the gradient is ", dy.str(), "; ", result_shape(s).str(), " expected");
  return s;
}

Kernel make_input_gradient(Prepare& p) {
  return [node = NodeView(p.node()), spec = TransposeSpec(p)](Run& run) {
    const Tensor &dy = run.in(0), &w = run.in(1);
    const ConvShape s = checked_shape(run, node, spec, run.in(2).shape(), w.shape(), dy.shape());
    Tensor& dx = run.out(0, run.in(2).shape());
    if (dx.size() == 0) return;
    if (dx.dtype() == DType::kFloat64)
      return conv_f64(s, dy.data<double>(), w.data<double>(), nullptr, dx.data<double>());
    const FloatIn from(dy), weights(w);
    const FloatOut out(dx);
    const auto bytes = static_cast<size_t>(checked_mul(packed_conv_size(s), sizeof(float)));
    auto* packed = static_cast<float*>(thread_scratch(ScratchSlot::kOperator, bytes));
    pack_conv(s, weights.data(), packed);
    conv(s, from.data(), packed, out.data(), Epilogue());
    out.store();
  };
}

Kernel make_weight_gradient(Prepare& p) {
  return [node = NodeView(p.node()), spec = TransposeSpec(p)](Run& run) {
    const Tensor &x = run.in(0), &dy = run.in(1);
    const ConvShape s = checked_shape(run, node, spec, x.shape(), run.in(2).shape(), dy.shape());
    Tensor& dw = run.out(0, run.in(2).shape());
    if (dw.size() == 0) return;
    if (dw.dtype() == DType::kFloat64)
      return conv_weight_gradient(s, dy.data<double>(), x.data<double>(), dw.data<double>());
    const FloatIn from(dy), of(x);
    const FloatOut out(dw);
    conv_weight_gradient(s, from.data(), of.data(), out.data());
    out.store();
  };
}

constexpr const char* kInputGradient = "ConvTransposeInputGradient";
constexpr const char* kWeightGradient = "ConvTransposeWeightGradient";

Expr gradient_op(GradientContext& c, const char* name, const Expr& a, const Expr& b, const Expr& like) {
  return c.op(name, {a, b, like}, c.node().attributes, "sardonyx");
}

void differentiate_conv_transpose(GradientContext& c) {
  if (c.wants(0)) c.give(0, gradient_op(c, kInputGradient, c.grad(), c.in(1), c.in(0)));
  if (c.wants(1)) c.give(1, gradient_op(c, kWeightGradient, c.in(0), c.grad(), c.in(1)));
  if (!c.wants(2)) return;
  SX_CHECK(c, c.grad().rank() >= 2, "has no gradient where the rank of its input is unknown");
  std::vector<int64_t> axes = {0};
  for (int i = 2; i < c.grad().rank(); ++i) axes.push_back(i);
  c.give(2, c.reduce_sum(c.grad(), axes, false));
}

// All three are linear in both of their operands and made of each other.
void differentiate_input_gradient(GradientContext& c) {
  if (c.wants(0)) c.give(0, c.op("ConvTranspose", {c.grad(), c.in(1)}, c.node().attributes));
  if (c.wants(1)) c.give(1, gradient_op(c, kWeightGradient, c.grad(), c.in(0), c.in(1)));
}

void differentiate_weight_gradient(GradientContext& c) {
  if (c.wants(0)) c.give(0, gradient_op(c, kInputGradient, c.in(1), c.grad(), c.in(0)));
  if (c.wants(1)) c.give(1, c.op("ConvTranspose", {c.in(0), c.grad()}, c.node().attributes));
}

OpDef gradient_def(const char* name) {
  return OpDef(name, "sardonyx")
      .optional_attr("output_padding", AttrKind::kInts)
      .optional_attr("output_shape", AttrKind::kInts)
      .in("a", "T", kFloats)
      .in("b", "T", kFloats)
      .in("like", "T", kFloats)
      .out("gradient", "T")
      .shape_only({2})
      .infer([](InferContext& c) { c.out(0, c.dtype(0), c.type(2).shape); });
}

}  // namespace

void define_conv_transpose(OpList& ops) {
  add_conv_attrs(
      ops.add(gradient_def(kInputGradient).kernel(make_input_gradient).gradient(differentiate_input_gradient)));
  add_conv_attrs(
      ops.add(gradient_def(kWeightGradient).kernel(make_weight_gradient).gradient(differentiate_weight_gradient)));
  add_conv_attrs(ops.add(OpDef("ConvTranspose")
                             .since(22)
                             .optional_attr("output_padding", AttrKind::kInts)
                             .optional_attr("output_shape", AttrKind::kInts)
                             .gradient(differentiate_conv_transpose)
                             .in("X", "T", kFloats)
                             .in("W", "T", kFloats)
                             .optional_in("B", "T", kFloats)
                             .out("Y", "T")
                             .infer(infer)
                             .kernel([](Prepare& p) -> Kernel { return ConvTranspose(p); })));
}

}  // namespace sx
