// What passes and operators share about channel-blocked data, [batch, channels / block, height, width, block].
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace sx {

// The channels that are kept together, and how many blocks so many channels take.
int64_t block_of_channels();
int64_t blocks_of_channels(int64_t channels);

// A value for each channel as [1, blocks, 1, 1, block], filled up with zeros.
Tensor pad_channels(const float* values, int64_t channels);

}  // namespace sx
