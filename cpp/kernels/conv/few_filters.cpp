// Convolutions of a few filters: the positions of an image cut into vectors, and those into tasks.
#include "kernels/conv/few_filters.h"

#include <algorithm>

#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/conv/conv_kernel.h"
#include "kernels/conv/image_windows.h"
#include "kernels/gemm/gemm_kernel.h"

namespace sx {
namespace {

// The lanes of a vector of any tier: rows of outputs must be as long.
constexpr int64_t kLongestVector = 16;
constexpr int64_t kLeastWork = 200'000;  // multiply-adds worth a task
constexpr int64_t kPlaces = 48;          // vectors whose places are found at a time

int64_t filters_of_group(const ConvShape& shape) { return shape.filters / shape.groups; }
int64_t depth_of(const ConvShape& shape) { return checked_mul(shape.channels / shape.groups, shape.kernel_size()); }

// What the weights of a tap are padded to.
int64_t width_of(const ConvShape& shape) {
  const int64_t filters = filters_of_group(shape);
  return filters <= 2 ? filters : filters <= 4 ? 4 : kFewFilters;
}

// Goes through the vectors of outputs of an image from number `first` on.
class Places {
 public:
  Places(const ConvShape& shape, const WindowLayout& layout, int64_t lanes, int64_t first)
      : shape_(shape), layout_(layout), lanes_(lanes), columns_(shape.out[shape.rank - 1]) {
    const int64_t in_row = (columns_ + lanes - 1) / lanes;
    row_ = first / in_row;
    column_ = first % in_row * lanes;
    int64_t row = row_;
    for (int axis = shape.rank - 2; axis >= 0; --axis) {
      position_[axis] = row % shape.out[axis];
      row /= shape.out[axis];
    }
  }

  VectorPlace next() {
    // The last vector of a row begins early enough to end with it.
    const int64_t begin = std::min(column_, columns_ - lanes_);
    const VectorPlace place{layout_.output_offset(position_) + begin, row_ * columns_ + begin,
                            static_cast<int>(column_ - begin)};
    column_ += lanes_;
    if (column_ < columns_) return place;
    column_ = 0;
    ++row_;
    for (int axis = shape_.rank - 2; axis >= 0; --axis) {
      if (++position_[axis] < shape_.out[axis]) break;
      position_[axis] = 0;
    }
    return place;
  }

 private:
  const ConvShape& shape_;
  const WindowLayout& layout_;
  const int64_t lanes_, columns_;
  int64_t row_, column_;
  int64_t position_[kMaxSpatialRank] = {};  // 0 along the last axis
};

}  // namespace

bool has_few_filters(const ConvShape& shape) {
  return filters_of_group(shape) <= kFewFilters && !is_pointwise(shape) && depth_of(shape) > 1 &&
         shape.out[shape.rank - 1] >= kLongestVector;
}

int64_t packed_few_filters_size(const ConvShape& shape) {
  return checked_mul(checked_mul(shape.groups, depth_of(shape)), width_of(shape));
}

void pack_few_filters(const ConvShape& shape, const float* weights, float* packed) {
  const int64_t filters = filters_of_group(shape), width = width_of(shape), depth = depth_of(shape);
  for (int64_t group = 0; group < shape.groups; ++group, weights += filters * depth) {
    for (int64_t tap = 0; tap < depth; ++tap, packed += width) {
      for (int64_t f = 0; f < width; ++f) packed[f] = f < filters ? weights[f * depth + tap] : 0.0f;
    }
  }
}

void conv_few_filters(const ConvShape& shape, const float* x, const float* packed, float* y, const Epilogue& epilogue,
                      Isa isa) {
  const WindowLayout layout(shape);
  const ConvKernel& kernel = conv_kernel(isa);
  const FilterTail tail = filter_tail(epilogue, isa);
  const int64_t lanes = gemm_kernel(isa).lanes;
  const int64_t filters = filters_of_group(shape), width = width_of(shape), depth = depth_of(shape);
  const int64_t size = shape.out_size();
  const int64_t columns = shape.out[shape.rank - 1];
  const int64_t vectors = size / columns * ((columns + lanes - 1) / lanes);
  const int64_t group_size = shape.channels / shape.groups * layout.plane_size();
  // Whole tiles of vectors.
  const int64_t wanted = kLeastWork / std::max<int64_t>(1, checked_mul(depth, width) * lanes) + 1;
  const int64_t length = (wanted + kPlaces - 1) / kPlaces * kPlaces;
  const int64_t tasks = (vectors + length - 1) / length;
  for_image_windows(shape, layout, x, isa, [&](const ImageWindows& images) {
    parallel_for(checked_mul(images.count * shape.groups, tasks), 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t item = task / tasks, group = item % shape.groups;
        const int64_t to = (images.first * shape.groups + item) * filters * size;
        FewFilters work;
        work.x = images.windows + item * group_size;
        work.weights = packed + group * depth * width;
        work.offsets = images.offsets;
        work.taps = depth;
        work.filters = static_cast<int>(filters);
        work.width = static_cast<int>(width);
        work.y = y + to;
        work.y_step = size;
        work.bias = epilogue.row_bias ? epilogue.row_bias + group * filters : nullptr;
        work.residual = epilogue.residual ? epilogue.residual + to : nullptr;
        work.tail = &tail;
        const int64_t first = task % tasks * length, last = std::min(vectors, first + length);
        Places places(shape, layout, lanes, first);
        VectorPlace found[kPlaces];
        for (int64_t at = first; at < last; at += kPlaces) {
          const int64_t count = std::min(kPlaces, last - at);
          for (int64_t i = 0; i < count; ++i) found[i] = places.next();
          kernel.few_filters(work, found, count);
        }
      }
    });
  });
}

}  // namespace sx
