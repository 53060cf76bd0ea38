// 8-bit depthwise convolution: each channel's windows against its own filters, without a matrix between them.
#include "kernels/conv/depthwise_int8.h"

#include <algorithm>
#include <cstdlib>
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
constexpr int64_t kFinished = 1 << 20;   // sums turned into results by one call
constexpr int64_t kSlack = 64;           // bytes and sums past the end that whole vectors touch

int32_t value_of(uint8_t byte, bool is_signed) { return is_signed ? static_cast<int8_t>(byte) : byte; }

// What the filters of a depthwise convolution have in common, and the work of one filter on one plane.
class Depthwise {
 public:
  Depthwise(const ConvInt8& problem, const void* packed, Isa isa)
      : problem_(problem),
        shape_(problem.shape),
        filters_(static_cast<const int32_t*>(packed)),
        kernel_(depthwise_int8_kernel(isa)),
        finisher_(gemm_int8_kernel(isa)),
        layout_(shape_),
        taps_(shape_.kernel_size()),
        rows_(shape_.rank == 2 ? shape_.out[0] : 1),
        columns_(shape_.out[shape_.rank - 1]),
        stride_((columns_ + kernel_.lanes - 1) / kernel_.lanes * kernel_.lanes),
        flip_(problem.x_signed ? 0x80 : 0),
        x_zero_(problem.x_zero + (problem.x_signed ? 128 : 0)) {
    const Int8Output output = problem.epilogue.output;
    element_ = output == Int8Output::kInt32 || output == Int8Output::kFloat32 ? 4 : 1;
    // Where outputs stand as inputs do, planes need no copy with padding.
    same_ = shape_.rank == 2;
    for (int axis = 0; axis < shape_.rank; ++axis)
      same_ = same_ && shape_.stride[axis] == 1 && shape_.in[axis] == shape_.out[axis];
    if (same_) make_masks();
  }

  void run() {
    const int64_t multiplier = shape_.filters / shape_.channels;
    const int64_t work = rows_ * columns_ * taps_ * multiplier;
    const int64_t plane_bytes = checked_add(checked_add(layout_.plane_size(), shape_.in_size()), 2 * margin_ + kSlack);
    const int64_t sums_size = checked_add(checked_mul(rows_, stride_), kSlack);
    parallel_for(checked_mul(shape_.batch, shape_.channels),
                 std::max<int64_t>(1, kLeastWork / std::max<int64_t>(1, work)), [&](int64_t begin, int64_t end) {
                   Memory memory;
                   memory.sums = scratch<int32_t>(ScratchSlot::kTile, sums_size);
                   memory.plane = scratch<uint8_t>(ScratchSlot::kPackB, plane_bytes);
                   memory.offsets = scratch<int64_t>(ScratchSlot::kPackA, 2 * taps_);
                   memory.weights = reinterpret_cast<int32_t*>(memory.offsets + taps_);
                   if (!same_) layout_.kernel_offsets(memory.offsets);
                   for (int64_t item = begin; item < end; ++item) {
                     const uint8_t* x = windows(item, memory.plane);
                     for (int64_t m = 0; m < multiplier; ++m)
                       run_filter(x, item % shape_.channels * multiplier + m, item * multiplier + m, memory);
                   }
                 });
  }

 private:
  // Of one thread.
  struct Memory {
    int32_t* sums;
    uint8_t* plane;
    int64_t* offsets;
    int32_t* weights;
  };

  template <typename T>
  static T* scratch(ScratchSlot slot, int64_t count) {
    return static_cast<T*>(thread_scratch(slot, static_cast<size_t>(checked_mul(count, sizeof(T)))));
  }

