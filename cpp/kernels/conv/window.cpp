// Padded copies of convolution inputs, with columns sorted by their remainder by the stride.
#include "kernels/conv/window.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/shape.h"

namespace sx {

namespace {

// A padded copy of a plane may hold so many elements, and so many for each that the windows can meet.
constexpr double kLeastPlane = 1 << 20, kMostSpread = 64;

// A stride between outputs of which there is one says nothing, but copies would have as many phases.
ConvShape without_idle_strides(ConvShape shape) {
  for (int axis = 0; axis < shape.rank; ++axis)
    if (shape.out[axis] == 1) shape.stride[axis] = 1;
  return shape;
}

}  // namespace

WindowLayout::WindowLayout(const ConvShape& given) : shape_(without_idle_strides(given)) {
  const ConvShape& shape = shape_;
  const int last = shape.rank - 1;
  SX_ASSERT(shape.rank >= 1 && shape.rank <= kMaxSpatialRank);
  in_place_ = shape.stride[last] == 1;
  for (int axis = 0; axis < shape.rank; ++axis) {
    // Windows that end before the padding does not see it; in place, only what is read has to exist.
    const int64_t reach = (shape.out[axis] - 1) * shape.stride[axis] + (shape.kernel[axis] - 1) * shape.dilation[axis];
    in_place_ = in_place_ && shape.pad_begin[axis] == 0 && reach < shape.in[axis];
  }
  in_step_[last] = 1;
  for (int axis = last - 1; axis >= 0; --axis) in_step_[axis] = in_step_[axis + 1] * shape.in[axis + 1];
  int64_t row_size;
  if (in_place_) {
    phase_size_ = row_size = shape.in[last];
  } else {
    phase_size_ = shape.out[last] + (shape.kernel[last] - 1) * shape.dilation[last] / shape.stride[last];
    // Long rows begin on cache lines.
    if (phase_size_ >= 48) phase_size_ = (phase_size_ + 15) / 16 * 16;
    row_size = checked_mul(phase_size_, shape.stride[last]);
  }
  output_step_[last] = 1;
  int64_t step = row_size;
  for (int axis = last - 1; axis >= 0; --axis) {
    step_[axis] = step;
    output_step_[axis] = step * shape.stride[axis];
    extent_[axis] =
        in_place_ ? shape.in[axis]
                  : (shape.out[axis] - 1) * shape.stride[axis] + (shape.kernel[axis] - 1) * shape.dilation[axis] + 1;
    step = checked_mul(step, extent_[axis]);
  }
  plane_size_ = step;
  const double met = static_cast<double>(shape.in_size()) +
                     static_cast<double>(shape.out_size()) * static_cast<double>(shape.kernel_size());
  SX_REQUIRE(static_cast<double>(step) <= kLeastPlane + kMostSpread * met, kNotImplemented,
             "a convolution whose windows ", "meet ", met, " elements of a plane spreads them over ", step,
             " with its strides, dilations and pads: too far apart to be computed");
  for (int64_t remainder = 0; remainder < std::min<int64_t>(kKeptPhases, shape.stride[last]); ++remainder) {
    phases_[remainder] = phase_of(remainder);
  }
}

WindowLayout::Phase WindowLayout::phase_of(int64_t remainder) const {
  const int last = shape_.rank - 1;
  const int64_t stride = shape_.stride[last], extent = shape_.in[last];
  const int64_t kernel = shape_.kernel[last], dilation = shape_.dilation[last];
  Phase phase{stride == 1 || (dilation == 1 && remainder < kernel), 0, 0, 0};
  for (int64_t k = 0; dilation > 1 && k < kernel && !phase.used; ++k) phase.used = k * dilation % stride == remainder;
  // Column i is input column i * stride + shift.
  const int64_t shift = remainder - shape_.pad_begin[last];
  phase.begin = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  phase.end = extent <= shift ? 0 : std::min(phase_size_, (extent - shift + stride - 1) / stride);
  phase.first = phase.begin * stride + shift;
  return phase;
}

int64_t WindowLayout::output_offset(const int64_t* position) const {
  int64_t offset = 0;
  for (int axis = 0; axis < shape_.rank; ++axis) offset += position[axis] * output_step_[axis];
  return offset;
}

int64_t WindowLayout::kernel_offset(const int64_t* position) const {
  const int last = shape_.rank - 1;
  const int64_t column = position[last] * shape_.dilation[last];
  int64_t offset = column % shape_.stride[last] * phase_size_ + column / shape_.stride[last];
  for (int axis = 0; axis < last; ++axis) offset += position[axis] * shape_.dilation[axis] * step_[axis];
  return offset;
}

void WindowLayout::kernel_offsets(int64_t* offsets) const {
  int64_t position[kMaxSpatialRank] = {};
  const int64_t count = shape_.kernel_size();
  for (int64_t i = 0; i < count; ++i) {
    offsets[i] = kernel_offset(position);
    for (int axis = shape_.rank - 1; axis >= 0; --axis) {
      if (++position[axis] < shape_.kernel[axis]) break;
      position[axis] = 0;
    }
  }
}

bool WindowLayout::row_is_used(int axis, int64_t row) const {
  for (int64_t k = 0; k < shape_.kernel[axis]; ++k) {
    const int64_t first = row - k * shape_.dilation[axis];
    if (first >= 0 && first % shape_.stride[axis] == 0) return true;
  }
  return false;
}

template <typename T>
void WindowLayout::copy_rows(int axis, const T* in, T* out, bool inside, T pad, RowCopy<T> copy_row) const {
  if (axis < shape_.rank - 1) {
    const bool skips = shape_.stride[axis] > 1;
    for (int64_t row = 0; row < extent_[axis]; ++row, out += step_[axis]) {
      if (skips && !row_is_used(axis, row)) continue;
      const int64_t from = row - shape_.pad_begin[axis];
      const bool row_inside = inside && from >= 0 && from < shape_.in[axis];
      copy_rows(axis + 1, row_inside ? in + from * in_step_[axis] : in, out, row_inside, pad, copy_row);
    }
    return;
  }
  const int64_t stride = shape_.stride[axis];
  for (int64_t remainder = 0; remainder < stride; ++remainder, out += phase_size_) {
    const Phase phase = remainder < kKeptPhases ? phases_[remainder] : phase_of(remainder);
    if (!phase.used) continue;
    // Where nothing is copied, the first column may lie outside.
    const bool copies = inside && phase.begin < phase.end;
    copy_row(copies ? in + phase.first : in, out, phase_size_, copies ? phase.begin : 0, copies ? phase.end : 0, stride,
             pad);
  }
}

// Every second of the bytes that follow `in`; how many of `count` were written.
int64_t copy_even(const uint8_t* in, uint8_t* out, int64_t count) {
  typedef uint16_t Pairs __attribute__((vector_size(16)));
  typedef uint8_t Halves __attribute__((vector_size(8)));
  int64_t i = 0;
  // The vector reads a byte behind the last that it needs.
  for (; i + 9 <= count; i += 8) {
    Pairs pairs;
    std::memcpy(&pairs, in + 2 * i, sizeof(pairs));
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) pairs >>= 8;
    const Halves even = __builtin_convertvector(pairs & 0xff, Halves);
    std::memcpy(out + i, &even, sizeof(even));
  }
  return i;
}

template <typename T>
void copy_row_plainly(const T* in, T* out, int64_t size, int64_t begin, int64_t end, int64_t stride, T pad) {
  std::fill(out, out + begin, pad);
  if (stride == 1) {
    std::copy_n(in, end - begin, out + begin);
  } else {
    int64_t i = 0;
    if constexpr (sizeof(T) == 1)
      if (stride == 2) i = copy_even(in, out + begin, end - begin);
    for (; i < end - begin; ++i) out[begin + i] = in[i * stride];
  }
  std::fill(out + end, out + size, pad);
}

template void WindowLayout::copy_rows<float>(int, const float*, float*, bool, float, RowCopy<float>) const;
template void WindowLayout::copy_rows<uint8_t>(int, const uint8_t*, uint8_t*, bool, uint8_t, RowCopy<uint8_t>) const;
template void copy_row_plainly<uint8_t>(const uint8_t*, uint8_t*, int64_t, int64_t, int64_t, int64_t, uint8_t);

}  // namespace sx
