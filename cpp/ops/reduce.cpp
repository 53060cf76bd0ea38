// y = reduction of x over axes: ReduceSum, Mean, Max, Min, Prod, L1, L2, LogSum, LogSumExp, SumSquare.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/rows.h"
#include "kernels/unary.h"
#include "ops/elementwise.h"
#include "ops/convert.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/int_input.h"
#include "ops/registry.h"

namespace sx {
namespace {

enum class Kind { kSum, kMean, kMax, kMin, kProd, kL1, kL2, kLogSum, kLogSumExp, kSumSquare };

// --- which axes

// Axis by axis whether it is reduced.
std::vector<bool> reduced_axes(const NodeView& node, const std::vector<int64_t>& axes, bool noop, int rank) {
  std::vector<bool> reduced(static_cast<size_t>(rank), axes.empty() && !noop);
  for (int64_t given : axes) {
    auto flag = reduced.begin() + node.axis(given, rank);
    SX_CHECK(node, !*flag, "axis ", given, " is given twice");
    *flag = true;
  }
  return reduced;
}

Shape reduced_shape(const Shape& x, const std::vector<bool>& reduced, bool keepdims) {
  Shape shape;
  for (int i = 0; i < x.rank(); ++i) {
    if (!reduced[static_cast<size_t>(i)]) shape.push_back(x[i]);
    else if (keepdims) shape.push_back(1);
  }
  return shape;
}

// Neighbouring axes of one kind merged: kept and reduced extents in turn.
struct Group {
  int64_t extent;
  bool reduced;
};
struct Groups {
  Group items[kMaxRank];
  int count = 0;
  int64_t reduced = 1;  // elements that make up one result
};
Groups merge_axes(const Shape& x, const std::vector<bool>& reduced) {
  Groups groups;
  for (int i = 0; i < x.rank(); ++i) {
    const bool flag = reduced[static_cast<size_t>(i)];
    if (flag) groups.reduced *= x[i];
    if (x[i] == 1) continue;
    if (groups.count > 0 && groups.items[groups.count - 1].reduced == flag)
      groups.items[groups.count - 1].extent *= x[i];
    else groups.items[groups.count++] = {x[i], flag};
  }
  return groups;
}

// --- one stage: y[o, i] = reduction over j of x[o, j, i]

template <typename T>
using Wrapping =
    std::conditional_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, std::make_unsigned<T>, std::common_type<T>>;

template <typename T>
T identity(Kind kind) {
  switch (kind) {
    case Kind::kProd: return T(1);
    case Kind::kMax:
      return std::numeric_limits<T>::has_infinity ? static_cast<T>(-std::numeric_limits<T>::infinity())
                                                  : std::numeric_limits<T>::lowest();
    case Kind::kMin:
      return std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
    default: return T(0);
  }
}

template <typename T>
T empty_result(Kind kind) {
  if (std::is_floating_point_v<T> && kind == Kind::kMean) return std::numeric_limits<T>::quiet_NaN();
  if (std::is_floating_point_v<T> && (kind == Kind::kLogSum || kind == Kind::kLogSumExp))
    return -std::numeric_limits<T>::infinity();
  return identity<T>(kind);
}

// step(a, x) takes x to what a is the result of, join(a, b) two results to that of both; start is that of nothing.
template <typename T, typename Step, typename Join>
void accumulate(const T* x, int64_t outer, int64_t n, int64_t inner, T* y, T start, Step step, Join join) {
  const int64_t grain = std::max<int64_t>(1, kElementGrain / std::max<int64_t>(n, 1));
  if (inner == 1) {
    return parallel_for(outer, grain, [&](int64_t begin, int64_t end) {
      constexpr int kLanes = 16;
      for (int64_t row = begin; row < end; ++row) {
        const T* in = x + row * n;
        T lanes[kLanes];
        for (T& lane : lanes) lane = start;
        int64_t j = 0;
        for (; j + kLanes <= n; j += kLanes)
          for (int k = 0; k < kLanes; ++k) lanes[k] = step(lanes[k], in[j + k]);
        for (int k = 0; j < n; ++j, ++k) lanes[k] = step(lanes[k], in[j]);
        for (int width = kLanes / 2; width > 0; width /= 2)
          for (int k = 0; k < width; ++k) lanes[k] = join(lanes[k], lanes[k + width]);
        y[row] = lanes[0];
      }
    });
  }
  parallel_for(outer * inner, grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t row = begin / inner;
      const int64_t from = begin % inner;
      const int64_t count = std::min(inner - from, end - begin);
      const T* in = x + row * n * inner + from;
      T* out = y + begin;
      for (int64_t i = 0; i < count; ++i) out[i] = start;
      for (int64_t j = 0; j < n; ++j, in += inner) generate(out, count, [&](int64_t i) { return step(out[i], in[i]); });
      begin += count;
    }
  });
}

