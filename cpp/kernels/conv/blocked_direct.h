// Convolution of channel-blocked data, and of plain f32 data that are few channels, as direct sums over windows.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/precision.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// Of plain data: the words that a filter's weights take, and where among the weights in them the filter's weight i
// stands. In bf16, taps that are neighbours along a row share a word where they are neighbours in the data too.
int64_t plain_words(const ConvShape& shape, Precision precision);
int64_t plain_place(const ConvShape& shape, Precision precision, int64_t i);

// See blocked_conv (blocked.h), for kPlain and kDirect; plain data are rounded to T.
template <typename T>
void direct_conv(const ConvShape& shape, bool plain, const void* x, const float* packed, const T* residual, T* y,
                 const Epilogue& epilogue, Isa isa);
// See blocked_conv_maxima (blocked.h).
void direct_conv_maxima(const ConvShape& shape, bool plain, const float* x, const float* packed, float* y,
                        const Epilogue& epilogue, Isa isa);

}  // namespace sx
