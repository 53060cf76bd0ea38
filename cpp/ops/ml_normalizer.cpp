// y = x / norm(x) over each row; the norm is max(x), sum |x| or sqrt(sum x^2), and a norm of zero divides nothing
#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "ops/ml_common.h"
#include "ops/registry.h"

namespace sx {
namespace {

enum class Norm { kMax, kL1, kL2 };

Norm norm_of(const NodeView& node) {
  const std::string& name = node.attr_string("norm");
  if (name == "MAX") return Norm::kMax;
  if (name == "L1") return Norm::kL1;
  SX_CHECK(node, name == "L2", "norm is '", name, "'; MAX, L1 or L2 expected");
  return Norm::kL2;
}

void normalize(Norm norm, const float* x, int64_t width, float* y) {
  float total = 0;
  if (norm == Norm::kMax) {
    total = -INFINITY;
    for (int64_t i = 0; i < width; ++i) total = std::max(total, x[i]);
  } else {
    for (int64_t i = 0; i < width; ++i) total += norm == Norm::kL1 ? std::abs(x[i]) : x[i] * x[i];
    if (norm == Norm::kL2) total = std::sqrt(total);
  }
  if (total == 0) total = 1;
  for (int64_t i = 0; i < width; ++i) y[i] = x[i] / total;
}

Kernel make_normalizer(Prepare& p) {
  return [norm = norm_of(p)](Run& run) {
    const Tensor& x = run.in(0);
    const Rows rows = rows_of(run, x);
    const Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    parallel_for(rows.count, std::max<int64_t>(1, 16384 / rows.width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* to = y.data<float>() + row * rows.width;
        read_as(x, row * rows.width, rows.width, to);
        normalize(norm, to, rows.width, to);
      }
    });
  };
}

void infer_normalizer(InferContext& c) {
  rows_of(c, 0);
  c.out(0, DType::kFloat32, c.has_shape(0) ? std::optional<SymShape>(c.shape(0)) : std::nullopt);
}

}  // namespace

void define_ml_normalizer(OpList& ops) {
  ops.add(OpDef("Normalizer", kMlDomain)
              .attr("norm", "MAX")
              .in("X", "T", kMlNumbers)
              .out("Y", "", DType::kFloat32)
              .infer(infer_normalizer)
              .kernel(make_normalizer)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
}

}  // namespace sx