// The sums and products of integers wrap around.
template <typename T>
void reduce_stage(Kind kind, const T* x, int64_t outer, int64_t n, int64_t inner, T* y) {
  using U = typename Wrapping<T>::type;
  const T start = identity<T>(kind);
  const auto sum = [](T a, T b) { return static_cast<T>(U(a) + U(b)); };
  const auto product = [](T a, T b) { return static_cast<T>(U(a) * U(b)); };
  const auto greatest = [](T a, T b) { return a > b || a != a ? a : b; };
  const auto least = [](T a, T b) { return a < b || a != a ? a : b; };
  const auto magnitudes = [](T a, T b) { return static_cast<T>(b < 0 ? U(a) - U(b) : U(a) + U(b)); };
  const auto squares = [](T a, T b) { return static_cast<T>(U(a) + U(b) * U(b)); };
  switch (kind) {
    case Kind::kSum: return accumulate(x, outer, n, inner, y, start, sum, sum);
    case Kind::kProd: return accumulate(x, outer, n, inner, y, start, product, product);
    case Kind::kMax: return accumulate(x, outer, n, inner, y, start, greatest, greatest);
    case Kind::kMin: return accumulate(x, outer, n, inner, y, start, least, least);
    case Kind::kL1: return accumulate(x, outer, n, inner, y, start, magnitudes, sum);
    case Kind::kSumSquare: return accumulate(x, outer, n, inner, y, start, squares, sum);
    default: assertion_failed("a reduction of one stage", __FILE__, __LINE__);
  }
}

void reduce_stage(Kind kind, const float* x, int64_t outer, int64_t n, int64_t inner, float* y) {
  Reduction reduction = Reduction::kSum;
  switch (kind) {
    case Kind::kProd: reduction = Reduction::kProd; break;
    case Kind::kMax: reduction = Reduction::kMax; break;
    case Kind::kMin: reduction = Reduction::kMin; break;
    case Kind::kL1: reduction = Reduction::kL1; break;
    case Kind::kSumSquare: reduction = Reduction::kSumSquare; break;
    case Kind::kLogSumExp: reduction = Reduction::kLogSumExp; break;
    default: break;
  }
  if (inner == 1) reduce_rows(reduction, x, outer, n, y);
  else reduce_middle(reduction, x, outer, n, inner, y);
}

// log(sum(exp(x))) for f64 and integers, by the greatest element.
template <typename T>
void log_sum_exp_stage(const T* x, int64_t outer, int64_t n, int64_t inner, T* y) {
  parallel_for(outer * inner, std::max<int64_t>(1, 2048 / std::max<int64_t>(n, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const T* in = x + k / inner * n * inner + k % inner;
      double greatest = -std::numeric_limits<double>::infinity();
      for (int64_t j = 0; j < n; ++j) greatest = std::max(greatest, static_cast<double>(in[j * inner]));
      if (!std::isfinite(greatest)) {
        y[k] = static_cast<T>(greatest);
        for (int64_t j = 0; j < n; ++j)
          if (in[j * inner] != in[j * inner]) y[k] = in[j * inner];
        continue;
      }
      double sum = 0;
      for (int64_t j = 0; j < n; ++j) sum += std::exp(static_cast<double>(in[j * inner]) - greatest);
      y[k] = static_cast<T>(std::log(sum) + greatest);
    }
  });
}
void log_sum_exp_stage(const float* x, int64_t outer, int64_t n, int64_t inner, float* y) {
  reduce_stage(Kind::kLogSumExp, x, outer, n, inner, y);
}

// --- whole reductions

// What a stage computes, and what the stages after the first do with its results.
Kind first_stage(Kind kind) {
  if (kind == Kind::kMean || kind == Kind::kLogSum) return Kind::kSum;
  return kind == Kind::kL2 ? Kind::kSumSquare : kind;
}
Kind next_stage(Kind first) { return first == Kind::kL1 || first == Kind::kSumSquare ? Kind::kSum : first; }

