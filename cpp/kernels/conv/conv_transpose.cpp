// f32 transposed convolution: a GEMM makes every tap's contribution for a few channels, which are then added up.
#include <algorithm>

#include "base/error.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/conv_kernel.h"
#include "kernels/gemm/gemm.h"

namespace sx {
namespace {

// Contributions that one task holds (floats), where it has more than one channel, and the GEMM rows that pay for
// packing the columns.
constexpr int64_t kContributions = 1 << 18;
constexpr int64_t kRows = 192;

// Channels of y that one task computes; it follows from the shape without the batch.
int64_t channels_of_task(const ConvShape& shape) {
  const int64_t taps = shape.kernel_size(), group_channels = shape.channels / shape.groups;
  const int64_t fit = kContributions / std::max<int64_t>(1, taps * shape.out_size());
  const int64_t enough = (kRows + taps - 1) / taps;
  return std::clamp<int64_t>(std::min(fit, enough), 1, group_channels);
}

// Adds the contributions of one tap, a box of out extents, to a plane of in extents.
class TapAdder {
 public:
  explicit TapAdder(const ConvShape& shape) : shape_(shape) {
    in_step_[shape.rank - 1] = out_step_[shape.rank - 1] = 1;
    for (int axis = shape.rank - 2; axis >= 0; --axis) {
      in_step_[axis] = in_step_[axis + 1] * shape.in[axis + 1];
      out_step_[axis] = out_step_[axis + 1] * shape.out[axis + 1];
    }
  }

  void add(const int64_t* tap, const float* from, float* plane) const { add_rows(0, tap, from, plane); }

 private:
  void add_rows(int axis, const int64_t* tap, const float* from, float* to) const {
    const int64_t stride = shape_.stride[axis], extent = shape_.in[axis];
    // Output position o of the convolution meets input position o * stride + shift; [begin, end) lie inside.
    const int64_t shift = tap[axis] * shape_.dilation[axis] - shape_.pad_begin[axis];
    const int64_t begin = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
    const int64_t end = extent <= shift ? 0 : std::min(shape_.out[axis], (extent - shift + stride - 1) / stride);
    if (axis < shape_.rank - 1) {
      for (int64_t o = begin; o < end; ++o) {
        add_rows(axis + 1, tap, from + o * out_step_[axis], to + (o * stride + shift) * in_step_[axis]);
      }
      return;
    }
    for (int64_t o = begin; o < end; ++o) to[o * stride + shift] += from[o];
  }

  const ConvShape& shape_;
  int64_t in_step_[kMaxSpatialRank];
  int64_t out_step_[kMaxSpatialRank];
};

}  // namespace

int64_t packed_conv_transpose_size(const ConvShape& shape, Isa) {
  return checked_mul(shape.filters, checked_mul(shape.channels / shape.groups, shape.kernel_size()));
}

void pack_conv_transpose(const ConvShape& shape, const float* weights, float* packed, Isa isa) {
  const int64_t taps = shape.kernel_size(), group_channels = shape.channels / shape.groups;
  const int64_t filters = shape.filters / shape.groups, rows = group_channels * taps;
  const int64_t step = channels_of_task(shape);
  for (int64_t group = 0; group < shape.groups; ++group) {
    const int64_t at = group * filters * rows;
    for (int64_t channel = 0; channel < group_channels; channel += step) {
      const int64_t count = std::min(step, group_channels - channel);
      pack_a(count * taps, filters, weights + at + channel * taps, rows, true, packed + at + channel * taps * filters,
             isa);
    }
  }
}

void conv_transpose(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                    Isa isa) {
  SX_ASSERT(epilogue.column_bias == nullptr);
  const int64_t taps = shape.kernel_size(), group_channels = shape.channels / shape.groups;
  const int64_t filters = shape.filters / shape.groups, rows = group_channels * taps;
  const int64_t in_size = shape.in_size(), out_size = shape.out_size();
  if (shape.batch == 0 || shape.channels == 0 || in_size == 0) return;
  const int64_t step = channels_of_task(shape);
  const int64_t tasks_of_group = (group_channels + step - 1) / step;
  const ConvKernel& kernel = conv_kernel(isa);
  const FilterTail shared = filter_tail(epilogue, isa);
  const TapAdder adder(shape);
  parallel_for(shape.batch * shape.groups * tasks_of_group, 1, [&](int64_t begin, int64_t end) {
    const int64_t contributions = checked_mul(step * taps, out_size);
    const int64_t floats = checked_add(contributions, in_size);
    float* memory =
        static_cast<float*>(thread_scratch(ScratchSlot::kImage, static_cast<size_t>(checked_mul(floats, 4))));
    float* plane = memory + contributions;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t item = task / tasks_of_group, group = item % shape.groups;
      const int64_t first = task % tasks_of_group * step;
      const int64_t count = std::min(step, group_channels - first);
      Gemm gemm;
      gemm.m = count * taps;
      gemm.n = out_size;
      gemm.k = filters;
      gemm.packed_a = packed + (group * rows + first * taps) * filters;
      gemm.b = x + item * filters * out_size;
      gemm.ldb = out_size;
      gemm.c = memory;
      gemm.ldc = out_size;
      sx::gemm(gemm, isa);
      for (int64_t c = 0; c < count; ++c) {
        std::fill(plane, plane + in_size, 0.0f);
        int64_t tap[kMaxSpatialRank] = {};
        for (int64_t t = 0; t < taps; ++t) {
          adder.add(tap, memory + (c * taps + t) * out_size, plane);
          for (int axis = shape.rank - 1; axis >= 0; --axis) {
            if (++tap[axis] < shape.kernel[axis]) break;
            tap[axis] = 0;
          }
        }
        // The epilogue is that of a convolution with the one weight 1.
        const int64_t channel = item * group_channels + first + c;
        FilterTail tail = shared;
        if (tail.has_bias) tail.bias = epilogue.row_bias[channel % shape.channels];
        if (epilogue.residual) tail.residual = epilogue.residual + channel * in_size;
        const float weight = 1.0f;
        const int64_t offset = 0;
        kernel.depthwise(plane, &weight, &offset, 1, 1, in_size, 0, y + channel * in_size, tail);
      }
    }
  });
}

}  // namespace sx
