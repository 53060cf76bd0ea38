// y[r, c] = the maximum of x[rois[r, 0], c] in each bin of the pixels that region r = (batch, x1, y1, x2, y2) covers.
#include <algorithm>
#include <cmath>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

std::pair<int64_t, int64_t> pooled_shape(const NodeView& node) {
  const std::vector<int64_t>& shape = node.attr_ints("pooled_shape");
  SX_CHECK(node, shape.size() == 2 && shape[0] > 0 && shape[1] > 0, "pooled_shape is ", to_string(Attribute(shape)),
           "; two positive extents expected");
  return {shape[0], shape[1]};
}

void infer_max_roi_pool(InferContext& c, DType dtype) {
  const auto [height, width] = pooled_shape(c);
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) == 4, "X is ", c.type(0).str(), "; rank 4 expected");
  SX_CHECK(c, c.rank(1) < 0 || c.rank(1) == 2, "rois is ", c.type(1).str(), "; rank 2 expected");
  c.out(0, dtype,
        SymShape{c.has_shape(1) ? c.shape(1)[0] : Dim(), c.has_shape(0) ? c.shape(0)[1] : Dim(), Dim(height),
                 Dim(width)});
}

struct Span {
  int64_t begin, end;
};

// The pixels of bin i out of `bins` over a region from `first` on.
Span bin_span(int64_t i, double bin, int64_t first, int64_t extent) {
  const auto begin = static_cast<int64_t>(std::floor(static_cast<double>(i) * bin)) + first;
  const auto end = static_cast<int64_t>(std::ceil(static_cast<double>(i + 1) * bin)) + first;
  return {std::clamp<int64_t>(begin, 0, extent), std::clamp<int64_t>(end, 0, extent)};
}

// The maxima, or with `positions` where each of them stands in x, counted from 1 on, and 0 for those of empty bins.
Kernel make(Prepare& p, bool positions) {
  const auto pooled = pooled_shape(p);
  const auto scale = static_cast<double>(p.attr_float("spatial_scale"));
  return [pooled, scale, positions](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor& rois = run.in(1);
    const auto [bins_down, bins_across] = pooled;
    SX_CHECK(run, x.rank() == 4, "X has shape ", x.shape().str(), "; rank 4 expected");
    SX_CHECK(run, rois.rank() == 2 && rois.dim(1) == 5, "rois has shape ", rois.shape().str(), "; [R,5] expected");
    Tensor& y = run.out(0, Shape{rois.dim(0), x.dim(1), bins_down, bins_across});
    if (y.size() == 0) return;
    const int64_t channels = x.dim(1), height = x.dim(2), width = x.dim(3);
    const int64_t bins = bins_down * bins_across;
    const int64_t columns = bins_across;
    const int64_t rows = bins_down;
    with_number(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      using A = Arithmetic<T>;
      parallel_for(rois.dim(0), 1, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const T* region = rois.data<T>() + r * 5;
          double bounds[5];
          for (int i = 0; i < 5; ++i) {
            bounds[i] = static_cast<double>(static_cast<A>(region[i])) * (i == 0 ? 1 : scale);
            SX_CHECK(run, std::abs(bounds[i]) < 1e9, "region ", r, " has the bound ", bounds[i]);
            bounds[i] = std::round(bounds[i]);
          }
          const auto batch = static_cast<int64_t>(bounds[0]);
          SX_CHECK(run, batch >= 0 && batch < x.dim(0), "region ", r, " is of image ", batch, "; expected 0..",
                   x.dim(0) - 1);
          const double bin_width = std::max(bounds[3] - bounds[1] + 1, 1.0) / static_cast<double>(columns);
          const double bin_height = std::max(bounds[4] - bounds[2] + 1, 1.0) / static_cast<double>(rows);
          for (int64_t bin = 0; bin < bins; ++bin) {
            const Span down = bin_span(bin / columns, bin_height, static_cast<int64_t>(bounds[2]), height);
            const Span across = bin_span(bin % columns, bin_width, static_cast<int64_t>(bounds[1]), width);
            const bool empty = down.begin >= down.end || across.begin >= across.end;
            for (int64_t c = 0; c < channels; ++c) {
              const int64_t plane = (batch * channels + c) * height * width;
              const T* image = x.data<T>() + plane;
              int64_t at = empty ? -1 : down.begin * width + across.begin;
              for (int64_t i = down.begin; i < down.end; ++i)
                for (int64_t k = across.begin; k < across.end; ++k)
                  if (static_cast<A>(image[at]) < static_cast<A>(image[i * width + k])) at = i * width + k;
              const int64_t to = (r * channels + c) * bins + bin;
              if (positions) y.data<int64_t>()[to] = empty ? 0 : plane + at + 1;
              else y.data<T>()[to] = empty ? T(A(0)) : image[at];
            }
          }
        }
      });
    });
  };
}

// The region says which elements are looked at, in whole pixels.
void differentiate_max_roi_pool(GradientContext& c) {
  c.give_moved(0, c.op("MaxRoiPoolPositions", {c.in(0), c.in(1)}, c.node().attributes, "sardonyx"));
}

}  // namespace

void define_max_roi_pool(OpList& ops) {
  ops.add(OpDef("MaxRoiPool")
              .since(22)
              .required_attr("pooled_shape", AttrKind::kInts)
              .attr("spatial_scale", 1.0f)
              .in("X", "T", kFloats)
              .in("rois", "T", kFloats)
              .out("Y", "T")
              .infer([](InferContext& c) { infer_max_roi_pool(c, c.dtype(0)); })
              .kernel([](Prepare& p) { return make(p, false); })
              .gradient(differentiate_max_roi_pool));
  ops.add(OpDef("MaxRoiPoolPositions", "sardonyx")
              .required_attr("pooled_shape", AttrKind::kInts)
              .attr("spatial_scale", 1.0f)
              .in("X", "T", kFloats)
              .in("rois", "T", kFloats)
              .out("positions", "", DType::kInt64)
              .infer([](InferContext& c) { infer_max_roi_pool(c, DType::kInt64); })
              .kernel([](Prepare& p) { return make(p, true); }));
}

}  // namespace sx
