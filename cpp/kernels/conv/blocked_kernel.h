// The per-ISA functions under convolutions of channel-blocked data, [batch, channels / block, height, width, block].
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/conv_kernel.h"

namespace sx {

// `length` inputs that follow one another in memory, and the weights that meet them; offsets in floats.
struct BlockedRun {
  int64_t x, w, length;
};

// Neighbouring outputs of one row, for one or two blocks of filters.
struct BlockedTile {
  const float* x = nullptr;  // what the offsets of the runs count from for the first output
  int64_t x_step = 0;        // between neighbouring outputs
  const BlockedRun* runs = nullptr;
  int64_t run_count = 0;
  const float* weights = nullptr;  // [run][input of the run][filters of the tile]
  float* y = nullptr;
  int64_t y_step = 0;               // between the two blocks of filters
  const float* bias = nullptr;      // a value for each filter, or null
  const float* residual = nullptr;  // laid out as y, or null
  const FilterTail* tail = nullptr;
};
using BlockedTileFunction = void (*)(const BlockedTile&);

// Neighbouring outputs of a depthwise convolution, where each lane has weights of its own, [tap][lane]; the runs are
// the taps, and their lengths do not count.
struct BlockedDepthwise {
  const float* x = nullptr;
  int64_t x_step = 0;
  const BlockedRun* taps = nullptr;
  int64_t tap_count = 0;
  const float* weights = nullptr;
  float* y = nullptr;
  const float* bias = nullptr;
  const float* residual = nullptr;
  const FilterTail* tail = nullptr;
};

struct BlockedKernel {
  int block;
  // The numbers of outputs that there are tiles for, from the most down to 1.
  const int* sizes;
  int size_count;
  // tiles[i][blocks of filters - 1] computes sizes[i] outputs.
  const BlockedTileFunction (*tiles)[2];
  void (*depthwise)(const BlockedDepthwise& work, int64_t outputs);
  // y = tail(x * scale + shift) for n elements of one block of channels; shift may be null.
  void (*scale)(const float* x, const float* scale, const float* shift, float* y, int64_t n, const FilterTail& tail);
  // y[i * block + c] = x[c * stride + i] for c < channels and i < n, 0 for the other c of the block; and back.
  void (*to_block)(const float* x, int64_t stride, int channels, int64_t n, float* y);
  void (*from_block)(const float* x, int64_t stride, int channels, int64_t n, float* y);
};

const BlockedKernel& blocked_kernel(Isa isa);

}  // namespace sx
