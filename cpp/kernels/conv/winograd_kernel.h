// The per-ISA transforms of the Winograd convolution of channel-blocked data.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/cpu.h"
#include "base/float_types.h"
#include "kernels/conv/conv_kernel.h"

namespace sx {

// F(n x n, 3 x 3): tiles of n x n outputs come from windows of n + 2 by n + 2 inputs; n is 2 or 4.
constexpr int kMaxWinogradIn = 6;

// The polynomials of F(4 x 4) meet at 0, a, -a, b, -b and infinity; those of F(2 x 2) at 0, 1, -1 and infinity. These
// values of a and b lose half as many digits as 1 and 2 do.
constexpr float kWinogradA = 0.75f;
constexpr float kWinogradB = 1.5f;

// One tile of one block of channels; strides count elements. Data are float or BFloat16, all else is f32.
template <typename T>
struct WinogradInput {
  const T* x;              // the first element of the window, which may lie outside of the data
  int64_t row_step;        // between rows of the window
  int64_t column_step;     // and between its columns
  int row_begin, row_end;  // the part of the window that holds data; the rest reads as 0
  int column_begin, column_end;
};
template <typename T>
struct WinogradOutput {
  T* y;               // the first output
  const T* residual;  // laid out as y, or null
  const float* bias;  // of the block, or null
  int64_t row_step, column_step;
  int rows, columns;  // how many of the outputs exist
  bool maxima;        // an output is the maximum of 2 x 2 results
};

// What is multiplied: f32, but that bf16 data are multiplied as bf16 with tiles of 2 x 2, which lose few digits.
template <typename T, int kOut>
using WinogradFactor = std::conditional_t<kOut == 2, T, float>;

template <typename T>
struct WinogradKernel {
  // v[p * v_step + lane] = (B^T d B)[p] for the window d; v is of WinogradFactor.
  void (*transform_input)(const WinogradInput<T>& in, void* v, int64_t v_step);
  // y = tail(A^T m A) where m[p * m_step + lane] is element p.
  void (*transform_output)(const float* m, int64_t m_step, const WinogradOutput<T>& out, const FilterTail& tail);
  // u[p * u_step + lane] = (G w G^T)[p], where w[tap * w_step + lane] is weight `tap`.
  void (*transform_weights)(const float* w, int64_t w_step, float* u, int64_t u_step);
};

// `out` is 2 or 4; that for BFloat16 asks for has_bf16_blocks(isa) (blocked.h).
template <typename T>
const WinogradKernel<T>& winograd_kernel(Isa isa, int out);

}  // namespace sx
