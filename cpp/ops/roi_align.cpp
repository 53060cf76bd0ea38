// y[r, c] = the average (or maximum) of bilinear samples of x[batch_indices[r], c] in each bin of region r.
#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

struct Settings {
  int64_t height, width;  // of the output
  int64_t sampling_ratio;
  double spatial_scale;
  bool half_pixel;
  bool average;
};

Settings settings_of(const NodeView& node) {
  Settings s{};
  s.height = node.attr_int("output_height");
  s.width = node.attr_int("output_width");
  SX_CHECK(node, s.height > 0 && s.width > 0, "the output is ", s.height, " x ", s.width,
           "; positive extents expected");
  s.sampling_ratio = node.attr_int("sampling_ratio");
  s.spatial_scale = static_cast<double>(node.attr_float("spatial_scale"));
  const std::string& coordinates = node.attr_string("coordinate_transformation_mode");
  SX_CHECK(node, coordinates == "half_pixel" || coordinates == "output_half_pixel",
           "coordinate_transformation_mode is '", coordinates, "'; half_pixel or output_half_pixel expected");
  s.half_pixel = coordinates == "half_pixel";
  const std::string& mode = node.attr_string("mode");
  SX_CHECK(node, mode == "avg" || mode == "max", "mode is '", mode, "'; avg or max expected");
  s.average = mode == "avg";
  return s;
}

void infer_roi_align(InferContext& c) {
  const Settings s = settings_of(c);
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) == 4, "X is ", c.type(0).str(), "; rank 4 expected");
  SX_CHECK(c, c.rank(1) < 0 || c.rank(1) == 2, "rois is ", c.type(1).str(), "; rank 2 expected");
  c.out(0, c.dtype(0),
        SymShape{c.has_shape(1) ? c.shape(1)[0] : Dim(), c.has_shape(0) ? c.shape(0)[1] : Dim(), Dim(s.height),
                 Dim(s.width)});
}

// A sample between two rows (or columns); both weights are 0 outside of the image.
template <typename A>
struct LineSample {
  int64_t low, high;
  A low_weight, high_weight;
};

template <typename A>
LineSample<A> line_sample(A at, int64_t extent) {
  if (!(at >= A(-1) && at <= static_cast<A>(extent))) return {0, 0, A(0), A(0)};
  at = std::max(at, A(0));
  const auto low = static_cast<int64_t>(at);
  if (low >= extent - 1) return {extent - 1, extent - 1, A(1), A(0)};
  const A part = at - static_cast<A>(low);
  return {low, low + 1, 1 - part, part};
}

// Where the bins of one region are sampled.
template <typename A>
struct RegionSamples {
  int64_t down, across;  // samples of a bin
  LineSample<A>*rows, *columns;
  A count() const { return static_cast<A>(std::max<int64_t>(down * across, 1)); }
};

// In this thread's scratch memory.
template <typename T, typename A>
RegionSamples<A> region_samples(const Run& run, const Settings& s, const T* region, int64_t r, int64_t height,
                                int64_t width) {
  constexpr int64_t kMaxSamples = 1 << 14;
  const auto scale = static_cast<A>(s.spatial_scale);
  const A offset = s.half_pixel ? A(0.5) : A(0);
  A bounds[4];
  for (int i = 0; i < 4; ++i) bounds[i] = static_cast<A>(region[i]) * scale - offset;
  A roi_width = bounds[2] - bounds[0];
  A roi_height = bounds[3] - bounds[1];
  if (!s.half_pixel) {
    roi_width = std::max(roi_width, A(1));
    roi_height = std::max(roi_height, A(1));
  }
  const A bin_height = roi_height / static_cast<A>(s.height);
  const A bin_width = roi_width / static_cast<A>(s.width);
  auto samples_in = [&](A bin) {
    if (s.sampling_ratio > 0) return s.sampling_ratio;
    SX_CHECK(run, bin < A(kMaxSamples), "region ", r, " is too large");
    return bin > 0 ? static_cast<int64_t>(std::ceil(bin)) : int64_t{0};
  };
  const int64_t down = samples_in(bin_height);
  const int64_t across = samples_in(bin_width);
  SX_CHECK(run, down <= kMaxSamples && across <= kMaxSamples, "the sampling ratio ", s.sampling_ratio, " is too large");
  auto* rows = static_cast<LineSample<A>*>(thread_scratch(
      ScratchSlot::kOperator, static_cast<size_t>(s.height * down + s.width * across + 1) * sizeof(LineSample<A>)));
  auto* columns = rows + s.height * down;
  for (int64_t i = 0; i < s.height * down; ++i) {
    const A step = (static_cast<A>(i % down) + A(0.5)) * bin_height / static_cast<A>(down);
    rows[i] = line_sample(bounds[1] + static_cast<A>(i / down) * bin_height + step, height);
  }
  for (int64_t i = 0; i < s.width * across; ++i) {
    const A step = (static_cast<A>(i % across) + A(0.5)) * bin_width / static_cast<A>(across);
    columns[i] = line_sample(bounds[0] + static_cast<A>(i / across) * bin_width + step, width);
  }
  return {down, across, rows, columns};
}

