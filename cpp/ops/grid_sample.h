// The attributes of GridSample, and its gradient rule.
#pragma once

#include "ops/gradient.h"

namespace sx {

enum class SampleMode { kNearest, kLinear, kCubic };
enum class SamplePadding { kZeros, kBorder, kReflection };

struct SampleSettings {
  SampleMode mode;
  SamplePadding padding;
  bool align_corners;
};
SampleSettings sample_settings(const NodeView& node);
void differentiate_grid_sample(GradientContext& c);  // grid_sample_gradient.cpp

}  // namespace sx
