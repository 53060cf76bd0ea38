// The per-ISA functions under exact 8-bit Winograd convolutions of channel-blocked data (winograd_bytes.h).
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/blocked_bytes_kernel.h"

namespace sx {

// Points that the polynomials of a window of six are taken at: 0, 1, -1, 2, -2 and infinity. A window of five, which
// makes three outputs, does without kSkipped.
constexpr int kWinogradPoints = 6;
constexpr int kSkippedPoint = 4;
// Weights are transformed in stages, each for one or two rows of points; these go by their turns.
constexpr int kRowsInTurn[kWinogradPoints] = {0, 5, 1, 2, 3, 4};

// Products at one pair of points: m[tile][filter] = sum over channels of v * u, modulo 2^32.
struct WinogradBytesProduct {
  const int16_t* v = nullptr;  // [block of channels][tile][channel]
  int64_t v_block = 0;         // between blocks
  int64_t blocks = 1;          // of channels, at least one
  const int16_t* u = nullptr;  // [pair of channels][filter] of pairs
  int32_t* m = nullptr;
  const int8_t* ahead = nullptr;  // as many bytes that are wanted soon, or null
};
using WinogradBytesProductFunction = void (*)(const WinogradBytesProduct&);

// Vectors of weights to be transformed for the pairs of points of a stage: signed bytes, [vector][tap][lane], become
// u[pair * u_step + vector * lanes + lane]. A vector holds pairs of channels for a block of filters. Functions move on
// behind those that they did.
struct WinogradBytesWeights {
  const int8_t* w = nullptr;
  int16_t* u = nullptr;
  int64_t u_step = 0;
  int64_t left = 0;  // vectors
};
// A product, for kBytesTileFilters, among the transforms of weights: up to one vector for each block of channels. What
// the product leaves idle does most of their work, as long as there are registers for both.
using WinogradBytesProductAmong = void (*)(const WinogradBytesProduct&, WinogradBytesWeights& others);
constexpr int kMostAmong = 6;  // tiles of such a product

// The outputs of a tile for one block of filters.
struct WinogradBytesOutput {
  const int32_t* m = nullptr;  // of the points (0, 0)
  int64_t m_step = 0;          // between points
  const int32_t* starts = nullptr;
  const float* scales = nullptr;
  const BytesTail* tail = nullptr;
  const uint8_t* residual = nullptr;  // laid out as y, or null
  uint8_t* y = nullptr;
  int64_t row_step = 0;  // between rows of y
};

struct WinogradBytesKernel {
  int most;           // tiles of a product
  int rows_of_stage;  // of points, 1 or 2
  // [rows == 3][columns == 3]: v[point * v_step + channel] for the window at x, a block of channels.
  void (*input[2][2])(const uint8_t* x, int64_t row_step, int16_t* v, int64_t v_step);
  void (*weights[kWinogradPoints])(WinogradBytesWeights& weights);  // [stage]
  // [tiles - 1][blocks of filters - 1]
  const WinogradBytesProductFunction (*products)[kBytesTileFilters];
  const WinogradBytesProductAmong (*products_among)[kWinogradPoints];  // [tiles - 1][stage of the weights], or null
  void (*output[2][2])(const WinogradBytesOutput& out);
};

const WinogradBytesKernel& winograd_bytes_kernel(Isa isa);

}  // namespace sx
