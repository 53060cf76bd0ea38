// y[n, c, t] = act(sum over k of x[n, c, t + k - K + 1] w[c, k] + b[c]), where the past stands in for times before 0.
#include <algorithm>
#include <optional>

#include "base/scratch.h"
#include "kernels/unary.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Inputs by place.
enum : int { kInput, kWeight, kBias, kPast };

void infer(InferContext& c) {
  for (int i : {kInput, kWeight, kPast})
    SX_CHECK(c, !c.has_shape(i) || c.rank(i) == 3, "input ", i, " is ", c.type(i).str(), "; three axes expected");
  c.out(0, c.type(kInput));
  SymShape state(3);
  if (c.has_shape(kInput)) state[0] = c.shape(kInput)[0], state[1] = c.shape(kInput)[1];
  if (c.has_shape(kWeight)) state[2] = c.shape(kWeight)[2] - 1;
  c.out(1, c.dtype(kInput), state);
}

Kernel make(Prepare& p) {
  const std::string& activation = p.attr_string("activation");
  SX_CHECK(p, activation == "none" || activation == "silu" || activation == "swish", "attribute 'activation' is '",
           activation, "'; expected none, silu or swish");
  return [swish = activation != "none"](Run& run) {
    const Shape &x = run.in(kInput).shape(), &w = run.in(kWeight).shape();
    SX_CHECK(run, x.rank() == 3 && w.rank() == 3 && w[0] == x[1] && w[1] == 1 && w[2] >= 1, "the input is ", x.str(),
             " and the weights ", w.str(), "; [batch,channels,length] and [channels,1,taps] expected");
    const int64_t channels = x[1], length = x[2], taps = w[2];
    const Shape state{x[0], channels, taps - 1};
    if (run.has(kPast))
      SX_CHECK(run, run.in(kPast).shape() == state, "past_state is ", run.in(kPast).shape().str(), "; ", state.str(),
               " expected");
    if (run.has(kBias))
      SX_CHECK(run, run.in(kBias).size() == channels, "the bias has ", run.in(kBias).size(), " elements; ", channels,
               " expected");
    const FloatIn input(run.in(kInput)), weight(run.in(kWeight));
    std::optional<FloatIn> bias, past;
    if (run.has(kBias)) bias.emplace(run.in(kBias));
    if (run.has(kPast)) past.emplace(run.in(kPast));
    const FloatOut out(run.out(0, x));
    std::optional<FloatOut> present;
    if (run.wants(1)) present.emplace(run.out(1, state));
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, length * taps));
    parallel_for(x[0] * channels, grain, [&](int64_t from, int64_t to) {
      const int64_t width = length + taps - 1;
      auto* row =
          static_cast<float*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(width + 1) * sizeof(float)));
      for (int64_t i = from; i < to; ++i) {
        if (past) std::copy_n(past->data() + i * (taps - 1), taps - 1, row);
        else std::fill_n(row, taps - 1, 0.0f);
        std::copy_n(input.data() + i * length, length, row + taps - 1);
        const float* factors = weight.data() + i % channels * taps;
        float* y = out.data() + i * length;
        std::fill_n(y, length, bias ? bias->data()[i % channels] : 0.0f);
        for (int64_t tap = 0; tap < taps; ++tap)
          for (int64_t t = 0; t < length; ++t) y[t] += factors[tap] * row[t + tap];
        if (swish) apply(Activation::kSwish, y, y, length, 1.0f);
        if (present) std::copy_n(row + length, taps - 1, present->data() + i * (taps - 1));
      }
    });
    out.store();
    if (present) present->store();
  };
}

// The past in front of the input, from which every time takes its taps.
void differentiate_causal_conv(GradientContext& c) {
  const Expr x = c.in(kInput), weights = c.in(kWeight);
  const Expr state = c.concat({c.extents(x, 0, 2), c.extent(weights, 2) - c.ints({1})}, 0);
  const Expr past = c.in(kPast) ? c.in(kPast) : c.op("Expand", {c.scalar(0, x.dtype()), state});
  const Expr line = c.concat({past, x}, 2);
  const Expr places = c.unsqueeze(c.iota(c.extent(x, 2)), {1}) + c.unsqueeze(c.iota(c.extent(weights, 2)), {0});
  const Expr taps = c.op("Gather", {line, places}, {{"axis", int64_t{2}}});
  Expr y = c.reduce_sum(taps * weights, {3}, false);
  if (c.in(kBias)) y = y + c.unsqueeze(c.in(kBias), {1});
  if (c.attr_string("activation") != "none") y = y * c.op("Sigmoid", {y});
  const Expr present = c.op("Slice", {line, c.extent(x, 2), c.ints({INT64_MAX}), c.ints({2})});
  c.give_through({y, present});
}

}  // namespace

void define_causal_conv_with_state(OpList& ops) {
  constexpr DTypeSet kTypes = kHalfFloats | DType::kFloat32;
  ops.add(OpDef("CausalConvWithState")
              .since(27, 27)
              .attr("activation", "none")
              .in("input", "T", kTypes)
              .in("weight", "T", kTypes)
              .optional_in("bias", "T", kTypes)
              .optional_in("past_state", "T", kTypes)
              .out("output", "T")
              .optional_out("present_state", "T")
              .infer(infer)
              .kernel(make)
              .gradient(differentiate_causal_conv));
}

}  // namespace sx
