// f32 convolution: as a GEMM over columns made panel by panel, or filter by filter where each reads one channel.
#include "kernels/conv/conv.h"

#include <algorithm>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/conv_kernel.h"
#include "kernels/conv/few_filters.h"
#include "kernels/conv/few_positions.h"
#include "kernels/conv/image_windows.h"
#include "kernels/conv/segments.h"
#include "kernels/conv/window.h"
#include "kernels/gemm/gemm_driver.h"

namespace sx {
namespace {

int64_t channels_of_group(const ConvShape& shape) { return shape.channels / shape.groups; }
int64_t filters_of_group(const ConvShape& shape) { return shape.filters / shape.groups; }
int64_t depth_of(const ConvShape& shape) { return checked_mul(channels_of_group(shape), shape.kernel_size()); }

float* scratch_floats(ScratchSlot slot, int64_t count) {
  return static_cast<float*>(thread_scratch(slot, static_cast<size_t>(checked_mul(count, 4))));
}

// The floats that `count` offsets take at the head of scratch memory; what follows begins on a cache line.
int64_t offset_space(int64_t count) { return (2 * count + 15) / 16 * 16; }

Gemm gemm_of(const ConvShape& shape, const Epilogue& epilogue) {
  Gemm gemm;
  gemm.m = filters_of_group(shape);
  gemm.n = shape.out_size();
  gemm.k = depth_of(shape);
  gemm.ldb = gemm.n;
  gemm.ldc = gemm.n;
  gemm.epilogue = epilogue;
  gemm.epilogue.residual_stride = gemm.n;
  return gemm;
}

// The operands of product `item` = image * groups + group.
GemmOperands operands_of(const ConvShape& shape, const Gemm& gemm, int64_t item, const float* packed, float* y) {
  const int64_t group = item % shape.groups;
  const int64_t at = item * gemm.m * gemm.n;
  const Epilogue& epilogue = gemm.epilogue;
  return GemmOperands{nullptr,
                      packed + group * gemm.m * gemm.k,
                      nullptr,
                      nullptr,
                      y + at,
                      epilogue.residual ? epilogue.residual + at : nullptr,
                      epilogue.row_bias ? epilogue.row_bias + group * gemm.m : nullptr};
}

void pointwise(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
               Isa isa) {
  const Gemm gemm = gemm_of(shape, epilogue);
  run_gemms(
      gemm, shape.batch * shape.groups,
      [&](int64_t item) {
        GemmOperands operands = operands_of(shape, gemm, item, packed, y);
        operands.b = x + item * gemm.k * gemm.n;
        return operands;
      },
      nullptr, isa);
}

void implicit_gemm(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                   Isa isa) {
  const Gemm gemm = gemm_of(shape, epilogue);
  const WindowLayout layout(shape);
  const ConvKernel& kernel = conv_kernel(isa);
  const int lanes = gemm_kernel(isa).lanes;
  const int64_t group_size = channels_of_group(shape) * layout.plane_size();
  for_image_windows(shape, layout, x, isa, [&](const ImageWindows& images) {
    const auto fill = [&](int64_t item, int64_t k0, int64_t k, int64_t j, int columns, float* panel) {
      Segment segments[kMaxSegments];
      const int segment_count = make_segments(shape, layout, j, columns, lanes, segments);
      const int width = (columns + lanes - 1) / lanes * lanes;
      if (width != columns) std::fill(panel, panel + k * width, 0.0f);
      kernel.pack_segments(images.windows + item * group_size, images.offsets + k0, k, segments, segment_count, width,
                           panel);
    };
    const MakePanel make_panel(fill);
    run_gemms(
        gemm, images.count * shape.groups,
        [&](int64_t item) { return operands_of(shape, gemm, images.first * shape.groups + item, packed, y); },
        &make_panel, isa);
  });
}

void depthwise(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
               Isa isa) {
  const WindowLayout layout(shape);
  const ConvKernel& kernel = conv_kernel(isa);
  const int64_t taps = shape.kernel_size(), multiplier = shape.filters / shape.channels;
  const int64_t in_size = shape.in_size(), out_size = shape.out_size();
  const int last = shape.rank - 1;
  const int64_t columns = shape.out[last];
  const int64_t rows = shape.rank >= 2 ? shape.out[last - 1] : 1;
  const int64_t row_step = shape.rank >= 2 ? layout.output_step(last - 1) : 0;
  const int64_t slices = out_size / (rows * columns);
  const FilterTail shared = filter_tail(epilogue, isa);
  const int64_t grain = std::max<int64_t>(1, 200000 / std::max<int64_t>(1, out_size * taps * multiplier));
  parallel_for(shape.batch * shape.channels, grain, [&](int64_t begin, int64_t end) {
    const int64_t copy_size = layout.in_place() ? 0 : layout.plane_size();
    float* memory = scratch_floats(ScratchSlot::kPackB, copy_size + offset_space(taps) + kPanelSlack);
    int64_t* offsets = reinterpret_cast<int64_t*>(memory);
    float* copy = memory + offset_space(taps);
    layout.kernel_offsets(offsets);
    for (int64_t plane = begin; plane < end; ++plane) {
      const float* windows = x + plane * in_size;
      if (!layout.in_place()) {
        layout.copy_plane(windows, copy, 0.0f, kernel.copy_row);
        windows = copy;
      }
      for (int64_t m = 0; m < multiplier; ++m) {
        const int64_t filter = plane % shape.channels * multiplier + m;
        const int64_t at = (plane * multiplier + m) * out_size;
        FilterTail tail = shared;
        if (tail.has_bias) tail.bias = epilogue.row_bias[filter];
        int64_t position[kMaxSpatialRank] = {};
        for (int64_t slice = 0; slice < slices; ++slice) {
          const int64_t here = at + slice * rows * columns;
          tail.residual = epilogue.residual ? epilogue.residual + here : nullptr;
          kernel.depthwise(windows + layout.output_offset(position), packed + filter * taps, offsets, taps, rows,
                           columns, row_step, y + here, tail);
          for (int axis = last - 2; axis >= 0; --axis) {
            if (++position[axis] < shape.out[axis]) break;
            position[axis] = 0;
          }
        }
      }
    }
  });
}

}  // namespace

ConvMethod conv_method(const ConvShape& shape) {
  if (shape.groups == shape.channels && shape.groups > 1) return ConvMethod::kDepthwise;
  if (has_few_positions(shape)) return ConvMethod::kFewPositions;
  if (has_few_filters(shape)) return ConvMethod::kFewFilters;
  return is_pointwise(shape) ? ConvMethod::kPointwise : ConvMethod::kImplicitGemm;
}

const char* name_of(ConvMethod method) {
  switch (method) {
    case ConvMethod::kPointwise: return "pointwise";
    case ConvMethod::kImplicitGemm: return "implicit_gemm";
    case ConvMethod::kDepthwise: return "depthwise";
    case ConvMethod::kFewPositions: return "few_positions";
    case ConvMethod::kFewFilters: return "few_filters";
  }
  return "unknown";
}

int64_t packed_conv_size(const ConvShape& shape, Isa isa) {
  if (conv_method(shape) == ConvMethod::kFewPositions) return packed_few_positions_size(shape, isa);
  if (conv_method(shape) == ConvMethod::kFewFilters) return packed_few_filters_size(shape);
  return checked_mul(shape.groups, packed_a_size(filters_of_group(shape), depth_of(shape), isa));
}

void pack_conv(const ConvShape& shape, const float* weights, float* packed, Isa isa) {
  const int64_t m = filters_of_group(shape), k = depth_of(shape);
  if (conv_method(shape) == ConvMethod::kFewPositions) return pack_few_positions(shape, weights, packed, isa);
  if (conv_method(shape) == ConvMethod::kFewFilters) return pack_few_filters(shape, weights, packed);
  if (conv_method(shape) == ConvMethod::kDepthwise) {
    std::copy(weights, weights + shape.filters * k, packed);
    return;
  }
  for (int64_t group = 0; group < shape.groups; ++group) {
    pack_a(m, k, weights + group * m * k, k, false, packed + group * m * k, isa);
  }
}

void conv(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue, Isa isa) {
  SX_ASSERT(epilogue.column_bias == nullptr);
  if (shape.batch == 0 || shape.out_size() == 0 || shape.filters == 0) return;
  switch (conv_method(shape)) {
    case ConvMethod::kPointwise: return pointwise(shape, x, packed, y, epilogue, isa);
    case ConvMethod::kImplicitGemm: return implicit_gemm(shape, x, packed, y, epilogue, isa);
    case ConvMethod::kDepthwise: return depthwise(shape, x, packed, y, epilogue, isa);
    case ConvMethod::kFewPositions: return conv_few_positions(shape, x, packed, y, epilogue, isa);
    case ConvMethod::kFewFilters: return conv_few_filters(shape, x, packed, y, epilogue, isa);
  }
}

}  // namespace sx
