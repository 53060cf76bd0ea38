// Gelu, BiasGelu, FastGelu, QuickGelu, BiasSplitGelu, BiasAdd and ExpandDims of com.microsoft in terms of standard
// operators.
#include "ops/ms_composites.h"

namespace sx {
namespace {

void gelu(UpgradeContext& c) { c.become("Gelu"); }

void bias_gelu(UpgradeContext& c) { ms_become(c, "Gelu", {ms_sum(c, ms_input(c, 0), ms_input(c, 1))}); }

void fast_gelu(UpgradeContext& c) {
  bias_gelu(c);
  c.set("approximate", std::string("tanh"));
}

// x sigmoid(alpha x)
void quick_gelu(UpgradeContext& c) {
  const float alpha = c.take<float>("alpha", 1.702f);
  c.become("Swish");
  c.set("alpha", alpha);
}

// left gelu(right) for the halves of x + bias along the last axis
void bias_split_gelu(UpgradeContext& c) {
  const ValueId sum = c.emit("Add", {ms_input(c, 0), ms_input(c, 1)});
  const ValueId halves = c.emit("Reshape", {sum, c.constant(Tensor::vector({0, 0, 2, -1}))});
  const auto half = [&](int64_t i) {
    return c.emit("Gather", {halves, c.constant(Tensor::scalar(i))}, {{"axis", int64_t{2}}});
  };
  const ValueId left = half(0);
  ms_become(c, "Mul", {left, c.emit("Gelu", {half(1)})});
}

void bias_add(UpgradeContext& c) {
  ms_become(c, "Add", {c.emit("Add", {ms_input(c, 0), ms_input(c, 1)}), ms_input(c, 2)});
}

void expand_dims(UpgradeContext& c) {
  const ValueId axis = c.emit("Cast", {ms_input(c, 1)}, {{"to", int64_t{7}}});
  const ValueId axes = c.emit("Reshape", {axis, c.constant(Tensor::vector({1}))});
  ms_become(c, "Unsqueeze", {ms_input(c, 0), axes});
}

}  // namespace

void define_ms_gelu(OpList& ops) {
  ops.add(ms_composite("Gelu", gelu).in("X", "T", kFloats).out("Y", "T"));
  ops.add(ms_composite("BiasGelu", bias_gelu).in("A", "T", kFloats).in("B", "T", kFloats).out("C", "T"));
  ops.add(ms_composite("FastGelu", fast_gelu).in("X", "T", kFloats).optional_in("bias", "T", kFloats).out("Y", "T"));
  ops.add(ms_composite("QuickGelu", quick_gelu).attr("alpha", 1.702f).in("X", "T", kFloats).out("Y", "T"));
  ops.add(ms_composite("BiasSplitGelu", bias_split_gelu).in("X", "T", kFloats).in("bias", "T", kFloats).out("Y", "T"));
  ops.add(ms_composite("BiasAdd", bias_add)
              .in("X", "T", kFloats)
              .in("bias", "T", kFloats)
              .in("skip", "T", kFloats)
              .out("Y", "T"));
  ops.add(ms_composite("ExpandDims", expand_dims).in("X", "T", kAllTypes).in("axis", "", DType::kInt32).out("Y", "T"));
}

}  // namespace sx
