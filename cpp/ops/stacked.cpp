// The operators of stacked data, [channels / block, height, width, batch, block] (kernels/conv/stacked.h): Stack and
// Unstack, convolution with weights that change, its gradients, sums and maxima. Only the passes make them.
#include <algorithm>

#include "base/scratch.h"
#include "kernels/conv/stacked.h"
#include "kernels/conv/stacked_kernel.h"
#include "kernels/pool.h"
#include "ops/blocked.h"
#include "ops/conv.h"
#include "ops/fused_activation.h"
#include "ops/pool.h"
#include "ops/registry.h"

namespace sx {
namespace {

float* scratch_floats(ScratchSlot slot, int64_t count) {
  return static_cast<float*>(thread_scratch(slot, static_cast<size_t>(checked_mul(count, 4))));
}

SymShape stacked_shape(int64_t channels, const Dim& height, const Dim& width, const Dim& batch) {
  return SymShape{Dim(blocks_of_channels(channels)), height, width, batch, Dim(block_of_channels())};
}
Shape stacked_shape(int64_t channels, int64_t height, int64_t width, int64_t batch) {
  return Shape{blocks_of_channels(channels), height, width, batch, block_of_channels()};
}

// --- Stack, Unstack

void infer_stack(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 4 && c.shape(0)[1].known(), "stacks ", c.type(0).str(),
           "; four dimensions and a known number of channels expected");
  const SymShape& x = c.shape(0);
  c.out(0, DType::kFloat32, stacked_shape(x[1].value(), x[2], x[3], x[0]));
}

Kernel make_stack(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, stacked_shape(x.dim(1), x.dim(2), x.dim(3), x.dim(0)));
    if (y.size() > 0) to_stacked(x.data<float>(), x.dim(0), x.dim(1), x.dim(2) * x.dim(3), y.data<float>());
  };
}

void infer_unstack(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 5, "takes ", c.type(0).str(), "; stacked data expected");
  const SymShape& x = c.shape(0);
  c.out(0, DType::kFloat32, SymShape{x[3], Dim(c.attr_int("channels")), x[1], x[2]});
}

Kernel make_unstack(Prepare& p) {
  const int64_t channels = p.attr_int("channels");
  return [channels](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, Shape{x.dim(3), channels, x.dim(1), x.dim(2)});
    if (y.size() > 0) from_stacked(x.data<float>(), x.dim(3), channels, x.dim(1) * x.dim(2), y.data<float>());
  };
}

// --- convolution and its gradients

// Of data that is stacked, or plain with `plain`.
Shape plain_shape(const Run& run, const Shape& x, bool plain, int64_t channels) {
  SX_CHECK(run, plain ? x.rank() == 4 && x[1] == channels : x.rank() == 5 && x[0] == blocks_of_channels(channels),
           "has weights for ", channels, " channels and data of shape ", x.str());
  return plain ? x : Shape{x[3], channels, x[1], x[2]};
}

// The data as the kernels take it: few channels are stacked on the way.
const float* data_of(const Tensor& x, bool plain) {
  if (!plain) return x.data<float>();
  const int64_t count = x.dim(1) * x.dim(2) * x.dim(3);
  float* stacked = scratch_floats(ScratchSlot::kOperator, checked_mul(x.dim(0), count));
  stack_plain(x.data<float>(), x.dim(0), count, stacked);
  return stacked;
}

void infer_stacked_conv(InferContext& c) {
  const ConvSpec spec(c);
  const bool plain = c.attr_int("plain_input") != 0;
  SX_CHECK(c, c.rank(0) == (plain ? 4 : 5) && c.rank(1) == 4 && c.shape(1)[0].known(), "convolves ", c.type(0).str(),
           " with ", c.type(1).str());
  const SymShape &x = c.shape(0), &w = c.shape(1);
  Dim out[2];
  for (int axis = 0; axis < 2; ++axis) {
    const auto at = static_cast<size_t>(axis);
    if (w[at + 2].known()) out[axis] = spec.window.extent(c, axis, w[at + 2].value(), x[at + (plain ? 2 : 1)]);
  }
  c.out(0, DType::kFloat32, stacked_shape(w[0].value(), out[0], out[1], x[plain ? 0 : 3]));
}

