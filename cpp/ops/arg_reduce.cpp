// ArgMax, ArgMin: the index of the greatest or least element along an axis, the first or the last one.
#include "kernels/rows.h"
#include "ops/elements.h"
#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/registry.h"

namespace sx {
namespace {

// NaN counts as greatest and as least, as in NumPy.
template <typename T, bool greatest, bool last>
bool beats(T candidate, T best) {
  if (best != best) return last && candidate != candidate;
  if (candidate != candidate) return true;
  if (last && candidate == best) return true;
  return greatest ? candidate > best : candidate < best;
}

template <typename T, bool greatest, bool last>
void arg_reduce(const T* x, int64_t outer, int64_t n, int64_t inner, int64_t* y) {
  const int64_t grain = std::max<int64_t>(1, kElementGrain / 2 / n);
  parallel_for(outer * inner, grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const T* in = x + k / inner * n * inner + k % inner;
      int64_t index = 0;
      T best = in[0];
      for (int64_t j = 1; j < n; ++j) {
        if (!beats<T, greatest, last>(in[j * inner], best)) continue;
        best = in[j * inner];
        index = j;
      }
      y[k] = index;
    }
  });
}

Shape result_shape(const Shape& x, int axis, bool keepdims) {
  Shape shape = x;
  if (keepdims) shape[axis] = 1;
  else shape.erase(axis);
  return shape;
}

void infer_arg(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, DType::kInt64, std::nullopt);
  SymShape shape = c.shape(0);
  const int axis = c.axis(c.attr_int("axis"), c.rank(0));
  if (c.attr_int("keepdims") != 0) shape[static_cast<size_t>(axis)] = Dim(1);
  else shape.erase(shape.begin() + axis);
  c.out(0, DType::kInt64, shape);
}

template <bool greatest>
Kernel make_arg(Prepare& p) {
  const int64_t axis_attribute = p.attr_int("axis");
  const bool keepdims = p.attr_int("keepdims") != 0;
  const bool last = p.attr_int("select_last_index") != 0;
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const int axis = node.axis(axis_attribute, x.rank());
    const int64_t outer = x.shape().size(0, axis);
    const int64_t n = x.dim(axis);
    const int64_t inner = x.shape().size(axis + 1, x.rank());
    Tensor& y = run.out(0, result_shape(x.shape(), axis, keepdims));
    SX_CHECK(run, n > 0 || y.size() == 0, "axis ", axis, " of ", x.shape().str(),
             " is empty: it has no greatest or least element");
    if (y.size() == 0) return;
    auto compute = [&](const auto* data) {
      using T = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
      if (last) arg_reduce<T, greatest, true>(data, outer, n, inner, y.data<int64_t>());
      else arg_reduce<T, greatest, false>(data, outer, n, inner, y.data<int64_t>());
    };
    if (x.dtype() == DType::kFloat64) return compute(x.data<double>());
    if (is_float(x.dtype())) {
      const FloatIn in(x);
      if (n < int64_t{INT32_MAX}) return place_extremes(greatest, last, in.data(), outer, n, inner, y.data<int64_t>());
      return compute(in.data());
    }
    with_integer(x.dtype(), [&](auto zero) { compute(x.data<decltype(zero)>()); });
  };
}

template <bool greatest>
OpDef arg_operator(const char* name) {
  OpDef op(name);
  op.since(13)
      .attr("axis", 0)
      .attr("keepdims", 1)
      .attr("select_last_index", 0)
      .in("data", "T", kNumbers)
      .out("reduced", "", DType::kInt64)
      .infer(infer_arg)
      .kernel(make_arg<greatest>);
  return op;
}

}  // namespace

void define_arg_reduce(OpList& ops) {
  ops.add(arg_operator<true>("ArgMax"));
  ops.add(arg_operator<false>("ArgMin"));
}

}  // namespace sx
