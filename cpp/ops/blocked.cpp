// The operators of channel-blocked data, [batch, channels / block, height, width, block] (kernels/conv/blocked.h):
// Block and Unblock and their kin, BlockedConv, BlockedPool, BlockedMean and ScaleChannels. Only the passes make them.
// Floats are f32 when plain, and f32 or bf16 in blocks. Bytes in blocks are unsigned: signed ones are moved up by 128,
// and so are their zero points.
#include "ops/blocked.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>

#include "base/scratch.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_bytes.h"
#include "kernels/pool.h"
#include "ops/conv.h"
#include "ops/fused_activation.h"
#include "ops/pool.h"
#include "ops/registry.h"

namespace sx {

int64_t block_of_channels() { return channel_block(); }
int64_t blocks_of_channels(int64_t channels) { return (channels + channel_block() - 1) / channel_block(); }
bool bf16_in_blocks() { return has_bf16_blocks(); }

Tensor pad_channels(const float* values, int64_t channels) {
  Tensor padded(DType::kFloat32, Shape{1, blocks_of_channels(channels), 1, 1, channel_block()});
  std::fill_n(padded.data<float>(), padded.size(), 0.0f);
  std::copy_n(values, channels, padded.data<float>());
  return padded;
}

namespace {

Shape blocked_shape(int64_t batch, int64_t channels, int64_t height, int64_t width) {
  return Shape{batch, blocks_of_channels(channels), height, width, channel_block()};
}

// The type of a result that has attribute bf16.
DType float_in_blocks(const NodeView& c) { return c.attr_int("bf16") != 0 ? DType::kBFloat16 : DType::kFloat32; }

// --- Block, Unblock

constexpr uint8_t kSignFlip = 0x80;

void infer_block(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 4 && c.shape(0)[1].known(), "blocks ", c.type(0).str(),
           "; four dimensions and a known number of channels expected");
  const SymShape& x = c.shape(0);
  const DType dtype = c.dtype(0) == DType::kFloat32 ? float_in_blocks(c) : DType::kUInt8;
  c.out(0, dtype, SymShape{x[0], Dim(blocks_of_channels(x[1].value())), x[2], x[3], Dim(channel_block())});
}

Kernel make_block(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, blocked_shape(x.dim(0), x.dim(1), x.dim(2), x.dim(3)));
    const int64_t size = x.dim(2) * x.dim(3);
    if (y.size() == 0) return;
    if (x.dtype() == DType::kFloat32)
      return with_blocked_float(y.dtype(), [&](auto type) {
        to_blocks(x.data<float>(), x.dim(0), x.dim(1), size, y.data<decltype(type)>());
      });
    bytes_to_blocks(static_cast<const uint8_t*>(x.raw()), x.dim(0), x.dim(1), size,
                    x.dtype() == DType::kInt8 ? kSignFlip : uint8_t{0}, y.data<uint8_t>());
  };
}

void infer_unblock(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 5, "takes ", c.type(0).str(), "; blocked data expected");
  const SymShape& x = c.shape(0);
  const DType dtype = kBlockedFloats.has(c.dtype(0))    ? DType::kFloat32
                      : c.attr_int("signed_bytes") != 0 ? DType::kInt8
                                                        : DType::kUInt8;
  c.out(0, dtype, SymShape{x[0], Dim(c.attr_int("channels")), x[2], x[3]});
}

Kernel make_unblock(Prepare& p) {
  const int64_t channels = p.attr_int("channels");
  return [channels](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, Shape{x.dim(0), channels, x.dim(2), x.dim(3)});
    const int64_t size = x.dim(2) * x.dim(3);
    if (y.size() == 0) return;
    if (kBlockedFloats.has(x.dtype()))
      return with_blocked_float(x.dtype(), [&](auto type) {
        from_blocks(x.data<decltype(type)>(), x.dim(0), channels, size, y.data<float>());
      });
    bytes_from_blocks(x.data<uint8_t>(), x.dim(0), channels, size, y.dtype() == DType::kInt8 ? kSignFlip : uint8_t{0},
                      static_cast<uint8_t*>(y.raw()));
  };
}

