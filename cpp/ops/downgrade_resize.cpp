// Steps down for Resize, to its first version and to Upsample.
#include <algorithm>
#include <cmath>

#include "ops/downgrade.h"

namespace sx {
namespace {

enum : size_t { kX, kRoi, kScales, kSizes };

std::vector<float> scales_in(const DowngradeContext& c) {
  const Tensor* known = c.constant_in(kScales);
  if (known == nullptr || known->dtype() != DType::kFloat32) return {};
  return {known->data<float>(), known->data<float>() + known->size()};
}

Expr floats(DowngradeContext& c, const std::vector<float>& values) {
  return c.constant(Tensor::of<float>(Shape{static_cast<int64_t>(values.size())}, values));
}

// Every axis is named by its place before 18, and shapes are reached by stretching.
void resize_all_axes(DowngradeContext& c) {
  SX_CHECK(c, c.attr_int("antialias") == 0, "smooths while it shrinks (antialias), which began with opset 18");
  c.drop("antialias");
  const auto from = c.in(kX).type().concrete_shape();
  if (c.attr_string("keep_aspect_ratio_policy") != "stretch" && c.has_in(kSizes)) {
    const auto to = c.out_type().concrete_shape();
    SX_CHECK(c, from && to, "keeps the aspect ratio of extents that are not known, which began with opset 18");
    c.error("keeps the aspect ratio (keep_aspect_ratio_policy), which began with opset 18");
  }
  c.drop("keep_aspect_ratio_policy");
  if (!c.has("axes")) return;
  const int rank = c.rank_in(kX, "it resizes some axes, which began with opset 18");
  std::vector<int64_t> axes = c.attr_ints("axes");
  for (int64_t& axis : axes) axis += axis < 0 ? rank : 0;
  c.drop("axes");
  const auto place = [&](int i) { return std::find(axes.begin(), axes.end(), i) - axes.begin(); };
  const auto given = static_cast<std::ptrdiff_t>(axes.size());
  // Input `which` for all axes: the given elements in their places, `otherwise(axis)` in the others.
  const auto spread = [&](size_t which, const Expr& others, int64_t from_start) {
    std::vector<int64_t> order;
    for (int i = 0; i < rank; ++i) order.push_back(place(i) < given ? from_start + place(i) : from_start + given + i);
    const Expr all = c.op("Concat", {c.in(which), others}, {{"axis", int64_t{0}}});
    return c.op("Gather", {all, c.ints(order)});
  };
  const std::vector<float> ones(static_cast<size_t>(rank), 1.0f);
  if (c.has_in(kScales)) c.set_in(kScales, spread(kScales, floats(c, ones), 0));
  if (c.has_in(kSizes)) c.set_in(kSizes, spread(kSizes, c.shape(c.in(kX)), 0));
  SX_CHECK(c, c.attr_string("coordinate_transformation_mode") != "tf_crop_and_resize",
           "crops some axes (roi with axes), which began with opset 18");
}

void resize_by_known_coordinates(DowngradeContext& c) {
  SX_CHECK(c, c.attr_string("coordinate_transformation_mode") != "half_pixel_symmetric",
           "places pixels by half_pixel_symmetric, which began with opset 19");
}

// Before 13, inputs that are not used are empty tensors.
void resize_with_all_inputs(DowngradeContext& c) {
  if (!c.has_in(kRoi)) c.set_in(kRoi, floats(c, {}));
  if (!c.has_in(kScales)) c.set_in(kScales, floats(c, {}));
}

// Resize-10 and Upsample divide positions by the scale and round down, or up where they shrink.
void resize_from_corner(DowngradeContext& c) {
  const std::string mode = c.attr_string("mode"), where = c.attr_string("coordinate_transformation_mode");
  const std::string rounding = c.attr_string("nearest_mode");
  SX_CHECK(c, mode != "cubic", "interpolates by cubes, which began with opset 11");
  if (c.has_in(kSizes)) {
    const auto from = c.in(kX).type().concrete_shape();
    const auto to = c.out_type().concrete_shape();
    SX_CHECK(c, from && to, "resizes to sizes, which began with opset 11; the scales are not known");
    std::vector<float> scales;
    for (int i = 0; i < to->rank(); ++i) {
      const auto scale = static_cast<float>((*to)[i]) / static_cast<float>((*from)[i]);
      SX_CHECK(c,
               (*from)[i] > 0 && static_cast<int64_t>(std::floor(scale * static_cast<float>((*from)[i]))) == (*to)[i],
               "resizes to sizes, which began with opset 11; no scale gives them");
      scales.push_back(scale);
    }
    c.set_in(kScales, floats(c, scales));
  }
  const std::vector<float> scales = scales_in(c);
  const bool known = !scales.empty();
  const bool shrinks = !known || std::any_of(scales.begin(), scales.end(), [](float s) { return s < 1; });
  const bool grows = !known || std::any_of(scales.begin(), scales.end(), [](float s) { return s > 1; });
  const bool whole =
      known && std::all_of(scales.begin(), scales.end(), [](float s) { return s >= 1 && s == std::floor(s); });
  if (mode == "nearest") {
    const bool corner = where == "asymmetric" &&
                        ((rounding == "floor" && !shrinks) || (rounding == "ceil" && !grows) || (!shrinks && !grows));
    // Where every pixel becomes a whole number of pixels, centres fall on the pixel that they come from.
    const bool centre = whole && (where == "half_pixel" || where == "pytorch_half_pixel") &&
                        (rounding == "round_prefer_floor" || rounding == "round_prefer_ceil");
    SX_CHECK(c, corner || centre,
             join("takes the nearest pixel by ", where, " and ", rounding,
                  ", of which opsets before 11 know asymmetric and floor, for known scales"));
  } else {
    SX_CHECK(c, where == "asymmetric" || (!shrinks && !grows),
             "interpolates by " + where + "; opsets before 11 know asymmetric only");
  }
  for (const char* name :
       {"coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value"})
    c.drop(name);
  c.set_in(kRoi, c.in(kScales));
  c.keep_inputs(2);
}

void resize_as_upsample(DowngradeContext& c) {
  const std::vector<float> scales = [&] {
    const Tensor* known = c.constant_in(1);
    return known == nullptr ? std::vector<float>()
                            : std::vector<float>(known->data<float>(), known->data<float>() + known->size());
  }();
  SX_CHECK(c, !scales.empty() && std::all_of(scales.begin(), scales.end(), [](float s) { return s >= 1; }),
           "shrinks, or may, which began with opset 10");
  c.become("Upsample");
}

void scales_to_attribute(DowngradeContext& c) {
  const Tensor* known = c.constant_in(1);
  SX_CHECK(c, known != nullptr, "computes 'scales', which is an attribute before opset 9: make it a constant");
  c.set("scales", std::vector<float>(known->data<float>(), known->data<float>() + known->size()));
  c.keep_inputs(1);
}

}  // namespace

void add_resize_downgrades(Downgrades& all) {
  all.add("Resize", 19, resize_by_known_coordinates);
  all.add("Resize", 18, resize_all_axes);
  all.add("Resize", 13, resize_with_all_inputs);
  all.add("Resize", 11, resize_from_corner);
  all.add("Resize", 10, resize_as_upsample);
  all.add("Upsample", 9, scales_to_attribute);
}

}  // namespace sx
