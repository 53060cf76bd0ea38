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
                                  "Affine"};
static_assert(std::size(kNames) == static_cast<size_t>(Activation::kAffine) + 1);

}  // namespace

const char* name_of(Activation kind) { return kNames[static_cast<size_t>(kind)]; }

Activation activation_named(const NodeView& node, const std::string& name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return static_cast<Activation>(i);
  node.error("attribute 'activation' is '", name, "', which is not a known activation");
}

FusedActivation read_fused_activation(const NodeView& node) {
  return {activation_named(node, node.attr_string("activation")), node.attr<float>("activation_alpha"),
          node.attr<float>("activation_beta")};
}

void add_fused_activation_attrs(OpDef& op) {
  op.attr("activation", "").attr("activation_alpha", 0.0f).attr("activation_beta", 0.0f);
}

}  // namespace sx
