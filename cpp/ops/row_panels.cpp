// RowPanels, and LayerNormalization and RMSNormalization that give panels: the packed A of the bf16 products that
// follow.
//
// A value of type bf16 in panels has the extents of the plain one, an even number of columns, and its elements in the
// order of pack_a() for a matrix of all its rows. Nothing but the operators that say so may read it.
#include <algorithm>

#include "base/scratch.h"
#include "kernels/gemm/gemm.h"
#include "kernels/rows.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr Precision kPrecision = Precision::kBf16;

enum : int { kX, kScale, kBias };
enum : int { kY, kPanels };

void infer_row_panels(InferContext& c) { c.out(0, DType::kBFloat16, c.type(0).shape); }

// The rows and columns of x as one matrix.
struct Matrix {
  int64_t rows, columns;

  Matrix(const Run& run, const Shape& x) : rows(1), columns(1) {
    SX_CHECK(run, x.rank() >= 1 && x.back() % 2 == 0, "x is ", x.str(), "; an even number of columns expected");
    columns = x.back();
    rows = x.size(0, x.rank() - 1);
  }
};

Kernel make_row_panels(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(kX);
    const Matrix matrix(run, x.shape());
    const Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    pack_a(matrix.rows, matrix.columns, x.data<float>(), matrix.columns, false, static_cast<float*>(y.raw()),
           active_isa(), kPrecision);
  };
}

void infer_norm(InferContext& c) {
  for (int i = kScale; i <= kBias; ++i) {
    if (!c.has_shape(i) || !c.has_shape(kX)) continue;
    SX_CHECK(c, c.rank(i) == 1 && c.shape(i)[0] == c.shape(kX).back(), "normalizes ", c.type(kX).str(), " with ",
             c.type(i).str(), "; one value for each column expected");
  }
  c.out(kY, DType::kFloat32, c.type(kX).shape);
  c.out(kPanels, DType::kBFloat16, c.type(kX).shape);
}

Kernel make_norm(Prepare& p) {
  NormRows made;
  made.epsilon = p.attr_float("epsilon");
  made.rms = p.attr_int("rms") != 0;
  return [made](Run& run) {
    const Tensor& x = run.in(kX);
    const Matrix matrix(run, x.shape());
    const int64_t n = matrix.columns;
    for (int i = kScale; i <= kBias; ++i)
      SX_CHECK(run, !run.has(i) || run.in(i).size() == n, "x is ", x.shape().str(), " but has a scale or bias of ",
               run.in(i).size(), " elements");
    const Tensor& panels = run.out(kPanels, x.shape());
    float* y = run.wants(kY) ? run.out(kY, x.shape()).data<float>() : nullptr;
    if (x.size() == 0) return;
    NormRows norm = made;
    norm.n = n;
    norm.scale = run.in(kScale).data<float>();
    norm.bias = run.has(kBias) ? run.in(kBias).data<float>() : nullptr;
    const int64_t height = a_panel_rows(active_isa(), kPrecision);
    parallel_for((matrix.rows + height - 1) / height, 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t first = panel * height;
        NormRows part = norm;
        part.rows = std::min(height, matrix.rows - first);
        part.x = x.data<float>() + first * n;
        const auto bytes = static_cast<size_t>(part.rows * n) * sizeof(float);
        part.y = y != nullptr ? y + first * n : static_cast<float*>(thread_scratch(ScratchSlot::kOperator, bytes));
        normalize_rows(part);
        pack_a_part(matrix.rows, n, {first, part.rows, 0, n}, part.y, n, static_cast<float*>(panels.raw()),
                    active_isa(), kPrecision);
      }
    });
  };
}

}  // namespace

void define_row_panels(OpList& ops) {
  ops.add(OpDef("RowPanels", "sardonyx")
              .in("X", "", DType::kFloat32)
              .out("Y", "", DType::kBFloat16)
              .infer(infer_row_panels)
              .kernel(make_row_panels));
  ops.add(OpDef("PanelNormalization", "sardonyx")
              .attr("epsilon", 1e-5f)
              .attr("rms", 0)
              .in("X", "", DType::kFloat32)
              .in("Scale", "", DType::kFloat32)
              .optional_in("B", "", DType::kFloat32)
              .optional_out("Y", "", DType::kFloat32)
              .out("panels", "", DType::kBFloat16)
              .in_place({0})
              .infer(infer_norm)
              .kernel(make_norm));
}

}  // namespace sx