// Calls body(place, weight) for the four elements of a plane that each sample of a bin is made of.
template <typename A, typename Body>
void each_part(const Settings& s, const RegionSamples<A>& samples, int64_t bin, int64_t width, Body body) {
  for (int64_t iy = bin / s.width * samples.down; iy < (bin / s.width + 1) * samples.down; ++iy) {
    const LineSample<A>& v = samples.rows[iy];
    for (int64_t ix = bin % s.width * samples.across; ix < (bin % s.width + 1) * samples.across; ++ix) {
      const LineSample<A>& h = samples.columns[ix];
      body(v.low * width + h.low, v.low_weight * h.low_weight);
      body(v.low * width + h.high, v.low_weight * h.high_weight);
      body(v.high * width + h.low, v.high_weight * h.low_weight);
      body(v.high * width + h.high, v.high_weight * h.high_weight);
    }
  }
}

template <typename T>
void align(const Run& run, const Settings& s, const Tensor& x, const Tensor& rois, const int64_t* batch, Tensor& y) {
  using A = Arithmetic<T>;
  const int64_t channels = x.dim(1), height = x.dim(2), width = x.dim(3);
  const T* from = x.data<T>();
  T* to = y.data<T>();
  parallel_for(y.dim(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto samples = region_samples<T, A>(run, s, rois.data<T>() + r * 4, r, height, width);
      for (int64_t c = 0; c < channels; ++c) {
        const T* image = from + (batch[r] * channels + c) * height * width;
        T* write = to + (r * channels + c) * s.height * s.width;
        for (int64_t bin = 0; bin < s.height * s.width; ++bin) {
          A result = 0;
          bool first = true;
          each_part(s, samples, bin, width, [&](int64_t at, A weight) {
            const A part = weight * static_cast<A>(image[at]);
            result = s.average ? result + part : first ? part : std::max(result, part);
            first = false;
          });
          write[bin] = T(s.average ? result / samples.count() : result);
        }
      }
    }
  });
}

// dx: an average shares dy by the weights of its samples, a maximum gives it to the element that it is. Planes are
// split over threads, the regions go one after the other.
template <typename T>
void align_back(const Run& run, const Settings& s, const Tensor& dy, const Tensor& x, const Tensor& rois,
                const int64_t* batch, Tensor& dx) {
  using A = Arithmetic<T>;
  const int64_t channels = x.dim(1), height = x.dim(2), width = x.dim(3);
  parallel_for(x.dim(0) * channels, 1, [&](int64_t begin, int64_t end) {
    const int64_t pixels = height * width;
    A* sums = static_cast<A*>(thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(pixels) * sizeof(A)));
    for (int64_t plane = begin; plane < end; ++plane) {
      const T* image = x.data<T>() + plane * height * width;
      std::fill(sums, sums + pixels, A(0));
      for (int64_t r = 0; r < dy.dim(0); ++r) {
        if (batch[r] != plane / channels) continue;
        const auto samples = region_samples<T, A>(run, s, rois.data<T>() + r * 4, r, height, width);
        const T* read = dy.data<T>() + (r * channels + plane % channels) * s.height * s.width;
        for (int64_t bin = 0; bin < s.height * s.width; ++bin) {
          const A gradient = static_cast<A>(read[bin]);
          if (s.average) {
            const A share = gradient / samples.count();
            each_part(s, samples, bin, width, [&](int64_t at, A weight) { sums[at] += weight * share; });
            continue;
          }
          int64_t chosen = -1;
          A greatest = 0, factor = 0;
          each_part(s, samples, bin, width, [&](int64_t at, A weight) {
            const A part = weight * static_cast<A>(image[at]);
            if (chosen >= 0 && !(greatest < part)) return;
            chosen = at, greatest = part, factor = weight;
          });
          if (chosen >= 0) sums[chosen] += factor * gradient;
        }
      }
      T* to = dx.data<T>() + plane * height * width;
      for (int64_t i = 0; i < pixels; ++i) to[i] = T(sums[i]);
    }
  });
}

