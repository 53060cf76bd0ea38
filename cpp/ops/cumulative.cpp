// CumSum, CumProd: y[j] = x[0] op ... op x[j] along an axis.
#include <algorithm>
#include <type_traits>

#include "ops/elements.h"
#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

template <typename T, bool product>
T combine(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(product ? U(a) * U(b) : U(a) + U(b));
  } else {
    return product ? a * b : a + b;
  }
}

struct Direction {
  bool exclusive, reverse;
};

// x and y may be the same array.
template <typename T, bool product>
void cumulate(const T* x, int64_t outer, int64_t n, int64_t inner, T* y, Direction direction) {
  const int64_t grain = std::max<int64_t>(1, kElementGrain / 2 / std::max<int64_t>(n, 1));
  if (inner > 1) {
    constexpr int64_t kColumns = 2048;
    const int64_t pieces = (inner + kColumns - 1) / kColumns;
    const int64_t piece_grain = std::max<int64_t>(1, kElementGrain / n / std::min(inner, kColumns));
    return parallel_for(outer * pieces, piece_grain, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t from = task % pieces * kColumns, count = std::min(kColumns, inner - from);
        T sums[kColumns];
        std::fill_n(sums, count, product ? T(1) : T(0));
        for (int64_t j = 0; j < n; ++j) {
          const int64_t at = (task / pieces * n + (direction.reverse ? n - 1 - j : j)) * inner + from;
          const T* in = x + at;
          T* out = y + at;
          if (direction.exclusive) {
            T next[kColumns];
            generate(next, count, [&](int64_t i) { return combine<T, product>(sums[i], in[i]); });
            copy_run(out, sums, count);
            copy_run(sums, next, count);
          } else {
            generate(sums, count, [&](int64_t i) { return combine<T, product>(sums[i], in[i]); });
            copy_run(out, sums, count);
          }
        }
      }
    });
  }
  parallel_for(outer * inner, grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t start = k / inner * n * inner + k % inner;
      T sum = product ? T(1) : T(0);
      for (int64_t j = 0; j < n; ++j) {
        const int64_t at = start + (direction.reverse ? n - 1 - j : j) * inner;
        const T next = combine<T, product>(sum, x[at]);
        y[at] = direction.exclusive ? sum : next;
        sum = next;
      }
    }
  });
}

void infer_cumulative(InferContext& c) {
  if (const auto axis = c.integers(1); axis && c.has_shape(0)) {
    SX_CHECK(c, axis->size() == 1, "axis has ", axis->size(), " elements; one expected");
    c.axis(axis->front(), c.rank(0));
  }
  c.out(0, c.type(0));
}

template <bool product>
Kernel make_cumulative(Prepare& p) {
  const Direction direction{p.attr_int("exclusive") != 0, p.attr_int("reverse") != 0};
  const NodeView node(p.node());
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, run.in(1).size() == 1, "axis has ", run.in(1).size(), " elements; one expected");
    const int axis = node.axis(run.in(1).scalar_as_int(), x.rank());
    const int64_t outer = x.shape().size(0, axis);
    const int64_t n = x.dim(axis);
    const int64_t inner = x.shape().size(axis + 1, x.rank());
    Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    auto compute = [&](const auto* from, auto* to) {
      cumulate<std::remove_pointer_t<decltype(to)>, product>(from, outer, n, inner, to, direction);
    };
    switch (x.dtype()) {
      case DType::kFloat64: return compute(x.data<double>(), y.data<double>());
      case DType::kInt32: return compute(x.data<int32_t>(), y.data<int32_t>());
      case DType::kInt64: return compute(x.data<int64_t>(), y.data<int64_t>());
      case DType::kUInt32: return compute(x.data<uint32_t>(), y.data<uint32_t>());
      case DType::kUInt64: return compute(x.data<uint64_t>(), y.data<uint64_t>());
      default: {
        const FloatIn in(x);
        const FloatOut out(y);
        compute(in.data(), out.data());
        out.store();
      }
    }
  };
}

// Sums from the other end. Of products, those times dy and summed from the other end are divided by x, which must not
// be 0.
template <bool product>
void differentiate_cumulative(GradientContext& c) {
  const auto sums = [&](const Expr& dy) {
    return c.op("CumSum", {dy, c.in(1)},
                {{"exclusive", c.attr_int("exclusive")}, {"reverse", int64_t{c.attr_int("reverse") == 0}}});
  };
  if (!product) return c.give(0, sums(c.grad()));
  c.give(0, sums(c.grad() * c.out()) / c.in(0));
}

template <bool product>
OpDef cumulative(const char* name, int since, int first) {
  OpDef op(name);
  op.since(since, first)
      .attr("exclusive", 0)
      .attr("reverse", 0)
      .in("x", "T", kFloats | DType::kInt32 | DType::kInt64 | DType::kUInt32 | DType::kUInt64)
      .in("axis", "T2", DType::kInt32 | DType::kInt64)
      .out("y", "T")
      .in_place({0})
      .infer(infer_cumulative)
      .kernel(make_cumulative<product>)
      .gradient(differentiate_cumulative<product>);
  return op;
}

}  // namespace

void define_cumulative(OpList& ops) {
  ops.add(cumulative<false>("CumSum", 14, 11));
  ops.add(cumulative<true>("CumProd", 26, 26));
}

}  // namespace sx
