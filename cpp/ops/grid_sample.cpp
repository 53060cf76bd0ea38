// y[n, c, p] = x[n, c] sampled at the position grid[n, p], which counts from -1 to 1 along each spatial axis, last axis
// first.
#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "ops/elements.h"
#include "ops/grid_sample.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {

SampleSettings sample_settings(const NodeView& node) {
  SampleSettings s{};
  const std::string& mode = node.attr_string("mode");
  SX_CHECK(node, mode == "nearest" || mode == "linear" || mode == "cubic", "mode is '", mode,
           "'; nearest, linear or cubic expected");
  s.mode = mode == "nearest" ? SampleMode::kNearest : mode == "linear" ? SampleMode::kLinear : SampleMode::kCubic;
  const std::string& padding = node.attr_string("padding_mode");
  SX_CHECK(node, padding == "zeros" || padding == "border" || padding == "reflection", "padding_mode is '", padding,
           "'; zeros, border or reflection expected");
  s.padding = padding == "zeros"    ? SamplePadding::kZeros
              : padding == "border" ? SamplePadding::kBorder
                                    : SamplePadding::kReflection;
  s.align_corners = node.attr_int("align_corners") != 0;
  return s;
}

namespace {

void infer_grid_sample(InferContext& c) {
  sample_settings(c);
  if (!c.has_shape(0) || !c.has_shape(1)) return c.out(0, c.dtype(0), std::nullopt);
  const SymShape& x = c.shape(0);
  const SymShape& grid = c.shape(1);
  SX_CHECK(c, x.size() >= 3 && grid.size() == x.size(), "X is ", c.type(0).str(), " and grid ", c.type(1).str(),
           "; equal ranks of 3 or more expected");
  const Dim axes(static_cast<int64_t>(x.size()) - 2);
  SX_CHECK(c, !grid.back().known() || grid.back() == axes, "grid is ", c.type(1).str(), "; ", axes.str(),
           " coordinates expected");
  SymShape shape{x[0], x[1]};
  shape.insert(shape.end(), grid.begin() + 1, grid.end() - 1);
  c.out(0, c.dtype(0), shape);
}

template <typename A>
A reflect(A x, A low, A high) {
  const A range = high - low;
  if (!(range > 0)) return low;
  const A distance = x < low ? low - x : x > high ? x - high : A(-1);
  if (distance < 0) return x;
  const A turns = std::floor(distance / range);
  const A rest = distance - turns * range;
  const bool even = std::fmod(turns, A(2)) == 0;
  return (x < low) == even ? low + rest : high - rest;
}

// The elements along one axis that a position is made of, with their weights; index -1 stands for zero.
template <typename A>
struct AxisTaps {
  int64_t index[4];
  A weight[4];
};

template <typename A>
AxisTaps<A> axis_taps(const SampleSettings& s, A normalized, int64_t extent) {
  const A last = static_cast<A>(extent - 1);
  const A low = s.align_corners ? A(0) : A(-0.5);
  const A high = s.align_corners ? last : last + A(0.5);
  A x = s.align_corners ? (normalized + 1) / 2 * last : ((normalized + 1) * static_cast<A>(extent) - 1) / 2;
  // NaN and infinity are far outside.
  constexpr A kFar = A(1e9);
  if (!(x > -kFar)) x = -kFar;
  if (x > kFar) x = kFar;
  if (s.mode == SampleMode::kNearest) x = std::nearbyint(x);
  if (x < low || x > high) {
    // Mode cubic clamps the places that it reads instead, as PyTorch and ONNX Runtime do.
    if (s.padding == SamplePadding::kBorder && s.mode != SampleMode::kCubic) x = std::clamp(x, A(0), last);
    if (s.padding == SamplePadding::kReflection) x = reflect(x, low, high);
  }
  auto resolve = [&](int64_t i) {
    if (s.padding == SamplePadding::kZeros) return i >= 0 && i < extent ? i : -1;
    if (s.padding == SamplePadding::kReflection) i = static_cast<int64_t>(reflect(static_cast<A>(i), low, high));
    return std::clamp<int64_t>(i, 0, extent - 1);
  };
  AxisTaps<A> taps{};
  if (s.mode == SampleMode::kNearest) {
    taps.index[0] = resolve(static_cast<int64_t>(x));
    taps.weight[0] = 1;
    return taps;
  }
  const A base = std::floor(x);
  const A part = x - base;
  const auto first = static_cast<int64_t>(base);
  if (s.mode == SampleMode::kLinear) {
    taps.index[0] = resolve(first);
    taps.index[1] = resolve(first + 1);
    taps.weight[0] = 1 - part;
    taps.weight[1] = part;
    return taps;
  }
  constexpr A kA = A(-0.75);
  auto near = [&](A d) { return ((kA + 2) * d - (kA + 3)) * d * d + 1; };
  auto far = [&](A d) { return ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA; };
  for (int k = 0; k < 4; ++k) taps.index[k] = resolve(first - 1 + k);
  taps.weight[0] = far(part + 1);
  taps.weight[1] = near(part);
  taps.weight[2] = near(1 - part);
  taps.weight[3] = far(2 - part);
  return taps;
}

template <typename T, typename A>
T from_sum(A sum) {
  if constexpr (std::is_integral_v<T>) {
    const A rounded = std::trunc(sum);
    const A limit = std::ldexp(A(1), std::numeric_limits<T>::digits);
    if (rounded >= limit) return std::numeric_limits<T>::max();
    if (!(rounded > static_cast<A>(std::numeric_limits<T>::min()))) return std::numeric_limits<T>::min();
    return static_cast<T>(rounded);
  } else {
    return T(static_cast<Arithmetic<T>>(sum));
  }
}

constexpr int64_t kBlock = 64;  // positions whose taps are kept at a time, for all channels
constexpr int64_t kMaxTaps = 4096;

// The elements of one sample that each of `count` positions is made of: offsets into a channel, and weights.
template <typename A>
void block_taps(const SampleSettings& s, const Shape& x, const A* positions, int64_t count, int64_t taps,
                int64_t* offsets, A* weights) {
  const int axes = x.rank() - 2;
  const int64_t per_axis = s.mode == SampleMode::kNearest ? 1 : s.mode == SampleMode::kLinear ? 2 : 4;
  for (int64_t p = 0; p < count; ++p) {
    int64_t* at = offsets + p * taps;
    A* weight = weights + p * taps;
    at[0] = 0;
    weight[0] = 1;
    int64_t made = 1;
    int64_t stride = 1;
    // The last spatial axis has the first coordinate; each axis multiplies the taps made so far, back to front.
    for (int i = 0; i < axes; ++i) {
      const int64_t extent = x[x.rank() - 1 - i];
      const AxisTaps<A> axis = axis_taps<A>(s, positions[p * axes + i], extent);
      for (int64_t k = per_axis - 1; k >= 0; --k) {
        for (int64_t m = 0; m < made; ++m) {
          const bool inside = axis.index[k] >= 0;
          at[k * made + m] = inside ? at[m] + axis.index[k] * stride : 0;
          weight[k * made + m] = inside ? weight[m] * axis.weight[k] : A(0);
        }
      }
      made *= per_axis;
      stride *= extent;
    }
  }
}

// T is only moved by mode nearest, and blended by the others, which take numbers and complex numbers. `parts` elements
// lie side by side at each place: those of a complex number.
template <typename T, typename A>
void sample_block(const SampleSettings& s, const T* image, int64_t parts, int64_t count, int64_t taps,
                  const int64_t* offsets, const A* weights, T* to) {
  for (int64_t p = 0; p < count; ++p) {
    for (int64_t part = 0; part < parts; ++part) {
      if (s.mode == SampleMode::kNearest) {
        to[p * parts + part] = weights[p] == A(0) ? T{} : image[offsets[p] * parts + part];
        continue;
      }
      if constexpr (std::is_arithmetic_v<T> || is_half_type<T>) {
        A sum = 0;
        for (int64_t k = p * taps; k < (p + 1) * taps; ++k)
          if (weights[k] != A(0))
            sum += weights[k] * static_cast<A>(static_cast<Arithmetic<T>>(image[offsets[k] * parts + part]));
        to[p * parts + part] = from_sum<T>(sum);
      }
    }
  }
}

template <typename A>
void load_positions(const Tensor& grid, int64_t first, int64_t count, A* to) {
  auto copy = [&](auto zero) {
    using G = decltype(zero);
    const G* from = grid.data<G>() + first;
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<A>(static_cast<Arithmetic<G>>(from[i]));
  };
  switch (grid.dtype()) {
    case DType::kFloat64: return copy(double{});
    case DType::kFloat16: return copy(Float16{});
    case DType::kBFloat16: return copy(BFloat16{});
    default: return copy(float{});
  }
}

template <typename T, typename A>
void sample(const SampleSettings& s, const Tensor& x, const Tensor& grid, Tensor& y, int64_t parts) {
  const int axes = x.rank() - 2;
  const int64_t per_axis = s.mode == SampleMode::kNearest ? 1 : s.mode == SampleMode::kLinear ? 2 : 4;
  int64_t taps = 1;
  for (int i = 0; i < axes; ++i) taps *= per_axis;
  const int64_t channels = x.dim(1);
  const int64_t pixels = x.shape().size(2, x.rank());
  const int64_t points = y.shape().size(2, y.rank());
  const int64_t blocks = (points + kBlock - 1) / kBlock;
  const T* from = static_cast<const T*>(x.raw());
  T* to = static_cast<T*>(y.raw());
  parallel_for(x.dim(0) * blocks, std::max<int64_t>(16384 / (kBlock * taps * channels), 1),
               [&](int64_t begin, int64_t end) {
                 auto* offsets = static_cast<int64_t*>(
                     thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(kBlock * taps) * sizeof(int64_t)));
                 auto* weights = static_cast<A*>(
                     thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(kBlock * (taps + axes)) * sizeof(A)));
                 A* positions = weights + kBlock * taps;
                 for (int64_t block = begin; block < end; ++block) {
                   const int64_t sample = block / blocks;
                   const int64_t first = block % blocks * kBlock;
                   const int64_t count = std::min(kBlock, points - first);
                   load_positions(grid, (sample * points + first) * axes, count * axes, positions);
                   block_taps(s, x.shape(), positions, count, taps, offsets, weights);
                   for (int64_t c = sample * channels; c < (sample + 1) * channels; ++c)
                     sample_block(s, from + c * pixels * parts, parts, count, taps, offsets, weights,
                                  to + (c * points + first) * parts);
                 }
               });
}

