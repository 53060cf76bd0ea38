// A convolution that reads each tap at a learnt offset, between pixels, and weighs it with a mask.
#include <algorithm>
#include <cmath>
#include <optional>

#include "base/scratch.h"
#include "ops/conv.h"
#include "ops/float_io.h"
#include "ops/matmul.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Inputs by place.
enum : int { kX, kW, kOffset, kBias, kMask };

void infer(InferContext& c) {
  infer_conv(c, kX, kW, c.dtype(kX));
  for (int i : {kX, kW, kOffset, kMask})
    SX_CHECK(c, !c.has_shape(i) || c.rank(i) == 4, "input ", i, " is ", c.type(i).str(), "; four axes expected");
}

// The value of a plane between four pixels; pixels outside count as zero.
template <typename T>
T sample(const T* plane, int64_t height, int64_t width, T y, T x) {
  if (!(y > T{-1} && y < static_cast<T>(height) && x > T{-1} && x < static_cast<T>(width))) return T{0};
  const auto top = static_cast<int64_t>(std::floor(y)), left = static_cast<int64_t>(std::floor(x));
  const T down = y - static_cast<T>(top), right = x - static_cast<T>(left);
  const auto at = [&](int64_t row, int64_t column) {
    return row >= 0 && row < height && column >= 0 && column < width ? plane[row * width + column] : T{0};
  };
  return (at(top, left) * (T{1} - right) + at(top, left + 1) * right) * (T{1} - down) +
         (at(top + 1, left) * (T{1} - right) + at(top + 1, left + 1) * right) * down;
}

template <typename T>
struct Problem {
  ConvShape shape;
  int64_t offset_groups;
  const T *x, *w, *offset, *bias, *mask;  // bias and mask may be null
  T* y;
};

// The samples of one image under every tap, [channels * taps, positions].
template <typename T>
void gather(const Problem<T>& p, int64_t image, T* columns) {
  const ConvShape& s = p.shape;
  const int64_t taps = s.kernel_size(), positions = s.out_size();
  const int64_t channels_per_offset = s.channels / p.offset_groups;
  parallel_for(s.channels * taps, std::max<int64_t>(1, 4096 / std::max<int64_t>(1, positions)),
               [&](int64_t from, int64_t to) {
                 for (int64_t row = from; row < to; ++row) {
                   const int64_t channel = row / taps, tap = row % taps;
                   const int64_t group = image * p.offset_groups + channel / channels_per_offset;
                   const T* plane = p.x + (image * s.channels + channel) * s.in_size();
                   const T* down = p.offset + (group * taps + tap) * 2 * positions;
                   const T* right = down + positions;
                   const T* weight = p.mask == nullptr ? nullptr : p.mask + (group * taps + tap) * positions;
                   const int64_t tap_y = tap / s.kernel[1] * s.dilation[0] - s.pad_begin[0];
                   const int64_t tap_x = tap % s.kernel[1] * s.dilation[1] - s.pad_begin[1];
                   for (int64_t i = 0; i < positions; ++i) {
                     const T value =
                         sample(plane, s.in[0], s.in[1], static_cast<T>(i / s.out[1] * s.stride[0] + tap_y) + down[i],
                                static_cast<T>(i % s.out[1] * s.stride[1] + tap_x) + right[i]);
                     columns[row * positions + i] = weight == nullptr ? value : value * weight[i];
                   }
                 }
               });
}

template <typename T>
void compute(const Problem<T>& p) {
  const ConvShape& s = p.shape;
  const int64_t positions = s.out_size();
  const int64_t depth = s.channels / s.groups * s.kernel_size();
  const int64_t filters = s.filters / s.groups;
  const auto bytes = static_cast<size_t>(checked_mul(checked_mul(s.channels * s.kernel_size(), positions), sizeof(T)));
  T* columns = static_cast<T*>(thread_scratch(ScratchSlot::kOperator, bytes));
  for (int64_t image = 0; image < s.batch; ++image) {
    gather(p, image, columns);
    T* y = p.y + image * s.filters * positions;
    for (int64_t group = 0; group < s.groups; ++group)
      multiply(DenseProduct<T>{filters, positions, depth, p.w + group * filters * depth, depth,
                               columns + group * depth * positions, positions, false, y + group * filters * positions,
                               positions});
    for (int64_t filter = 0; filter < s.filters && p.bias != nullptr; ++filter)
      for (int64_t i = 0; i < positions; ++i) y[filter * positions + i] += p.bias[filter];
  }
}

class DeformConv {
 public:
  explicit DeformConv(Prepare& p) : node_(p.node()), spec_(p), offset_groups_(p.attr_int("offset_group")) {
    SX_CHECK(p, offset_groups_ >= 1, "attribute 'offset_group' is ", offset_groups_, "; at least 1 expected");
  }

  void operator()(Run& run) const {
    const ConvShape s = conv_shape(node_, spec_, run.in(kX).shape(), run.in(kW).shape());
    SX_CHECK(run, s.rank == 2, "convolves ", run.in(kX).shape().str(), "; four axes expected");
    SX_CHECK(run, s.channels % offset_groups_ == 0, "has ", s.channels, " channels, which ", offset_groups_,
             " offset groups cannot share");
    const int64_t taps = s.kernel_size();
    check(run, kOffset, Shape{s.batch, 2 * offset_groups_ * taps, s.out[0], s.out[1]});
    check(run, kBias, Shape{s.filters});
    check(run, kMask, Shape{s.batch, offset_groups_ * taps, s.out[0], s.out[1]});
    Tensor& y = run.out(0, conv_result(s));
    if (y.size() == 0) return;
    if (y.dtype() == DType::kFloat64) {
      const auto data = [&](int i) { return run.has(i) ? run.in(i).data<double>() : nullptr; };
      return compute(Problem<double>{s, offset_groups_, data(kX), data(kW), data(kOffset), data(kBias), data(kMask),
                                     y.data<double>()});
    }
    std::optional<FloatIn> inputs[kMask + 1];
    const auto data = [&](int i) -> const float* { return run.has(i) ? inputs[i].emplace(run.in(i)).data() : nullptr; };
    const FloatOut out(y);
    compute(Problem<float>{s, offset_groups_, data(kX), data(kW), data(kOffset), data(kBias), data(kMask), out.data()});
    out.store();
  }

 private:
  static void check(const Run& run, int i, const Shape& expected) {
    if (run.has(i))
      SX_CHECK(run, run.in(i).shape() == expected, "input ", i, " is ", run.in(i).shape().str(), "; ", expected.str(),
               " expected");
  }

  NodeView node_;
  ConvSpec spec_;
  int64_t offset_groups_;
};

}  // namespace

void define_deform_conv(OpList& ops) {
  ops.add(OpDef("DeformConv")
              .since(22, 19)
              .optional_attr("dilations", AttrKind::kInts)
              .attr("group", 1)
              .optional_attr("kernel_shape", AttrKind::kInts)
              .attr("offset_group", 1)
              .optional_attr("pads", AttrKind::kInts)
              .optional_attr("strides", AttrKind::kInts)
              .in("X", "T", kFloats)
              .in("W", "T", kFloats)
              .in("offset", "T", kFloats)
              .optional_in("B", "T", kFloats)
              .optional_in("mask", "T", kFloats)
              .out("Y", "T")
              .infer(infer)
              .kernel([](Prepare& p) -> Kernel { return DeformConv(p); }));
}

}  // namespace sx
