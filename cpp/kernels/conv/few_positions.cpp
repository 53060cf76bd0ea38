// Convolutions with hardly any output positions: y^T = windows W^T, with a row for each image and position.
#include "kernels/conv/few_positions.h"

#include <algorithm>

#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"

namespace sx {
namespace {

constexpr int64_t kFewPositions = 8;
// Below this many filters there are no more of them in a vector than there are positions.
constexpr int64_t kManyFilters = 16;
// Images are taken together for as many rows as fit in about this many floats (at least one image).
constexpr int64_t kWindowFloats = 1 << 20;
constexpr int64_t kOutside = -1;

int64_t depth_of(const ConvShape& s) { return checked_mul(s.channels, s.kernel_size()); }

// For each position and tap the place within a channel that is read, or kOutside.
void find_places(const ConvShape& s, int64_t* places) {
  const int64_t taps = s.kernel_size();
  for (int64_t item = 0; item < s.out_size() * taps; ++item) {
    int64_t position = item / taps, tap = item % taps, step = 1;
    places[item] = 0;
    for (int axis = s.rank - 1; axis >= 0; --axis) {
      const int64_t at =
          position % s.out[axis] * s.stride[axis] + tap % s.kernel[axis] * s.dilation[axis] - s.pad_begin[axis];
      if (places[item] != kOutside) places[item] = at < 0 || at >= s.in[axis] ? kOutside : places[item] + at * step;
      position /= s.out[axis];
      tap /= s.kernel[axis];
      step *= s.in[axis];
    }
  }
}

// to[column][row] of from[row][column], for each of `count` matrices.
void transpose(const float* from, int64_t count, int64_t rows, int64_t columns, float* to) {
  parallel_for(count, std::max<int64_t>(1, 32768 / (rows * columns)), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin * rows * columns; k < end * rows * columns; k += rows * columns)
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) to[k + j * rows + i] = from[k + i * columns + j];
  });
}

}  // namespace

bool has_few_positions(const ConvShape& shape) {
  return shape.groups == 1 && shape.out_size() <= kFewPositions && shape.filters >= kManyFilters;
}

int64_t packed_few_positions_size(const ConvShape& shape, Isa isa) {
  return packed_b_size(depth_of(shape), shape.filters, isa);
}

void pack_few_positions(const ConvShape& shape, const float* weights, float* packed, Isa isa) {
  pack_b(depth_of(shape), shape.filters, weights, depth_of(shape), true, packed, isa);
}

void conv_few_positions(const ConvShape& s, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                        Isa isa) {
  const int64_t depth = depth_of(s), positions = s.out_size(), taps = s.kernel_size();
  const int64_t images = std::clamp<int64_t>(kWindowFloats / (positions * depth), 1, s.batch);
  const int64_t result = positions * s.filters;  // of an image
  const int64_t place_floats = (2 * positions * taps + 15) / 16 * 16;
  const int64_t row_floats = checked_mul(images, positions * depth);
  auto* places = static_cast<int64_t*>(thread_scratch(
      ScratchSlot::kImage, static_cast<size_t>(place_floats + row_floats + 2 * images * result) * sizeof(float)));
  float* windows = reinterpret_cast<float*>(places) + place_floats;
  float* turned = windows + row_floats;
  float* residual = turned + images * result;
  find_places(s, places);
  const bool turns = positions > 1;  // one position is in place as it is
  for (int64_t first = 0; first < s.batch; first += images) {
    const int64_t count = std::min(images, s.batch - first);
    const float* from = x + first * s.channels * s.in_size();
    parallel_for(count * positions, std::max<int64_t>(1, 16384 / depth), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t* place = places + row % positions * taps;
        const float* channel = from + row / positions * s.channels * s.in_size();
        float* to = windows + row * depth;
        for (int64_t c = 0; c < s.channels; ++c, channel += s.in_size(), to += taps)
          for (int64_t tap = 0; tap < taps; ++tap) to[tap] = place[tap] == kOutside ? 0.0f : channel[place[tap]];
      }
    });
    float* out = y + first * result;
    Gemm gemm;
    gemm.m = count * positions;
    gemm.n = s.filters;
    gemm.k = depth;
    gemm.a = windows;
    gemm.lda = depth;
    gemm.packed_b = packed;
    gemm.c = turns ? turned : out;
    gemm.ldc = s.filters;
    gemm.epilogue = epilogue;
    gemm.epilogue.row_bias = nullptr;
    gemm.epilogue.column_bias = epilogue.row_bias;
    gemm.epilogue.residual_stride = s.filters;
    if (epilogue.residual != nullptr) {
      gemm.epilogue.residual = epilogue.residual + first * result;
      if (turns) {
        transpose(gemm.epilogue.residual, count, s.filters, positions, residual);
        gemm.epilogue.residual = residual;
      }
    }
    sx::gemm(gemm, isa);
    if (turns) transpose(turned, count, positions, s.filters, out);
  }
}

}  // namespace sx
