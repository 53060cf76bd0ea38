// Names of activations and the attributes that carry them.
#include "ops/fused_activation.h"

#include <iterator>

namespace sx {
namespace {

// In the order of Activation.
constexpr const char* kNames[] = {"",
                                  "Relu",
                                  "Clip",
                                  "LeakyRelu",
                                  "ThresholdedRelu",
                                  "Elu",
                                  "Selu",
                                  "Celu",
                                  "Sigmoid",
                                  "HardSigmoid",
                                  "Swish",
                                  "HardSwish",
                                  "Tanh",
                                  "Gelu",
                                  "GeluTanh",
                                  "Mish",
                                  "Softplus",
                                  "Softsign",
                                  "Erf",
                                  "Exp",
                                  "Log",
                                  "Log1p",
                                  "Expm1",
                                  "Sqrt",
                                  "Reciprocal",
                                  "ReciprocalSqrt",
                                  "Square",
                                  "Abs",
                                  "Neg",
                                  "Sign",
                                  "Floor",
                                  "Ceil",
                                  "Round",
                                  "Trunc",
                                  "Sin",
                                  "Cos",
                                  "Tan",
                                  "Asin",
                                  "Acos",
                                  "Atan",
                                  "Sinh",
                                  "Cosh",
                                  "Asinh",
                                  "Acosh",
                                  "Atanh",
                                  "Affine"};
static_assert(std::size(kNames) == static_cast<size_t>(Activation::kAffine) + 1);

}  // namespace

const char* name_of(Activation kind) { return kNames[static_cast<size_t>(kind)]; }

Activation activation_named(const NodeView& node, const std::string& name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return static_cast<Activation>(i);
  node.error("attribute 'activation' is '", name, "', which is not a known activation");
}

Expr activated(const NodeView& node, const FusedActivation& f, const Expr& x) {
  Emitter& e = x.emitter();
  switch (f.kind) {
    case Activation::kNone: return x;
    case Activation::kAffine: return x * static_cast<double>(f.alpha) + static_cast<double>(f.beta);
    case Activation::kClip:
      return e.op("Clip", {x, e.scalar(static_cast<double>(f.alpha), x.dtype()),
                           e.scalar(static_cast<double>(f.beta), x.dtype())});
    case Activation::kGeluTanh: return e.op("Gelu", {x}, {{"approximate", std::string("tanh")}});
    case Activation::kSelu: return e.op("Selu", {x}, {{"alpha", f.alpha}, {"gamma", f.beta}});
    case Activation::kHardSigmoid: return e.op("HardSigmoid", {x}, {{"alpha", f.alpha}, {"beta", f.beta}});
    case Activation::kLeakyRelu:
    case Activation::kThresholdedRelu:
    case Activation::kElu:
    case Activation::kCelu:
    case Activation::kSwish: return e.op(name_of(f.kind), {x}, {{"alpha", f.alpha}});
    case Activation::kRelu:
    case Activation::kSigmoid:
    case Activation::kHardSwish:
    case Activation::kTanh:
    case Activation::kGelu:
    case Activation::kMish:
    case Activation::kSoftplus:
    case Activation::kSoftsign:
    case Activation::kErf:
    case Activation::kExp:
    case Activation::kLog:
    case Activation::kSqrt:
    case Activation::kReciprocal:
    case Activation::kAbs:
    case Activation::kNeg:
    case Activation::kSign:
    case Activation::kFloor:
    case Activation::kCeil:
    case Activation::kRound:
    case Activation::kSin:
    case Activation::kCos:
    case Activation::kTan:
    case Activation::kAsin:
    case Activation::kAcos:
    case Activation::kAtan:
    case Activation::kSinh:
    case Activation::kCosh:
    case Activation::kAsinh:
    case Activation::kAcosh:
    case Activation::kAtanh: return e.op(name_of(f.kind), {x});
    default: node.error("has no gradient for the activation ", name_of(f.kind));
  }
}

FusedActivation read_fused_activation(const NodeView& node) {
  return {activation_named(node, node.attr_string("activation")), node.attr<float>("activation_alpha"),
          node.attr<float>("activation_beta")};
}

void add_fused_activation_attrs(OpDef& op) {
  op.attr("activation", "").attr("activation_alpha", 0.0f).attr("activation_beta", 0.0f);
}

}  // namespace sx