// --- BlockLast, UnblockLast: the channels are the last axis of the plain data

void infer_block_last(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 4 && c.shape(0)[3].known(), "blocks ", c.type(0).str(),
           "; four dimensions and a known number of channels expected");
  const SymShape& x = c.shape(0);
  c.out(0, float_in_blocks(c), SymShape{x[0], Dim(blocks_of_channels(x[3].value())), x[1], x[2], Dim(channel_block())});
}

Kernel make_block_last(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, blocked_shape(x.dim(0), x.dim(3), x.dim(1), x.dim(2)));
    if (y.size() == 0) return;
    with_blocked_float(y.dtype(), [&](auto type) {
      to_blocks_from_last(x.data<float>(), x.dim(0), x.dim(3), x.dim(1) * x.dim(2), y.data<decltype(type)>());
    });
  };
}

void infer_unblock_last(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 5, "takes ", c.type(0).str(), "; blocked data expected");
  const SymShape& x = c.shape(0);
  c.out(0, DType::kFloat32, SymShape{x[0], x[2], x[3], Dim(c.attr_int("channels"))});
}

Kernel make_unblock_last(Prepare& p) {
  const int64_t channels = p.attr_int("channels");
  return [channels](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, Shape{x.dim(0), x.dim(2), x.dim(3), channels});
    if (y.size() == 0) return;
    with_blocked_float(x.dtype(), [&](auto type) {
      from_blocks_to_last(x.data<decltype(type)>(), x.dim(0), channels, x.dim(2) * x.dim(3), y.data<float>());
    });
  };
}

// --- BlockedConv

void infer_blocked_conv(InferContext& c) {
  const ConvSpec spec(c);
  SX_CHECK(c, c.rank(0) >= 4 && c.rank(1) == 4, "convolves ", c.type(0).str(), " with ", c.type(1).str());
  SymShape out{c.shape(0)[0], Dim(), Dim(), Dim(), Dim(channel_block())};
  if (c.shape(1)[0].known()) out[1] = Dim(blocks_of_channels(c.shape(1)[0].value()));
  for (int axis = 0; axis < 2; ++axis) {
    const auto at = static_cast<size_t>(axis + 2);
    if (c.shape(1)[at].known()) out[at] = spec.window.extent(c, axis, c.shape(1)[at].value(), c.shape(0)[at]);
    if (c.attr_int("maxima") != 0) out[at] = floor_div(out[at] - Dim(2), Dim(2)) + Dim(1);
  }
  c.out(0, float_in_blocks(c), out);
}

class BlockedConv {
 public:
  explicit BlockedConv(Prepare& p)
      : node_(p.node()),
        spec_(p),
        plain_(p.attr_int("plain_input") != 0),
        maxima_(p.attr_int("maxima") != 0),
        winograd_(p.attr_int("allow_winograd") != 0),
        precision_(p.attr_int("bf16") != 0 ? Precision::kBf16 : Precision::kF32),
        weights_(*p.constant(1)) {
    read_fused_activation(p).set(epilogue_);
    if (p.has(2)) {
      bias_ = p.shared("bias", [&] { return pad_channels(p.constant(2)->data<float>(), weights_.dim(0)); });
      epilogue_.row_bias = bias_.data<float>();
    }
    if (!p.type(0).shape) return;
    // Any batch takes the same weights.
    SymShape images = *p.type(0).shape;
    images[0] = Dim(1);
    const auto x = concrete(images);
    if (!x || x->size() == 0) return;
    const ConvShape shape = shape_of(*x);
    const auto [method, size] = key_of(shape);
    packed_.emplace(key_of(shape), p.shared(name_of(method) + std::to_string(size), [&] { return pack(shape); }));
    p.describe(join(name_of(method), precision_ == Precision::kBf16 ? ", bf16" : "", maxima_ ? ", 2x2 maxima" : ""));
  }

