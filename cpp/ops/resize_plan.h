// What a Resize asks for: its attributes, and what they, scales or sizes mean for each axis.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/resize_taps.h"

namespace sx {

enum class ResizeAspect { kStretch, kNotLarger, kNotSmaller };

struct ResizeSettings {
  ResizeRule rule;
  ResizeAspect aspect = ResizeAspect::kStretch;
  std::optional<std::vector<int64_t>> axes;
  float extrapolation = 0;
};

ResizeSettings resize_settings(const NodeView& node);
OpDef& add_resize_attrs(OpDef& op);
// The rule of Resize and the operator that it is made of (resize_gradient.cpp).
void differentiate_resize(GradientContext& c);
void define_resize_gradient(OpList& ops);

// The elements of a float tensor; nothing for an absent or empty one, which older models write for "not given".
std::vector<double> resize_numbers(const Tensor* x);

struct ResizeRequest {
  std::vector<double> roi;
  std::vector<double> scales;
  std::vector<int64_t> sizes;
};

// Inputs 1 to 3 of a run: roi where it crops, scales and sizes.
ResizeRequest resize_request(const Run& run, const ResizeSettings& s);

// The taps of every axis; none for one that is left alone.
std::vector<ResizeTaps> resize_taps(const ResizeRule& rule, const std::vector<ResizeAxis>& plan);

// What is to be done along each axis of `x`. `fault` takes the parts of a message and throws.
template <typename Fault>
std::vector<ResizeAxis> resolve_resize(const ResizeSettings& s, const NodeView& node, const Shape& x,
                                       const ResizeRequest& request, Fault fault) {
  std::vector<ResizeAxis> plan;
  for (int64_t extent : x) plan.push_back({extent, extent, 1, 0, 1});
  std::vector<int> axes;
  if (s.axes) {
    for (int64_t axis : *s.axes) {
      axes.push_back(node.axis(axis, x.rank()));
      SX_CHECK(node, std::count(axes.begin(), axes.end(), axes.back()) == 1, "axis ", axis, " is given twice");
    }
  } else {
    for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  }
  const size_t n = axes.size();
  if (request.scales.empty() == request.sizes.empty() && n > 0)
    fault(request.scales.empty() ? "has neither scales nor sizes" : "has both scales and sizes",
          "; one of them expected");
  if (!request.scales.empty() && request.scales.size() != n)
    fault("has ", request.scales.size(), " scales for ", n, " axes");
  if (!request.sizes.empty() && request.sizes.size() != n)
    fault("has ", request.sizes.size(), " sizes for ", n, " axes");
  const bool crops = s.rule.coordinates == ResizeCoordinates::kTfCropAndResize;
  if (crops && request.roi.size() != 2 * n)
    fault("has ", request.roi.size(), " roi bounds; two for each of ", n, " axes expected");
  std::optional<double> common;
  if (!request.sizes.empty() && s.aspect != ResizeAspect::kStretch) {
    for (size_t i = 0; i < n; ++i) {
      const auto ratio = static_cast<double>(request.sizes[i]) / static_cast<double>(x[axes[i]]);
      if (!common) common = ratio;
      common = s.aspect == ResizeAspect::kNotLarger ? std::min(*common, ratio) : std::max(*common, ratio);
    }
  }
  for (size_t i = 0; i < n; ++i) {
    ResizeAxis& axis = plan[static_cast<size_t>(axes[i])];
    if (crops) {
      axis.roi_begin = request.roi[i];
      axis.roi_end = request.roi[n + i];
    }
    double extent = 0;
    if (!request.scales.empty()) {
      axis.scale = request.scales[i];
      if (!(axis.scale > 0)) fault("scale ", axis.scale, " of axis ", axes[i], " is not positive");
      const double covered = crops ? axis.roi_end - axis.roi_begin : 1.0;
      // The product is rounded to float, as in the specification's shape inference.
      extent =
          std::floor(static_cast<double>(static_cast<float>(static_cast<double>(axis.from) * covered * axis.scale)));
    } else if (common) {
      axis.scale = *common;
      extent = std::floor(*common * static_cast<double>(axis.from) + 0.5);
    } else {
      extent = static_cast<double>(request.sizes[i]);
    }
    if (!(extent >= 0 && extent < 1e15)) fault("axis ", axes[i], " of ", x.str(), " would get the extent ", extent);
    axis.to = static_cast<int64_t>(extent);
    if (request.scales.empty() && !common) axis.scale = static_cast<double>(axis.to) / static_cast<double>(axis.from);
    if (axis.from == 0 && axis.to > 0)
      fault("axis ", axes[i], " of ", x.str(), " is empty and cannot be resized to ", axis.to);
  }
  return plan;
}

}  // namespace sx
