// Channel-blocked data: to and from plain data, their moments and products with a value for each channel.
#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/blocked_kernel.h"

namespace sx {
namespace {

constexpr int64_t kCopyGrain = 32768;  // elements of a copy worth a task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int64_t channel_block(Isa isa) { return blocked_kernel<float>(isa).block; }

template <typename T>
void to_blocks(const float* x, int64_t batch, int64_t channels, int64_t size, T* y, Isa isa) {
  const BlockedKernelOf<T>& kernel = blocked_kernel<T>(isa);
  const int64_t blocks = ceil_div(channels, kernel.block);
  parallel_for(batch * blocks, std::max<int64_t>(1, kCopyGrain / (size * kernel.block + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t first = item % blocks * kernel.block;
                   kernel.to_block(x + (item / blocks * channels + first) * size, size,
                                   static_cast<int>(std::min<int64_t>(kernel.block, channels - first)), size,
                                   y + item * size * kernel.block);
                 }
               });
}

template <typename T>
void from_blocks(const T* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa) {
  const BlockedKernelOf<T>& kernel = blocked_kernel<T>(isa);
  const int64_t blocks = ceil_div(channels, kernel.block);
  parallel_for(batch * blocks, std::max<int64_t>(1, kCopyGrain / (size * kernel.block + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t first = item % blocks * kernel.block;
                   kernel.from_block(x + item * size * kernel.block, size,
                                     static_cast<int>(std::min<int64_t>(kernel.block, channels - first)), size,
                                     y + (item / blocks * channels + first) * size);
                 }
               });
}

template <typename T>
void to_blocks_from_last(const float* x, int64_t batch, int64_t channels, int64_t size, T* y, Isa isa) {
  const BlockedKernelOf<T>& kernel = blocked_kernel<T>(isa);
  const int64_t block = kernel.block, blocks = ceil_div(channels, block);
  parallel_for(batch * size, std::max<int64_t>(1, kCopyGrain / channels), [&](int64_t begin, int64_t end) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int count = static_cast<int>(std::min(block, channels - b * block));
      for (int64_t image = begin / size; image * size < end; ++image) {
        const int64_t first = std::max(begin, image * size), last = std::min(end, (image + 1) * size);
        kernel.to_block_from_last(x + first * channels + b * block, channels, count, last - first,
                                  y + ((image * blocks + b) * size + first % size) * block);
      }
    }
  });
}

template <typename T>
void from_blocks_to_last(const T* x, int64_t batch, int64_t channels, int64_t size, float* y, Isa isa) {
  const BlockedKernelOf<T>& kernel = blocked_kernel<T>(isa);
  const int64_t block = kernel.block, blocks = ceil_div(channels, block);
  parallel_for(batch * size, std::max<int64_t>(1, kCopyGrain / channels), [&](int64_t begin, int64_t end) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int count = static_cast<int>(std::min(block, channels - b * block));
      for (int64_t image = begin / size; image * size < end; ++image) {
        const int64_t first = std::max(begin, image * size), last = std::min(end, (image + 1) * size);
        kernel.from_block_to_last(x + ((image * blocks + b) * size + first % size) * block, channels, count,
                                  last - first, y + first * channels + b * block);
      }
    }
  });
}

template <typename T>
void channel_moments(const T* x, int64_t planes, int64_t size, float* mean, float* squares, Isa isa) {
  const BlockedKernelOf<T>& kernel = blocked_kernel<T>(isa);
  parallel_for(planes, std::max<int64_t>(1, kCopyGrain / (size * kernel.block + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane)
      kernel.moments(x + plane * size * kernel.block, size, mean + plane * kernel.block,
                     squares ? squares + plane * kernel.block : nullptr);
  });
}

template <typename T>
void scale_block(const T* x, const float* scale, const float* shift, T* y, int64_t size, const Epilogue& epilogue,
                 Isa isa) {
  const FilterTail tail = filter_tail(epilogue, isa, precision_of<T>);
  blocked_kernel<T>(isa).scale(x, scale, shift, y, size, tail);
}

template void to_blocks(const float*, int64_t, int64_t, int64_t, float*, Isa);
template void from_blocks(const float*, int64_t, int64_t, int64_t, float*, Isa);
template void to_blocks_from_last(const float*, int64_t, int64_t, int64_t, float*, Isa);
template void from_blocks_to_last(const float*, int64_t, int64_t, int64_t, float*, Isa);
template void channel_moments(const float*, int64_t, int64_t, float*, float*, Isa);
template void scale_block(const float*, const float*, const float*, float*, int64_t, const Epilogue&, Isa);
template void to_blocks(const float*, int64_t, int64_t, int64_t, BFloat16*, Isa);
template void from_blocks(const BFloat16*, int64_t, int64_t, int64_t, float*, Isa);
template void to_blocks_from_last(const float*, int64_t, int64_t, int64_t, BFloat16*, Isa);
template void from_blocks_to_last(const BFloat16*, int64_t, int64_t, int64_t, float*, Isa);
template void channel_moments(const BFloat16*, int64_t, int64_t, float*, float*, Isa);
template void scale_block(const BFloat16*, const float*, const float*, BFloat16*, int64_t, const Epilogue&, Isa);

}  // namespace sx
