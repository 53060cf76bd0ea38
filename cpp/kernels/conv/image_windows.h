// The inputs of a convolution image by image, so that every tap of a window stands at a fixed offset.
#pragma once

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/conv/window.h"

namespace sx {

// `count` images from number `first` on, all channels of one after those of another, each a plane of the layout.
struct ImageWindows {
  int64_t first, count;
  const float* windows;
  const int64_t* offsets;  // of every tap of every channel of a group, in the order of the weights
};

// Calls body for all images, in parts whose padded copies fit the cache.
void for_image_windows(const ConvShape& shape, const WindowLayout& layout, const float* x, Isa isa,
                       FunctionRef<void(const ImageWindows&)> body);

}  // namespace sx
