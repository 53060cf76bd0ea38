// 8-bit depthwise convolution: each channel's windows against its own filters, without a matrix between them.
#include "kernels/conv/depthwise_int8.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/depthwise_int8_kernel.h"
#include "kernels/conv/window.h"
#include "kernels/gemm/gemm_int8_kernel.h"

namespace sx {
namespace {

constexpr int64_t kLeastWork = 200'000;  // multiply-adds worth a task
constexpr int64_t kSlack = 64;           // bytes and sums past the end that whole vectors touch

int32_t value_of(uint8_t byte, bool is_signed) { return is_signed ? static_cast<int8_t>(byte) : byte; }

}  // namespace

bool is_depthwise_int8(const ConvShape& shape) {
  return shape.groups == shape.channels && shape.groups > 1 && shape.rank <= 2;
}

int64_t packed_depthwise_int8_size(const ConvShape& shape) {
  return checked_mul(4, checked_mul(shape.filters, shape.kernel_size()));
}

void pack_depthwise_int8(const ConvShape& shape, const void* weights, bool w_signed, void* packed) {
  const auto* from = static_cast<const uint8_t*>(weights);
  auto* to = static_cast<int32_t*>(packed);
  for (int64_t i = 0; i < shape.filters * shape.kernel_size(); ++i) to[i] = value_of(from[i], w_signed);
}

void depthwise_int8(const ConvInt8& problem, const void* packed, Isa isa) {
  const ConvShape& shape = problem.shape;
  const DepthwiseInt8Kernel& kernel = depthwise_int8_kernel(isa);
  const GemmInt8Kernel& finisher = gemm_int8_kernel(isa);
  const WindowLayout layout(shape);
  const int64_t taps = shape.kernel_size(), multiplier = shape.filters / shape.channels;
  const int last = shape.rank - 1;
  const int64_t columns = shape.out[last], rows = shape.rank == 2 ? shape.out[0] : 1;
  const int64_t stride = (columns + kernel.lanes - 1) / kernel.lanes * kernel.lanes;
  const int64_t element =
      problem.epilogue.output == Int8Output::kInt32 || problem.epilogue.output == Int8Output::kFloat32 ? 4 : 1;
  const uint8_t flip = problem.x_signed ? 0x80 : 0;
  const int32_t x_zero = problem.x_zero + (problem.x_signed ? 128 : 0);
  const int64_t plane_bytes = checked_add(layout.plane_size(), kSlack);
  const int64_t sums_size = checked_add(checked_mul(rows, stride), kSlack);
  const int64_t grain = std::max<int64_t>(1, kLeastWork / std::max<int64_t>(1, rows * columns * taps * multiplier));
  parallel_for(checked_mul(shape.batch, shape.channels), grain, [&](int64_t begin, int64_t end) {
    auto* sums = static_cast<int32_t*>(thread_scratch(ScratchSlot::kTile, static_cast<size_t>(4 * sums_size)));
    auto* offsets = static_cast<int64_t*>(
        thread_scratch(ScratchSlot::kPackA, static_cast<size_t>(taps) * (sizeof(int64_t) + sizeof(int32_t))));
    auto* weights = reinterpret_cast<int32_t*>(offsets + taps);
    auto* plane = static_cast<uint8_t*>(thread_scratch(ScratchSlot::kPackB, static_cast<size_t>(plane_bytes)));
    layout.kernel_offsets(offsets);
    for (int64_t item = begin; item < end; ++item) {
      const uint8_t* x = static_cast<const uint8_t*>(problem.x) + item * shape.in_size();
      if (layout.in_place()) std::memcpy(plane, x, static_cast<size_t>(shape.in_size()));
      else layout.copy_plane(x, plane, static_cast<uint8_t>(problem.x_zero), copy_row_plainly<uint8_t>);
      for (int64_t m = 0; m < multiplier; ++m) {
        const int64_t filter = item % shape.channels * multiplier + m;
        const int32_t w_zero = problem.w_zeros ? problem.w_zeros[filter] : problem.w_zero;
        int32_t total = 0;
        for (int64_t t = 0; t < taps; ++t) {
          weights[t] = static_cast<const int32_t*>(packed)[filter * taps + t] - w_zero;
          total += weights[t];
        }
        const DepthwiseInt8Rows work{
            plane, offsets, weights, taps, flip, -x_zero * total, shape.rank == 2 ? layout.output_step(0) : 0, columns};
        kernel.rows(work, rows, sums, stride);
        Int8Tail tail;
        tail.epilogue = problem.epilogue;
        Int8Epilogue& e = tail.epilogue;
        e.per_row_bias = true;
        if (e.row_scales) e.row_scales += filter;
        if (e.bias) e.bias += filter;
        if (e.float_bias) e.float_bias += filter;
        auto* y = static_cast<uint8_t*>(problem.y) + (item * multiplier + m) * rows * columns * element;
        for (int64_t row = 0; row < rows; ++row)
          finisher.finish(1, static_cast<int>(columns), sums + row * stride, stride, tail, y + row * columns * element,
                          columns);
      }
    }
  });
}

}  // namespace sx
