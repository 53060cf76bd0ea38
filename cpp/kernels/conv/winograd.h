// Convolution of channel-blocked and of stacked data with 3 x 3 kernels by Winograd's F(2x2, 3x3) and F(4x4, 3x3). Data
// are float, or BFloat16 in blocks; products are f32, but that F(2x2, 3x3) multiplies BFloat16 data by bf16 weights.
#pragma once

#include "base/cpu.h"
#include "base/precision.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// The extent of the tiles of outputs that suits the shape: 2, 4, or 0 where a direct sum is better or the only way.
// Depends on everything but the batch. The precision is that of the data.
int winograd_tile(const ConvShape& shape, Precision precision);

// As blocked.h has them. The results differ from a direct sum by a few times its rounding errors: with inputs and
// weights of one size, the root mean square error is about 2.5 times, and the greatest error 3 times that of a direct
// sum in f32, or 2.3 times and 3 times that of a sum of bf16 products where those are bf16.
int64_t packed_winograd_size(const ConvShape& shape, Precision precision, Isa isa);
void pack_winograd(const ConvShape& shape, Precision precision, const float* weights, float* packed, Isa isa);
template <typename T>
void winograd(const ConvShape& shape, const T* x, const float* packed, const T* residual, T* y,
              const Epilogue& epilogue, Isa isa);
// See blocked_conv_maxima (blocked.h).
void winograd_maxima(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                     Isa isa);

// The same for stacked data (stacked.h) and weights that differ from run to run, for a tile that suits batches. With
// `transposed`, the shape is that of the convolution whose weights these are, and x is the gradient of its result. The
// precision is that of the direct sum, beside which the tile is chosen; products of tiles are f32.
int stacked_winograd_tile(const ConvShape& shape, bool transposed, Precision direct);
void stacked_winograd(const ConvShape& shape, bool transposed, Precision direct, const float* x, const float* weights,
                      float* y, const Epilogue& epilogue, Isa isa);

}  // namespace sx
