// BlockedExpandConv: a depthwise convolution of what a 1 x 1 convolution makes of X, both of channel-blocked data,
// without the tensor between them. Data are f32 or bf16, as X has them. Only the passes make it.
#include "kernels/conv/blocked_expand.h"

#include <memory>

#include "kernels/conv/blocked.h"
#include "ops/blocked.h"
#include "ops/conv.h"
#include "ops/fused_activation.h"
#include "ops/registry.h"

namespace sx {
namespace {

// The inputs; ConvSpec's attributes are those of the depthwise convolution.
constexpr int kExpandWeights = 1, kExpandBias = 2, kWeights = 3, kBias = 4;

void infer_expand(InferContext& c) {
  const ConvSpec spec(c);
  SX_CHECK(c, c.rank(0) == 5 && c.rank(kExpandWeights) == 4 && c.rank(kWeights) == 4, "convolves ", c.type(0).str(),
           " with ", c.type(kExpandWeights).str(), " and ", c.type(kWeights).str());
  SymShape out{c.shape(0)[0], Dim(), Dim(), Dim(), Dim(block_of_channels())};
  const SymShape& w = c.shape(kWeights);
  if (w[0].known()) out[1] = Dim(blocks_of_channels(w[0].value()));
  for (int axis = 0; axis < 2; ++axis) {
    const auto at = static_cast<size_t>(axis + 2);
    if (w[at].known()) out[at] = spec.window.extent(c, axis, w[at].value(), c.shape(0)[at]);
  }
  c.out(0, c.dtype(0), out);
}

class BlockedExpandConv {
 public:
  explicit BlockedExpandConv(Prepare& p)
      : node_(p.node()), spec_(p), precision_(p.dtype(0) == DType::kBFloat16 ? Precision::kBf16 : Precision::kF32) {
    const Tensor &expand = *p.constant(kExpandWeights), &weights = *p.constant(kWeights);
    expand_shape_ = expand.shape();
    shape_ = weights.shape();
    FusedActivation{activation_named(node_, p.attr_string("expand_activation")), p.attr<float>("expand_alpha"),
                    p.attr<float>("expand_beta")}
        .set(expand_epilogue_);
    read_fused_activation(p).set(epilogue_);
    expand_packed_ = packed(p, "expand", expand, BlockedMethod::kDirect);
    packed_ = packed(p, "depthwise", weights, BlockedMethod::kDepthwise);
    if (precision_ == Precision::kBf16) p.describe("bf16");
    expand_bias_ = bias(p, kExpandBias, expand_epilogue_);
    bias_ = bias(p, kBias, epilogue_);
  }

  void operator()(Run& run) const {
    const Shape& x = run.in(0).shape();
    const ConvShape s = conv_shape(node_, spec_, Shape{x[0], expand_shape_[0], x[2], x[3]}, shape_);
    ConvShape expand;
    expand.batch = x[0];
    expand.channels = expand_shape_[1];
    expand.filters = expand_shape_[0];
    for (int axis = 0; axis < 2; ++axis) expand.in[axis] = expand.out[axis] = s.in[axis];
    Tensor& y = run.out(0, Shape{x[0], blocks_of_channels(s.filters), s.out[0], s.out[1], block_of_channels()});
    if (y.size() == 0) return;
    const BlockedStage first{&expand, expand_packed_.data<float>(), &expand_epilogue_};
    const BlockedStage second{&s, packed_.data<float>(), &epilogue_};
    if (precision_ == Precision::kBf16) blocked_expand(first, second, run.in(0).data<BFloat16>(), y.data<BFloat16>());
    else blocked_expand(first, second, run.in(0).data<float>(), y.data<float>());
  }

 private:
  Tensor packed(Prepare& p, const char* tag, const Tensor& weights, BlockedMethod method) const {
    ConvShape shape;
    shape.filters = weights.dim(0);
    shape.channels = method == BlockedMethod::kDepthwise ? weights.dim(0) : weights.dim(1);
    for (int axis = 0; axis < 2; ++axis) shape.kernel[axis] = weights.dim(axis + 2);
    return p.shared(tag, [&] {
      Tensor made(DType::kFloat32, Shape{packed_blocked_size(shape, method, precision_)});
      pack_blocked(shape, method, precision_, weights.borrow().data<float>(), made.data<float>());
      return made;
    });
  }
  static Tensor bias(Prepare& p, int input, Epilogue& epilogue) {
    if (!p.has(input)) return {};
    const Tensor padded = p.shared("bias" + std::to_string(input), [&] {
      return pad_channels(p.constant(input)->data<float>(), p.constant(input)->size());
    });
    epilogue.row_bias = padded.data<float>();
    return padded;
  }

  const NodeView node_;
  const ConvSpec spec_;
  const Precision precision_;
  Shape expand_shape_, shape_;  // of the weights
  Tensor expand_packed_, packed_, expand_bias_, bias_;
  Epilogue expand_epilogue_, epilogue_;
};

Kernel make_expand(Prepare& p) {
  for (const int weights : {kExpandWeights, kWeights}) {
    const Tensor *w = p.constant(weights), *b = p.constant(weights + 1);
    SX_CHECK(p, w != nullptr && (!p.has(weights + 1) || b != nullptr), "needs constant weights");
    SX_CHECK(p, w->dim(0) == p.constant(kWeights)->dim(0) && (b == nullptr || b->size() == w->dim(0)),
             "has weights and biases that do not fit together");
  }
  auto conv = std::make_shared<BlockedExpandConv>(p);
  return [conv](Run& run) { (*conv)(run); };
}

}  // namespace

void define_blocked_expand(OpList& ops) {
  OpDef& op = ops.add(OpDef("BlockedExpandConv", "sardonyx")
                          .attr("expand_activation", "")
                          .attr("expand_alpha", 0.0f)
                          .attr("expand_beta", 0.0f)
                          .in("X", "", DType::kFloat32 | DType::kBFloat16)
                          .in("expand_W", "", DType::kFloat32)
                          .optional_in("expand_B", "", DType::kFloat32)
                          .in("W", "", DType::kFloat32)
                          .optional_in("B", "", DType::kFloat32)
                          .out("Y")
                          .infer(infer_expand)
                          .kernel(make_expand));
  add_conv_attrs(op);
  add_fused_activation_attrs(op);
}

}  // namespace sx
