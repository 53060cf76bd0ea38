// BlockedUpsample: transposed convolution of channel-blocked data whose windows lie side by side. Only the passes make
// it.
#include "kernels/conv/blocked.h"
#include "ops/blocked.h"
#include "ops/fused_activation.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

void infer_upsample(InferContext& c) {
  SX_CHECK(c, c.rank(0) == 5 && c.rank(1) == 4, "convolves ", c.type(0).str(), " with ", c.type(1).str());
  const SymShape &x = c.shape(0), &w = c.shape(1);
  SX_CHECK(c, w[1].known() && w[2].known() && w[3].known(), "has weights of unknown shape");
  c.out(0, c.dtype(0),
        SymShape{x[0], Dim(blocks_of_channels(w[1].value())), x[2] * w[2], x[3] * w[3], Dim(block_of_channels())});
}

ConvShape upsample_shape(const Shape& x, const Shape& w) {
  ConvShape shape;
  shape.batch = x[0];
  shape.channels = w[1];
  shape.filters = w[0];
  for (int axis = 0; axis < 2; ++axis) {
    shape.out[axis] = x[axis + 2];
    shape.kernel[axis] = shape.stride[axis] = w[axis + 2];
    shape.in[axis] = checked_mul(x[axis + 2], w[axis + 2]);
  }
  return shape;
}

Kernel make_upsample(Prepare& p) {
  const Tensor* weights = p.constant(1);
  SX_CHECK(p, weights != nullptr && (!p.has(2) || p.constant(2) != nullptr), "needs constant weights");
  const Shape w = weights->shape();
  const Precision precision = p.dtype(0) == DType::kBFloat16 ? Precision::kBf16 : Precision::kF32;
  const Tensor packed = p.shared("w", [&] {
    const ConvShape shape = upsample_shape(Shape{1, 1, 1, 1}, w);
    Tensor made(DType::kFloat32, Shape{packed_upsample_size(shape, precision)});
    pack_upsample(shape, precision, weights->borrow().data<float>(), made.data<float>());
    return made;
  });
  Epilogue epilogue;
  read_fused_activation(p).set(epilogue);
  Tensor bias;
  if (p.has(2)) bias = p.shared("bias", [&] { return pad_channels(p.constant(2)->data<float>(), w[1]); });
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const ConvShape shape = upsample_shape(x.shape(), w);
    Tensor& y = run.out(0, Shape{x.dim(0), blocks_of_channels(w[1]), shape.in[0], shape.in[1], x.dim(4)});
    if (y.size() == 0) return;
    Epilogue tail = epilogue;
    if (bias.defined()) tail.row_bias = bias.data<float>();
    with_blocked_float(x.dtype(), [&](auto type) {
      using T = decltype(type);
      blocked_upsample(shape, x.data<T>(), packed.data<float>(), y.data<T>(), tail);
    });
  };
}

}  // namespace

void define_blocked_upsample(OpList& ops) {
  OpDef& op = ops.add(OpDef("BlockedUpsample", "sardonyx")
                          .in("X", "", kBlockedFloats)
                          .in("W", "", DType::kFloat32)
                          .optional_in("B", "", DType::kFloat32)
                          .out("Y")
                          .infer(infer_upsample)
                          .kernel(make_upsample));
  add_fused_activation_attrs(op);
}

}  // namespace sx
