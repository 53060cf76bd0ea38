// The gradients of a convolution: of its data, dx = W^T dy, and of its weights, dW = sum over images of dy x^T.
#include <algorithm>
#include <cstring>

#include "base/scratch.h"
#include "kernels/conv/conv.h"
#include "kernels/gemm/gemm.h"
#include "ops/conv.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Columns of inputs are made for as many channels and images at a time as fit in about this many elements.
constexpr int64_t kColumnElements = 2 << 20;

// Calls body(output row, input row, first column, last column) for the rows of outputs whose tap lies within the data,
// with the columns [first, last) for which it does.
template <typename Body>
void each_row(const ConvShape& s, int64_t tap, Body body) {
  const int last = s.rank - 1;
  int64_t position[kMaxSpatialRank];
  for (int axis = last; axis >= 0; --axis) {
    position[axis] = tap % s.kernel[axis];
    tap /= s.kernel[axis];
  }
  const auto inside = [&](int axis, int64_t output) {
    const int64_t at = output * s.stride[axis] + position[axis] * s.dilation[axis] - s.pad_begin[axis];
    return at >= 0 && at < s.in[axis] ? at : int64_t{-1};
  };
  int64_t first = 0;
  while (first < s.out[last] && inside(last, first) < 0) ++first;
  int64_t end = first;
  while (end < s.out[last] && inside(last, end) >= 0) ++end;
  const int64_t rows = s.out[last] == 0 ? 0 : s.out_size() / s.out[last];
  for (int64_t row = 0; row < rows && first < end; ++row) {
    int64_t rest = row, at = 0, step = 1;
    bool exists = true;
    for (int axis = last - 1; axis >= 0 && exists; --axis) {
      const int64_t where = inside(axis, rest % s.out[axis]);
      exists = where >= 0;
      at += where * step;
      step *= s.in[axis];
      rest /= s.out[axis];
    }
    if (exists) body(row, at * s.in[last] + inside(last, first), first, end);
  }
}

// --- of the weights

// A piece of the sum over images: `images` of them and `channels` of one group.
struct Piece {
  const float* x;   // the first channel of the first image
  const float* dy;  // the first filter of the first image
  int64_t images, channels, filters;
};

// columns[channel * taps + tap][image][output]
void make_columns(const ConvShape& s, const Piece& piece, float* columns) {
  const int64_t taps = s.kernel_size(), out = s.out_size(), width = s.out[s.rank - 1], step = s.stride[s.rank - 1];
  parallel_for(piece.channels * taps * piece.images, std::max<int64_t>(1, 32768 / (out + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   float* to = columns + item * out;
                   const int64_t image = item % piece.images, line = item / piece.images;
                   const float* from = piece.x + (image * s.channels + line / taps) * s.in_size();
                   std::fill(to, to + out, 0.0f);
                   each_row(s, line % taps, [&](int64_t row, int64_t at, int64_t first, int64_t last) {
                     float* cells = to + row * width + first;
                     if (step == 1) std::memcpy(cells, from + at, static_cast<size_t>(last - first) * sizeof(float));
                     else
                       for (int64_t j = 0; j < last - first; ++j) cells[j] = from[at + j * step];
                   });
                 }
               });
}

// rows[filter][image][output]
void gather_rows(const ConvShape& s, const Piece& piece, float* rows) {
  const int64_t out = s.out_size();
  parallel_for(piece.filters * piece.images, std::max<int64_t>(1, 32768 / (out + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item % piece.images, filter = item / piece.images;
      std::memcpy(rows + item * out, piece.dy + (image * s.filters + filter) * out,
                  static_cast<size_t>(out) * sizeof(float));
    }
  });
}

}  // namespace

