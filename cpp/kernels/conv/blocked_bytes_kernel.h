// The per-ISA functions under 8-bit convolutions of channel-blocked data, [batch, channels / block, height, width,
// block], whose bytes are unsigned and lie four channels to a 32-bit word.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// The taps under a window: blocks of channels (plain data: channels), each with rows of columns. A tap reads `length`
// words that follow one another, those of the last block `last_length`. Steps of x count bytes, those of w elements.
struct BytesWindow {
  int64_t blocks = 1, rows = 1, columns = 1;
  int64_t x_block = 0, x_row = 0, x_column = 0;
  int64_t w_block = 0, w_row = 0, w_column = 0;
  int64_t length = 1, last_length = 1;
};

// What becomes of the sum s of a filter, where scales and starts hold a value for each:
//   saturate(round(s * scale) + zero), a byte;
// with a residual r, the sum of two quantized values:
//   t = that byte - zero; saturate(round(t * own_scale + (r - residual_zero) * residual_scale) + sum_zero).
// A table then gives a byte for each. What is rounded must be less than kMostSteps in magnitude.
struct BytesTail {
  int32_t zero = 0;
  float own_scale = 0.0f, residual_scale = 0.0f;
  int32_t residual_zero = 0, sum_zero = 0;
  const uint8_t* table = nullptr;  // of 256, or null
};
constexpr float kMostSteps = 1 << 30;

// Blocks of filters in a tile; the last tile may have one only.
constexpr int64_t kBytesTileFilters = 2;

// Neighbouring outputs of one row for up to kBytesTileFilters blocks of filters.
struct BytesTile {
  const uint8_t* x = nullptr;  // the first tap of the first output
  int64_t x_step = 0;          // between neighbouring outputs
  BytesWindow window;
  const int32_t* weights = nullptr;  // [tap][word][part][filter of the tile]
  const int32_t* starts = nullptr;   // of the sums, one for each filter
  const float* scales = nullptr;
  uint8_t* y = nullptr;
  int64_t y_step = 0;                 // between the blocks of filters
  const uint8_t* residual = nullptr;  // laid out as y, or null
  const BytesTail* tail = nullptr;
  // Lines that are needed soon: a tile asks for one of them with each word of data under the window.
  const int32_t* ahead = nullptr;
  int64_t ahead_lines = 0;
};
constexpr int64_t kWordsOfLine = 16;
using BytesTileFunction = void (*)(const BytesTile&);

// Outputs of one row of a depthwise convolution. A quad holds four neighbours along a row for each channel of a block,
// [channel][4]; output p meets those at quads + row * quad_row + p * quad_step + group * quad_group, all in words.
struct BytesDepthwise {
  const int32_t* quads = nullptr;
  int64_t quad_row = 0, quad_step = 0, quad_group = 0;
  int64_t rows = 0, groups = 0;
  const int32_t* weights = nullptr;  // [row][group][part][channel]
  const int32_t* starts = nullptr;
  const float* scales = nullptr;
  uint8_t* y = nullptr;
  const uint8_t* residual = nullptr;
  const BytesTail* tail = nullptr;
};

// Quad i of a row holds its pixels (begin + i * step + k * dilation), k < 4, or `fill` where bits 4k to 4k + 3 of the
// mask i are not set.
struct BytesQuads {
  int64_t begin, step, dilation, count;
  uint8_t fill;
};

// y = saturate(round(((a - a's zero) * scale) * (b - b's zero)) + zero) of data x and a factor for each channel, which
// is a where `first` says so and b otherwise.
struct BytesScale {
  bool first = false;
  float scale = 0.0f;
  int32_t x_zero = 0, factor_zero = 0, zero = 0;
};

struct BytesKernel {
  int block;
  // 32-bit words that the weights for one word of data take: four bytes, or twice two 16-bit numbers, those for bytes
  // 0 and 2 first. 16 bits hold any difference of two bytes.
  int parts;
  int most;  // outputs of a tile
  // tiles[outputs - 1][blocks of filters - 1]
  const BytesTileFunction (*tiles)[2];
  void (*depthwise)(const BytesDepthwise& work, int64_t outputs);
  void (*quads)(const BytesQuads& work, const uint8_t* x, const uint16_t* masks, int32_t* quads);
  // y[i * block + c] = x[c * stride + i] ^ flip for c < channels and i < n, 0 for the other c; and back.
  void (*to_block)(const uint8_t* x, int64_t stride, int channels, int64_t n, uint8_t flip, uint8_t* y);
  void (*from_block)(const uint8_t* x, int64_t stride, int channels, int64_t n, uint8_t flip, uint8_t* y);
  // y = max(y, x) for blocks of bytes that follow one another in y and stand `step` bytes apart in x.
  void (*maximum)(const uint8_t* x, int64_t step, uint8_t* y, int64_t blocks);
  void (*map)(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t n);
  // For each channel the sum of `pixels`.
  void (*sum)(const uint8_t* x, int64_t pixels, int32_t* sums);
  void (*scale)(const BytesScale& how, const uint8_t* x, const uint8_t* factors, uint8_t* y, int64_t pixels);
};

const BytesKernel& bytes_kernel(Isa isa);

// `count` neighbouring outputs from where `tile` stands, for `blocks` blocks of filters.
void run_tiles(const BytesKernel& kernel, BytesTile tile, int64_t blocks, int64_t count);

}  // namespace sx
