// The gradient of a convolution's weights on stacked data: for each tap, sums over pixels and images of the products of
// a block of channels with a block of filters, kept in registers.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/stacked.h"
#include "kernels/conv/stacked_kernel.h"

namespace sx {
namespace {

// Pixels whose sums are one chain: as many rows as have about so many. They are read for all taps of a task in turn.
constexpr int64_t kChain = 1024;
constexpr int64_t kTasks = 8;  // for each thread

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Range {
  int64_t begin, end;
};
// The outputs along an axis whose tap `tap` meets data.
Range outputs_of(const ConvShape& s, int axis, int64_t tap) {
  const int64_t shift = tap * s.dilation[axis] - s.pad_begin[axis];
  const int64_t begin = shift >= 0 ? 0 : ceil_div(-shift, s.stride[axis]);
  const int64_t room = s.in[axis] - shift;
  const int64_t end = room <= 0 ? 0 : std::min(s.out[axis], ceil_div(room, s.stride[axis]));
  return {begin, std::max(begin, end)};
}

float* scratch_floats(ScratchSlot slot, int64_t count) {
  return static_cast<float*>(thread_scratch(slot, static_cast<size_t>(checked_mul(count, 4))));
}

// Calls body(first row, last row) for chains of rows of outputs.
template <typename Body>
void each_chain(const ConvShape& s, Body body) {
  const int64_t rows = std::max<int64_t>(1, kChain / (s.out[1] * s.batch));
  for (int64_t row = 0; row < s.out[0]; row += rows) body(row, std::min(s.out[0], row + rows));
}

// With words of two images each in place of numbers, `s` has half the images.
using OuterFunction = void (*)(const OuterSums&, float*);
void of_blocks(const ConvShape& s, OuterFunction outer, const float* x, const float* dy, float* dw, Isa isa) {
  const BlockedKernel& turns = blocked_kernel(isa);
  const int64_t block = turns.block, taps = s.kernel_size(), pixel = s.batch * block;
  const int64_t channel_blocks = ceil_div(s.channels, block), filter_blocks = ceil_div(s.filters, block);
  const int64_t pairs = channel_blocks * filter_blocks;
  const int64_t parts = std::clamp<int64_t>(ceil_div(kTasks * thread_count(), pairs), 1, taps);
  parallel_for(pairs * parts, 1, [&](int64_t begin, int64_t end) {
    // [channel][tap][filter]
    float* sums = scratch_floats(ScratchSlot::kTile, ceil_div(taps, parts) * block * block);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t part = task % parts, channels = task / parts % channel_blocks * block;
      const int64_t filters = task / parts / channel_blocks * block;
      const int64_t first_tap = part * taps / parts, last_tap = (part + 1) * taps / parts;
      const int64_t given = std::min(block, s.channels - channels), own = last_tap - first_tap;
      std::fill_n(sums, own * block * block, 0.0f);
      OuterSums work;
      work.inputs = static_cast<int>(given);
      work.sum_step = own * block;
      work.x_row = s.stride[0] * s.in[1] * pixel;
      work.dy_row = s.out[1] * pixel;
      work.x_pixel = block;
      each_chain(s, [&](int64_t row_begin, int64_t row_end) {
        for (int64_t tap = first_tap; tap < last_tap; ++tap) {
          const Range rows = outputs_of(s, 0, tap / s.kernel[1]), columns = outputs_of(s, 1, tap % s.kernel[1]);
          const int64_t first = std::max(rows.begin, row_begin), last = std::min(rows.end, row_end);
          if (first >= last || columns.begin >= columns.end) continue;
          const int64_t y_at = first * s.stride[0] + tap / s.kernel[1] * s.dilation[0] - s.pad_begin[0];
          const int64_t x_at = columns.begin * s.stride[1] + tap % s.kernel[1] * s.dilation[1] - s.pad_begin[1];
          work.x = x + (channels / block * s.in_size() + y_at * s.in[1] + x_at) * pixel;
          work.dy = dy + (filters / block * s.out_size() + first * s.out[1] + columns.begin) * pixel;
          work.rows = last - first;
          const int64_t count = columns.end - columns.begin;
          work.columns = s.stride[1] == 1 ? 1 : count;
          work.pixels = s.stride[1] == 1 ? count * s.batch : s.batch;
          work.x_column = s.stride[1] * pixel;
          work.dy_column = pixel;
          outer(work, sums + (tap - first_tap) * block);
        }
      });
      const auto count = static_cast<int>(std::min(block, s.filters - filters));
      float* to = dw + (filters * s.channels + channels) * taps + first_tap;
      const int64_t pieces = own == taps ? 1 : given;
      for (int64_t c = 0; c < pieces; ++c)
        turns.from_block(sums + c * own * block, s.channels * taps, count, own * given / pieces, to + c * taps);
    }
  });
}

// Plain data in [channels, height, width, batch], with the padding that windows reach.
struct Padded {
  int64_t height, width;
  const float* data;
};
Padded pad(const ConvShape& s, const float* x) {
  Padded p;
  const auto reach = [&](int axis) {
    return (s.out[axis] - 1) * s.stride[axis] + (s.kernel[axis] - 1) * s.dilation[axis] + 1;
  };
  p.height = reach(0);
  p.width = reach(1);
  float* to = scratch_floats(ScratchSlot::kImage, checked_mul(checked_mul(s.channels, s.batch), p.height * p.width));
  p.data = to;
  const int64_t row = p.width * s.batch;
  const int64_t left = std::min(s.pad_begin[1], p.width), inner = std::clamp<int64_t>(p.width - left, 0, s.in[1]);
  parallel_for(s.channels * p.height, std::max<int64_t>(1, 32768 / row), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t y = line % p.height - s.pad_begin[0];
      float* at = to + line * row;
      if (y < 0 || y >= s.in[0]) {
        std::fill_n(at, row, 0.0f);
        continue;
      }
      const float* from = x + (line / p.height * s.in[0] + y) * s.in[1] * s.batch;
      std::fill_n(at, left * s.batch, 0.0f);
      std::copy_n(from, inner * s.batch, at + left * s.batch);
      std::fill(at + (left + inner) * s.batch, at + row, 0.0f);
    }
  });
  return p;
}

