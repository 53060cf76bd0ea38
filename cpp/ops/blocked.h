// What passes need to know of channel-blocked data.
#pragma once

#include <cstdint>

namespace sx {

// The channels that are kept together: [batch, channels / block, height, width, block].
int64_t block_of_channels();

}  // namespace sx
