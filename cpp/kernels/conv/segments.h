// Cuts a panel of GEMM columns into runs of outputs that lie in one row.
#pragma once

#include <cstdint>

#include "kernels/conv/conv_kernel.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/conv/window.h"

namespace sx {

// A panel has at most this many columns, each of which may be a run of its own.
constexpr int kMaxSegments = 64;

// The segments of outputs [j, j + columns), each at most `longest` long; returns their number.
int make_segments(const ConvShape& shape, const WindowLayout& layout, int64_t j, int columns, int longest,
                  Segment* segments);

}  // namespace sx