void check_inputs(const Run& run, const Tensor& x, const Tensor& rois, const Tensor& batch) {
  SX_CHECK(run, x.rank() == 4, "X has shape ", x.shape().str(), "; rank 4 expected");
  SX_CHECK(run, rois.rank() == 2 && rois.dim(1) == 4, "rois has shape ", rois.shape().str(), "; [R,4] expected");
  SX_CHECK(run, batch.size() == rois.dim(0), "batch_indices has shape ", batch.shape().str(), "; one for each of ",
           rois.dim(0), " regions expected");
  const int64_t* indices = batch.data<int64_t>();
  for (int64_t i = 0; i < batch.size() && x.size() > 0; ++i)
    SX_CHECK(run, indices[i] >= 0 && indices[i] < x.dim(0), "batch_indices[", i, "] is ", indices[i], "; expected 0..",
             x.dim(0) - 1);
}

Kernel make_roi_align(Prepare& p) {
  const Settings s = settings_of(p);
  return [s](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor& rois = run.in(1);
    const Tensor& batch = run.in(2);
    check_inputs(run, x, rois, batch);
    Tensor& y = run.out(0, Shape{rois.dim(0), x.dim(1), s.height, s.width});
    if (y.size() == 0) return;
    SX_CHECK(run, x.size() > 0, "X of shape ", x.shape().str(), " has nothing to sample");
    const int64_t* indices = batch.data<int64_t>();
    with_number(x.dtype(), [&](auto zero) {
      if constexpr (!std::is_integral_v<decltype(zero)>) align<decltype(zero)>(run, s, x, rois, indices, y);
    });
  };
}

Kernel make_roi_align_gradient(Prepare& p) {
  const Settings s = settings_of(p);
  return [s](Run& run) {
    const Tensor &dy = run.in(0), &x = run.in(1), &rois = run.in(2), &batch = run.in(3);
    check_inputs(run, x, rois, batch);
    const Shape expected{rois.dim(0), x.dim(1), s.height, s.width};
    SX_CHECK(run, dy.shape() == expected, "the gradient is ", dy.shape().str(), "; ", expected.str(), " expected");
    Tensor& dx = run.out(0, x.shape());
    if (dx.size() == 0) return;
    with_number(x.dtype(), [&](auto zero) {
      if constexpr (!std::is_integral_v<decltype(zero)>)
        align_back<decltype(zero)>(run, s, dy, x, rois, batch.data<int64_t>(), dx);
    });
  };
}

void differentiate_roi_align(GradientContext& c) {
  SX_CHECK(c, !c.wants(1), "has no gradient by its regions; only by what they are taken from");
  c.give(0, c.op("RoiAlignGradient", {c.grad(), c.in(0), c.in(1), c.in(2)}, c.node().attributes, "sardonyx"));
}

// An average is linear; which elements are maxima is not told again.
void differentiate_roi_align_gradient(GradientContext& c) {
  SX_CHECK(c, c.attr_string("mode") == "avg", "has no second derivative in mode max");
  SX_CHECK(c, !c.wants(2), "has no gradient by its regions; only by what they are taken from");
  c.give(0, c.op("RoiAlign", {c.grad(), c.in(2), c.in(3)}, c.node().attributes));
}

OpDef& add_roi_align_attrs(OpDef& op) {
  return op.attr("coordinate_transformation_mode", "half_pixel")
      .attr("mode", "avg")
      .attr("output_height", 1)
      .attr("output_width", 1)
      .attr("sampling_ratio", 0)
      .attr("spatial_scale", 1.0f);
}

}  // namespace

void define_roi_align(OpList& ops) {
  add_roi_align_attrs(ops.add(OpDef("RoiAlignGradient", "sardonyx")
                                  .in("dY", "T1", kFloats)
                                  .in("X", "T1", kFloats)
                                  .in("rois", "T1", kFloats)
                                  .in("batch_indices", "T2", DType::kInt64)
                                  .out("dX", "T1")
                                  .infer([](InferContext& c) { c.out(0, c.type(1)); })
                                  .kernel(make_roi_align_gradient)
                                  .gradient(differentiate_roi_align_gradient)));
  add_roi_align_attrs(ops.add(
      OpDef("RoiAlign")
          .since(22, 10)
          .in("X", "T1", kFloats)
          .in("rois", "T1", kFloats)
          .in("batch_indices", "T2", DType::kInt64)
          .out("Y", "T1")
          .infer(infer_roi_align)
          .kernel(make_roi_align)
          .upgrade(16,
                   [](UpgradeContext& c) { c.set("coordinate_transformation_mode", std::string("output_half_pixel")); })
          .gradient(differentiate_roi_align)));
}

}  // namespace sx
