// QLinearConv of channel-blocked bytes (ops/blocked.cpp), with a sum like QLinearAdd and any function of a byte behind
// it; and their product with a factor for each channel.
#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/conv/blocked_bytes.h"
#include "kernels/conv/winograd_bytes.h"
#include "ops/blocked.h"
#include "ops/conv.h"
#include "ops/int8_product.h"
#include "ops/registry.h"
#include "tensor/weight_memory.h"

namespace sx {
namespace {

// Inputs. All but x and the residual are constants. Zero points have the types of plain data: that of blocks whose zero
// point is signed is larger by 128.
enum Input { kX, kXScale, kXZero, kW, kWScale, kWZero, kYScale, kYZero, kBias };
// With a residual, what QLinearAdd takes of it and gives.
enum SumInput { kResidual = 9, kResidualScale, kResidualZero, kSumScale, kSumZero };
// What becomes of the result, a byte for each byte.
constexpr int kTable = 14;

void infer_conv_of_blocks(InferContext& c) {
  const ConvSpec spec(c);
  SX_CHECK(c, c.rank(kX) >= 4 && c.rank(kW) == 4, "convolves ", c.type(kX).str(), " with ", c.type(kW).str());
  SymShape out{c.shape(kX)[0], Dim(), Dim(), Dim(), Dim(block_of_channels())};
  if (c.shape(kW)[0].known()) out[1] = Dim(blocks_of_channels(c.shape(kW)[0].value()));
  for (int axis = 0; axis < 2; ++axis) {
    const auto at = static_cast<size_t>(axis + 2);
    if (c.shape(kW)[at].known()) out[at] = spec.window.extent(c, axis, c.shape(kW)[at].value(), c.shape(kX)[at]);
  }
  c.out(0, DType::kUInt8, out);
}

int32_t element(const Tensor& t, int64_t i) {
  return t.dtype() == DType::kInt8 ? static_cast<int32_t>(t.data<int8_t>()[i])
                                   : static_cast<int32_t>(t.data<uint8_t>()[i]);
}

// The vector units multiply signed bytes fastest. Weights that are none, less their zero points, need the kernels of an
// ISA below, which has blocks of as many channels.
Isa isa_for_weights(const Tensor& w, const Tensor& zeros) {
  const int32_t center = w.dtype() == DType::kInt8 ? 0 : 128;
  const int64_t depth = w.size() / w.dim(0);
  Tensor held;
  for (int64_t f = 0; f < w.dim(0); ++f) {
    const int32_t zero = element(zeros, zeros.size() == 1 ? 0 : f);
    if (zero == center) continue;
    if (!held.defined()) held = w.borrow();
    for (int64_t i = f * depth; i < (f + 1) * depth; ++i) {
      const int32_t weight = element(held, i) - zero;
      if (weight < -128 || weight > 127) return std::min(active_isa(), Isa::kAvx512);
    }
  }
  return active_isa();
}

class BlockedQLinearConv {
 public:
  explicit BlockedQLinearConv(Prepare& p)
      : node_(p.node()),
        spec_(p),
        plain_(p.attr_int("plain_input") != 0),
        w_(*p.constant(kW)),
        w_zeros_(*p.constant(kWZero)) {
    x_signed_ = p.constant(kXZero)->dtype() == DType::kInt8;
    x_zero_ = zero_of_blocks(p, kXZero);
    isa_ = isa_for_weights(w_, w_zeros_);
    fits_winograd_ = w_.dim(2) == 3 && w_.dim(3) == 3 && winograd_bytes_fits(w_.dim(0), w_.dim(1), centered().data());
    starts_ = p.shared("starts", [&] { return starts(p); });
    scales_ = p.shared("scales", [&] { return scales(p); });
    tail_.zero = zero_of_blocks(p, kYZero);
    if (p.has(kResidual)) {
      const float sum_scale = value(p, kSumScale);
      tail_.own_scale = value(p, kYScale) / sum_scale;
      tail_.residual_scale = value(p, kResidualScale) / sum_scale;
      tail_.residual_zero = zero_of_blocks(p, kResidualZero);
      tail_.sum_zero = zero_of_blocks(p, kSumZero);
    }
    if (p.has(kTable)) {
      table_ = *p.constant(kTable);
      tail_.table = table_.data<uint8_t>();
    }
    const auto x = p.shape(kX);
    if (!x || x->size() == 0) return;
    const ConvShape shape = shape_of(*x);
    const std::string tag = name_of(method_of(shape)) + std::to_string(packed_size(shape));
    packed_.emplace(packed_size(shape), p.shared(tag, [&] { return pack(shape); }));
    p.describe(name_of(method_of(shape)));
  }

