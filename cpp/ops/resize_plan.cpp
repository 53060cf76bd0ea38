// The attributes of Resize, and the taps of all axes.
#include "ops/resize_plan.h"

#include "ops/elements.h"

namespace sx {
namespace {

template <typename E>
E choice(const NodeView& node, const char* attribute, std::initializer_list<std::pair<const char*, E>> choices) {
  const std::string& given = node.attr_string(attribute);
  std::string known;
  for (const auto& [name, value] : choices) {
    if (given == name) return value;
    known += join(known.empty() ? "" : ", ", name);
  }
  node.error(attribute, " is '", given, "'; expected one of ", known);
}

}  // namespace

ResizeSettings resize_settings(const NodeView& node) {
  ResizeSettings s;
  s.rule.mode = choice<ResizeMode>(
      node, "mode",
      {{"nearest", ResizeMode::kNearest}, {"linear", ResizeMode::kLinear}, {"cubic", ResizeMode::kCubic}});
  using C = ResizeCoordinates;
  s.rule.coordinates = choice<C>(node, "coordinate_transformation_mode",
                                 {{"half_pixel", C::kHalfPixel},
                                  {"half_pixel_symmetric", C::kHalfPixelSymmetric},
                                  {"pytorch_half_pixel", C::kPytorchHalfPixel},
                                  {"align_corners", C::kAlignCorners},
                                  {"asymmetric", C::kAsymmetric},
                                  {"tf_half_pixel_for_nn", C::kTfHalfPixelForNn},
                                  {"tf_crop_and_resize", C::kTfCropAndResize}});
  using R = ResizeRounding;
  s.rule.rounding = choice<R>(node, "nearest_mode",
                              {{"round_prefer_floor", R::kPreferFloor},
                               {"round_prefer_ceil", R::kPreferCeil},
                               {"floor", R::kFloor},
                               {"ceil", R::kCeil}});
  s.rule.cubic_a = static_cast<double>(node.attr_float("cubic_coeff_a"));
  s.rule.antialias = node.attr_int("antialias") != 0 && s.rule.mode != ResizeMode::kNearest;
  s.rule.exclude_outside = node.attr_int("exclude_outside") != 0;
  s.aspect = choice<ResizeAspect>(node, "keep_aspect_ratio_policy",
                                  {{"stretch", ResizeAspect::kStretch},
                                   {"not_larger", ResizeAspect::kNotLarger},
                                   {"not_smaller", ResizeAspect::kNotSmaller}});
  if (node.has_attr("axes")) s.axes = node.attr_ints("axes");
  s.extrapolation = node.attr_float("extrapolation_value");
  return s;
}

std::vector<double> resize_numbers(const Tensor* x) {
  std::vector<double> values;
  if (x == nullptr) return values;
  with_number(x->dtype(), [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < x->size(); ++i)
      values.push_back(static_cast<double>(static_cast<Arithmetic<T>>(x->data<T>()[i])));
  });
  return values;
}

ResizeRequest resize_request(const Run& run, const ResizeSettings& s) {
  const bool crops = s.rule.coordinates == ResizeCoordinates::kTfCropAndResize;
  return {crops && run.has(1) ? resize_numbers(&run.in(1)) : std::vector<double>(),
          run.has(2) ? resize_numbers(&run.in(2)) : std::vector<double>(),
          run.has(3) ? run.in(3).integers() : std::vector<int64_t>()};
}

OpDef& add_resize_attrs(OpDef& op) {
  return op.attr("antialias", 0)
      .optional_attr("axes", AttrKind::kInts)
      .attr("coordinate_transformation_mode", "half_pixel")
      .attr("cubic_coeff_a", -0.75f)
      .attr("exclude_outside", 0)
      .attr("extrapolation_value", 0.0f)
      .attr("keep_aspect_ratio_policy", "stretch")
      .attr("mode", "nearest")
      .attr("nearest_mode", "round_prefer_floor");
}

namespace {

// An axis that keeps its extent is left alone unless it is cropped.
bool unchanged(const ResizeRule& rule, const ResizeAxis& axis) {
  if (axis.to != axis.from || std::abs(axis.scale - 1) > 1e-9) return false;
  return rule.coordinates != ResizeCoordinates::kTfCropAndResize || (axis.roi_begin == 0 && axis.roi_end == 1);
}

}  // namespace

std::vector<ResizeTaps> resize_taps(const ResizeRule& rule, const std::vector<ResizeAxis>& plan) {
  std::vector<ResizeTaps> taps;
  for (const ResizeAxis& axis : plan)
    taps.push_back(unchanged(rule, axis) || axis.to == 0 ? ResizeTaps() : resize_taps(rule, axis));
  return taps;
}

}  // namespace sx
