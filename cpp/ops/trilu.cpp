// y = the upper or lower triangle of each matrix of x, from its diagonal k on; zero elsewhere.
#include <algorithm>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

void infer_trilu(InferContext& c) {
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) >= 2, "the input is ", c.type(0).str(), "; rank 2 or more expected");
  c.out(0, c.type(0));
}

Kernel make_trilu(Prepare& p) {
  const bool upper = p.attr_int("upper") != 0;
  return [upper](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() >= 2, "the input has shape ", x.shape().str(), "; rank 2 or more expected");
    SX_CHECK(run, !run.has(1) || run.in(1).size() == 1, "k has more than one element");
    const int64_t rows = x.dim(x.rank() - 2);
    const int64_t columns = x.dim(x.rank() - 1);
    const int64_t k = run.has(1) ? std::clamp(run.in(1).scalar_as_int(), -rows, columns) : 0;
    Tensor& y = run.out(0, x.shape());
    if (y.size() == 0) return;
    with_storage(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* from = static_cast<const T*>(x.raw());
      T* to = static_cast<T*>(y.raw());
      parallel_for(x.size() / columns, move_grain(columns * static_cast<int64_t>(sizeof(T))),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) {
                       const int64_t diagonal = row % rows + k;
                       const int64_t first = upper ? std::clamp<int64_t>(diagonal, 0, columns) : 0;
                       const int64_t last = upper ? columns : std::clamp<int64_t>(diagonal + 1, 0, columns);
                       T* write = to + row * columns;
                       std::fill(write, write + first, T{});
                       if (to != from) copy_run(write + first, from + row * columns + first, last - first);
                       std::fill(write + last, write + columns, T{});
                     }
                   });
    });
  };
}

void differentiate_trilu(GradientContext& c) {
  c.give(0, c.op("Trilu", {c.grad(), c.in(1)}, {{"upper", c.attr_int("upper")}}));
}

}  // namespace

void define_trilu(OpList& ops) {
  ops.add(OpDef("Trilu")
              .since(14, 14)
              .attr("upper", 1)
              .in("input", "T", kAllTypes)
              .optional_in("k", "", DType::kInt64)
              .out("output", "T")
              .in_place({0})
              .infer(infer_trilu)
              .kernel(make_trilu)
              .gradient(differentiate_trilu));
}

}  // namespace sx