Kernel make_stacked_conv(Prepare& p) {
  Epilogue fused;
  read_fused_activation(p).set(fused);
  const bool plain = p.attr_int("plain_input") != 0, winograd = p.attr_int("allow_winograd") != 0;
  const Precision precision = stacked_precision(p.precision());
  if (precision == Precision::kBf16 && !plain) p.describe("bf16");
  return [node = NodeView(p.node()), spec = ConvSpec(p), fused, plain, winograd, precision](Run& run) {
    const Tensor& w = run.in(1);
    const ConvShape s = conv_shape(node, spec, plain_shape(run, run.in(0).shape(), plain, w.dim(1)), w.shape());
    SX_CHECK(run, can_stack(s), "is no 2-D convolution of one group");
    Tensor& y = run.out(0, stacked_shape(s.filters, s.out[0], s.out[1], s.batch));
    Epilogue epilogue = fused;
    if (run.has(2)) {
      SX_CHECK(run, run.in(2).size() == s.filters, "the bias has ", run.in(2).size(), " elements; ", s.filters,
               " expected");
      const int64_t padded = y.dim(0) * y.dim(4);
      float* bias = scratch_floats(ScratchSlot::kOperator2, padded);
      std::fill(std::copy_n(run.in(2).data<float>(), s.filters, bias), bias + padded, 0.0f);
      epilogue.row_bias = bias;
    }
    if (run.has(3)) {
      SX_CHECK(run, run.in(3).shape() == y.shape(), "the residual is ", run.in(3).shape().str(), " but the result is ",
               y.shape().str());
      epilogue.residual = run.in(3).data<float>();
    }
    if (y.size() == 0) return;
    const StackedMethod method = stacked_method(s, plain, winograd, precision);
    stacked_conv(s, method, data_of(run.in(0), plain), w.data<float>(), y.data<float>(), epilogue, precision);
  };
}

// The shape of `like`, which may be stacked or not.
void infer_input_gradient(InferContext& c) {
  SX_CHECK(c, c.rank(1) == 4 && c.shape(1)[1].known() && (c.rank(2) == 4 || c.rank(2) == 5), "has weights ",
           c.type(1).str(), " and data ", c.type(2).str());
  const SymShape& like = c.shape(2);
  const bool plain = like.size() == 4;
  c.out(0, DType::kFloat32,
        stacked_shape(c.shape(1)[1].value(), like[plain ? 2 : 1], like[plain ? 3 : 2], like[plain ? 0 : 3]));
}

Kernel make_input_gradient(Prepare& p) {
  const bool winograd = p.attr_int("allow_winograd") != 0;
  const Precision precision = stacked_precision(p.precision());
  if (precision == Precision::kBf16) p.describe("bf16");
  return [node = NodeView(p.node()), spec = ConvSpec(p), winograd, precision](Run& run) {
    const Tensor &dy = run.in(0), &w = run.in(1);
    const Shape& like = run.in(2).shape();
    const ConvShape s = conv_shape(node, spec, plain_shape(run, like, like.rank() == 4, w.dim(1)), w.shape());
    const Shape expected = stacked_shape(s.filters, s.out[0], s.out[1], s.batch);
    SX_CHECK(run, can_stack(s) && dy.shape() == expected, "the gradient is ", dy.shape().str(), "; ", expected.str(),
             " expected");
    Tensor& dx = run.out(0, stacked_shape(s.channels, s.in[0], s.in[1], s.batch));
    Epilogue epilogue;
    if (run.has(3)) {
      SX_CHECK(run, run.in(3).shape() == dx.shape(), "the residual is ", run.in(3).shape().str(), " but the result is ",
               dx.shape().str());
      epilogue.residual = run.in(3).data<float>();
    }
    if (dx.size() == 0) return;
    const StackedMethod method = stacked_gradient_method(s, winograd, precision);
    stacked_input_gradient(s, method, dy.data<float>(), w.data<float>(), dx.data<float>(), epilogue, precision);
  };
}

Kernel make_weight_gradient(Prepare& p) {
  const bool plain = p.attr_int("plain_input") != 0;
  const Precision precision = stacked_precision(p.precision());
  if (precision == Precision::kBf16 && !plain) p.describe("bf16");
  return [node = NodeView(p.node()), spec = ConvSpec(p), plain, precision](Run& run) {
    const Tensor &x = run.in(0), &dy = run.in(1);
    const Shape& w = run.in(2).shape();
    const ConvShape s = conv_shape(node, spec, plain_shape(run, x.shape(), plain, w[1]), w);
    const Shape expected = stacked_shape(s.filters, s.out[0], s.out[1], s.batch);
    SX_CHECK(run, can_stack(s) && dy.shape() == expected, "the gradient is ", dy.shape().str(), "; ", expected.str(),
             " expected");
    Tensor& dw = run.out(0, w);
    if (dw.size() > 0)
      stacked_weight_gradient(s, plain, data_of(x, plain), dy.data<float>(), dw.data<float>(), precision);
  };
}

// --- ChannelSums

