// Convolution of channel-blocked data: [batch, channels / block, height, width, block], where the last block is filled
// up with channels that nobody reads. Data are float, or BFloat16 where has_bf16_blocks(): weights are
// bf16 then too, but for Winograd, which computes in f32; sums and epilogues are f32, and results are rounded once, to
// nearest even.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/cpu.h"
#include "base/float_types.h"
#include "base/precision.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// The channels in a block: the lanes of a vector.
int64_t channel_block(Isa isa = active_isa());

// Of data of elements T.
template <typename T>
constexpr Precision precision_of = std::is_same_v<T, BFloat16> ? Precision::kBf16 : Precision::kF32;

// Whether the tier computes on bf16 in blocks.
bool has_bf16_blocks(Isa isa = active_isa());

// Plain data, [batch, channels, size], to blocks and back. What fills up the last block is 0.
template <typename T>
void to_blocks(const float* x, int64_t batch, int64_t channels, int64_t size, T* y, Isa isa = active_isa());
template <typename T>
void from_blocks(const T* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa = active_isa());
// The same for data with the channels last, [batch, size, channels].
template <typename T>
void to_blocks_from_last(const float* x, int64_t batch, int64_t channels, int64_t size, T* y, Isa isa = active_isa());
template <typename T>
void from_blocks_to_last(const T* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa = active_isa());

// What the kernels take: 2-D, and one group or as many as channels and filters.
bool can_block(const ConvShape& shape);
// How a shape is computed; it never depends on the batch. The precision is that of the data, here and below. With
// kPlain the input is not blocked, its channels being few.
enum class BlockedMethod : uint8_t { kPlain, kDirect, kDepthwise, kWinograd };
BlockedMethod blocked_method(const ConvShape& shape, bool plain_input, bool allow_winograd = true,
                             Precision precision = Precision::kF32);
const char* name_of(BlockedMethod method);

// In floats.
int64_t packed_blocked_size(const ConvShape& shape, BlockedMethod method, Precision precision = Precision::kF32,
                            Isa isa = active_isa());
void pack_blocked(const ConvShape& shape, BlockedMethod method, Precision precision, const float* weights,
                  float* packed, Isa isa = active_isa());
// Weights [filters, channels, taps] for tiles of filters, in blocks of `depth` channels, an even number in bf16.
void pack_blocked_filters(int64_t filters, int64_t channels, int64_t taps, int64_t depth, Precision precision,
                          const float* weights, float* packed, Isa isa);
// y = epilogue(conv(x, weights)), y and the residual blocked; x is f32 where the method is kPlain. row_bias holds a
// value for each filter, filled up to whole blocks; scale must be 1, column_bias and the epilogue's own residual null.
template <typename T>
void blocked_conv(const ConvShape& shape, BlockedMethod method, const void* x, const float* packed, const T* residual,
                  T* y, const Epilogue& epilogue, Isa isa = active_isa());
// y takes the largest of each 2 x 2 of those results, [out / 2] of them, NaN where there is one. Of kernels that are
// not pointwise, and not depthwise.
void blocked_conv_maxima(const ConvShape& shape, BlockedMethod method, const float* x, const float* packed, float* y,
                         const Epilogue& epilogue, Isa isa = active_isa());

// Transposed convolution whose windows lie side by side: each input makes outputs of its own. The shape is that of the
// convolution whose gradient it is: x has its `filters` and `out` extents, y its `channels` and `in` extents. Weights
// are [filters, channels, taps]; row_bias holds a value for each channel, filled up; there is no residual.
bool can_upsample(const ConvShape& shape);
int64_t packed_upsample_size(const ConvShape& shape, Precision precision = Precision::kF32, Isa isa = active_isa());
void pack_upsample(const ConvShape& shape, Precision precision, const float* weights, float* packed,
                   Isa isa = active_isa());
template <typename T>
void blocked_upsample(const ConvShape& shape, const T* x, const float* packed, T* y, const Epilogue& epilogue,
                      Isa isa = active_isa());

// For each channel of `planes` blocks of `size` pixels: its mean, and the sum of the squares of what it differs by
// where `squares` is not null.
template <typename T>
void channel_moments(const T* x, int64_t planes, int64_t size, float* mean, float* squares, Isa isa = active_isa());

// y = act(x * scale + shift) for `size` elements of one block of channels; shift may be null. Of the epilogue only the
// activation counts.
template <typename T>
void scale_block(const T* x, const float* scale, const float* shift, T* y, int64_t size, const Epilogue& epilogue,
                 Isa isa = active_isa());

}  // namespace sx
