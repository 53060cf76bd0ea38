// Convolutions with hardly any output positions: y^T = windows W^T, with a row for each image and position.
#pragma once

#include "kernels/conv/conv.h"

namespace sx {

// Whether a shape, of one group, has too few positions to fill vectors with them.
bool has_few_positions(const ConvShape& shape);

int64_t packed_few_positions_size(const ConvShape& shape, Isa isa);
void pack_few_positions(const ConvShape& shape, const float* weights, float* packed, Isa isa);
void conv_few_positions(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                        Isa isa);

}  // namespace sx
