// Convolution of 8-bit integers with a group for each channel; conv_int8() calls it.
#pragma once

#include "kernels/conv/conv_int8.h"

namespace sx {

bool is_depthwise_int8(const ConvShape& shape);
int64_t packed_depthwise_int8_size(const ConvShape& shape);
void pack_depthwise_int8(const ConvShape& shape, const void* weights, bool w_signed, void* packed);
void depthwise_int8(const ConvInt8& problem, const void* packed, Isa isa);

}  // namespace sx