  void operator()(Run& run) {
    BlockedBytesConv problem;
    problem.shape = shape_of(run.in(kX).shape());
    const ConvShape& s = problem.shape;
    Tensor& y = run.out(0, Shape{s.batch, blocks_of_channels(s.filters), s.out[0], s.out[1], block_of_channels()});
    if (run.has(kResidual)) {
      SX_CHECK(run, run.in(kResidual).shape() == y.shape(), "the residual is ", run.in(kResidual).shape().str(),
               " but the result is ", y.shape().str());
      problem.residual = run.in(kResidual).data<uint8_t>();
    }
    if (y.size() == 0) return;
    problem.method = method_of(s);
    problem.x = static_cast<const uint8_t*>(run.in(kX).raw());
    problem.x_zero = static_cast<uint8_t>(x_zero_);
    problem.x_flip = plain_ && x_signed_ ? 0x80 : 0;
    problem.packed = packed_for(s);
    problem.starts = starts_.data<int32_t>();
    problem.scales = scales_.data<float>();
    problem.tail = tail_;
    problem.y = y.data<uint8_t>();
    blocked_bytes_conv(problem, isa_);
  }

 private:
  static float value(const Prepare& p, int input) { return *p.constant(input)->data<float>(); }
  static int32_t zero_of_blocks(const Prepare& p, int input) {
    const Tensor& zero = *p.constant(input);
    return static_cast<int32_t>(zero.scalar_as_int()) + (zero.dtype() == DType::kInt8 ? 128 : 0);
  }
  // The weights less their zero points.
  std::vector<int16_t> centered() const {
    const Tensor held = w_.borrow();
    const int64_t depth = w_.size() / w_.dim(0);
    std::vector<int16_t> weights(static_cast<size_t>(w_.size()));
    for (int64_t i = 0; i < w_.size(); ++i)
      weights[static_cast<size_t>(i)] =
          static_cast<int16_t>(element(held, i) - element(w_zeros_, w_zeros_.size() == 1 ? 0 : i / depth));
    return weights;
  }

  Tensor starts(const Prepare& p) const {
    const int64_t filters = w_.dim(0), depth = w_.size() / filters;
    const std::vector<int16_t> weights = centered();
    Tensor starts(DType::kInt32, Shape{blocks_of_channels(filters) * block_of_channels()});
    for (int64_t f = 0; f < starts.size(); ++f) {
      uint32_t start = 0;  // wraps
      if (f < filters) {
        if (p.has(kBias)) start = static_cast<uint32_t>(p.constant(kBias)->data<int32_t>()[f]);
        for (int64_t i = f * depth; i < (f + 1) * depth; ++i)
          start -= static_cast<uint32_t>(x_zero_ * weights[static_cast<size_t>(i)]);
      }
      starts.data<int32_t>()[f] = static_cast<int32_t>(start);
    }
    return starts;
  }

  Tensor scales(const Prepare& p) const {
    const Tensor& of_w = *p.constant(kWScale);
    Tensor scales(DType::kFloat32, Shape{starts_.size()});
    for (int64_t f = 0; f < scales.size(); ++f) {
      const int64_t i = of_w.size() == 1 ? 0 : f;
      scales.data<float>()[f] = f < w_.dim(0) ? value(p, kXScale) * of_w.data<float>()[i] / value(p, kYScale) : 0.0f;
    }
    return scales;
  }

  ConvShape shape_of(const Shape& x) const {
    return conv_shape(node_, spec_, Shape{x[0], w_.dim(1) * spec_.groups, x[2], x[3]}, w_.shape());
  }
  BlockedMethod method_of(const ConvShape& shape) const {
    return blocked_bytes_method(shape, plain_, fits_winograd_, isa_);
  }
  // Packed weights of equal size are the same.
  int64_t packed_size(const ConvShape& shape) const { return packed_blocked_bytes_size(shape, method_of(shape), isa_); }
  Tensor pack(const ConvShape& shape) const {
    Tensor packed = weight_tensor(DType::kInt32, Shape{packed_size(shape)});
    pack_blocked_bytes(shape, method_of(shape), centered().data(), packed.data<int32_t>(), isa_);
    return packed;
  }
  const int32_t* packed_for(const ConvShape& shape) {
    std::lock_guard<std::mutex> lock(mutex_);
    Tensor& packed = packed_[packed_size(shape)];
    if (!packed.defined()) packed = pack(shape);
    return packed.data<int32_t>();
  }