Kernel make_channel_sums(Prepare& p) {
  const int64_t channels = p.attr_int("channels");
  return [channels](Run& run) {
    const Tensor& x = run.in(0);
    const int64_t block = block_of_channels(), pixels = x.dim(1) * x.dim(2) * x.dim(3);
    SX_CHECK(run, x.rank() == 5 && x.dim(0) == blocks_of_channels(channels), "sums up ", channels,
             " channels of data of shape ", x.shape().str());
    Tensor& y = run.out(0, Shape{channels});
    parallel_for(x.dim(0), std::max<int64_t>(1, 32768 / (pixels * block + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        float sums[64];
        stacked_kernel().channel_sums(x.data<float>() + b * pixels * block, pixels, sums);
        std::copy_n(sums, std::min(block, channels - b * block), y.data<float>() + b * block);
      }
    });
  };
}

// --- ReluGradient: dx = y > 0 ? dy : 0

Kernel make_relu_gradient(Prepare&) {
  return [](Run& run) {
    const Tensor &dy = run.in(0), &y = run.in(1);
    SX_CHECK(run, dy.shape() == y.shape(), "the gradient is ", dy.shape().str(), " but the result ", y.shape().str());
    Tensor& dx = run.out(0, dy.shape());
    parallel_for(dx.size(), 32768, [&](int64_t begin, int64_t end) {
      stacked_kernel().relu_gradient(dy.data<float>() + begin, y.data<float>() + begin, end - begin,
                                     dx.data<float>() + begin);
    });
  };
}

// --- StackedMaxPool and its gradient

void infer_max_pool(InferContext& c) {
  const WindowSpec window(c);
  SX_CHECK(c, c.rank(0) == 5 && window.kernel().size() == 2, "pools ", c.type(0).str());
  SymShape out = c.shape(0);
  for (int axis = 0; axis < 2; ++axis) {
    const auto at = static_cast<size_t>(axis);
    out[at + 1] = window.extent(c, axis, window.kernel()[at], c.shape(0)[at + 1]);
  }
  c.out(0, DType::kFloat32, out);
}

// Calls body(window, input, output) for all windows of a block of channels, with the offsets of their first elements.
template <typename Body>
void each_window(const PoolShape& s, StackedMaxima& window, int64_t block, Body body) {
  const int64_t pixel = window.batch * block;
  const auto taps = [&](int axis, int64_t output, int64_t* first) {
    const PoolTaps inside = pool_taps(s, axis, output);
    *first = inside.start + inside.first * s.dilation[axis];
    return inside.last - inside.first;
  };
  window.row_step = s.dilation[0] * s.in[1] * pixel;
  window.column_step = s.dilation[1] * pixel;
  for (int64_t row = 0; row < s.out[0]; ++row)
    for (int64_t column = 0; column < s.out[1]; ++column) {
      int64_t y, x;
      window.rows = taps(0, row, &y);
      window.columns = taps(1, column, &x);
      const bool empty = window.rows == 0 || window.columns == 0;
      body(window, empty ? 0 : (y * s.in[1] + x) * pixel, (row * s.out[1] + column) * pixel);
    }
}

// Blocks of channels by pieces of the batch.
template <typename Body>
void each_piece(int64_t blocks, int64_t batch, int64_t work, Body body) {
  const int64_t pieces = std::min(batch, (4 * thread_count() + blocks - 1) / blocks);
  parallel_for(blocks * pieces, std::max<int64_t>(1, 32768 * pieces / (work + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t piece = item % pieces;
      body(item / pieces, StackedMaxima{batch, piece * batch / pieces, (piece + 1) * batch / pieces, 0, 0, 0, 0});
    }
  });
}

Kernel make_max_pool(Prepare& p) {
  return [node = NodeView(p.node()), window = WindowSpec(p)](Run& run) {
    const Tensor& x = run.in(0);
    const PoolShape s = pool_shape(node, window, Shape{x.dim(3), x.dim(0), x.dim(1), x.dim(2)});
    Tensor& y = run.out(0, Shape{x.dim(0), s.out[0], s.out[1], x.dim(3), x.dim(4)});
    if (y.size() == 0) return;
    const int64_t plane = x.dim(3) * x.dim(4);
    const auto maximum = stacked_kernel().maximum;
    each_piece(x.dim(0), x.dim(3), s.in_size() * plane, [&](int64_t block, StackedMaxima part) {
      each_window(s, part, x.dim(4), [&](const StackedMaxima& taps, int64_t from, int64_t to) {
        maximum(taps, x.data<float>() + block * s.in_size() * plane + from,
                y.data<float>() + block * s.out_size() * plane + to);
      });
    });
  };
}

