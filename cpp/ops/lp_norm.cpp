// LpNormalization: x / norm of x along an axis; MeanVarianceNormalization: (x - mean) / (standard deviation + 1e-9)
// over axes.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

// The sum of f(x[i]) in double, in eight interleaved parts.
template <typename T, typename F>
double sum_of(const T* x, int64_t n, F f) {
  constexpr int64_t kParts = 8;
  double parts[kParts] = {};
  int64_t i = 0;
  for (; i + kParts <= n; i += kParts)
    for (int64_t k = 0; k < kParts; ++k) parts[k] += f(static_cast<double>(x[i + k]));
  for (int64_t k = 0; i < n; ++i, ++k) parts[k] += f(static_cast<double>(x[i]));
  return ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]));
}

// y = (x - shift) / by, in double; f32 by the reciprocal, whose error its rounding hides.
template <typename T>
void scale_run(const T* x, int64_t n, double shift, double by, T* y) {
  const double inverse = 1 / by;
  generate(y, n, [=](int64_t i) {
    const double value = static_cast<double>(x[i]) - shift;
    return static_cast<T>(std::is_same_v<T, float> ? value * inverse : value / by);
  });
}

// --- LpNormalization

template <typename T>
void lp_normalize(const T* x, int64_t outer, int64_t n, int64_t inner, int64_t p, T* y) {
  parallel_for(outer * inner, std::max<int64_t>(1, kElementGrain / 4 / n), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t at = k / inner * n * inner + k % inner;
      if (inner == 1) {
        const double norm = p == 1 ? sum_of(x + at, n, [](double value) { return std::fabs(value); })
                                   : std::sqrt(sum_of(x + at, n, [](double value) { return value * value; }));
        if (norm == 0) std::fill(y + at, y + at + n, T(0));
        else scale_run(x + at, n, 0.0, norm, y + at);
        continue;
      }
      double norm = 0;
      for (int64_t j = 0; j < n; ++j) {
        const double value = static_cast<double>(x[at + j * inner]);
        norm += p == 1 ? std::fabs(value) : value * value;
      }
      if (p == 2) norm = std::sqrt(norm);
      for (int64_t j = 0; j < n; ++j)
        y[at + j * inner] = norm == 0 ? T(0) : static_cast<T>(static_cast<double>(x[at + j * inner]) / norm);
    }
  });
}

// Runs compute(x, y) with the elements as float, or as double where they are f64.
template <typename F>
void with_floats(const Tensor& x, Tensor& y, F compute) {
  if (x.size() == 0) return;
  if (x.dtype() == DType::kFloat64) return compute(x.data<double>(), y.data<double>());
  const FloatIn in(x);
  const FloatOut out(y);
  compute(in.data(), out.data());
  out.store();
}

Kernel make_lp(Prepare& p) {
  const int64_t axis_attribute = p.attr_int("axis");
  const int64_t power = p.attr_int("p");
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const int axis = node.axis(axis_attribute, x.rank());
    with_floats(x, run.out(0, x.shape()), [&](const auto* from, auto* to) {
      lp_normalize(from, x.shape().size(0, axis), x.dim(axis), x.shape().size(axis + 1, x.rank()), power, to);
    });
  };
}

void infer_lp(InferContext& c) {
  const int64_t p = c.attr_int("p");
  SX_CHECK(c, p == 1 || p == 2, "p is ", p, "; 1 or 2 expected");
  if (c.has_shape(0)) c.axis(c.attr_int("axis"), c.rank(0));
  c.out(0, c.type(0));
}

// --- MeanVarianceNormalization

struct Loop {
  int64_t extent, stride;
};

// Calls body(offset) for every position of the loops from `depth` on.
template <typename F>
void walk(const std::vector<Loop>& loops, size_t depth, int64_t offset, F& body) {
  if (depth == loops.size()) return body(offset);
  for (int64_t i = 0; i < loops[depth].extent; ++i) walk(loops, depth + 1, offset + i * loops[depth].stride, body);
}

// The loops without those of extent one, and with those that go on where another ends joined to it.
std::vector<Loop> merged(const std::vector<Loop>& loops) {
  std::vector<Loop> fewer;
  for (const Loop& loop : loops) {
    if (loop.extent == 1) continue;
    if (!fewer.empty() && fewer.back().stride == loop.extent * loop.stride)
      fewer.back() = {fewer.back().extent * loop.extent, loop.stride};
    else fewer.push_back(loop);
  }
  return fewer;
}

