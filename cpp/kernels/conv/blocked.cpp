// Convolution of channel-blocked data: how shapes are computed; transposed convolution whose windows lie side by side.
#include "kernels/conv/blocked.h"

#include <algorithm>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/conv/blocked_depthwise.h"
#include "kernels/conv/blocked_direct.h"
#include "kernels/conv/blocked_kernel.h"
#include "kernels/conv/winograd.h"

namespace sx {
namespace {

constexpr int64_t kLeastWork = 200'000;  // multiply-adds worth a task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

bool can_block(const ConvShape& shape) {
  return shape.rank == 2 && (shape.groups == 1 || (shape.groups == shape.channels && shape.groups == shape.filters));
}

BlockedMethod blocked_method(const ConvShape& shape, bool plain_input, bool allow_winograd, Precision precision) {
  if (shape.groups > 1) return BlockedMethod::kDepthwise;
  if (plain_input) return BlockedMethod::kPlain;
  return allow_winograd && winograd_tile(shape, precision) != 0 ? BlockedMethod::kWinograd : BlockedMethod::kDirect;
}

const char* name_of(BlockedMethod method) {
  switch (method) {
    case BlockedMethod::kPlain: return "blocked, plain input";
    case BlockedMethod::kDirect: return "blocked, direct";
    case BlockedMethod::kDepthwise: return "blocked, depthwise";
    case BlockedMethod::kWinograd: return "blocked, winograd";
  }
  return "unknown";
}

bool can_upsample(const ConvShape& shape) {
  for (int axis = 0; axis < 2; ++axis)
    if (shape.kernel[axis] != shape.stride[axis] || shape.dilation[axis] != 1 || shape.pad_begin[axis] != 0 ||
        shape.pad_end[axis] != 0 || shape.in[axis] != shape.out[axis] * shape.stride[axis])
      return false;
  return shape.rank == 2 && shape.groups == 1;
}

template <typename T>
void blocked_upsample(const ConvShape& s, const T* x, const float* packed, T* y, const Epilogue& epilogue, Isa isa) {
  SX_ASSERT(epilogue.column_bias == nullptr && epilogue.scale == 1.0f && !epilogue.residual && can_upsample(s));
  constexpr int64_t kInWord = sizeof(float) / sizeof(T);
  const BlockedKernelOf<T>& kernel = blocked_kernel<T>(isa);
  const FilterTail tail = filter_tail(epilogue, isa, precision_of<T>);
  const int64_t block = kernel.block, taps = s.kernel_size();
  const int64_t in_blocks = ceil_div(s.filters, block), out_blocks = ceil_div(s.channels, block);
  const int64_t groups = ceil_div(out_blocks, kTileFilters);
  const int64_t depth = in_blocks * block / kInWord, size = out_blocks * block * depth;
  // A task makes the outputs of one row of inputs for a group of channels.
  const int64_t work = s.out[1] * s.filters * kTileFilters * block * taps;
  parallel_for(s.batch * groups * s.out[0], std::max<int64_t>(1, kLeastWork / work), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task % s.out[0], first = task / s.out[0] % groups * kTileFilters;
      const int64_t image = task / s.out[0] / groups;
      const int64_t blocks = std::min(kTileFilters, out_blocks - first);
      BlockedTileOf<T> tile;
      const T* from = x + (image * in_blocks * s.out[0] + row) * s.out[1] * block;
      tile.x_step = block;
      tile.y_step = s.in_size() * block;
      tile.y_pixel = s.stride[1] * block;
      tile.bias = epilogue.row_bias ? epilogue.row_bias + first * block : nullptr;
      tile.tail = &tail;
      tile.window.blocks = in_blocks;
      tile.window.x_block = s.out_size() * block;
      tile.window.w_block = block / kInWord * blocks * block;
      tile.window.length = block;
      tile.window.last_length = s.filters - (in_blocks - 1) * block;
      T* to = y + (image * out_blocks + first) * tile.y_step + row * s.stride[0] * s.in[1] * block;
      for (int64_t tap = 0; tap < taps; ++tap) {
        tile.x = from;
        tile.weights = packed + tap * size + first * block * depth;
        tile.y = to + (tap / s.kernel[1] * s.in[1] + tap % s.kernel[1]) * block;
        run_tiles(kernel, tile, blocks, s.out[1]);
      }
    }
  });
}

template <typename T>
void blocked_conv(const ConvShape& given, BlockedMethod method, const void* x, const float* packed, const T* residual,
                  T* y, const Epilogue& epilogue, Isa isa) {
  const ConvShape shape = lay_down(given);
  SX_ASSERT(epilogue.column_bias == nullptr && epilogue.scale == 1.0f && !epilogue.residual && can_block(shape));
  if (shape.batch == 0 || shape.out_size() == 0 || shape.filters == 0) return;
  const T* blocks = static_cast<const T*>(x);
  switch (method) {
    case BlockedMethod::kPlain:
    case BlockedMethod::kDirect:
      return direct_conv(shape, method == BlockedMethod::kPlain, x, packed, residual, y, epilogue, isa);
    case BlockedMethod::kDepthwise: return blocked_depthwise(shape, blocks, packed, residual, y, epilogue, isa);
    case BlockedMethod::kWinograd: return winograd<T>(shape, blocks, packed, residual, y, epilogue, isa);
  }
}

void blocked_conv_maxima(const ConvShape& shape, BlockedMethod method, const float* x, const float* packed, float* y,
                         const Epilogue& epilogue, Isa isa) {
  SX_ASSERT(epilogue.column_bias == nullptr && epilogue.scale == 1.0f && !epilogue.residual && can_block(shape) &&
            method != BlockedMethod::kDepthwise && !is_pointwise(shape));
  if (shape.batch == 0 || shape.out[0] < 2 || shape.out[1] < 2 || shape.filters == 0) return;
  if (method == BlockedMethod::kWinograd) return winograd_maxima(shape, x, packed, y, epilogue, isa);
  direct_conv_maxima(shape, method == BlockedMethod::kPlain, x, packed, y, epilogue, isa);
}

template void blocked_conv(const ConvShape&, BlockedMethod, const void*, const float*, const float*, float*,
                           const Epilogue&, Isa);
template void blocked_conv(const ConvShape&, BlockedMethod, const void*, const float*, const BFloat16*, BFloat16*,
                           const Epilogue&, Isa);
template void blocked_upsample(const ConvShape&, const float*, const float*, float*, const Epilogue&, Isa);
template void blocked_upsample(const ConvShape&, const BFloat16*, const float*, BFloat16*, const Epilogue&, Isa);

}  // namespace sx