template <typename T>
void finish(Kind kind, T* y, int64_t size, int64_t count) {
  if (kind != Kind::kMean && kind != Kind::kL2 && kind != Kind::kLogSum) return;
  parallel_for(size, kElementGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (kind == Kind::kMean) y[i] = static_cast<T>(y[i] / static_cast<T>(count));
      else if (std::is_same_v<T, float>)
        y[i] = static_cast<T>(kind == Kind::kL2 ? std::sqrt(static_cast<float>(y[i]))
                                                : std::log(static_cast<float>(y[i])));
      else
        y[i] = static_cast<T>(kind == Kind::kL2       ? std::sqrt(static_cast<double>(y[i]))
                              : std::is_integral_v<T> ? std::max(0.0, std::log(static_cast<double>(y[i])))
                                                      : std::log(static_cast<double>(y[i])));
    }
  });
}

template <typename T>
void reduce(Kind kind, const T* x, Groups groups, T* y, int64_t size) {
  if (groups.reduced == 0) return std::fill(y, y + size, empty_result<T>(kind));
  if (size == 0) return;
  Kind stage = first_stage(kind);
  Tensor held;
  bool done = false;
  // The last reduced group goes first; without one, a group of extent 1 is reduced.
  while (!done) {
    int at = groups.count - 1;
    while (at >= 0 && !groups.items[at].reduced) --at;
    int64_t outer = 1;
    int64_t inner = 1;
    int reduced_before = 0;
    for (int i = 0; i < at; ++i) {
      outer *= groups.items[i].extent;
      reduced_before += groups.items[i].reduced;
    }
    for (int i = at + 1; i < groups.count; ++i) inner *= groups.items[i].extent;
    const int64_t n = at >= 0 ? groups.items[at].extent : 1;
    done = reduced_before == 0;
    Tensor next;
    if (!done) next = Tensor(dtype_of<T>, Shape{outer * inner});
    T* to = done ? y : next.data<T>();
    if (at < 0) std::swap(outer, inner);
    if (stage == Kind::kLogSumExp) log_sum_exp_stage(x, outer, n, inner, to);
    else reduce_stage(stage, x, outer, n, inner, to);
    if (done) break;
    held = next;
    x = held.data<T>();
    stage = next_stage(stage);
    for (int i = at; i + 1 < groups.count; ++i) groups.items[i] = groups.items[i + 1];
    --groups.count;
  }
  finish(kind, y, size, groups.reduced);
}

void reduce_bools(Kind kind, const bool* x, const Groups& groups, bool* y, int64_t size) {
  // Truth is 1: the greatest is "any", the least is "all".
  reduce(kind, reinterpret_cast<const uint8_t*>(x), groups, reinterpret_cast<uint8_t*>(y), size);
  for (int64_t i = 0; i < size && groups.reduced == 0; ++i) y[i] = kind == Kind::kMin;
}

// y = reduction of x over the axes that are set; y has its shape.
template <Kind kind>
void reduce_tensor(const Tensor& x, const std::vector<bool>& axes, Tensor& y) {
  const Groups groups = merge_axes(x.shape(), axes);
  if (is_float(x.dtype()) && x.dtype() != DType::kFloat64) {
    const FloatIn in(x);
    const FloatOut out(y);
    reduce(kind, in.data(), groups, out.data(), y.size());
    return out.store();
  }
  if (kind == Kind::kLogSumExp && is_integer(x.dtype())) {
    // Between the stages the sums are no integers.
    const Tensor in(DType::kFloat64, x.shape()), out(DType::kFloat64, y.shape());
    convert_elements(x.dtype(), DType::kFloat64, x.raw(), in.raw(), x.size());
    reduce(kind, in.data<double>(), groups, out.data<double>(), y.size());
    return convert_elements(DType::kFloat64, y.dtype(), out.raw(), y.raw(), y.size());
  }
  switch (x.dtype()) {
    case DType::kFloat64: return reduce(kind, x.data<double>(), groups, y.data<double>(), y.size());
    case DType::kInt32: return reduce(kind, x.data<int32_t>(), groups, y.data<int32_t>(), y.size());
    case DType::kInt64: return reduce(kind, x.data<int64_t>(), groups, y.data<int64_t>(), y.size());
    case DType::kUInt32: return reduce(kind, x.data<uint32_t>(), groups, y.data<uint32_t>(), y.size());
    case DType::kUInt64: return reduce(kind, x.data<uint64_t>(), groups, y.data<uint64_t>(), y.size());
    default: break;
  }
  if constexpr (kind == Kind::kMax || kind == Kind::kMin) {
    if (x.dtype() == DType::kInt8) return reduce(kind, x.data<int8_t>(), groups, y.data<int8_t>(), y.size());
    if (x.dtype() == DType::kUInt8) return reduce(kind, x.data<uint8_t>(), groups, y.data<uint8_t>(), y.size());
    return reduce_bools(kind, x.data<bool>(), groups, y.data<bool>(), y.size());
  }
}