void of_plain(const ConvShape& s, const float* x, const float* dy, float* dw, Isa isa) {
  const StackedKernel& kernel = stacked_kernel(isa);
  const int64_t block = channel_block(isa), taps = s.kernel_size();
  const int64_t inputs = s.channels * taps, input_blocks = ceil_div(inputs, block);
  const Padded padded = pad(s, x);
  parallel_for(input_blocks * ceil_div(s.filters, block), 1, [&](int64_t begin, int64_t end) {
    float sums[kMaxBlock * kMaxBlock];
    int64_t spread[kMaxBlock] = {};
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % input_blocks * block, filters = task / input_blocks * block;
      const int64_t given = std::min(block, inputs - first);
      for (int64_t i = 0; i < block; ++i) {
        const int64_t input = first + std::min(i, given - 1), tap = input % taps;
        spread[i] = ((input / taps * padded.height + tap / s.kernel[1] * s.dilation[0]) * padded.width +
                     tap % s.kernel[1] * s.dilation[1]) *
                    s.batch;
      }
      std::fill_n(sums, block * block, 0.0f);
      OuterSums work;
      work.spread = spread;
      work.inputs = static_cast<int>(given);
      work.sum_step = block;
      work.x_row = s.stride[0] * padded.width * s.batch;
      work.dy_row = s.out[1] * s.batch * block;
      work.columns = s.stride[1] == 1 ? 1 : s.out[1];
      work.pixels = s.stride[1] == 1 ? s.out[1] * s.batch : s.batch;
      work.x_column = s.stride[1] * s.batch;
      work.dy_column = s.batch * block;
      work.x_pixel = 1;
      each_chain(s, [&](int64_t row_begin, int64_t row_end) {
        work.x = padded.data + row_begin * work.x_row;
        work.dy = dy + (filters / block * s.out_size() + row_begin * s.out[1]) * s.batch * block;
        work.rows = row_end - row_begin;
        kernel.outer(work, sums);
      });
      for (int64_t f = 0; f < std::min(block, s.filters - filters); ++f)
        for (int64_t i = 0; i < given; ++i) dw[(filters + f) * inputs + first + i] = sums[i * block + f];
    }
  });
}

// Pairs of images of [pixels, batch, block]. Pixels are [blocks, height, width].
const float* pair_images(const float* x, int64_t pixels, int64_t batch, ScratchSlot slot, Isa isa) {
  const int64_t block = channel_block(isa), words = (batch + 1) / 2 * block;
  float* to = scratch_floats(slot, checked_mul(pixels, words));
  const auto pair_rows = stacked_bf16_kernel(isa).pair_rows;
  parallel_for(pixels, std::max<int64_t>(1, 32768 / words), [&](int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel)
      pair_rows(x + pixel * batch * block, batch, block, to + pixel * words);
  });
  return to;
}

}  // namespace

void stacked_weight_gradient(const ConvShape& shape, bool plain, const float* x, const float* dy, float* dw,
                             Precision precision, Isa isa) {
  SX_ASSERT(can_stack(shape));
  if (shape.batch == 0 || shape.out_size() == 0) {
    std::fill_n(dw, shape.filters * shape.channels * shape.kernel_size(), 0.0f);
    return;
  }
  if (plain) return of_plain(shape, x, dy, dw, isa);
  if (precision == Precision::kF32) return of_blocks(shape, stacked_kernel(isa).outer, x, dy, dw, isa);
  const int64_t block = channel_block(isa);
  const float* x_words =
      pair_images(x, ceil_div(shape.channels, block) * shape.in_size(), shape.batch, ScratchSlot::kPackA, isa);
  const float* dy_words =
      pair_images(dy, ceil_div(shape.filters, block) * shape.out_size(), shape.batch, ScratchSlot::kPackB, isa);
  ConvShape pairs = shape;
  pairs.batch = ceil_div(shape.batch, 2);
  of_blocks(pairs, stacked_bf16_kernel(isa).outer, x_words, dy_words, dw, isa);
}

}  // namespace sx
