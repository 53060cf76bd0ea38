// y = the determinant of each square matrix of x, by elimination with partial pivoting in double precision.
#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

void infer_det(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  const SymShape& x = c.shape(0);
  SX_CHECK(c, x.size() >= 2, "the input is ", c.type(0).str(), "; rank 2 or more expected");
  const Dim& rows = x[x.size() - 2];
  SX_CHECK(c, !rows.known() || !x.back().known() || rows == x.back(), "the input is ", c.type(0).str(),
           "; square matrices expected");
  c.out(0, c.dtype(0), SymShape(x.begin(), x.end() - 2));
}

// Destroys the matrix.
double determinant(double* a, int64_t n) {
  double result = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    if (pivot != k) {
      std::swap_ranges(a + pivot * n, a + (pivot + 1) * n, a + k * n);
      result = -result;
    }
    const double diagonal = a[k * n + k];
    result *= diagonal;
    if (diagonal == 0) return result;
    for (int64_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / diagonal;
      for (int64_t j = k + 1; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
    }
  }
  return result;
}

Kernel make_det(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() >= 2 && x.dim(x.rank() - 1) == x.dim(x.rank() - 2), "the input has shape ", x.shape().str(),
             "; square matrices expected");
    const int64_t n = x.shape().back();
    Tensor& y = run.out(0, Shape(x.shape().begin(), x.shape().end() - 2));
    with_number(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* from = x.data<T>();
      T* to = y.data<T>();
      parallel_for(y.size(), std::max<int64_t>(32768 / (n * n * n + 1), 1), [&](int64_t begin, int64_t end) {
        auto* matrix =
            static_cast<double*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(n * n) * sizeof(double)));
        for (int64_t i = begin; i < end; ++i) {
          for (int64_t k = 0; k < n * n; ++k)
            matrix[k] = static_cast<double>(static_cast<Arithmetic<T>>(from[i * n * n + k]));
          to[i] = T(static_cast<Arithmetic<T>>(determinant(matrix, n)));
        }
      });
    });
  };
}

// dx = dy det(x) inverse(x)'
void differentiate_det(GradientContext& c) {
  SX_CHECK(c, c.in(0).rank() >= 2, "has no gradient where the rank of its input is unknown");
  const Expr factor = c.unsqueeze(c.grad() * c.out(), {-2, -1});
  c.give(0, factor * c.swap_last(c.op("Inverse", {c.in(0)}, {}, "com.microsoft")));
}

}  // namespace

void define_det(OpList& ops) {
  ops.add(OpDef("Det")
              .since(22, 11)
              .in("X", "T", kFloats)
              .out("Y", "T")
              .infer(infer_det)
              .kernel(make_det)
              .gradient(differentiate_det));
}

}  // namespace sx
