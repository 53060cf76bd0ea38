// 8-bit convolution: panels of input windows made one block at a time, against packed filters.
#include "kernels/conv/conv_int8.h"

#include <algorithm>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/depthwise_int8.h"
#include "kernels/conv/segments.h"
#include "kernels/conv/window.h"
#include "kernels/gemm/gemm_int8_kernel.h"

namespace sx {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

// Windows of one block of columns should stay in the second-level cache.
constexpr int64_t kBlockBytes = 256 * 1024;
constexpr int64_t kLeastWork = 500'000;
constexpr int32_t kFlipShift = 128;

// In a convolution the filters are rows of A, made signed, and the input is B, made unsigned.
Int8Side side_of_w(bool is_signed) { return {static_cast<uint8_t>(is_signed ? 0 : 0x80), true}; }
Int8Side side_of_x(bool is_signed) { return {static_cast<uint8_t>(is_signed ? 0x80 : 0), false}; }

int64_t depth_of(const ConvShape& shape) { return checked_mul(shape.channels / shape.groups, shape.kernel_size()); }

// Packed filters begin with the sum of each filter, in this many elements.
int64_t sums_of(const ConvShape& shape) { return ceil_div(shape.filters, 16) * 16; }

uint8_t* scratch_bytes(ScratchSlot slot, int64_t bytes) {
  return static_cast<uint8_t*>(thread_scratch(slot, static_cast<size_t>(bytes)));
}

}  // namespace

int64_t packed_conv_int8_size(const ConvShape& shape, Isa isa) {
  if (is_depthwise_int8(shape)) return packed_depthwise_int8_size(shape);
  const int64_t units = ceil_div(depth_of(shape), gemm_int8_kernel(isa).group);
  return checked_mul(4, checked_add(sums_of(shape), checked_mul(units, shape.filters)));
}

void pack_conv_int8(const ConvShape& shape, const void* weights, bool w_signed, void* packed, Isa isa) {
  if (is_depthwise_int8(shape)) return pack_depthwise_int8(shape, weights, w_signed, packed);
  const GemmInt8Kernel& kernel = gemm_int8_kernel(isa);
  const int64_t k = depth_of(shape), units = ceil_div(k, kernel.group), m = shape.filters / shape.groups;
  int32_t* sums = static_cast<int32_t*>(packed);
  int32_t* panels = sums + sums_of(shape);
  std::fill(sums, panels, 0);
  for (int64_t group = 0; group < shape.groups; ++group) {
    for (int64_t filter = group * m; filter < (group + 1) * m; ++filter)
      sums[filter] = kernel.copy_row(static_cast<const uint8_t*>(weights) + filter * k, k, side_of_w(w_signed),
                                     panels + filter * units);
  }
}

