// Depthwise convolution of bf16 in blocks of channels, two taps of a row at a time.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/float_types.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// Words of two weights that a row of taps takes.
int64_t depthwise_bf16_words(const ConvShape& shape);
// The words of a channel's weights [rows, columns] as [row][word], `step` words apart.
void pack_depthwise_bf16(const ConvShape& shape, const float* weights, float* packed, int64_t step);

// See blocked_conv (blocked.h). An infinite input makes infinities or NaN.
void blocked_depthwise(const ConvShape& shape, const BFloat16* x, const float* packed, const BFloat16* residual,
                       BFloat16* y, const Epilogue& epilogue, Isa isa);

}  // namespace sx