template <Kind kind>
Kernel make_reduce(Prepare& p) {
  const bool keepdims = p.attr_int("keepdims") != 0;
  const bool noop = p.attr_int("noop_with_empty_axes") != 0;
  const IntInput axes_input(p, 1);
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<int64_t> buffer;
    const std::vector<bool> axes = reduced_axes(node, axes_input.get(run, buffer), noop, x.rank());
    reduce_tensor<kind>(x, axes, run.out(0, reduced_shape(x.shape(), axes, keepdims)));
  };
}

// --- sardonyx::SumLike

Kernel make_sum_like(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    const Shape& like = run.in(1).shape();
    const int lead = x.rank() - like.rank();
    std::vector<bool> axes(static_cast<size_t>(x.rank()), true);
    for (int i = lead; i < x.rank() && lead >= 0; ++i) {
      const int64_t extent = like[i - lead];
      SX_CHECK(run, extent == x.dim(i) || extent == 1, "a value of shape ", like.str(), " was not broadcast to ",
               x.shape().str());
      axes[static_cast<size_t>(i)] = extent == 1;
    }
    SX_CHECK(run, lead >= 0, "a value of shape ", like.str(), " was not broadcast to ", x.shape().str());
    reduce_tensor<Kind::kSum>(x, axes, run.out(0, like));
  };
}

// With s the sum that is built on: the gradient goes to every element that was summed, times ds/dx.
template <Kind kind>
void differentiate_reduce(GradientContext& c) {
  const Expr x = c.in(0);
  const bool given = c.inputs() > 1 && c.in(1) && !(c.in(1).type().shape == SymShape{Dim(0)});
  // Results with the reduced axes kept as extents of 1; a result of rank 0 broadcasts as it is.
  const auto kept = [&](const Expr& y) {
    return c.attr_int("keepdims") != 0 || !given ? y : c.op("Unsqueeze", {y, c.in(1)});
  };
  const Expr dy = kept(c.grad());
  const auto spread = [&](const Expr& g) { c.give(0, c.expand_like(g, x)); };
  switch (kind) {
    case Kind::kSum: return spread(dy);
    case Kind::kMean: {
      const Expr count = c.op("Div", {c.op("Size", {x}), c.op("Size", {c.grad()})});
      return spread(dy / c.cast(count, dy.dtype()));
    }
    case Kind::kMax:
    case Kind::kMin: {
      // Elements that are equal to the extremum share its gradient.
      const Expr chosen = c.cast(c.op("Equal", {x, kept(c.out())}), x.dtype());
      return c.give(0, chosen * (dy / c.sum_like(chosen, dy)));
    }
    case Kind::kProd: {
      // The product of the others: prod / x, but for zeros, where it is the product without the one zero there is.
      const Expr zero = c.op("Equal", {x, c.scalar(0, x.dtype())});
      const Expr is_zero = c.cast(zero, x.dtype());
      const Expr one = c.scalar(1, x.dtype());
      std::vector<Expr> inputs = {c.where(zero, one, x)};
      if (given) inputs.push_back(c.in(1));
      const Expr others =
          c.op("ReduceProd", inputs,
               {{"keepdims", int64_t{1}}, {"noop_with_empty_axes", c.attr_int("noop_with_empty_axes")}});
      const Expr zeros = c.sum_like(is_zero, dy);  // how many zeros there are
      const Expr nothing = c.scalar(0, x.dtype());
      const Expr at_zero = c.where(c.op("Equal", {zeros, one}), others, nothing);
      const Expr elsewhere = c.where(c.op("Equal", {zeros, nothing}), others, nothing) / c.where(zero, one, x);
      return c.give(0, dy * c.where(zero, at_zero, elsewhere));
    }
    case Kind::kL1: return c.give(0, dy * c.op("Sign", {x}));
    case Kind::kL2: {
      const Expr y = kept(c.out());
      const Expr zero = c.scalar(0, x.dtype());
      const Expr ratio = x / y;
      return c.give(0, dy * c.where(c.op("Equal", {y, zero}), zero, ratio));
    }
    case Kind::kLogSum: return spread(dy / c.op("Exp", {kept(c.out())}));
    case Kind::kLogSumExp: return c.give(0, dy * c.op("Exp", {x - kept(c.out())}));
    case Kind::kSumSquare: return c.give(0, dy * x * 2.0);
  }
}

