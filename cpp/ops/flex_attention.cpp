// y = prob_mod(softmax(score_mod(scale Q K'))) V for every head, where the two bodies change scores and probabilities.
#include <algorithm>
#include <cmath>

#include "ops/float_io.h"
#include "ops/attention_gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/matmul.h"
#include "ops/registry.h"
#include "ops/softmax_scores.h"

namespace sx {
namespace {

// The element type of the scores that the bodies see.
DType precision(const NodeView& node, DType input) {
  if (!node.has_attr("softmax_precision")) return input == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const DType dtype = dtype_from_onnx(static_cast<int>(node.attr_int("softmax_precision")));
  SX_CHECK(node, kFloats.has(dtype), "attribute 'softmax_precision' is ", onnx_name_of(dtype), "; expected one of ",
           kFloats.str());
  return dtype;
}

void infer(InferContext& c) {
  for (int i = 0; i < 3; ++i)
    SX_CHECK(c, !c.has_shape(i) || c.rank(i) == 4, "input ", i, " is ", c.type(i).str(), "; four axes expected");
  if (!c.has_shape(0) || !c.has_shape(1) || !c.has_shape(2)) return c.out(0, c.dtype(0), SymShape(4));
  const SymShape &q = c.shape(0), &k = c.shape(1), &v = c.shape(2);
  Facts scores;
  scores.type = Type::tensor(precision(c, c.dtype(0)), SymShape{q[0], q[1], q[2], k[2]});
  for (const char* name : {"score_mod", "prob_mod"}) {
    if (c.body(name) == nullptr) continue;
    const std::vector<Facts> results = c.infer_body(name, {scores});
    SX_CHECK(c, results.size() == 1, name, " gives ", results.size(), " outputs; 1 expected");
  }
  c.out(0, c.dtype(0), SymShape{q[0], q[1], q[2], v[3]});
}

// The scores after a body, as T again.
template <typename T>
Tensor modified(Run& run, const BodyRunner& body, const Tensor& scores, DType dtype) {
  Tensor given = scores;
  if (dtype != dtype_of<T>) {
    given = Tensor(dtype, scores.shape());
    if constexpr (std::is_same_v<T, float>) store_f32(scores.data<float>(), given);
    else store_f32(to_f32(scores).template data<float>(), given);
  }
  const std::vector<Datum> results = body.run(run, {Datum(given)});
  const Tensor& changed = results.at(0).tensor;
  SX_CHECK(run, changed.shape() == scores.shape() && changed.dtype() == dtype, "a body made ", name_of(changed.dtype()),
           changed.shape().str(), " of scores ", name_of(dtype), scores.shape().str());
  if (changed.dtype() == dtype_of<T>) return changed.clone();
  const Tensor narrow = to_f32(changed);
  if constexpr (std::is_same_v<T, float>) {
    return narrow;
  } else {
    Tensor wide(DType::kFloat64, narrow.shape());
    std::copy_n(narrow.data<float>(), narrow.size(), wide.data<double>());
    return wide;
  }
}

struct FlexAttention {
  float scale;  // 0: 1 / sqrt(head size)
  DType dtype;
  std::shared_ptr<const BodyRunner> score_mod, prob_mod;