void conv_weight_gradient(const ConvShape& s, const float* x, const float* dy, float* dw) {
  const int64_t channels = s.channels / s.groups, filters = s.filters / s.groups;
  const int64_t taps = s.kernel_size(), out = s.out_size();
  std::fill_n(dw, s.filters * channels * taps, 0.0f);
  if (out == 0 || s.batch == 0) return;
  const int64_t step = std::clamp<int64_t>(kColumnElements / (taps * out), 1, channels);
  const int64_t together = std::clamp<int64_t>(kColumnElements / ((step * taps + filters) * out), 1, s.batch);
  const int64_t column_size = checked_mul(checked_mul(step * taps, out), together);
  auto* columns = static_cast<float*>(thread_scratch(
      ScratchSlot::kOperator, static_cast<size_t>(column_size + filters * together * out) * sizeof(float)));
  float* rows = columns + column_size;
  for (int64_t group = 0; group < s.groups; ++group) {
    for (int64_t image = 0; image < s.batch; image += together) {
      for (int64_t channel = 0; channel < channels; channel += step) {
        Piece piece;
        piece.images = std::min(together, s.batch - image);
        piece.channels = std::min(step, channels - channel);
        piece.filters = filters;
        piece.x = x + (image * s.channels + group * channels + channel) * s.in_size();
        piece.dy = dy + (image * s.filters + group * filters) * out;
        make_columns(s, piece, columns);
        if (channel == 0) gather_rows(s, piece, rows);
        Gemm gemm;
        gemm.m = filters;
        gemm.n = piece.channels * taps;
        gemm.k = piece.images * out;
        gemm.a = rows;
        gemm.lda = gemm.k;
        gemm.b = columns;
        gemm.ldb = gemm.k;
        gemm.trans_b = true;
        gemm.c = dw + (group * filters * channels + channel) * taps;
        gemm.ldc = channels * taps;
        gemm.epilogue.residual = gemm.c;
        gemm.epilogue.residual_stride = gemm.ldc;
        sx::gemm(gemm);
      }
    }
  }
}

void conv_weight_gradient(const ConvShape& s, const double* x, const double* dy, double* dw) {
  const int64_t channels = s.channels / s.groups, filters = s.filters / s.groups, taps = s.kernel_size();
  const int64_t width = s.out[s.rank - 1], step = s.stride[s.rank - 1];
  parallel_for(s.filters * channels * taps, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t filter = item / (channels * taps);
      const int64_t channel = filter / filters * channels + item / taps % channels;
      double sum = 0;
      for (int64_t image = 0; image < s.batch; ++image) {
        const double* from = x + (image * s.channels + channel) * s.in_size();
        const double* of = dy + (image * s.filters + filter) * s.out_size();
        each_row(s, item % taps, [&](int64_t row, int64_t at, int64_t first, int64_t last) {
          for (int64_t j = 0; j < last - first; ++j) sum += from[at + j * step] * of[row * width + first + j];
        });
      }
      dw[item] = sum;
    }
  });
}

namespace {

Kernel make_weight_gradient(Prepare& p) {
  return [node = NodeView(p.node()), spec = ConvSpec(p)](Run& run) {
    const ConvShape s = conv_shape(node, spec, run.in(0).shape(), run.in(2).shape());
    SX_CHECK(run, run.in(1).shape() == conv_result(s), "the gradient is ", run.in(1).shape().str(), "; ",
             conv_result(s).str(), " expected");
    Tensor& dw = run.out(0, run.in(2).shape());
    if (dw.size() == 0) return;
    if (dw.dtype() == DType::kFloat64)
      return conv_weight_gradient(s, run.in(0).data<double>(), run.in(1).data<double>(), dw.data<double>());
    const FloatIn x(run.in(0)), dy(run.in(1));
    const FloatOut out(dw);
    conv_weight_gradient(s, x.data(), dy.data(), out.data());
    out.store();
  };
}

// --- of the data

void input_gradient(const ConvShape& s, const double* dy, const double* w, double* dx) {
  const int64_t channels = s.channels / s.groups, filters = s.filters / s.groups, taps = s.kernel_size();
  const int64_t width = s.out[s.rank - 1], step = s.stride[s.rank - 1];
  parallel_for(s.batch * s.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const int64_t image = plane / s.channels, group = plane % s.channels / channels;
      double* to = dx + plane * s.in_size();
      std::fill(to, to + s.in_size(), 0.0);
      for (int64_t filter = group * filters; filter < (group + 1) * filters; ++filter) {
        const double* of = dy + (image * s.filters + filter) * s.out_size();
        const double* weights = w + (filter * channels + plane % channels) * taps;
        for (int64_t tap = 0; tap < taps; ++tap)
          each_row(s, tap, [&](int64_t row, int64_t at, int64_t first, int64_t last) {
            for (int64_t j = 0; j < last - first; ++j) to[at + j * step] += weights[tap] * of[row * width + first + j];
          });
      }
    }
  });
}

