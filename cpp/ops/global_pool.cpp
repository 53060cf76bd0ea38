// The mean, the maximum or the p-norm of every channel of every image.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/rows.h"
#include "ops/float_io.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/pool.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

enum class Kind { kMean, kMax, kNorm };

struct GlobalSpec {
  Kind kind;
  int64_t p = 2;
};

double reduce(const GlobalSpec& spec, const double* x, int64_t n) {
  const auto p = static_cast<double>(spec.p);
  double result = spec.kind == Kind::kMax ? -std::numeric_limits<double>::infinity() : 0.0;
  for (int64_t i = 0; i < n; ++i) {
    switch (spec.kind) {
      case Kind::kMean: result += x[i]; break;
      case Kind::kMax: result = x[i] > result || std::isnan(x[i]) ? x[i] : result; break;
      case Kind::kNorm: result += std::pow(std::abs(x[i]), p); break;
    }
  }
  if (spec.kind == Kind::kMean) return result / static_cast<double>(n);
  return spec.kind == Kind::kNorm ? std::pow(result, 1.0 / p) : result;
}

// Norms of an order that the row kernels do not have, and f64.
template <typename T>
void reduce_in_f64(const GlobalSpec& spec, const T* x, int64_t rows, int64_t n, T* y) {
  parallel_for(rows, std::max<int64_t>(1, 4096 / std::max<int64_t>(1, n)), [&](int64_t from, int64_t to) {
    std::vector<double> row(static_cast<size_t>(n));
    for (int64_t i = from; i < to; ++i) {
      std::copy(x + i * n, x + (i + 1) * n, row.begin());
      y[i] = static_cast<T>(reduce(spec, row.data(), n));
    }
  });
}

Kernel make(const GlobalSpec& spec) {
  return [spec](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() >= 2, "pools ", x.shape().str(), "; a batch and a channel axis expected");
    Shape shape = Shape::filled(x.rank(), 1);
    shape[0] = x.dim(0), shape[1] = x.dim(1);
    const int64_t n = x.shape().size(2, x.rank());
    Tensor& y = run.out(0, shape);
    if (y.dtype() == DType::kFloat64) return reduce_in_f64(spec, x.data<double>(), y.size(), n, y.data<double>());
    const FloatIn in(x);
    const FloatOut out(y);
    // Nothing has the mean NaN and the maximum -inf.
    if (n == 0) reduce_in_f64(spec, in.data(), y.size(), n, out.data());
    else if (spec.kind == Kind::kMean) reduce_rows(Reduction::kMean, in.data(), y.size(), n, out.data());
    else if (spec.kind == Kind::kMax) reduce_rows(Reduction::kMax, in.data(), y.size(), n, out.data());
    else if (spec.p <= 2)
      reduce_rows(spec.p == 2 ? Reduction::kL2 : Reduction::kL1, in.data(), y.size(), n, out.data());
    else reduce_in_f64(spec, in.data(), y.size(), n, out.data());
    out.store();
  };
}

void infer(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  SX_CHECK(c, c.rank(0) >= 2, "pools ", c.type(0).str(), "; a batch and a channel axis expected");
  SymShape shape(static_cast<size_t>(c.rank(0)), Dim(1));
  shape[0] = c.shape(0)[0];
  shape[1] = c.shape(0)[1];
  c.out(0, c.dtype(0), shape);
}

OpDef pooling(const char* name) { return OpDef(name).since(22).in("X", "T", kFloats).out("Y", "T").infer(infer); }

}  // namespace

void define_global_pool(OpList& ops) {
  ops.add(pooling("GlobalAveragePool")
              .kernel([](Prepare&) { return make({Kind::kMean}); })
              .gradient([](GradientContext& c) {
                const Expr count = c.op("Div", {c.op("Size", {c.in(0)}), c.op("Size", {c.grad()})});
                c.give(0, c.expand_like(c.grad() / c.cast(count, c.grad().dtype()), c.in(0)));
              }));
  ops.add(pooling("GlobalMaxPool").kernel([](Prepare&) { return make({Kind::kMax}); }).gradient([](GradientContext& c) {
    const Expr chosen = c.cast(c.op("Equal", {c.in(0), c.out()}), c.grad().dtype());
    c.give(0, chosen * (c.grad() / c.sum_like(chosen, c.grad())));
  }));
  ops.add(pooling("GlobalLpPool")
              .attr("p", 2)
              .kernel([](Prepare& p) {
                const int64_t order = p.attr_int("p");
                SX_CHECK(p, order >= 1, "attribute 'p' is ", order, "; at least 1 expected");
                return make({Kind::kNorm, order});
              })
              .gradient([](GradientContext& c) {
                const int64_t p = c.attr_int("p");
                c.give(0, lp_slope(c.in(0), p) * lp_share(c.grad(), c.out(), p));
              })
              .upgrade(2, [](UpgradeContext& c) {
                const float p = c.take<float>("p", 2.0f);
                SX_REQUIRE(p >= 1.0f && p <= 1e6f && p == std::floor(p), kNotImplemented, label(c.draft()),
                           " attribute 'p' is ", p, "; a positive integer expected");
                c.set("p", static_cast<int64_t>(p));
              }));
}

}  // namespace sx
