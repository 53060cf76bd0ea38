// The per-ISA functions under convolutions of channel-blocked data, [batch, channels / block, height, width, block].
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/cpu.h"
#include "base/float_types.h"
#include "kernels/conv/conv_kernel.h"

namespace sx {

// The taps under a window, all of them within the data: blocks of channels, each with rows of columns. A tap reads
// `length` inputs that follow one another, those of the last block `last_length`. Steps of x count elements, those of w
// 32-bit words.
struct BlockedWindow {
  int64_t blocks = 1, rows = 1, columns = 1;
  int64_t x_block = 0, x_row = 0, x_column = 0;
  int64_t w_block = 0, w_row = 0, w_column = 0;
  int64_t length = 0, last_length = 0;
};

// Blocks of filters in a tile; the last tile may have one only.
constexpr int64_t kTileFilters = 2;
// The most channels in a block, of any tier.
constexpr int64_t kMaxBlock = 16;

// Outputs that follow one another and whose windows are alike, for up to kTileFilters blocks of filters. Data are
// float, or BFloat16 with sums in f32.
template <typename T>
struct BlockedTileOf {
  const T* x = nullptr;  // the first tap of the first output
  int64_t x_step = 0;    // between outputs that are neighbours along a row
  int64_t x_half = 0;    // from the first of an even number of outputs to the first of their second half
  BlockedWindow window;
  // Of the first tap: [input][filters of the tile] in f32, [pair of inputs][filters of the tile] in bf16, the weight of
  // the first of a pair in the low half of a word.
  const float* weights = nullptr;
  // Weights that will be needed next, of which a tile asks for so many cache lines with each tap of a block, or null.
  const float* ahead = nullptr;
  int64_t ahead_lines = 0;
  T* y = nullptr;
  float* wide = nullptr;                 // where bf16 data give f32 results, laid out as y, in the place of y
  const float* wide_residual = nullptr;  // that of `wide`, in the place of the residual
  int64_t y_step = 0;                    // between the two blocks of filters
  int64_t y_pixel = 0;                   // between neighbouring outputs
  const float* bias = nullptr;           // a value for each filter, or null
  const T* residual = nullptr;           // laid out as y, or null
  const FilterTail* tail = nullptr;
};
using BlockedTile = BlockedTileOf<float>;
template <typename T>
using BlockedTileFunction = void (*)(const BlockedTileOf<T>&);

// Outputs of one row of a depthwise convolution of bf16. A pair holds two pixels of a row, channel by channel; output p
// meets those at pairs + i * row + p * step + j * group of rows i and groups j, the last at `last_group`. All in
// elements.
struct PairsDepthwise {
  const BFloat16* pairs = nullptr;
  int64_t row = 0, step = 0, group = 0, last_group = 0;
  int64_t rows = 0, groups = 0;
  const float* weights = nullptr;  // [row][group][channel] of two, the first in the low half
  const float* bias = nullptr;     // for each channel, or null
  BFloat16* y = nullptr;
  const BFloat16* residual = nullptr;  // laid out as y, or null
  const FilterTail* tail = nullptr;
};
template <typename T>
struct BlockedKernelOf {
  int block;
  // The numbers of outputs that there are tiles for, from the most down to 1.
  const int* sizes;
  int size_count;
  // tiles[i][blocks of filters - 1] computes sizes[i] outputs.
  const BlockedTileFunction<T> (*tiles)[2];
  // y = tail(x * scale + shift) for n elements of one block of channels; shift may be null.
  void (*scale)(const T* x, const float* scale, const float* shift, T* y, int64_t n, const FilterTail& tail);
  // For each channel of a block of `pixels`: its mean, and the sum of the squares of what it differs by, which may be
  // null.
  void (*moments)(const T* x, int64_t pixels, float* mean, float* squares);
  // y[i * block + c] = x[c * stride + i] for c < channels and i < n, 0 for the other c of the block; and back.
  void (*to_block)(const float* x, int64_t stride, int channels, int64_t n, T* y);
  void (*from_block)(const T* x, int64_t stride, int channels, int64_t n, float* y);
  // The same where the channels of a pixel follow one another: x[i * stride + c].
  void (*to_block_from_last)(const float* x, int64_t stride, int channels, int64_t n, T* y);
  void (*from_block_to_last)(const T* x, int64_t stride, int channels, int64_t n, float* y);
  // Of bf16 only: pairs of pixel i of a row and pixel i + distance for i < n; and `outputs` of a row of a depthwise
  // convolution.
  void (*pair_pixels)(const T* x, int64_t distance, int64_t n, T* pairs);
  void (*depthwise)(const PairsDepthwise& work, int64_t outputs);
};
using BlockedKernel = BlockedKernelOf<float>;

// That for BFloat16 asks for has_bf16_blocks(isa) (blocked.h).
template <typename T = float>
const BlockedKernelOf<T>& blocked_kernel(Isa isa);

// y[i] = x[i] for a block of lanes, which come in fours.
inline void copy_lanes(const float* x, int64_t block, float* y) {
  for (int64_t i = 0; i < block; i += 4) std::memcpy(y + i, x + i, 4 * sizeof(float));
}

constexpr int64_t kLineFloats = 16;  // in a cache line

// Runs one tile of `size` outputs and moves on to the output behind them, which stands x_next further.
template <typename T>
void run_tile(BlockedTileFunction<T> run, BlockedTileOf<T>& tile, int64_t size, int64_t x_next) {
  run(tile);
  tile.x += x_next;
  if (tile.wide) tile.wide += size * tile.y_pixel;
  else tile.y += size * tile.y_pixel;
  if (tile.residual) tile.residual += size * tile.y_pixel;
  if (tile.wide_residual) tile.wide_residual += size * tile.y_pixel;
  if (tile.ahead)
    tile.ahead += tile.window.blocks * tile.window.rows * tile.window.columns * tile.ahead_lines * kLineFloats;
}

// `count` neighbouring outputs from where `tile` stands, for `blocks` blocks of filters. Moves the tile past them.
template <typename T>
void run_tiles(const BlockedKernelOf<T>& kernel, BlockedTileOf<T>& tile, int64_t blocks, int64_t count) {
  for (int i = 0; count > 0; ++i) {
    const int size = kernel.sizes[i];
    tile.x_half = size / 2 * tile.x_step;
    for (; count >= size; count -= size) run_tile(kernel.tiles[i][blocks - 1], tile, size, size * tile.x_step);
  }
}

// Whether two rows of `length` outputs make one tile of the largest size.
template <typename T>
bool rows_pair(const BlockedKernelOf<T>& kernel, int64_t length) {
  return 2 * length == kernel.sizes[0];
}

// The same for `rows` rows of `length` outputs, whose inputs stand x_row apart and whose outputs follow one another.
template <typename T>
void run_rows_of_tiles(const BlockedKernelOf<T>& kernel, BlockedTileOf<T>& tile, int64_t blocks, int64_t rows,
                       int64_t length, int64_t x_row) {
  if (rows_pair(kernel, length)) {
    tile.x_half = x_row;
    for (; rows >= 2; rows -= 2) run_tile(kernel.tiles[0][blocks - 1], tile, 2 * length, 2 * x_row);
  }
  for (; rows > 0; --rows) {
    const T* row = tile.x;
    run_tiles(kernel, tile, blocks, length);
    tile.x = row + x_row;
  }
}

// The tiles that those two run.
template <typename T>
int64_t count_tiles(const BlockedKernelOf<T>& kernel, int64_t rows, int64_t length) {
  int64_t tiles = 0;
  if (rows_pair(kernel, length)) {
    tiles = rows / 2;
    rows %= 2;
  }
  for (int i = 0; length > 0; ++i) {
    tiles += rows * (length / kernel.sizes[i]);
    length %= kernel.sizes[i];
  }
  return tiles;
}

// Has the next `tiles` tiles ask for the weights at `next`, as many as they use themselves, where these come from far
// memory: those that many tiles use are not worth it.
template <typename T>
void ask_ahead(BlockedTileOf<T>& tile, int64_t blocks, int block, const float* next, int64_t tiles) {
  const int64_t words = tile.window.length * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(float));
  tile.ahead_lines = words * blocks * block / kLineFloats / std::max<int64_t>(1, tiles);
  tile.ahead = tile.ahead_lines > 0 ? next : nullptr;
}

}  // namespace sx
