// The per-ISA functions under the training of convolutional networks on stacked data (kernels/conv/stacked.h).
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/float_types.h"

namespace sx {

// Sums over pixels of the products of up to a block of inputs with the lanes of a block. Pixels stand in rows of
// columns of neighbours; steps count floats.
struct OuterSums {
  const float* x = nullptr;
  const float* dy = nullptr;
  const int64_t* spread = nullptr;  // where the inputs of a pixel stand (a block of offsets); null: one after another
  int inputs = 0;
  int64_t sum_step = 0;  // between the sums of neighbouring inputs
  int64_t rows = 1, x_row = 0, dy_row = 0;
  int64_t columns = 1, x_column = 0, dy_column = 0;
  int64_t pixels = 0, x_pixel = 0;  // those of dy are a block apart
};

// A window of a maximum over stacked data, for the images [first, last) of `batch`: taps within the data.
struct StackedMaxima {
  int64_t batch, first, last;
  int64_t rows, columns, row_step, column_step;  // of taps; steps count floats
};

struct StackedKernel {
  // sums[i * sum_step + lane] += the sum of x[i] * dy[lane], in one chain over the pixels. There is
  // memory for the sums of a block of inputs.
  void (*outer)(const OuterSums& work, float* sums);
  // y = the maximum of x under the window; NaN wins.
  void (*maximum)(const StackedMaxima& window, const float* x, float* y);
  // dx += dy where x is the first under the window to equal the maximum y; NaN equals NaN.
  void (*maximum_gradient)(const StackedMaxima& window, const float* x, const float* y, const float* dy, float* dx);
  // y = min(high, max(low, x * scale + shift + residual)) for n elements of one block; the residual may be null.
  void (*scale_add)(const float* x, const float* scale, const float* shift, const float* residual, float low,
                    float high, int64_t n, float* y);
  // For each channel of a block: the sums over pixels of dy and of dy * (x - mean). With `mask`, dy counts where the
  // mask is above 0.
  void (*norm_sums)(const float* dy, const float* mask, const float* x, const float* mean, int64_t pixels, float* sum,
                    float* products);
  // dx = dy * by_dy + (x - mean) * by_x + shift, with dy as above. dx may be dy.
  void (*norm_gradient)(const float* dy, const float* mask, const float* x, const float* mean, const float* by_dy,
                        const float* by_x, const float* shift, int64_t pixels, float* dx);
  // sums[lane] = the sum over pixels.
  void (*channel_sums)(const float* x, int64_t pixels, float* sums);
  // dx = y > 0 ? dy : 0 for n elements.
  void (*relu_gradient)(const float* dy, const float* y, int64_t n, float* dx);
};

// What bf16 needs beside; asks for has_bf16_blocks(isa) (blocked.h). A word holds two numbers, passed as a float.
struct StackedBf16Kernel {
  // words[s * width + j] = the pair of x[2 s * width + j] and x[(2 s + 1) * width + j] for s < rows / 2, in rows of
  // `width`, which comes in lanes; the second of a last odd row is 0. The words may stand where x does.
  void (*pair_rows)(const float* x, int64_t rows, int64_t width, float* words);
  // y[i] = x[i] for i < n, which comes in lanes.
  void (*narrow)(const float* x, int64_t n, BFloat16* y);
  // StackedKernel::outer for words, whose two products are added up.
  void (*outer)(const OuterSums& work, float* sums);
};
const StackedBf16Kernel& stacked_bf16_kernel(Isa isa = active_isa());

const StackedKernel& stacked_kernel(Isa isa = active_isa());

}  // namespace sx
