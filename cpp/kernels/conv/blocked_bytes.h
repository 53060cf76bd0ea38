// 8-bit convolution of channel-blocked data with exact 32-bit sums: [batch, channels / block, height, width, block] of
// unsigned bytes, where the last block is filled up with bytes that count for nothing.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_bytes_kernel.h"
#include "kernels/pool.h"

namespace sx {

// Plain bytes, [batch, channels, size], to blocks and back, each xored with `flip`. What fills up the last block is 0.
void bytes_to_blocks(const uint8_t* x, int64_t batch, int64_t channels, int64_t size, uint8_t flip, uint8_t* y,
                     Isa isa = active_isa());
void bytes_from_blocks(const uint8_t* x, int64_t batch, int64_t channels, int64_t size, uint8_t flip, uint8_t* y,
                       Isa isa = active_isa());

// How a shape is computed, whatever the batch; Winograd where it pays and winograd_bytes_fits() the weights.
BlockedMethod blocked_bytes_method(const ConvShape& shape, bool plain_input, bool fits_winograd,
                                   Isa isa = active_isa());

// Weights are given less their zero points, and packed in 32-bit words. Those that are no signed bytes need an `isa` of
// Isa::kAvx512 at most, here and in blocked_bytes_conv.
// The shape must pass can_block(); kPlain takes no dilated rows.
int64_t packed_blocked_bytes_size(const ConvShape& shape, BlockedMethod method, Isa isa);
void pack_blocked_bytes(const ConvShape& shape, BlockedMethod method, const int16_t* weights, int32_t* packed, Isa isa);

struct BlockedBytesConv {
  ConvShape shape;
  BlockedMethod method = BlockedMethod::kDirect;
  const uint8_t* x = nullptr;
  uint8_t x_zero = 0;  // what padding counts as
  uint8_t x_flip = 0;  // xored with the bytes of plain input, which mean what x_zero does after that
  const int32_t* packed = nullptr;
  // A value for each filter, filled up to whole blocks: bias less x_zero times the sum of the weights, and the scale.
  const int32_t* starts = nullptr;
  const float* scales = nullptr;
  BytesTail tail;
  const uint8_t* residual = nullptr;  // blocked; may be y
  uint8_t* y = nullptr;
};
void blocked_bytes_conv(const BlockedBytesConv& problem, Isa isa);

// The maxima of the windows of `planes` blocks; 0 where a window holds padding only.
void maximum_of_bytes(const BlockedPool& pool, int64_t planes, const uint8_t* x, uint8_t* y, Isa isa = active_isa());

// y[i] = table[x[i]]; on the calling thread.
void map_bytes(const uint8_t* table, const uint8_t* x, uint8_t* y, int64_t n, Isa isa = active_isa());
// The sums of `pixels` pixels of one block, for each channel, and of n bytes that follow one another.
constexpr int64_t kMostBlock = 16;
void sum_pixels(const uint8_t* x, int64_t pixels, int64_t* sums, Isa isa = active_isa());
int64_t sum_bytes(const uint8_t* x, int64_t n, bool is_signed);
// Products of `planes` blocks of `size` pixels, each with the factors of its own block.
void scale_bytes(const BytesScale& how, const uint8_t* x, const uint8_t* factors, int64_t planes, int64_t size,
                 uint8_t* y, Isa isa = active_isa());

}  // namespace sx
