// Where the elements of a resized axis come from: source indices and weights for each position.
#pragma once

#include <cstdint>
#include <vector>

namespace sx {

enum class ResizeMode { kNearest, kLinear, kCubic };
enum class ResizeCoordinates {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kTfHalfPixelForNn,
  kTfCropAndResize,
};
enum class ResizeRounding { kPreferFloor, kPreferCeil, kFloor, kCeil };

struct ResizeRule {
  ResizeMode mode = ResizeMode::kNearest;
  ResizeCoordinates coordinates = ResizeCoordinates::kHalfPixel;
  ResizeRounding rounding = ResizeRounding::kPreferFloor;
  double cubic_a = -0.75;
  bool antialias = false;
  bool exclude_outside = false;
};

struct ResizeAxis {
  int64_t from = 1;  // extent of the input
  int64_t to = 1;    // extent of the output
  double scale = 1;  // as given; to / from where sizes were given
  double roi_begin = 0;
  double roi_end = 1;
};

// Position i of the output is the sum over k of weights[i * count + k] * input[indices[i * count + k]]; a position that
// lies outside (crops only) takes the extrapolation value instead. Nearest has one index and no weights.
struct ResizeTaps {
  int64_t count = 1;
  std::vector<int64_t> indices;
  std::vector<double> weights;
  std::vector<bool> outside;  // empty: none is
};

// `axis.from` must not be 0 unless `axis.to` is.
ResizeTaps resize_taps(const ResizeRule& rule, const ResizeAxis& axis);

}  // namespace sx