  template <typename T>
  void compute(Run& run) const {
    const auto operand = [&](int i) { return run.in(i).dtype() == dtype_of<T> ? run.in(i) : to_f32(run.in(i)); };
    const Tensor q = operand(0), k = operand(1), v = operand(2);
    SX_CHECK(run,
             q.rank() == 4 && k.rank() == 4 && v.rank() == 4 && k.dim(0) == q.dim(0) && v.dim(0) == q.dim(0) &&
                 k.dim(3) == q.dim(3) && v.dim(2) == k.dim(2) && v.dim(1) == k.dim(1) && k.dim(1) > 0 &&
                 q.dim(1) % k.dim(1) == 0,
             "Q, K and V are ", q.shape().str(), ", ", k.shape().str(), " and ", v.shape().str(),
             ", which do not fit together");
    const int64_t heads = q.dim(1), rows = q.dim(2), keys = k.dim(2), size = q.dim(3), width = v.dim(3);
    const int64_t group = heads / k.dim(1);
    const T factor = scale != 0.0f ? T(scale) : T(1) / std::sqrt(static_cast<T>(size));
    Tensor scores(dtype_of<T>, Shape{q.dim(0), heads, rows, keys});
    parallel_for(q.dim(0) * heads, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to && scores.size() > 0; ++i)
        multiply(DenseProduct<T>{rows, keys, size, q.data<T>() + i * rows * size, size,
                                 k.data<T>() + i / group * keys * size, size, true, scores.data<T>() + i * rows * keys,
                                 keys, factor});
    });
    if (score_mod != nullptr) scores = modified<T>(run, *score_mod, scores, dtype);
    softmax_scores(scores.data<T>(), q.dim(0) * heads * rows, keys, false);
    if (prob_mod != nullptr) scores = modified<T>(run, *prob_mod, scores, dtype);
    Tensor& y = run.out(0, Shape{q.dim(0), heads, rows, width});
    if (y.size() == 0) return;
    const Tensor result = y.dtype() == dtype_of<T> ? y : Tensor(dtype_of<T>, y.shape());
    parallel_for(q.dim(0) * heads, 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i)
        multiply(DenseProduct<T>{rows, width, keys, scores.data<T>() + i * rows * keys, keys,
                                 v.data<T>() + i / group * keys * width, width, false,
                                 result.data<T>() + i * rows * width, width});
    });
    if (y.dtype() != dtype_of<T>) store_f32(static_cast<const float*>(result.raw()), y);
  }
};

Kernel make(Prepare& p) {
  FlexAttention attention{p.attr_or<float>("scale", 0.0f), precision(p, p.dtype(0)), nullptr, nullptr};
  if (p.body("score_mod") != nullptr) attention.score_mod = p.body_runner("score_mod");
  if (p.body("prob_mod") != nullptr) attention.prob_mod = p.body_runner("prob_mod");
  return [attention](Run& run) {
    if (run.in(0).dtype() == DType::kFloat64) attention.compute<double>(run);
    else attention.compute<float>(run);
  };
}

// A body of one input applied to x: a branch that is always taken and captures x.
Expr modified(GradientContext& c, const char* attribute, const Expr& x) {
  for (const Body& body : c.node().bodies) {
    if (body.attribute != attribute) continue;
    std::vector<Body> branches;
    for (const char* name : {"then_branch", "else_branch"}) {
      BodyBuilder branch(c, body);
      branch.replace(0, branch.capture(x));
      branch.infer();
      branches.push_back(branch.finish(name, {branch.copied_output(0)}));
    }
    return c.ops(1, "If", {c.constant(Tensor::scalar(true))}, {}, "", std::move(branches))[0];
  }
  return x;
}

void differentiate_flex_attention(GradientContext& c) {
  Expr q = c.in(0), k = c.in(1), v = c.in(2);
  const DType dtype = precision(c, q.dtype());
  SX_CHECK(c, q.rank() == 4 && k.rank() == 4 && v.rank() == 4,
           "has no gradient where the ranks of its inputs are unknown");
  k = for_heads(k, q), v = for_heads(v, q);
  Expr scores = c.op("MatMul", {q, c.swap_last(k)});
  const float scale = c.attr_or<float>("scale", 0.0f);
  if (scale != 0.0f) scores = scores * static_cast<double>(scale);
  else scores = scores / c.op("Sqrt", {c.cast(c.extent(q, 3), q.dtype())});
  scores = modified(c, "score_mod", c.cast(scores, dtype));
  scores = modified(c, "prob_mod", c.op("Softmax", {scores}, {{"axis", int64_t{-1}}}));
  c.give_through({c.op("MatMul", {c.cast(scores, v.dtype()), v})});
}

}  // namespace

void define_flex_attention(OpList& ops) {
  ops.add(OpDef("FlexAttention", "ai.onnx.preview")
              .optional_attr("prob_mod", AttrKind::kGraph)
              .optional_attr("scale", AttrKind::kFloat)
              .optional_attr("score_mod", AttrKind::kGraph)
              .optional_attr("softmax_precision", AttrKind::kInt)
              .in("Q", "T1", kFloats)
              .in("K", "T1", kFloats)
              .in("V", "T1", kFloats)
              .out("Y", "T1")
              .infer(infer)
              .kernel(make)
              .gradient(differentiate_flex_attention));
}

}  // namespace sx