  void operator()(Run& run) {
    const ConvShape shape = shape_of(run.in(0).shape());
    const int64_t pool = maxima_ ? 2 : 1;
    Tensor& y = run.out(0, blocked_shape(shape.batch, shape.filters, shape.out[0] / pool, shape.out[1] / pool));
    if (run.has(3))
      SX_CHECK(run, run.in(3).shape() == y.shape(), "the residual is ", run.in(3).shape().str(), " but the result is ",
               y.shape().str());
    if (y.size() == 0) return;
    if (maxima_)
      return blocked_conv_maxima(shape, method_of(shape), run.in(0).data<float>(), packed_for(shape), y.data<float>(),
                                 epilogue_);
    with_blocked_float(y.dtype(), [&](auto type) {
      using T = decltype(type);
      blocked_conv(shape, method_of(shape), run.in(0).raw(), packed_for(shape),
                   run.has(3) ? run.in(3).data<T>() : nullptr, y.data<T>(), epilogue_);
    });
  }

 private:
  ConvShape shape_of(const Shape& x) const {
    return conv_shape(node_, spec_, Shape{x[0], weights_.dim(1) * spec_.groups, x[2], x[3]}, weights_.shape());
  }
  BlockedMethod method_of(const ConvShape& shape) const { return blocked_method(shape, plain_, winograd_, precision_); }
  // Packed weights of equal size and method are the same.
  std::pair<BlockedMethod, int64_t> key_of(const ConvShape& shape) const {
    return {method_of(shape), packed_blocked_size(shape, method_of(shape), precision_)};
  }
  Tensor pack(const ConvShape& shape) const {
    const auto [method, size] = key_of(shape);
    Tensor packed(DType::kFloat32, Shape{size});
    pack_blocked(shape, method, precision_, weights_.borrow().data<float>(), packed.data<float>());
    return packed;
  }
  const float* packed_for(const ConvShape& shape) {
    std::lock_guard<std::mutex> lock(mutex_);
    Tensor& packed = packed_[key_of(shape)];
    if (!packed.defined()) packed = pack(shape);
    return packed.data<float>();
  }

  const NodeView node_;
  const ConvSpec spec_;
  const bool plain_, maxima_, winograd_;
  const Precision precision_;  // of blocks
  const Tensor weights_;
  Tensor bias_;
  Epilogue epilogue_;
  std::mutex mutex_;
  std::map<std::pair<BlockedMethod, int64_t>, Tensor> packed_;
};

Kernel make_blocked_conv(Prepare& p) {
  SX_CHECK(p, p.constant(1) != nullptr && (!p.has(2) || p.constant(2) != nullptr), "needs constant weights");
  SX_CHECK(p, !p.has(2) || p.constant(2)->size() == p.constant(1)->dim(0), "the bias has ",
           p.has(2) ? p.constant(2)->size() : 0, " elements; ", p.constant(1)->dim(0), " expected");
  auto conv = std::make_shared<BlockedConv>(p);
  return [conv](Run& run) { (*conv)(run); };
}

// --- BlockedPool: maximum or mean of windows

void infer_blocked_pool(InferContext& c) {
  const WindowSpec window(c);
  SX_CHECK(c, c.rank(0) == 5 && window.kernel().size() == 2, "pools ", c.type(0).str());
  SymShape out = c.shape(0);
  for (int axis = 0; axis < 2; ++axis) {
    const auto at = static_cast<size_t>(axis);
    out[at + 2] = window.extent(c, axis, window.kernel()[at], c.shape(0)[at + 2]);
  }
  c.out(0, c.dtype(0), out);
}

