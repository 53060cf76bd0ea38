// Depthwise convolution of bf16: the rows of a band are padded and paired with themselves a tap further on, so that a
// word of each channel meets two taps.
#include "kernels/conv/blocked_depthwise_bf16.h"

#include <algorithm>
#include <cstring>

#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_kernel.h"

namespace sx {
namespace {

constexpr int64_t kPairBytes = 64 << 10;  // of a band's pairs
constexpr int64_t kLeastWork = 200'000;   // multiply-adds worth a task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Two numbers in bf16, the first in the low half.
float pair_of(float low, float high) {
  const uint32_t word = static_cast<uint32_t>(BFloat16(high).bits) << 16 | BFloat16(low).bits;
  float pair;
  std::memcpy(&pair, &word, sizeof(pair));
  return pair;
}

class Pairs {
 public:
  Pairs(const ConvShape& shape, Isa isa)
      : shape_(shape),
        kernel_(blocked_kernel<BFloat16>(isa)),
        width_(checked_add((shape.out[1] - 1) * shape.stride[1], shape.dilation[1] * (shape.kernel[1] - 1) + 1)),
        distance_(shape.kernel[1] > 1 ? shape.dilation[1] : 0),
        row_(checked_mul(width_ - distance_, 2 * kernel_.block)) {}

  int64_t row() const { return row_; }
  int64_t rows_under(int64_t outputs) const {
    return (outputs - 1) * shape_.stride[0] + shape_.dilation[0] * (shape_.kernel[0] - 1) + 1;
  }

  // Those of rows [top, top + rows) of a plane.
  const BFloat16* make(const BFloat16* plane, int64_t top, int64_t rows) const {
    const int64_t size = checked_mul(checked_mul(rows, row_), int64_t{sizeof(BFloat16)});
    auto* pairs = static_cast<BFloat16*>(thread_scratch(ScratchSlot::kTile, static_cast<size_t>(size)));
    // Pairs of data alone.
    const int64_t count = width_ - distance_, width = shape_.in[1], before = shape_.pad_begin[1];
    const int64_t first = std::min(before, count);
    const int64_t last = std::clamp(before + width - distance_, first, count);
    for (int64_t row = top; row < top + rows; ++row) {
      BFloat16* to = pairs + (row - top) * row_;
      if (row < 0 || row >= shape_.in[0]) {
        std::fill_n(to, row_, BFloat16());
        continue;
      }
      const BFloat16* from = plane + row * width * kernel_.block;
      for (int64_t i = 0; i < first; ++i) edge(from, i, to);
      if (last > first) kernel_.pair_pixels(from, distance_, last - first, to + first * 2 * kernel_.block);
      for (int64_t i = last; i < count; ++i) edge(from, i, to);
    }
    return pairs;
  }

 private:
  // Pair i of a row, one or both of whose pixels are padding.
  void edge(const BFloat16* from, int64_t i, BFloat16* to) const {
    BFloat16 pixels[2 * kMaxBlock];
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t at = i + half * distance_ - shape_.pad_begin[1];
      BFloat16* pixel = pixels + half * kernel_.block;
      if (at >= 0 && at < shape_.in[1]) std::copy_n(from + at * kernel_.block, kernel_.block, pixel);
      else std::fill_n(pixel, kernel_.block, BFloat16());
    }
    kernel_.pair_pixels(pixels, 1, 1, to + i * 2 * kernel_.block);
  }

  const ConvShape& shape_;
  const BlockedKernelOf<BFloat16>& kernel_;
  const int64_t width_;     // of a row with what padding its windows reach
  const int64_t distance_;  // of the two pixels of a pair
  const int64_t row_;       // elements of a row of pairs
};

}  // namespace

int64_t depthwise_bf16_words(const ConvShape& shape) { return ceil_div(shape.kernel[1], 2); }

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

void blocked_depthwise(const ConvShape& s, const BFloat16* x, const float* packed, const BFloat16* residual,
                       BFloat16* y, const Epilogue& epilogue, Isa isa) {
  const BlockedKernelOf<BFloat16>& kernel = blocked_kernel<BFloat16>(isa);
  const FilterTail tail = filter_tail(epilogue, isa, Precision::kBf16);
  const Pairs pairs(s, isa);
  const int64_t block = kernel.block, blocks = ceil_div(s.channels, block), pixel = 2 * block;
  PairsDepthwise shared;
  shared.rows = s.kernel[0];
  shared.groups = depthwise_bf16_words(s);
  shared.row = s.dilation[0] * pairs.row();
  shared.step = s.stride[1] * pixel;
  shared.group = 2 * s.dilation[1] * pixel;
  shared.last_group = std::max<int64_t>(0, s.kernel[1] - 2) * s.dilation[1] * pixel;
  shared.tail = &tail;
  const int64_t row_bytes = pairs.row() * static_cast<int64_t>(sizeof(BFloat16));
  const int64_t band = std::clamp<int64_t>(kPairBytes / (row_bytes * s.stride[0]), 1, s.out[0]);
  const int64_t bands = ceil_div(s.out[0], band);
  const int64_t work = band * s.out[1] * s.kernel_size() * block;
  parallel_for(s.batch * blocks * bands, std::max<int64_t>(1, kLeastWork / work), [&](int64_t begin, int64_t end) {
    PairsDepthwise task = shared;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t plane = item / bands, channels = plane % blocks;
      const int64_t first = item % bands * s.out[0] / bands, last = (item % bands + 1) * s.out[0] / bands;
      const BFloat16* made = pairs.make(x + plane * s.in_size() * block, first * s.stride[0] - s.pad_begin[0],
                                        pairs.rows_under(last - first));
      task.weights = packed + channels * s.kernel[0] * shared.groups * block;
      task.bias = epilogue.row_bias ? epilogue.row_bias + channels * block : nullptr;
      for (int64_t row = first; row < last; ++row) {
        const int64_t to = (plane * s.out[0] + row) * s.out[1] * block;
        task.pairs = made + (row - first) * s.stride[0] * pairs.row();
        task.y = y + to;
        task.residual = residual ? residual + to : nullptr;
        kernel.depthwise(task, s.out[1]);
      }
    }
  });
}

}  // namespace sx