template <typename T>
void normalize_over(const T* x, const std::vector<Loop>& kept, const std::vector<Loop>& reduced, T* y) {
  int64_t groups = 1;
  int64_t count = 1;
  for (const Loop& loop : kept) groups *= loop.extent;
  for (const Loop& loop : reduced) count *= loop.extent;
  parallel_for(groups, std::max<int64_t>(1, 8192 / count), [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      int64_t start = 0;
      int64_t rest = group;
      for (size_t i = kept.size(); i-- > 0; rest /= kept[i].extent) start += rest % kept[i].extent * kept[i].stride;
      if (reduced.size() == 1 && reduced[0].stride == 1) {
        const T* run = x + start;
        const double mean = sum_of(run, count, [](double value) { return value; }) / static_cast<double>(count);
        const double squares = sum_of(run, count, [mean](double value) { return (value - mean) * (value - mean); });
        scale_run(run, count, mean, std::sqrt(squares / static_cast<double>(count)) + 1e-9, y + start);
        continue;
      }
      double sum = 0;
      auto add = [&](int64_t at) { sum += static_cast<double>(x[at]); };
      walk(reduced, 0, start, add);
      const double mean = sum / static_cast<double>(count);
      double squares = 0;
      auto add_square = [&](int64_t at) {
        squares += (static_cast<double>(x[at]) - mean) * (static_cast<double>(x[at]) - mean);
      };
      walk(reduced, 0, start, add_square);
      const double deviation = std::sqrt(squares / static_cast<double>(count)) + 1e-9;
      auto store = [&](int64_t at) { y[at] = static_cast<T>((static_cast<double>(x[at]) - mean) / deviation); };
      walk(reduced, 0, start, store);
    }
  });
}

Kernel make_mean_variance(Prepare& p) {
  const std::vector<int64_t> axes = p.attr_ints("axes");
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<bool> flags(static_cast<size_t>(x.rank()));
    for (int64_t axis : axes) flags[static_cast<size_t>(node.axis(axis, x.rank()))] = true;
    std::vector<Loop> loops[2];
    for (int i = 0; i < x.rank(); ++i)
      loops[flags[static_cast<size_t>(i)]].push_back({x.dim(i), x.shape().size(i + 1, x.rank())});
    with_floats(x, run.out(0, x.shape()),
                [&](const auto* from, auto* to) { normalize_over(from, merged(loops[0]), merged(loops[1]), to); });
  };
}

void infer_mean_variance(InferContext& c) {
  if (c.has_shape(0))
    for (int64_t axis : c.attr_ints("axes")) c.axis(axis, c.rank(0));
  c.out(0, c.type(0));
}

// --- gradients

void differentiate_lp(GradientContext& c) {
  const Expr x = c.in(0);
  const Expr norm = c.op(c.attr_int("p") == 1 ? "ReduceL1" : "ReduceL2", {x, c.ints({c.attr_int("axis")})});
  const Expr zero = c.op("Equal", {norm, c.scalar(0, x.dtype())});
  const Expr divisor = c.where(zero, c.scalar(1, x.dtype()), norm);
  c.give_through({c.where(zero, c.scalar(0, x.dtype()), x / divisor)});
}

void differentiate_mean_variance(GradientContext& c) {
  const Expr centred = c.in(0) - c.reduce_mean(c.in(0), c.attr_ints("axes"));
  const Expr deviation = c.op("Sqrt", {c.reduce_mean(centred * centred, c.attr_ints("axes"))});
  c.give_through({centred / (deviation + 1e-9)});
}

}  // namespace

void define_lp_norm(OpList& ops) {
  ops.add(OpDef("LpNormalization")
              .since(22)
              .attr("axis", -1)
              .attr("p", 2)
              .in("input", "T", kFloats)
              .out("output", "T")
              .infer(infer_lp)
              .kernel(make_lp)
              .gradient(differentiate_lp));
  ops.add(OpDef("MeanVarianceNormalization")
              .since(13, 9)
              .attr("axes", std::vector<int64_t>{0, 2, 3})
              .in("X", "T", kFloats)
              .out("Y", "T")
              .infer(infer_mean_variance)
              .kernel(make_mean_variance)
              .gradient(differentiate_mean_variance));
}

}  // namespace sx
