// Convolution and its gradients of stacked f32 data: [channels / block, height, width, batch, block], where the last
// block is filled up with channels that nobody reads. The images of a batch lie side by side, pixel by pixel, so that
// a tile of outputs is full however small the images are, and sums over a batch run through memory in order.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/precision.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// Plain data, [batch, channels, size], to stacked and back; blocks are those of channel_block(). What fills up the last
// block is 0.
void to_stacked(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa = active_isa());
void from_stacked(const float* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa = active_isa());
// y[i * batch + n] = x[n * count + i]: plain data of few channels, [channels, height, width, batch].
void stack_plain(const float* x, int64_t batch, int64_t count, float* y, Isa isa = active_isa());

// What the kernels take: 2-D, of one group.
bool can_stack(const ConvShape& shape);

// What direct sums of stacked data multiply in where `allowed` is allowed: bf16 on tiers that multiply it, with sums in
// f32 (see gemm.h); f32 elsewhere. kPlain and kWinograd multiply f32.
Precision stacked_precision(Precision allowed, Isa isa = active_isa());

// How a shape is computed; it never depends on the batch.
enum class StackedMethod : uint8_t { kPlain, kDirect, kWinograd };
StackedMethod stacked_method(const ConvShape& shape, bool plain_input, bool allow_winograd = true,
                             Precision precision = Precision::kF32);
StackedMethod stacked_gradient_method(const ConvShape& shape, bool allow_winograd = true,
                                      Precision precision = Precision::kF32);

// y = epilogue(conv(x, weights)). With kPlain, x is what stack_plain() gives. Of the epilogue, row_bias holds a value
// for each filter, filled up to whole blocks; the residual is laid out as y; scale must be 1 and column_bias null.
void stacked_conv(const ConvShape& shape, StackedMethod method, const float* x, const float* weights, float* y,
                  const Epilogue& epilogue, Precision precision = Precision::kF32, Isa isa = active_isa());

// dx, the gradient of the data for that of the result, through the same epilogue; row_bias holds a value for each
// channel.
void stacked_input_gradient(const ConvShape& shape, StackedMethod method, const float* dy, const float* weights,
                            float* dx, const Epilogue& epilogue, Precision precision = Precision::kF32,
                            Isa isa = active_isa());

// dw, [filters, channels, taps].
void stacked_weight_gradient(const ConvShape& shape, bool plain, const float* x, const float* dy, float* dw,
                             Precision precision = Precision::kF32, Isa isa = active_isa());

}  // namespace sx
