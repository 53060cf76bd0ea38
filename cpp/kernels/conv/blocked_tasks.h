// How a direct convolution of channel-blocked data is cut into tasks.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/conv/conv_shape.h"

namespace sx {

// Rows of outputs, which each task makes a band of, for one of the parts of the groups of filters.
struct BlockedTasks {
  int64_t rows, row_length;
  int64_t pixel_bytes;  // of input, over all channels
  int64_t groups;
  int64_t least_work;  // multiply-adds worth a task
};

// body(image, row_begin, row_end, group_begin, group_end) for all images, in parallel.
void for_each_band(const ConvShape& shape, const BlockedTasks& tasks,
                   FunctionRef<void(int64_t, int64_t, int64_t, int64_t, int64_t)> body);

// A product of `pixels` by `filters`, in tiles of so many, that may be cut anywhere between tiles.
struct FlatTasks {
  int64_t batch, pixels, tile_pixels, filters, tile_filters, depth;
};
// body(image, pixel_begin, pixel_end, tile_begin, tile_end) for all images, in parallel; tiles are those of filters.
void for_each_flat_band(const FlatTasks& tasks, FunctionRef<void(int64_t, int64_t, int64_t, int64_t, int64_t)> body);

// The outputs [begin, end) along one axis whose windows lie within the data.
void inner_outputs(const ConvShape& shape, int axis, int64_t* begin, int64_t* end);

}  // namespace sx
