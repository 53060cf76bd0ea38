// y = exp(x - max) / sum along an axis; LogSoftmax is its logarithm, Hardmax is 1 at the first greatest element.
#include <algorithm>
#include <cmath>

#include "kernels/rows.h"
#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"
#include "ops/softmax.h"

namespace sx {
namespace {

enum class Kind { kSoftmax, kLogSoftmax, kHardmax };

}  // namespace

void softmax_axis(bool log, const float* x, const SoftmaxExtents& e, float* y) {
  if (e.inner != 1) return softmax_middle(log, x, e.outer, e.n, e.inner, y);
  SoftmaxRows rows;
  rows.rows = e.outer;
  rows.n = e.n;
  rows.x = x;
  rows.y = y;
  rows.log = log;
  softmax_rows(rows);
}

void softmax_axis(bool log, const double* x, const SoftmaxExtents& e, double* y) {
  parallel_for(e.outer * e.inner, std::max<int64_t>(1, kElementGrain / 16 / e.n), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t at = k / e.inner * e.n * e.inner + k % e.inner;
      double greatest = x[at];
      for (int64_t j = 1; j < e.n; ++j) greatest = std::fmax(greatest, x[at + j * e.inner]);
      double sum = 0;
      for (int64_t j = 0; j < e.n; ++j) sum += std::exp(x[at + j * e.inner] - greatest);
      const double log_sum = std::log(sum);
      for (int64_t j = 0; j < e.n; ++j) {
        const double shifted = x[at + j * e.inner] - greatest;
        y[at + j * e.inner] = log ? shifted - log_sum : std::exp(shifted) / sum;
      }
    }
  });
}

namespace {

// 1 at places[o, i] of line (o, i), 0 elsewhere.
template <typename T>
void mark(const int64_t* places, const SoftmaxExtents& e, T* y) {
  const int64_t block = e.n * e.inner;
  parallel_for(e.outer, std::max<int64_t>(1, kElementGrain / block), [&](int64_t begin, int64_t end) {
    std::fill(y + begin * block, y + end * block, T(0));
    for (int64_t o = begin; o < end; ++o)
      for (int64_t i = 0; i < e.inner; ++i) y[o * block + places[o * e.inner + i] * e.inner + i] = T(1);
  });
}

void hardmax(const float* x, const SoftmaxExtents& e, float* y) {
  const Tensor places(DType::kInt64, Shape{e.outer * e.inner});
  place_extremes(true, false, x, e.outer, e.n, e.inner, places.data<int64_t>());
  mark(places.data<int64_t>(), e, y);
}

void hardmax(const double* x, const SoftmaxExtents& e, double* y) {
  const Tensor places(DType::kInt64, Shape{e.outer * e.inner});
  int64_t* to = places.data<int64_t>();
  parallel_for(e.outer * e.inner, std::max<int64_t>(1, kElementGrain / 2 / e.n), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const double* line = x + k / e.inner * e.n * e.inner + k % e.inner;
      int64_t best = 0;
      for (int64_t j = 1; j < e.n; ++j)
        if (line[j * e.inner] > line[best * e.inner]) best = j;
      to[k] = best;
    }
  });
  mark(to, e, y);
}

template <Kind kind>
Kernel make_softmax(Prepare& p) {
  const int64_t axis_attribute = p.attr_int("axis");
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const int axis = node.axis(axis_attribute, x.rank());
    const SoftmaxExtents extents{x.shape().size(0, axis), x.dim(axis), x.shape().size(axis + 1, x.rank())};
    Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    auto compute = [&](const auto* from, auto* to) {
      if constexpr (kind == Kind::kHardmax) hardmax(from, extents, to);
      else softmax_axis(kind == Kind::kLogSoftmax, from, extents, to);
    };
    if (x.dtype() == DType::kFloat64) return compute(x.data<double>(), y.data<double>());
    const FloatIn in(x);
    const FloatOut out(y);
    compute(in.data(), out.data());
    out.store();
  };
}

void infer_softmax(InferContext& c) {
  if (c.has_shape(0)) c.axis(c.attr_int("axis"), c.rank(0));
  c.out(0, c.type(0));
}

// Before opset 13, everything from `axis` (1 by default) on was one axis.
void flatten_first(UpgradeContext& c) {
  const int64_t axis = c.take<int64_t>("axis", 1);
  const int rank = c.input(0).type.rank();
  c.set("axis", int64_t{-1});
  if (rank >= 0 && (axis == rank - 1 || axis == -1)) return;
  const ValueId x = c.input_id(0);
  const ValueId shape = c.emit("Shape", {x});
  c.set_input(0, c.emit("Flatten", {x}, {{"axis", axis}}));
  const ValueId result = c.draft().outputs[0];
  const ValueId flat = c.detach_output(0);
  c.emit_after(result, "Reshape", {flat, shape}, {{"allowzero", int64_t{1}}});
}

// Softmax: (dy - sum(dy y)) y; LogSoftmax: dy - exp(y) sum(dy).
template <Kind kind>
void differentiate_softmax(GradientContext& c) {
  const std::vector<int64_t> axis = {c.attr_int("axis")};
  const Expr y = c.out();
  const Expr dy = c.grad();
  const bool last = axis[0] == -1 || (y.rank() > 0 && axis[0] == y.rank() - 1);
  if (kind == Kind::kSoftmax && last && y.rank() > 0 && y.dtype() == DType::kFloat32)
    c.give(0, c.op("SoftmaxGradient", {y, dy}, {}, "sardonyx"));
  else if (kind == Kind::kSoftmax) c.give(0, (dy - c.reduce_sum(dy * y, axis, true)) * y);
  else c.give(0, dy - c.op("Exp", {y}) * c.reduce_sum(dy, axis, true));
}

template <Kind kind>
OpDef softmax_operator(const char* name) {
  OpDef op(name);
  op.since(13)
      .attr("axis", -1)
      .in("input", "T", kFloats)
      .out("output", "T")
      .infer(infer_softmax)
      .kernel(make_softmax<kind>);
  if (kind != Kind::kHardmax) op.in_place({0});
  op.upgrade(13, flatten_first);
  if (kind == Kind::kHardmax) op.zero_gradient();
  else op.gradient(differentiate_softmax<kind>);
  return op;
}

}  // namespace

void define_softmax(OpList& ops) {
  ops.add(softmax_operator<Kind::kSoftmax>("Softmax"));
  ops.add(softmax_operator<Kind::kLogSoftmax>("LogSoftmax"));
  ops.add(softmax_operator<Kind::kHardmax>("Hardmax"));
}

}  // namespace sx