  // For each tap: how far from an output its input stands, and 255 for the outputs whose input lies in the plane.
  void make_masks() {
    const int64_t height = shape_.in[0], width = shape_.in[1];
    mask_step_ = checked_add(height * width, kSlack);
    offsets_ = scratch<int64_t>(ScratchSlot::kImage, checked_add(taps_, checked_mul(taps_, mask_step_) / 8 + 1));
    auto* masks = reinterpret_cast<uint8_t*>(offsets_ + taps_);
    masks_ = masks;
    std::fill_n(masks, taps_ * mask_step_, uint8_t{0});
    for (int64_t tap = 0; tap < taps_; ++tap) {
      const int64_t down = tap / shape_.kernel[1] * shape_.dilation[0] - shape_.pad_begin[0];
      const int64_t right = tap % shape_.kernel[1] * shape_.dilation[1] - shape_.pad_begin[1];
      offsets_[tap] = down * width + right;
      margin_ = std::max(margin_, std::abs(offsets_[tap]));
      const int64_t first = std::max<int64_t>(0, -right), last = std::min(width, width - right);
      for (int64_t row = std::max<int64_t>(0, -down); row < std::min(height, height - down); ++row)
        if (first < last) std::fill_n(masks + tap * mask_step_ + row * width + first, last - first, uint8_t{255});
    }
    margin_ += kSlack;
  }

  // Where the kernels may read the plane `item`, with what they touch around it.
  const uint8_t* windows(int64_t item, uint8_t* copy) const {
    const int64_t size = shape_.in_size(), all = shape_.batch * shape_.channels * size;
    const uint8_t* x = static_cast<const uint8_t*>(problem_.x) + item * size;
    if (!same_ && !layout_.in_place()) {
      layout_.copy_plane(x, copy, static_cast<uint8_t>(problem_.x_zero), copy_row_plainly<uint8_t>);
      return copy;
    }
    if (same_ && item * size >= margin_ && (item + 1) * size + margin_ <= all) return x;
    std::memcpy(copy + margin_, x, static_cast<size_t>(size));
    return copy + margin_;
  }

  void run_filter(const uint8_t* x, int64_t filter, int64_t result, const Memory& memory) const {
    const int32_t w_zero = problem_.w_zeros ? problem_.w_zeros[filter] : problem_.w_zero;
    uint32_t total = 0;  // sums wrap
    for (int64_t t = 0; t < taps_; ++t) {
      memory.weights[t] = filters_[filter * taps_ + t] - w_zero;
      total += static_cast<uint32_t>(memory.weights[t]);
    }
    Int8Tail tail;
    tail.epilogue = problem_.epilogue;
    Int8Epilogue& e = tail.epilogue;
    e.per_row_bias = true;
    if (e.row_scales) e.row_scales += filter;
    if (e.bias) e.bias += filter;
    if (e.float_bias) e.float_bias += filter;
    auto* y = static_cast<uint8_t*>(problem_.y) + result * rows_ * columns_ * element_;
    const auto start = static_cast<int32_t>(0u - static_cast<uint32_t>(x_zero_) * total);
    if (same_) {
      const auto fill = static_cast<uint8_t>(problem_.x_zero);
      const int64_t outputs = rows_ * columns_;
      kernel_.plane({x, offsets_, masks_, mask_step_, memory.weights, taps_, fill, flip_, start}, outputs, memory.sums);
      for (int64_t at = 0; at < outputs; at += kFinished)
        finisher_.finish(1, static_cast<int>(std::min(kFinished, outputs - at)), memory.sums + at, outputs, tail,
                         y + at * element_, outputs);
      return;
    }
    const int64_t row_step = shape_.rank == 2 ? layout_.output_step(0) : 0;
    kernel_.rows({x, memory.offsets, memory.weights, taps_, flip_, start, row_step, columns_}, rows_, memory.sums,
                 stride_);
    for (int64_t row = 0; row < rows_; ++row)
      finisher_.finish(1, static_cast<int>(columns_), memory.sums + row * stride_, stride_, tail,
                       y + row * columns_ * element_, columns_);
  }

  const ConvInt8& problem_;
  const ConvShape& shape_;
  const int32_t* filters_;
  const DepthwiseInt8Kernel& kernel_;
  const GemmInt8Kernel& finisher_;
  const WindowLayout layout_;
  const int64_t taps_, rows_, columns_, stride_;
  const uint8_t flip_;
  const int32_t x_zero_;
  int64_t element_;
  bool same_;
  int64_t* offsets_ = nullptr;
  const uint8_t* masks_ = nullptr;
  int64_t mask_step_ = 0;
  int64_t margin_ = 0;
};

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

void depthwise_int8(const ConvInt8& problem, const void* packed, Isa isa) { Depthwise(problem, packed, isa).run(); }

}  // namespace sx
