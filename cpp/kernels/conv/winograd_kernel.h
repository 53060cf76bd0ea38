// The per-ISA transforms of the Winograd convolution.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/conv_kernel.h"

namespace sx {

// F(n x n, 3 x 3): tiles of n x n outputs come from windows of n + 2 by n + 2 inputs; n is 2 or 4.
constexpr int kMaxWinogradIn = 6;

// The polynomials of F(4 x 4) meet at 0, a, -a, b, -b and infinity; those of F(2 x 2) at 0, 1, -1 and infinity. These
// values of a and b lose half as many digits as 1 and 2 do.
constexpr float kWinogradA = 0.75f;
constexpr float kWinogradB = 1.5f;

// Neighbouring tiles in one row of tiles; at most a vector of them.
struct WinogradInput {
  const float* plane;     // of one channel
  int64_t height, width;  // of the plane; what lies outside of it reads as 0
  int64_t top, left;      // of the first window
  int tiles;
};
struct WinogradOutput {
  float* y;               // the first output of the first tile
  const float* residual;  // laid out as y, or null
  int64_t stride;         // between rows of y
  int rows, columns;      // how many of the outputs exist
};

struct WinogradKernel {
  // v[p * v_step + t] = (B^T d B)[p] for the window d of tile t.
  void (*transform_input)(const WinogradInput& in, float* v, int64_t v_step);
  // y = tail(A^T m A) where m[p * m_step + t] is element p of tile t; reads whole vectors of m.
  void (*transform_output)(const float* m, int64_t m_step, const WinogradOutput& out, const FilterTail& tail);
};

// `out` is 2 or 4.
const WinogradKernel& winograd_kernel(Isa isa, int out);

}  // namespace sx