void differentiate_sum_like(GradientContext& c) { c.give(0, c.expand_like(c.grad(), c.in(0))); }

// --- inference

Dim combine(Kind kind, const Dim& a, const Dim& b) {
  switch (kind) {
    case Kind::kSum: return a + b;
    case Kind::kProd: return a * b;
    case Kind::kMax: return max(a, b);
    case Kind::kMin: return min(a, b);
    default: return Dim();
  }
}

template <Kind kind>
void infer_reduce(InferContext& c) {
  const bool keepdims = c.attr_int("keepdims") != 0;
  const bool noop = c.attr_int("noop_with_empty_axes") != 0;
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  const auto axes = c.has(1) ? c.integers(1) : std::vector<int64_t>();
  if (!axes)
    return c.out(0, c.dtype(0), keepdims ? std::optional<SymShape>(SymShape(c.shape(0).size())) : std::nullopt);
  const std::vector<bool> reduced = reduced_axes(c, *axes, noop, c.rank(0));
  SymShape shape;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (!reduced[i]) shape.push_back(c.shape(0)[i]);
    else if (keepdims) shape.push_back(Dim(1));
  }
  c.out(0, c.dtype(0), shape);
  const auto elements = c.elements(0);
  if (!elements || elements->empty() || reduced.size() != 1 || !reduced[0]) return;
  Dim result = elements->front();
  for (size_t i = 1; i < elements->size(); ++i) result = combine(kind, result, (*elements)[i]);
  if ((kind == Kind::kSum || kind == Kind::kProd || kind == Kind::kMax || kind == Kind::kMin) && !result.unknown())
    note_elements(c, c.dtype(0), {result});
}

template <Kind kind>
OpDef reduction(const char* name, int since, DTypeSet types) {
  OpDef op(name);
  op.since(since)
      .attr("keepdims", 1)
      .attr("noop_with_empty_axes", 0)
      .in("data", "T", types)
      .optional_in("axes", "", DType::kInt64)
      .out("reduced", "T")
      .infer(infer_reduce<kind>)
      .kernel(make_reduce<kind>)
      .gradient(differentiate_reduce<kind>)
      .upgrade(kind == Kind::kSum ? 13 : 18, ints_to_input("axes", 1));
  return op;
}

}  // namespace

void define_reduce(OpList& ops) {
  const DTypeSet wide = kFloats | DType::kInt32 | DType::kInt64 | DType::kUInt32 | DType::kUInt64;
  const DTypeSet ordered = wide | DType::kInt8 | DType::kUInt8 | DType::kBool;
  ops.add(reduction<Kind::kSum>("ReduceSum", 13, wide));
  ops.add(reduction<Kind::kMean>("ReduceMean", 18, wide));
  ops.add(reduction<Kind::kMax>("ReduceMax", 20, ordered));
  ops.add(reduction<Kind::kMin>("ReduceMin", 20, ordered));
  ops.add(reduction<Kind::kProd>("ReduceProd", 18, wide));
  ops.add(reduction<Kind::kL1>("ReduceL1", 18, wide));
  ops.add(reduction<Kind::kL2>("ReduceL2", 18, wide));
  // Integers were allowed before opset 28.
  ops.add(reduction<Kind::kLogSum>("ReduceLogSum", 28, wide));
  ops.add(reduction<Kind::kLogSumExp>("ReduceLogSumExp", 28, wide));
  ops.add(reduction<Kind::kSumSquare>("ReduceSumSquare", 18, wide));
  // x summed over the dimensions along which `like`, of which only the shape is read, was broadcast to that of x.
  ops.add(OpDef("SumLike", "sardonyx")
              .in("x", "T", wide)
              .in("like", "", kAllTypes)
              .out("sum", "T")
              .shape_only({1})
              .infer([](InferContext& c) { c.out(0, c.dtype(0), c.type(1).shape); })
              .kernel(make_sum_like)
              .gradient(differentiate_sum_like));
}

}  // namespace sx