Kernel make_blocked_pool(Prepare& p) {
  const bool mean = p.attr_string("kind") == "mean";
  const bool count_padding = p.attr_int("count_include_pad") != 0;
  return [node = NodeView(p.node()), window = WindowSpec(p), mean, count_padding](Run& run) {
    const Tensor& x = run.in(0);
    const PoolShape s = pool_shape(node, window, Shape{x.dim(0), x.dim(1), x.dim(2), x.dim(3)});
    Tensor& y = run.out(0, Shape{x.dim(0), x.dim(1), s.out[0], s.out[1], x.dim(4)});
    if (y.size() == 0) return;
    BlockedPool pool;
    for (int axis = 0; axis < 2; ++axis) {
      pool.in[axis] = s.in[axis];
      pool.out[axis] = s.out[axis];
      pool.kernel[axis] = s.kernel[axis];
      pool.stride[axis] = s.stride[axis];
      pool.dilation[axis] = s.dilation[axis];
      pool.pad_begin[axis] = s.pad_begin[axis];
      pool.pad_end[axis] = s.pad_end[axis];
    }
    if (x.dtype() == DType::kUInt8) return maximum_of_bytes(pool, s.planes, x.data<uint8_t>(), y.data<uint8_t>());
    pool.mean = mean;
    pool.count_padding = count_padding;
    const int64_t row_work = s.out[1] * s.most_taps(0) * s.most_taps(1);
    const auto pool_rows = [&](const auto* from, auto* to, auto function) {
      parallel_for(s.planes * s.out[0], std::max<int64_t>(1, 4096 / row_work), [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item)
          function(pool, from + item / s.out[0] * s.in_size() * x.dim(4), item % s.out[0],
                   to + item * s.out[1] * x.dim(4));
      });
    };
    if (x.dtype() == DType::kFloat32) pool_rows(x.data<float>(), y.data<float>(), pool_kernel().blocked_row);
    else pool_rows(x.data<BFloat16>(), y.data<BFloat16>(), pool_kernel().blocked_row_bf16);
  };
}

// --- BlockedMean: the mean of each channel of each image

void infer_blocked_mean(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 5, "takes ", c.type(0).str(), "; blocked data expected");
  const SymShape& x = c.shape(0);
  c.out(0, c.dtype(0), SymShape{x[0], x[1], Dim(1), Dim(1), x[4]});
}

Kernel make_blocked_mean(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    Tensor& y = run.out(0, Shape{x.dim(0), x.dim(1), 1, 1, x.dim(4)});
    if (y.size() == 0) return;
    const int64_t planes = x.dim(0) * x.dim(1), size = x.dim(2) * x.dim(3);
    if (x.dtype() == DType::kFloat32) return channel_moments(x.data<float>(), planes, size, y.data<float>(), nullptr);
    auto* means =
        static_cast<float*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(y.size()) * sizeof(float)));
    channel_moments(x.data<BFloat16>(), planes, size, means, nullptr);
    for (int64_t i = 0; i < y.size(); ++i) y.data<BFloat16>()[i] = BFloat16(means[i]);
  };
}

// --- ScaleChannels: y = act(x * scale + shift), a value for each channel, or for each channel of each image

// One block of a scale or shift, as f32.
const float* block_of(const Tensor& t, int64_t at, float* values) {
  if (t.dtype() == DType::kFloat32) return t.data<float>() + at;
  for (int64_t i = 0; i < t.dim(4); ++i) values[i] = static_cast<float>(t.data<BFloat16>()[at + i]);
  return values;
}

