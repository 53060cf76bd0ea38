// Padded copies of images, made by all threads, or the images themselves where they need none.
#include "kernels/conv/image_windows.h"

#include <algorithm>

#include "base/scratch.h"
#include "base/shape.h"
#include "kernels/conv/conv_kernel.h"

namespace sx {
namespace {

// Padded copies are made for as many images at a time as fit in about this many floats (at least one).
constexpr int64_t kImageFloats = 1 << 22;
constexpr int64_t kSlack = 16;  // floats behind a copy that may be read

}  // namespace

void for_image_windows(const ConvShape& shape, const WindowLayout& layout, const float* x, Isa isa,
                       FunctionRef<void(const ImageWindows&)> body) {
  const ConvKernel& kernel = conv_kernel(isa);
  const int64_t taps = shape.kernel_size(), channels = shape.channels / shape.groups;
  const int64_t depth = checked_mul(channels, taps);
  const int64_t image_size = checked_mul(shape.channels, layout.plane_size());
  const int64_t images =
      layout.in_place() ? shape.batch : std::clamp<int64_t>(kImageFloats / image_size, 1, shape.batch);
  const int64_t copy_size = layout.in_place() ? 0 : checked_mul(images, image_size);
  const int64_t offset_floats = (2 * depth + 15) / 16 * 16;
  float* memory = static_cast<float*>(thread_scratch(
      ScratchSlot::kImage, static_cast<size_t>(checked_mul(checked_add(copy_size + kSlack, offset_floats), 4))));
  int64_t* offsets = reinterpret_cast<int64_t*>(memory);
  float* copy = memory + offset_floats;
  layout.kernel_offsets(offsets);
  for (int64_t channel = 1; channel < channels; ++channel) {
    for (int64_t tap = 0; tap < taps; ++tap)
      offsets[channel * taps + tap] = offsets[tap] + channel * layout.plane_size();
  }
  for (int64_t first = 0; first < shape.batch; first += images) {
    const int64_t count = std::min(images, shape.batch - first);
    const float* windows = x + first * image_size;
    if (!layout.in_place()) {
      windows = copy;
      const float* from = x + first * shape.channels * shape.in_size();
      parallel_for(count * shape.channels, std::max<int64_t>(1, 16384 / layout.plane_size()),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t plane = begin; plane < end; ++plane) {
                       layout.copy_plane(from + plane * shape.in_size(), copy + plane * layout.plane_size(), 0.0f,
                                         kernel.copy_row);
                     }
                   });
    }
    body({first, count, windows, offsets});
  }
}

}  // namespace sx
