// The activation that a fused operator applies to its result, named by an attribute.
#pragma once

#include <string>

#include "kernels/epilogue.h"
#include "ops/gradient.h"

namespace sx {

struct FusedActivation {
  Activation kind = Activation::kNone;
  float alpha = 0.0f;
  float beta = 0.0f;

  void set(Epilogue& epilogue) const {
    epilogue.activation = kind;
    epilogue.alpha = alpha;
    epilogue.beta = beta;
  }
};

// The kind with this name ("Relu", "GeluTanh", ... as in kernels/epilogue.h without the k; "" is kNone). Fails in the
// node's name where there is none.
Activation activation_named(const NodeView& node, const std::string& name);
const char* name_of(Activation kind);

// The activation of x as an expression; none but those that operators name: fails in the node's name for others.
Expr activated(const NodeView& node, const FusedActivation& activation, const Expr& x);

// From the attributes activation, activation_alpha and activation_beta.
FusedActivation read_fused_activation(const NodeView& node);
void add_fused_activation_attrs(OpDef& op);

}  // namespace sx