void conv_int8(const ConvInt8& problem, const void* packed, Isa isa) {
  const ConvShape& shape = problem.shape;
  SX_ASSERT(problem.epilogue.column_scales == nullptr);
  const int64_t n = shape.out_size(), m = shape.filters / shape.groups, k = depth_of(shape);
  if (shape.batch == 0 || shape.filters == 0 || n == 0) return;
  if (is_depthwise_int8(shape)) return depthwise_int8(problem, packed, isa);
  const GemmInt8Kernel& kernel = gemm_int8_kernel(isa);
  const int64_t units = ceil_div(k, kernel.group), taps = shape.kernel_size();
  const int64_t group_channels = shape.channels / shape.groups;
  const int32_t* filter_sums = static_cast<const int32_t*>(packed);
  const int32_t* panels = filter_sums + sums_of(shape);

  const WindowLayout layout(shape);
  const int64_t plane = layout.plane_size();
  const int64_t planes = checked_mul(shape.batch, shape.channels);
  const int64_t copy_bytes = layout.in_place() ? 0 : checked_mul(planes, plane);
  // The offsets of the rows of B, the factors of the filters, and the padded copy of the input.
  uint8_t* memory = scratch_bytes(ScratchSlot::kImage, checked_add(copy_bytes, checked_add(k * 8, shape.filters * 8)));
  int64_t* offsets = reinterpret_cast<int64_t*>(memory);
  int32_t* row_factor = reinterpret_cast<int32_t*>(memory + k * 8);
  int32_t* row_rest = row_factor + shape.filters;
  const uint8_t* windows = static_cast<const uint8_t*>(problem.x);
  layout.kernel_offsets(offsets);
  for (int64_t channel = 1; channel < group_channels; ++channel) {
    for (int64_t tap = 0; tap < taps; ++tap) offsets[channel * taps + tap] = offsets[tap] + channel * plane;
  }
  if (!layout.in_place()) {
    uint8_t* copy = reinterpret_cast<uint8_t*>(row_rest + shape.filters);
    const uint8_t* x = windows;
    parallel_for(planes, std::max<int64_t>(1, 65536 / plane), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        layout.copy_plane(x + i * shape.in_size(), copy + i * plane, static_cast<uint8_t>(problem.x_zero),
                          copy_row_plainly<uint8_t>);
      }
    });
    windows = copy;
  }
  const int32_t w_shift = problem.w_signed ? 0 : -kFlipShift;
  const int32_t x_zero = problem.x_zero + (problem.x_signed ? kFlipShift : 0);
  bool any_w_zero = false;
  for (int64_t filter = 0; filter < shape.filters; ++filter) {
    const int32_t zero = (problem.w_zeros ? problem.w_zeros[filter] : problem.w_zero) + w_shift;
    any_w_zero = any_w_zero || zero != 0;
    row_factor[filter] = -zero;
    row_rest[filter] = static_cast<int32_t>(static_cast<uint32_t>(k) * static_cast<uint32_t>(zero) -
                                            static_cast<uint32_t>(filter_sums[filter]));
  }

  const int64_t column_panels = ceil_div(n, kernel.nr);
  const int64_t panel_units = units * kernel.nr;
  const int64_t items = shape.batch * shape.groups;
  int64_t block = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(1, panel_units * 4), 1, column_panels);
  const double work = static_cast<double>(m) * static_cast<double>(std::max<int64_t>(k, 16)) * kernel.nr;
  const int threads = thread_count();
  if (threads > 1) {
    const int64_t least = std::max<int64_t>(1, static_cast<int64_t>(kLeastWork / work));
    const int64_t fair = std::max<int64_t>(1, items * column_panels / (4 * threads));
    block = std::clamp<int64_t>(std::max(least, fair), 1, block);
  }
  const int64_t blocks = ceil_div(column_panels, block);
  const int64_t grain = std::max<int64_t>(1, static_cast<int64_t>(kLeastWork / (work * static_cast<double>(block))));
  const int64_t element =
      problem.epilogue.output == Int8Output::kInt32 || problem.epilogue.output == Int8Output::kFloat32 ? 4 : 1;
  parallel_for(checked_mul(items, blocks), grain, [&](int64_t begin, int64_t end) {
    int32_t* columns_memory =
        reinterpret_cast<int32_t*>(scratch_bytes(ScratchSlot::kPackB, 4 * block * (panel_units + kernel.nr)));
    int32_t* column_sums = columns_memory + block * panel_units;
    int32_t* sums = reinterpret_cast<int32_t*>(scratch_bytes(ScratchSlot::kTile, 4 * (kernel.mr + 1) * kernel.nr));
    int32_t* column_zeros = sums + kernel.mr * kernel.nr;
    std::fill(column_zeros, column_zeros + kernel.nr, x_zero);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t item = task / blocks, group = item % shape.groups;
      const int64_t first = task % blocks * block, last = std::min(first + block, column_panels);
      if (any_w_zero) std::fill(column_sums, column_sums + block * kernel.nr, 0);
      for (int64_t panel = first; panel < last; ++panel) {
        const int64_t j = panel * kernel.nr;
        const int columns = static_cast<int>(std::min<int64_t>(kernel.nr, n - j));
        const int width = static_cast<int>(ceil_div(columns, kernel.lanes)) * kernel.lanes;
        int32_t* out = columns_memory + (panel - first) * panel_units;
        if (columns != width) std::fill(out, out + units * width, 0);
        Segment segments[kMaxSegments];
        const int count = make_segments(shape, layout, j, columns, kernel.lanes, segments);
        kernel.pack_columns(windows + item * group_channels * plane, offsets, k, segments, count, width,
                            side_of_x(problem.x_signed), out,
                            any_w_zero ? column_sums + (panel - first) * kernel.nr : nullptr);
      }
      for (int64_t i = 0; i < m; i += kernel.mr) {
        const int rows = static_cast<int>(std::min<int64_t>(kernel.mr, m - i));
        const int64_t filter = group * m + i;
        Int8Tail tail;
        tail.row_factor = any_w_zero ? row_factor + filter : nullptr;
        tail.row_rest = row_rest + filter;
        tail.column_zeros = x_zero != 0 ? column_zeros : nullptr;
        tail.epilogue = problem.epilogue;
        Int8Epilogue& e = tail.epilogue;
        e.per_row_bias = true;
        if (e.row_scales) e.row_scales += filter;
        if (e.bias) e.bias += filter;
        if (e.float_bias) e.float_bias += filter;
        for (int64_t panel = first; panel < last; ++panel) {
          const int64_t j = panel * kernel.nr;
          const int columns = static_cast<int>(std::min<int64_t>(kernel.nr, n - j));
          const int vectors = static_cast<int>(ceil_div(columns, kernel.lanes));
          const Int8Operands operands = {units, reinterpret_cast<const uint8_t*>(panels + filter * units), 4 * units,
                                         columns_memory + (panel - first) * panel_units, nullptr};
          kernel.tiles[rows - 1][vectors - 1](operands, true, sums);
          tail.column_sums = column_sums + (panel - first) * kernel.nr;
          uint8_t* y = static_cast<uint8_t*>(problem.y) + ((item * m + i) * n + j) * element;
          kernel.finish(rows, columns, sums, static_cast<int64_t>(vectors) * kernel.lanes, tail, y, n);
        }
      }
    }
  });
}

}  // namespace sx
