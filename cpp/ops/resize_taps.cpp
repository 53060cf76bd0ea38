// Coordinates and filter weights of Resize, along one axis.
#include "ops/resize_taps.h"

#include <algorithm>
#include <cmath>

namespace sx {
namespace {

// The position in the input that position `x` of the output stands for.
double source_position(ResizeCoordinates coordinates, const ResizeAxis& axis, int64_t x) {
  const auto at = static_cast<double>(x);
  const auto from = static_cast<double>(axis.from);
  const auto to = static_cast<double>(axis.to);
  const double exact = axis.scale * from;  // the length before it was rounded down
  switch (coordinates) {
    case ResizeCoordinates::kHalfPixel: return (at + 0.5) / axis.scale - 0.5;
    case ResizeCoordinates::kHalfPixelSymmetric: return from / 2 * (1 - to / exact) + (at + 0.5) / axis.scale - 0.5;
    case ResizeCoordinates::kPytorchHalfPixel: return axis.to > 1 ? (at + 0.5) / axis.scale - 0.5 : 0;
    case ResizeCoordinates::kAlignCorners: return exact == 1 || axis.to == 1 ? 0 : at * (from - 1) / (exact - 1);
    case ResizeCoordinates::kAsymmetric: return at / axis.scale;
    case ResizeCoordinates::kTfHalfPixelForNn: return (at + 0.5) / axis.scale;
    case ResizeCoordinates::kTfCropAndResize: {
      const double span = axis.roi_end - axis.roi_begin;
      if (axis.to <= 1) return 0.5 * (axis.roi_begin + axis.roi_end) * (from - 1);
      return axis.roi_begin * (from - 1) + at * span * (from - 1) / (to - 1);
    }
  }
  return at;
}

// The nearest index to `position`; any value that far outside positions give is clamped by the caller.
double round_position(ResizeRounding rounding, double position) {
  const double below = std::floor(position);
  const double part = position - below;
  if (part == 0) return position;
  switch (rounding) {
    case ResizeRounding::kPreferFloor: return part <= 0.5 ? below : below + 1;
    case ResizeRounding::kPreferCeil: return part < 0.5 ? below : below + 1;
    case ResizeRounding::kFloor: return below;
    case ResizeRounding::kCeil: return below + 1;
  }
  return below;
}

double cubic_weight(double a, double x) {
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

}  // namespace

ResizeTaps resize_taps(const ResizeRule& rule, const ResizeAxis& axis) {
  ResizeTaps taps;
  const bool crops = rule.coordinates == ResizeCoordinates::kTfCropAndResize;
  const auto last = static_cast<double>(axis.from - 1);
  // Antialiasing stretches the filter where the axis shrinks.
  const double stretch = rule.antialias ? std::min(axis.scale, 1.0) : 1.0;
  const int radius = rule.mode == ResizeMode::kCubic ? 2 : 1;
  const auto first = static_cast<int64_t>(std::floor(-radius / stretch)) + 1;
  if (rule.mode != ResizeMode::kNearest) taps.count = 2 - 2 * first;
  taps.indices.reserve(static_cast<size_t>(axis.to * taps.count));
  if (rule.mode != ResizeMode::kNearest) taps.weights.reserve(taps.indices.capacity());
  for (int64_t x = 0; x < axis.to; ++x) {
    const double position = source_position(rule.coordinates, axis, x);
    if (crops) taps.outside.push_back(!(position >= 0 && position <= last));
    if (rule.mode == ResizeMode::kNearest) {
      taps.indices.push_back(static_cast<int64_t>(std::clamp(round_position(rule.rounding, position), 0.0, last)));
      continue;
    }
    // The filter covers positions base + first ... with base < position <= base + 1.
    const double bounded = std::clamp(position, -1e15, 1e15);
    const double base = std::ceil(bounded) - 1;
    const double ratio = bounded - base;
    const size_t begin = taps.weights.size();
    double sum = 0;
    for (int64_t k = 0; k < taps.count; ++k) {
      const double distance = (static_cast<double>(first + k) - ratio) * stretch;
      double weight = rule.mode == ResizeMode::kLinear ? std::max(1 - std::abs(distance), 0.0)
                                                       : cubic_weight(rule.cubic_a, distance);
      const double index = base + static_cast<double>(first + k);
      if (rule.exclude_outside && (index < 0 || index > last)) weight = 0;
      taps.indices.push_back(static_cast<int64_t>(std::clamp(index, 0.0, last)));
      taps.weights.push_back(weight);
      sum += weight;
    }
    if ((rule.antialias || rule.exclude_outside) && sum != 0)
      for (size_t k = begin; k < taps.weights.size(); ++k) taps.weights[k] /= sum;
  }
  return taps;
}

}  // namespace sx