// Mode nearest moves elements of any type; the others blend them, bools as the integers that they are stored as.
void sample_any(const SampleSettings& s, const Tensor& x, const Tensor& grid, Tensor& y) {
  const bool wide = grid.dtype() == DType::kFloat64;
  if (s.mode == SampleMode::kNearest)
    return with_storage(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      if (wide) sample<T, double>(s, x, grid, y, 1);
      else sample<T, float>(s, x, grid, y, 1);
    });
  const DType part = x.dtype() == DType::kComplex64    ? DType::kFloat32
                     : x.dtype() == DType::kComplex128 ? DType::kFloat64
                     : x.dtype() == DType::kBool       ? DType::kUInt8
                                                       : x.dtype();
  const int64_t parts = kComplex.has(x.dtype()) ? 2 : 1;
  with_number(part, [&](auto zero) {
    using T = decltype(zero);
    if (wide || std::is_same_v<T, double>) sample<T, double>(s, x, grid, y, parts);
    else if constexpr (!std::is_same_v<T, double>) sample<T, float>(s, x, grid, y, parts);
  });
}

Kernel make_grid_sample(Prepare& p) {
  const SampleSettings s = sample_settings(p);
  SX_CHECK(p, s.mode == SampleMode::kNearest || p.dtype(0) != DType::kString,
           "strings can only be sampled with mode nearest");
  return [s](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor& grid = run.in(1);
    SX_CHECK(run,
             x.rank() >= 3 && grid.rank() == x.rank() && grid.dim(0) == x.dim(0) && grid.shape().back() == x.rank() - 2,
             "X has shape ", x.shape().str(), " and grid ", grid.shape().str(), "; grid should be [N, ..., ",
             x.rank() - 2, "] of the same rank");
    const int axes = x.rank() - 2;
    SX_CHECK(run, s.mode == SampleMode::kNearest || std::pow(s.mode == SampleMode::kLinear ? 2 : 4, axes) <= kMaxTaps,
             "interpolates along ", axes, " axes at once, which is not supported");
    Shape shape{x.dim(0), x.dim(1)};
    for (int i = 1; i + 1 < grid.rank(); ++i) shape.push_back(grid.dim(i));
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    SX_CHECK(run, x.size() > 0, "X of shape ", x.shape().str(), " has nothing to sample");
    sample_any(s, x, grid, y);
  };
}

void rename_modes(UpgradeContext& c) {
  const std::string mode = c.take<std::string>("mode", "bilinear");
  c.set("mode", mode == "bilinear" ? std::string("linear") : mode == "bicubic" ? std::string("cubic") : mode);
}

}  // namespace

void define_grid_sample(OpList& ops) {
  ops.add(OpDef("GridSample")
              .since(22, 16)
              .attr("align_corners", 0)
              .attr("mode", "linear")
              .attr("padding_mode", "zeros")
              .in("X", "T1", kNumbers | kComplex | DType::kBool | DType::kString)
              .in("grid", "T2", kFloats)
              .out("Y", "T1")
              .infer(infer_grid_sample)
              .kernel(make_grid_sample)
              .gradient(differentiate_grid_sample)
              .upgrade(20, rename_modes));
}

}  // namespace sx