Kernel make_input_gradient(Prepare& p) {
  return [node = NodeView(p.node()), spec = ConvSpec(p)](Run& run) {
    const ConvShape s = conv_shape(node, spec, run.in(2).shape(), run.in(1).shape());
    SX_CHECK(run, run.in(0).shape() == conv_result(s), "the gradient is ", run.in(0).shape().str(), "; ",
             conv_result(s).str(), " expected");
    Tensor& dx = run.out(0, run.in(2).shape());
    if (dx.size() == 0) return;
    if (dx.dtype() == DType::kFloat64)
      return input_gradient(s, run.in(0).data<double>(), run.in(1).data<double>(), dx.data<double>());
    const FloatIn dy(run.in(0)), w(run.in(1));
    const FloatOut out(dx);
    const auto bytes = static_cast<size_t>(checked_mul(packed_conv_transpose_size(s), sizeof(float)));
    auto* packed = static_cast<float*>(thread_scratch(ScratchSlot::kOperator, bytes));
    pack_conv_transpose(s, w.data(), packed);
    conv_transpose(s, dy.data(), packed, out.data(), Epilogue());
    out.store();
  };
}

void infer_like(InferContext& c) { c.out(0, c.dtype(0), c.type(2).shape); }

Attributes conv_attributes(const GradientContext& c) { return c.node().attributes; }

}  // namespace

void differentiate_conv(GradientContext& c) {
  const Attributes attributes = conv_attributes(c);
  if (c.wants(0)) c.give(0, c.op("ConvInputGradient", {c.grad(), c.in(1), c.in(0)}, attributes, "sardonyx"));
  if (c.wants(1)) c.give(1, c.op("ConvWeightGradient", {c.in(0), c.grad(), c.in(1)}, attributes, "sardonyx"));
  if (!c.wants(2)) return;
  SX_CHECK(c, c.grad().rank() >= 2, "has no gradient where the rank of its input is unknown");
  std::vector<int64_t> axes = {0};
  for (int i = 2; i < c.grad().rank(); ++i) axes.push_back(i);
  c.give(2, c.reduce_sum(c.grad(), axes, false));
}

namespace {

// Both are linear in each of their inputs, and each is made of the others.
void differentiate_input_gradient(GradientContext& c) {
  const Attributes attributes = conv_attributes(c);
  if (c.wants(0)) c.give(0, c.op("Conv", {c.grad(), c.in(1)}, attributes));
  if (c.wants(1)) c.give(1, c.op("ConvWeightGradient", {c.grad(), c.in(0), c.in(1)}, attributes, "sardonyx"));
}

void differentiate_weight_gradient(GradientContext& c) {
  const Attributes attributes = conv_attributes(c);
  if (c.wants(0)) c.give(0, c.op("ConvInputGradient", {c.in(1), c.grad(), c.in(0)}, attributes, "sardonyx"));
  if (c.wants(1)) c.give(1, c.op("Conv", {c.in(0), c.grad()}, attributes));
}

}  // namespace

void define_conv_gradient(OpList& ops) {
  add_conv_attrs(ops.add(OpDef("ConvInputGradient", "sardonyx")
                             .in("dY", "T", kFloats)
                             .in("W", "T", kFloats)
                             .in("like", "T", kFloats)
                             .out("dX", "T")
                             .shape_only({2})
                             .infer(infer_like)
                             .kernel(make_input_gradient)
                             .gradient(differentiate_input_gradient)));
  add_conv_attrs(ops.add(OpDef("ConvWeightGradient", "sardonyx")
                             .in("X", "T", kFloats)
                             .in("dY", "T", kFloats)
                             .in("like", "T", kFloats)
                             .out("dW", "T")
                             .shape_only({2})
                             .infer(infer_like)
                             .kernel(make_weight_gradient)
                             .gradient(differentiate_weight_gradient)));
}

}  // namespace sx
