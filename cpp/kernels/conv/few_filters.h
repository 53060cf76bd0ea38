// Convolutions of a few filters: vectors of neighbouring outputs against every weight, where a GEMM would be a few rows
// high and a block of channels mostly empty.
#pragma once

#include "kernels/conv/conv.h"

namespace sx {

// Whether each group has few filters, windows of several inputs, and rows of outputs that fill vectors.
bool has_few_filters(const ConvShape& shape);

int64_t packed_few_filters_size(const ConvShape& shape);
void pack_few_filters(const ConvShape& shape, const float* weights, float* packed);
void conv_few_filters(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                      Isa isa);

}  // namespace sx
