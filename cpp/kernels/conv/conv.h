// f32 convolution and its transpose over [batch, channels, spatial...] data, with packed weights and a fused epilogue.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// The way that a shape is computed; it never depends on the batch.
enum class ConvMethod : uint8_t { kPointwise, kImplicitGemm, kDepthwise, kFewPositions, kFewFilters };
constexpr size_t kConvMethods = 5;
ConvMethod conv_method(const ConvShape& shape);
const char* name_of(ConvMethod method);

// The floats that the packed weights take (aligned to 64 bytes); they fit this shape's method and ISA.
int64_t packed_conv_size(const ConvShape& shape, Isa isa = active_isa());
void pack_conv(const ConvShape& shape, const float* weights, float* packed, Isa isa = active_isa());

// y = epilogue(conv(x, weights)). row_bias holds one value per filter; the residual has the shape of y, and its stride
// is ignored; column_bias must be null.
void conv(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
          Isa isa = active_isa());

// The transpose: `shape` describes the convolution whose gradient this is. x is [batch, shape.filters, shape.out...],
// y is [batch, shape.channels, shape.in...], weights are [shape.filters, shape.channels / groups, kernel...] as ONNX's
// ConvTranspose has them. row_bias holds one value per channel of y.
int64_t packed_conv_transpose_size(const ConvShape& shape, Isa isa = active_isa());
void pack_conv_transpose(const ConvShape& shape, const float* weights, float* packed, Isa isa = active_isa());
void conv_transpose(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                    Isa isa = active_isa());

}  // namespace sx
