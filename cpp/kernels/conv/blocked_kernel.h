// The per-ISA functions under convolutions of channel-blocked data, [batch, channels / block, height, width, block].
#pragma once

#include <cstdint>
#include <cstring>

#include "base/cpu.h"
#include "kernels/conv/conv_kernel.h"

namespace sx {

// The taps under a window, all of them within the data: blocks of channels, each with rows of columns. A tap reads
// `length` inputs that follow one another, those of the last block `last_length`. Steps count floats.
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

// Neighbouring outputs of one row whose windows are alike, for up to kTileFilters blocks of filters.
struct BlockedTile {
  const float* x = nullptr;  // the first tap of the first output
  int64_t x_step = 0;        // between neighbouring outputs
  BlockedWindow window;
  const float* weights = nullptr;  // of the first tap: [input][filters of the tile]
  float* y = nullptr;
  int64_t y_step = 0;               // between the two blocks of filters
  int64_t y_pixel = 0;              // between neighbouring outputs
  const float* bias = nullptr;      // a value for each filter, or null
  const float* residual = nullptr;  // laid out as y, or null
  const FilterTail* tail = nullptr;
};
using BlockedTileFunction = void (*)(const BlockedTile&);

struct BlockedKernel {
  int block;
  // The numbers of outputs that there are tiles for, from the most down to 1.
  const int* sizes;
  int size_count;
  // tiles[i][blocks of filters - 1] computes sizes[i] outputs.
  const BlockedTileFunction (*tiles)[2];
  // y = tail(x * scale + shift) for n elements of one block of channels; shift may be null.
  void (*scale)(const float* x, const float* scale, const float* shift, float* y, int64_t n, const FilterTail& tail);
  // For each channel of a block of `pixels`: its mean, and the sum of the squares of what it differs by.
  void (*moments)(const float* x, int64_t pixels, float* mean, float* squares);
  // y[i * block + c] = x[c * stride + i] for c < channels and i < n, 0 for the other c of the block; and back.
  void (*to_block)(const float* x, int64_t stride, int channels, int64_t n, float* y);
  void (*from_block)(const float* x, int64_t stride, int channels, int64_t n, float* y);
};

const BlockedKernel& blocked_kernel(Isa isa);

// y[i] = x[i] for a block of lanes, which come in fours.
inline void copy_lanes(const float* x, int64_t block, float* y) {
  for (int64_t i = 0; i < block; i += 4) std::memcpy(y + i, x + i, 4 * sizeof(float));
}

// `count` neighbouring outputs from where `tile` stands, for `blocks` blocks of filters.
void run_tiles(const BlockedKernel& kernel, BlockedTile tile, int64_t blocks, int64_t count);

}  // namespace sx
