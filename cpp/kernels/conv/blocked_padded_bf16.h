// Convolution of plain f32 data, which are few channels, or of bf16 in blocks, to bf16 in blocks, with the padding laid
// down in a copy of the rows that a task works on: every window is whole, and tiles are as long as rows.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/float_types.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// Of plain data: the words of two weights that a filter takes, and where among the weights in them the filter's weight
// i stands. Taps that are neighbours along a row share a word where they are neighbours in the data too.
int64_t plain_bf16_words(const ConvShape& shape);
int64_t plain_bf16_place(const ConvShape& shape, int64_t i);

// See blocked_conv (blocked.h); plain data are rounded to bf16.
void padded_conv_bf16(const ConvShape& shape, const float* x, const float* packed, const BFloat16* residual,
                      BFloat16* y, const Epilogue& epilogue, Isa isa);
void padded_conv_bf16(const ConvShape& shape, const BFloat16* x, const float* packed, const BFloat16* residual,
                      BFloat16* y, const Epilogue& epilogue, Isa isa);

}  // namespace sx
