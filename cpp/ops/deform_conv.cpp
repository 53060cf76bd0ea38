// A convolution that reads each tap at a learnt offset, between pixels, and weighs it with a mask.
#include <algorithm>
#include <cmath>
#include <optional>

#include "base/scratch.h"
#include "ops/conv.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
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

// --- gradients

std::vector<int64_t> taps_along(const WindowSpec& window, int axis, int64_t kernel) {
  std::vector<int64_t> taps;
  for (int64_t k = 0; k < kernel; ++k) taps.push_back(k * window.dilation(axis) - window.pad_begin(axis));
  return taps;
}

// The sum over the four pixels around (y, x), [batch, groups, 1, n], of the planes [batch, groups, channels, pixels].
Expr samples(GradientContext& c, const Expr& planes, const Expr& y, const Expr& x, const Expr& height,
             const Expr& width) {
  const DType dtype = y.dtype();
  const Expr zero = c.scalar(0, dtype);
  const Expr shape = c.concat({c.extents(planes, 0, 3), c.extent(x, 3)}, 0);
  const auto corner = [&](const Expr& at, const Expr& base, int step, const Expr& extent) {
    const Expr place = step == 0 ? base : base + 1.0;
    const Expr last = c.cast(extent, dtype) - 1.0;
    const Expr inside = c.op("And", {c.op("GreaterOrEqual", {place, zero}), c.op("LessOrEqual", {place, last})});
    const Expr part = at - base;
    const Expr weight = (step == 0 ? 1.0 - part : part) * c.cast(inside, dtype);
    return std::pair(c.cast(c.op("Min", {c.op("Max", {place, zero}), last}), DType::kInt64), weight);
  };
  const Expr top = c.op("Floor", {y}), left = c.op("Floor", {x});
  Expr sum;
  for (int i = 0; i < 4; ++i) {
    const auto [row, down] = corner(y, top, i / 2, height);
    const auto [column, right] = corner(x, left, i % 2, width);
    const Expr places = c.op("Expand", {row * width + column, shape});
    const Expr part = c.op("GatherElements", {planes, places}, {{"axis", int64_t{3}}}) * (down * right);
    sum = sum ? sum + part : part;
  }
  return sum;
}

// The samples under every tap as columns, times the weights.
void differentiate_deform_conv(GradientContext& c) {
  const ConvSpec spec(c);
  const int64_t offset_groups = c.attr_int("offset_group");
  std::vector<int64_t> kernel = spec.window.kernel();
  const auto& w = c.in(kW).type().shape;
  if (kernel.empty() && w && (*w)[2].known() && (*w)[3].known()) kernel = {(*w)[2].value(), (*w)[3].value()};
  SX_CHECK(c, kernel.size() == 2, "has no gradient where the size of its kernel is unknown");
  const int64_t rows = kernel[0], columns = kernel[1], taps = rows * columns;
  const Expr x = c.in(kX);
  const DType dtype = x.dtype();
  const Expr down = c.extent(c.grad(), 2), across = c.extent(c.grad(), 3), positions = down * across;
  // Where each tap lies without offsets: [taps, positions] for both axes.
  const auto base = [&](int axis, const std::vector<int64_t>& tap, const Expr& count) {
    const Expr moved = c.iota(count) * c.ints({spec.window.stride(axis)});
    const Expr line = c.unsqueeze(moved, axis == 0 ? std::vector<int64_t>{0, 1, 3} : std::vector<int64_t>{0, 1, 2});
    const Expr offsets =
        c.unsqueeze(c.ints(tap), axis == 0 ? std::vector<int64_t>{1, 2, 3} : std::vector<int64_t>{0, 2, 3});
    const Expr wide = c.op("Expand", {line + offsets, c.concat({c.ints({rows, columns}), down, across}, 0)});
    return c.cast(c.reshape(wide, {taps, -1}), dtype);
  };
  const Expr offset = c.reshape_to(c.in(kOffset), {c.extent(x, 0), c.ints({offset_groups, taps, 2}), positions});
  const auto moved = [&](int axis, const Expr& from) {
    const Expr part =
        c.op("Gather", {offset, c.constant(Tensor::scalar<int64_t>(axis))}, {{"axis", int64_t{3}}}) + from;
    return c.reshape(part, {0, 0, 1, -1});
  };
  const Expr pixels = c.extent(x, 2) * c.extent(x, 3);
  const Expr planes = c.reshape_to(x, {c.extent(x, 0), c.ints({offset_groups, -1}), pixels});
  Expr found = samples(c, planes, moved(0, base(0, taps_along(spec.window, 0, rows), down)),
                       moved(1, base(1, taps_along(spec.window, 1, columns), across)), c.extent(x, 2), c.extent(x, 3));
  if (c.in(kMask)) found = found * c.reshape(c.in(kMask), {0, offset_groups, 1, -1});
  const Expr groups = c.ints({spec.groups});
  const Expr stack = c.reshape_to(found, {c.extent(x, 0), groups, c.ints({-1}), positions});
  const Expr filters = c.op("Div", {c.extent(c.in(kW), 0), groups});
  const Expr weights = c.reshape_to(c.in(kW), {groups, filters, c.ints({-1})});
  Expr y = c.reshape_like(c.op("MatMul", {weights, stack}), c.grad());
  if (c.in(kBias)) y = y + c.unsqueeze(c.in(kBias), {1, 2});
  c.give_through({y});
}

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
              .kernel([](Prepare& p) -> Kernel { return DeformConv(p); })
              .gradient(differentiate_deform_conv));
}

}  // namespace sx
