// y = x^-1 for square matrices in the last two axes, by elimination with row pivots
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// `a` and `y` are n x n; a is destroyed. A singular matrix gives NaN.
void invert(std::vector<double>& a, int64_t n, double* y) {
  std::fill_n(y, n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) y[i * n + i] = 1.0;
  double* m = a.data();
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(m[i * n + k]) > std::abs(m[pivot * n + k])) pivot = i;
    if (m[pivot * n + k] == 0) {
      std::fill_n(y, n * n, std::numeric_limits<double>::quiet_NaN());
      return;
    }
    if (pivot != k) {
      std::swap_ranges(m + k * n, m + (k + 1) * n, m + pivot * n);
      std::swap_ranges(y + k * n, y + (k + 1) * n, y + pivot * n);
    }
    const double scale = 1.0 / m[k * n + k];
    for (int64_t j = 0; j < n; ++j) {
      m[k * n + j] *= scale;
      y[k * n + j] *= scale;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double factor = m[i * n + k];
      if (i == k || factor == 0) continue;
      for (int64_t j = 0; j < n; ++j) {
        m[i * n + j] -= factor * m[k * n + j];
        y[i * n + j] -= factor * y[k * n + j];
      }
    }
  }
}

Kernel make_inverse(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    const int rank = x.rank();
    SX_CHECK(run, rank >= 2 && x.dim(rank - 1) == x.dim(rank - 2), "its input is ", x.shape().str(),
             "; square matrices expected");
    const Tensor& y = run.out(0, x.shape());
    const int64_t n = x.dim(rank - 1);
    if (x.size() == 0) return;
    const int64_t size = n * n;
    parallel_for(x.size() / size, std::max<int64_t>(1, 20000 / (size * n)), [&](int64_t begin, int64_t end) {
      std::vector<double> a(static_cast<size_t>(size)), inverse(static_cast<size_t>(size));
      for (int64_t at = begin; at < end; ++at) {
        auto convert = [&](auto* from, auto* to) {
          using T = std::remove_pointer_t<decltype(to)>;
          for (int64_t i = 0; i < size; ++i) {
            if constexpr (std::is_same_v<T, double>) a[static_cast<size_t>(i)] = from[at * size + i];
            else a[static_cast<size_t>(i)] = static_cast<float>(from[at * size + i]);
          }
          invert(a, n, inverse.data());
          for (int64_t i = 0; i < size; ++i) {
            if constexpr (std::is_same_v<T, double>) to[at * size + i] = inverse[static_cast<size_t>(i)];
            else to[at * size + i] = T(static_cast<float>(inverse[static_cast<size_t>(i)]));
          }
        };
        switch (x.dtype()) {
          case DType::kFloat64: convert(x.data<double>(), y.data<double>()); break;
          case DType::kFloat16: convert(x.data<Float16>(), y.data<Float16>()); break;
          case DType::kBFloat16: convert(x.data<BFloat16>(), y.data<BFloat16>()); break;
          default: convert(x.data<float>(), y.data<float>());
        }
      }
    });
  };
}

void infer_inverse(InferContext& c) {
  SX_CHECK(c, !c.has_shape(0) || c.rank(0) >= 2, "its input is ", c.type(0).str(), "; square matrices expected");
  c.out(0, c.type(0));
}

// dx = -y' dy y'
void differentiate_inverse(GradientContext& c) {
  SX_CHECK(c, c.in(0).rank() >= 2, "has no gradient where the rank of its input is unknown");
  const Expr turned = c.swap_last(c.out());
  c.give(0, -c.op("MatMul", {turned, c.op("MatMul", {c.grad(), turned})}));
}

}  // namespace

void define_ms_inverse(OpList& ops) {
  ops.add(OpDef("Inverse", "com.microsoft")
              .in("X", "T", kFloats)
              .out("Y", "T")
              .infer(infer_inverse)
              .kernel(make_inverse)
              .gradient(differentiate_inverse));
}

}  // namespace sx
