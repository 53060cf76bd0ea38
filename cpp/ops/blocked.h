// What passes and operators share about channel-blocked data, [batch, channels / block, height, width, block].
#pragma once

#include <cstdint>

#include "base/float_types.h"
#include "tensor/tensor.h"

namespace sx {

// The channels that are kept together, and how many blocks so many channels take.
int64_t block_of_channels();
int64_t blocks_of_channels(int64_t channels);
// Whether the CPU computes on bf16 in blocks.
bool bf16_in_blocks();

// What floats are kept as in blocks, and f(T()) with the C++ type of one of them.
constexpr DTypeSet kBlockedFloats = DTypeSet(DType::kFloat32) | DType::kBFloat16;
template <typename F>
void with_blocked_float(DType dtype, F f) {
  if (dtype == DType::kBFloat16) f(BFloat16());
  else f(float());
}

// A value for each channel as [1, blocks, 1, 1, block], filled up with zeros.
Tensor pad_channels(const float* values, int64_t channels);

}  // namespace sx