Kernel make_max_pool_gradient(Prepare& p) {
  return [node = NodeView(p.node()), window = WindowSpec(p)](Run& run) {
    const Tensor &dy = run.in(0), &x = run.in(1), &y = run.in(2);
    const PoolShape s = pool_shape(node, window, Shape{x.dim(3), x.dim(0), x.dim(1), x.dim(2)});
    const Shape expected{x.dim(0), s.out[0], s.out[1], x.dim(3), x.dim(4)};
    SX_CHECK(run, dy.shape() == expected && y.shape() == expected, "the gradient is ", dy.shape().str(), "; ",
             expected.str(), " expected");
    Tensor& dx = run.out(0, x.shape());
    if (dx.size() == 0) return;
    const int64_t plane = x.dim(3) * x.dim(4), width = x.dim(4);
    const auto gradient = stacked_kernel().maximum_gradient;
    each_piece(x.dim(0), x.dim(3), s.in_size() * plane, [&](int64_t block, StackedMaxima part) {
      float* to_block = dx.data<float>() + block * s.in_size() * plane;
      for (int64_t pixel = 0; pixel < s.in_size(); ++pixel)
        std::fill(to_block + pixel * plane + part.first * width, to_block + pixel * plane + part.last * width, 0.0f);
      each_window(s, part, width, [&](const StackedMaxima& taps, int64_t from, int64_t to) {
        const int64_t out = block * s.out_size() * plane + to;
        gradient(taps, x.data<float>() + block * s.in_size() * plane + from, y.data<float>() + out,
                 dy.data<float>() + out, to_block + from);
      });
    });
  };
}

}  // namespace

void define_stacked(OpList& ops) {
  constexpr DTypeSet kF32 = DType::kFloat32;
  ops.add(OpDef("Stack", "sardonyx").in("X", "", kF32).out("Y").infer(infer_stack).kernel(make_stack));
  ops.add(OpDef("Unstack", "sardonyx")
              .required_attr("channels", AttrKind::kInt)
              .in("X", "", kF32)
              .out("Y")
              .infer(infer_unstack)
              .kernel(make_unstack));
  OpDef& conv = ops.add(OpDef("StackedConv", "sardonyx")
                            .attr("plain_input", 0)
                            .attr("allow_winograd", 1)
                            .in("X", "", kF32)
                            .in("W", "", kF32)
                            .optional_in("B", "", kF32)
                            .optional_in("residual", "", kF32)
                            .out("Y")
                            .in_place({3})
                            .infer(infer_stacked_conv)
                            .kernel(make_stacked_conv));
  add_conv_attrs(conv);
  add_fused_activation_attrs(conv);
  add_conv_attrs(ops.add(OpDef("StackedConvInputGradient", "sardonyx")
                             .attr("allow_winograd", 1)
                             .in("dY", "", kF32)
                             .in("W", "", kF32)
                             .in("like", "", kF32)
                             .optional_in("residual", "", kF32)
                             .out("dX")
                             .shape_only({2})
                             .in_place({3})
                             .infer(infer_input_gradient)
                             .kernel(make_input_gradient)));
  add_conv_attrs(ops.add(OpDef("StackedConvWeightGradient", "sardonyx")
                             .attr("plain_input", 0)
                             .in("X", "", kF32)
                             .in("dY", "", kF32)
                             .in("like", "", kF32)
                             .out("dW")
                             .shape_only({2})
                             .infer(same_as(2))
                             .kernel(make_weight_gradient)));
  ops.add(OpDef("ChannelSums", "sardonyx")
              .required_attr("channels", AttrKind::kInt)
              .in("X", "", kF32)
              .out("Y")
              .infer([](InferContext& c) { c.out(0, DType::kFloat32, SymShape{Dim(c.attr_int("channels"))}); })
              .kernel(make_channel_sums));
  ops.add(OpDef("ReluGradient", "sardonyx")
              .in("dY", "", kF32)
              .in("Y", "", kF32)
              .out("dX")
              .in_place({0, 1})
              .infer(same_as(0))
              .kernel(make_relu_gradient));
  add_pool_attrs(ops.add(
      OpDef("StackedMaxPool", "sardonyx").in("X", "", kF32).out("Y").infer(infer_max_pool).kernel(make_max_pool)));
  add_pool_attrs(ops.add(OpDef("StackedMaxPoolGradient", "sardonyx")
                             .in("dY", "", kF32)
                             .in("X", "", kF32)
                             .in("Y", "", kF32)
                             .out("dX")
                             .infer(same_as(1))
                             .kernel(make_max_pool_gradient)));
}

}  // namespace sx
