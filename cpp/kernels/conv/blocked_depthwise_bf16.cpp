// Depthwise convolution of bf16: the rows of a band are padded and paired with themselves a tap further on, so that a
// word of each channel meets two taps.
#include <algorithm>
#include <cstring>

#include "base/scratch.h"
#include "base/shape.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_depthwise.h"
#include "kernels/conv/padded_band.h"

namespace sx {
namespace {

constexpr int64_t kPairBytes = 64 << 10;  // of pairs that are made at a time

// Two numbers in bf16, the first in the low half.
float pair_of(float low, float high) {
  const uint32_t word = static_cast<uint32_t>(BFloat16(high).bits) << 16 | BFloat16(low).bits;
  float pair;
  std::memcpy(&pair, &word, sizeof(pair));
  return pair;
}

}  // namespace

int64_t depthwise_bf16_words(const ConvShape& shape) { return (shape.kernel[1] + 1) / 2; }

void pack_depthwise_bf16(const ConvShape& shape, const float* weights, float* packed, int64_t step) {
  const int64_t columns = shape.kernel[1];
  for (int64_t row = 0; row < shape.kernel[0]; ++row, weights += columns) {
    for (int64_t column = 0; column < columns; column += 2, packed += step) {
      if (column + 1 < columns) *packed = pair_of(weights[column], weights[column + 1]);
      // The last of an odd number is the second of its pair, but for a single one.
      else *packed = columns > 1 ? pair_of(0.0f, weights[column]) : pair_of(weights[column], 0.0f);
    }
  }
}

DepthwiseBands<BFloat16>::DepthwiseBands(const ConvShape& shape, const float* packed, const Epilogue& epilogue, Isa isa)
    : shape_(shape),
      kernel_(blocked_kernel<BFloat16>(isa)),
      tail_(filter_tail(epilogue, isa, Precision::kBf16)),
      packed_(packed),
      bias_(epilogue.row_bias),
      width_(padded_width(shape)),
      distance_(shape.kernel[1] > 1 ? shape.dilation[1] : 0),
      row_(checked_mul(width_ - distance_, 2 * kernel_.block)) {
  const int64_t pixel = 2 * kernel_.block;
  rows_.rows = shape.kernel[0];
  rows_.groups = depthwise_bf16_words(shape);
  rows_.row = shape.dilation[0] * row_;
  rows_.step = shape.stride[1] * pixel;
  rows_.group = 2 * shape.dilation[1] * pixel;
  rows_.last_group = std::max<int64_t>(0, shape.kernel[1] - 2) * shape.dilation[1] * pixel;
}

void DepthwiseBands<BFloat16>::run(const DepthwiseBand<BFloat16>& band) const {
  const int64_t row_bytes = row_ * static_cast<int64_t>(sizeof(BFloat16)) * shape_.stride[0];
  const int64_t rows = std::max<int64_t>(1, kPairBytes / row_bytes);
  for (int64_t row = band.row_begin; row < band.row_end; row += rows)
    run_rows(band, row, std::min(band.row_end, row + rows));
}

void DepthwiseBands<BFloat16>::run_rows(const DepthwiseBand<BFloat16>& band, int64_t begin, int64_t end) const {
  const int64_t block = kernel_.block, row_size = shape_.out[1] * block;
  PairsDepthwise rows = rows_;
  rows.tail = &tail_;
  rows.pairs = make_pairs(band, begin * shape_.stride[0] - shape_.pad_begin[0], padded_rows(shape_, end - begin));
  rows.weights = packed_ + band.channels * shape_.kernel[0] * rows.groups * block;
  rows.bias = bias_ ? bias_ + band.channels * block : nullptr;
  rows.y = band.y + (begin - band.row_begin) * row_size;
  rows.residual = band.residual ? band.residual + (begin - band.row_begin) * row_size : nullptr;
  for (int64_t row = begin; row < end; ++row) {
    kernel_.depthwise(rows, shape_.out[1]);
    rows.pairs += shape_.stride[0] * row_;
    rows.y += row_size;
    if (rows.residual) rows.residual += row_size;
  }
}

// Those of rows [top, top + rows) of the plane of inputs.
const BFloat16* DepthwiseBands<BFloat16>::make_pairs(const DepthwiseBand<BFloat16>& band, int64_t top,
                                                     int64_t rows) const {
  const int64_t size = checked_mul(checked_mul(rows, row_), int64_t{sizeof(BFloat16)}), block = kernel_.block;
  auto* pairs = static_cast<BFloat16*>(thread_scratch(ScratchSlot::kTile, static_cast<size_t>(size)));
  // Pairs of data alone are [first, last).
  const int64_t count = width_ - distance_, width = shape_.in[1], before = shape_.pad_begin[1];
  const int64_t first = std::min(before, count);
  const int64_t last = std::clamp(before + width - distance_, first, count);
  for (int64_t row = top; row < top + rows; ++row) {
    BFloat16* to = pairs + (row - top) * row_;
    if (row < 0 || row >= shape_.in[0]) {
      std::fill_n(to, row_, BFloat16());
      continue;
    }
    const BFloat16* from = band.x + (row - band.x_begin) * width * block;
    for (int64_t i = 0; i < first; ++i) make_edge(from, i, to);
    if (last > first) kernel_.pair_pixels(from, distance_, last - first, to + first * 2 * block);
    for (int64_t i = last; i < count; ++i) make_edge(from, i, to);
  }
  return pairs;
}

// Pair i of a row, one or both of whose pixels are padding.
void DepthwiseBands<BFloat16>::make_edge(const BFloat16* row, int64_t i, BFloat16* pairs) const {
  BFloat16 pixels[2 * kMaxBlock];
  for (int64_t half = 0; half < 2; ++half) {
    const int64_t at = i + half * distance_ - shape_.pad_begin[1];
    BFloat16* pixel = pixels + half * kernel_.block;
    if (at >= 0 && at < shape_.in[1]) std::copy_n(row + at * kernel_.block, kernel_.block, pixel);
    else std::fill_n(pixel, kernel_.block, BFloat16());
  }
  kernel_.pair_pixels(pixels, 1, 1, pairs + i * 2 * kernel_.block);
}

}  // namespace sx
