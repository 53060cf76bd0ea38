// Exact 8-bit convolution of channel-blocked data with 3 x 3 kernels by Winograd's F(4x4, 3x3): a quarter of the
// products, of 16-bit numbers, whose sums are whole multiples of those of a direct convolution, modulo 2^32.
#pragma once

#include "kernels/conv/blocked_bytes.h"

namespace sx {

// Whether this way is faster for a shape; it does not depend on the batch.
bool winograd_bytes_pays(const ConvShape& shape, Isa isa);
// Whether the sums of any data with these weights, [filters, channels, 3, 3] less their zero points, are few enough
// bits.
bool winograd_bytes_fits(int64_t filters, int64_t channels, const int16_t* weights);

// As blocked_bytes.h has them.
int64_t packed_winograd_bytes_size(const ConvShape& shape, Isa isa);
void pack_winograd_bytes(const ConvShape& shape, const int16_t* weights, int32_t* packed, Isa isa);
void winograd_bytes(const BlockedBytesConv& problem, Isa isa);

}  // namespace sx
