// f32 convolution and pooling of channel-blocked data: [batch, channels / block, height, width, block], where the last
// block is filled up with channels that nobody reads.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// The channels in a block: the lanes of a vector.
int64_t channel_block(Isa isa = active_isa());

// Plain data, [batch, channels, size], to blocks and back. What fills up the last block is 0.
void to_blocks(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa = active_isa());
void from_blocks(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa = active_isa());
// The same for data with the channels last, [batch, size, channels].
void to_blocks_from_last(const float* x, int64_t batch, int64_t channels, int64_t size, float* y,
                         Isa isa = active_isa());
void from_blocks_to_last(const float* x, int64_t batch, int64_t channels, int64_t size, float* y,
                         Isa isa = active_isa());

// What the kernels take: 2-D, and one group or as many as channels and filters.
bool can_block(const ConvShape& shape);
// How a shape is computed; it never depends on the batch. With kPlain the input is not blocked, its channels being few.
enum class BlockedMethod : uint8_t { kPlain, kDirect, kDepthwise, kWinograd };
BlockedMethod blocked_method(const ConvShape& shape, bool plain_input, bool allow_winograd = true);
const char* name_of(BlockedMethod method);

int64_t packed_blocked_size(const ConvShape& shape, BlockedMethod method, Isa isa = active_isa());
void pack_blocked(const ConvShape& shape, BlockedMethod method, const float* weights, float* packed,
                  Isa isa = active_isa());
// Weights [filters, channels, taps] for tiles of filters, in blocks of `depth` channels.
void pack_blocked_filters(int64_t filters, int64_t channels, int64_t taps, int64_t depth, const float* weights,
                          float* packed, Isa isa);
// y = epilogue(conv(x, weights)), y and the residual blocked. row_bias holds a value for each filter, filled up to
// whole blocks; scale must be 1 and column_bias null.
void blocked_conv(const ConvShape& shape, BlockedMethod method, const float* x, const float* packed, float* y,
                  const Epilogue& epilogue, Isa isa = active_isa());

// Transposed convolution whose windows lie side by side: each input makes outputs of its own. The shape is that of the
// convolution whose gradient it is: x has its `filters` and `out` extents, y its `channels` and `in` extents. Weights
// are [filters, channels, taps]; row_bias holds a value for each channel, filled up; there is no residual.
bool can_upsample(const ConvShape& shape);
int64_t packed_upsample_size(const ConvShape& shape, Isa isa = active_isa());
void pack_upsample(const ConvShape& shape, const float* weights, float* packed, Isa isa = active_isa());
void blocked_upsample(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                      Isa isa = active_isa());

// For each channel of `planes` blocks of `size` pixels: its mean, and the sum of the squares of what it differs by.
void channel_moments(const float* x, int64_t planes, int64_t size, float* mean, float* squares, Isa isa = active_isa());

// y = act(x * scale + shift) for `size` elements of one block of channels; shift may be null. Of the epilogue only the
// activation counts.
void scale_block(const float* x, const float* scale, const float* shift, float* y, int64_t size,
                 const Epilogue& epilogue, Isa isa = active_isa());

}  // namespace sx