  const NodeView node_;
  const ConvSpec spec_;
  const bool plain_;
  const Tensor w_, w_zeros_;
  bool x_signed_, fits_winograd_;
  int32_t x_zero_;
  Tensor starts_, scales_, table_;
  Isa isa_;
  BytesTail tail_;
  std::mutex mutex_;
  std::map<int64_t, Tensor> packed_;
};

Kernel make_blocked_qlinear_conv(Prepare& p) {
  for (int i = kXScale; i < p.inputs(); ++i)
    SX_CHECK(p, i == kResidual || !p.has(i) || p.constant(i) != nullptr, "needs constants but for its data");
  auto conv = std::make_shared<BlockedQLinearConv>(p);
  return [conv](Run& run) { (*conv)(run); };
}

// --- BlockedQLinearScale: y = quantized(x * factor), a factor for each channel of each image

Kernel make_blocked_qlinear_scale(Prepare& p) {
  for (int i : {1, 2, 4, 5, 6, 7}) SX_CHECK(p, p.constant(i) != nullptr, "needs constants but for its data");
  const auto scale = [&](int i) { return *p.constant(i)->data<float>(); };
  const auto zero = [&](int i) { return static_cast<int32_t>(p.constant(i)->scalar_as_int()); };
  BytesScale how;
  // As QLinearMul has it, where the scales go to the first factor.
  const float factor = scale(1) * scale(4) / scale(6);
  how.first = p.attr_int("factor_first") != 0;
  how.scale = factor;
  how.x_zero = zero(2), how.factor_zero = zero(5), how.zero = zero(7);
  return [how](Run& run) {
    const Tensor &x = run.in(0), &factor = run.in(3);
    SX_CHECK(run,
             factor.rank() == 5 && factor.dim(0) == x.dim(0) && factor.dim(1) == x.dim(1) &&
                 factor.dim(2) * factor.dim(3) == 1,
             "the factors are ", factor.shape().str(), ", which does not fit data of shape ", x.shape().str());
    Tensor& y = run.out(0, x.shape());
    if (y.size() > 0)
      scale_bytes(how, x.data<uint8_t>(), factor.data<uint8_t>(), x.dim(0) * x.dim(1), x.dim(2) * x.dim(3),
                  y.data<uint8_t>());
  };
}

}  // namespace

void define_blocked_quantized(OpList& ops) {
  ops.add(OpDef("BlockedQLinearScale", "sardonyx")
              .attr("factor_first", 0)
              .in("x", "", DType::kUInt8)
              .in("x_scale", "", DType::kFloat32)
              .in("x_zero_point", "", DType::kUInt8)
              .in("factor", "", DType::kUInt8)
              .in("factor_scale", "", DType::kFloat32)
              .in("factor_zero_point", "", DType::kUInt8)
              .in("y_scale", "", DType::kFloat32)
              .in("y_zero_point", "", DType::kUInt8)
              .out("y", "", DType::kUInt8)
              .in_place({0})
              .infer(same_as(0))
              .kernel(make_blocked_qlinear_scale));
  add_conv_attrs(ops.add(OpDef("BlockedQLinearConv", "sardonyx")
                             .attr("plain_input", 0)
                             .in("x", "", kBytes)
                             .in("x_scale", "", DType::kFloat32)
                             .in("x_zero_point", "", kBytes)
                             .in("w", "", kBytes)
                             .in("w_scale", "", DType::kFloat32)
                             .in("w_zero_point", "", kBytes)
                             .in("y_scale", "", DType::kFloat32)
                             .in("y_zero_point", "", kBytes)
                             .optional_in("B", "", DType::kInt32)
                             .optional_in("residual", "", DType::kUInt8)
                             .optional_in("residual_scale", "", DType::kFloat32)
                             .optional_in("residual_zero_point", "", kBytes)
                             .optional_in("sum_scale", "", DType::kFloat32)
                             .optional_in("sum_zero_point", "", kBytes)
                             .optional_in("table", "", DType::kUInt8)
                             .out("y", "", DType::kUInt8)
                             .in_place({kResidual})
                             .infer(infer_conv_of_blocks)
                             .kernel(make_blocked_qlinear_conv)));
}

}  // namespace sx