Kernel make_scale_channels(Prepare& p) {
  Epilogue epilogue;
  read_fused_activation(p).set(epilogue);
  return [epilogue](Run& run) {
    const Tensor& x = run.in(0);
    const auto fits = [&](const Tensor& t) {
      return t.rank() == 5 && (t.dim(0) == 1 || t.dim(0) == x.dim(0)) && t.dim(1) == x.dim(1) && t.dim(2) == 1 &&
             t.dim(3) == 1 && t.dim(4) == x.dim(4);
    };
    for (int i = 1; i <= 2; ++i)
      SX_CHECK(run, !run.has(i) || fits(run.in(i)), i == 1 ? "the scale is " : "the shift is ", run.in(i).shape().str(),
               ", which does not fit data of shape ", x.shape().str());
    Tensor& y = run.out(0, x.shape());
    const int64_t block = x.dim(4), size = x.dim(2) * x.dim(3) * block, blocks = x.dim(1);
    const auto at = [&](int i, int64_t plane, float* values) -> const float* {
      if (!run.has(i)) return nullptr;
      return block_of(run.in(i), (run.in(i).dim(0) == 1 ? plane % blocks : plane) * block, values);
    };
    if (y.size() == 0) return;
    with_blocked_float(x.dtype(), [&](auto type) {
      using T = decltype(type);
      const T* from = x.data<T>();
      T* to = y.data<T>();
      parallel_for(x.dim(0) * blocks, std::max<int64_t>(1, 32768 / size), [&](int64_t begin, int64_t end) {
        float scale[kMostBlock], shift[kMostBlock];
        for (int64_t plane = begin; plane < end; ++plane)
          scale_block(from + plane * size, at(1, plane, scale), at(2, plane, shift), to + plane * size, size, epilogue);
      });
    });
  };
}

}  // namespace

void define_blocked(OpList& ops) {
  ops.add(OpDef("Block", "sardonyx")
              .attr("bf16", 0)
              .in("X", "", DTypeSet(DType::kFloat32) | DType::kUInt8 | DType::kInt8)
              .out("Y")
              .infer(infer_block)
              .kernel(make_block));
  ops.add(OpDef("Unblock", "sardonyx")
              .required_attr("channels", AttrKind::kInt)
              .attr("signed_bytes", 0)
              .in("X", "", kBlockedFloats | DType::kUInt8)
              .out("Y")
              .infer(infer_unblock)
              .kernel(make_unblock));
  ops.add(OpDef("BlockLast", "sardonyx")
              .attr("bf16", 0)
              .in("X", "", DType::kFloat32)
              .out("Y")
              .infer(infer_block_last)
              .kernel(make_block_last));
  ops.add(OpDef("UnblockLast", "sardonyx")
              .required_attr("channels", AttrKind::kInt)
              .in("X", "", kBlockedFloats)
              .out("Y")
              .infer(infer_unblock_last)
              .kernel(make_unblock_last));
  OpDef& conv = ops.add(OpDef("BlockedConv", "sardonyx")
                            .attr("plain_input", 0)
                            .attr("maxima", 0)
                            .attr("allow_winograd", 1)
                            .attr("bf16", 0)
                            .in("X", "", kBlockedFloats)
                            .in("W", "", DType::kFloat32)
                            .optional_in("B", "", DType::kFloat32)
                            .optional_in("residual", "", kBlockedFloats)
                            .out("Y")
                            .in_place({3})
                            .infer(infer_blocked_conv)
                            .kernel(make_blocked_conv));
  add_conv_attrs(conv);
  add_fused_activation_attrs(conv);
  add_pool_attrs(ops.add(OpDef("BlockedPool", "sardonyx")
                             .required_attr("kind", AttrKind::kString)
                             .attr("count_include_pad", 0)
                             .in("X", "", kBlockedFloats | DType::kUInt8)
                             .out("Y")
                             .infer(infer_blocked_pool)
                             .kernel(make_blocked_pool)));
  ops.add(OpDef("BlockedMean", "sardonyx")
              .in("X", "", kBlockedFloats)
              .out("Y")
              .infer(infer_blocked_mean)
              .kernel(make_blocked_mean));
  OpDef& scale = ops.add(OpDef("ScaleChannels", "sardonyx")
                             .in("X", "", kBlockedFloats)
                             .in("scale", "", kBlockedFloats)
                             .optional_in("shift", "", kBlockedFloats)
                             .out("Y")
                             .in_place({0})
                             .infer(same_as(0))
                             .kernel(make_scale_channels));
  add_fused_activation_attrs(scale);
}

}  // namespace sx
