// y = x at another resolution: nearest, linear or cubic interpolation along any axes. Upsample of older opsets becomes
// Resize.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/scratch.h"
#include "ops/elements.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/resize_plan.h"
#include "ops/upgrade.h"
#include "ops/vector16.h"

namespace sx {
namespace {

void infer_resize(InferContext& c) {
  const ResizeSettings s = resize_settings(c);
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  SymShape shape = c.shape(0);
  const Tensor* scales = c.constant(2);
  const bool by_scale = c.has(2) && !(scales != nullptr && scales->size() == 0);
  const auto sizes = c.has(3) ? c.elements(3) : std::nullopt;
  const bool crops = s.rule.coordinates == ResizeCoordinates::kTfCropAndResize;
  const auto concrete_x = concrete(c.shape(0));
  ResizeRequest request;
  if (scales != nullptr) request.scales = resize_numbers(scales);
  if (c.constant(1) != nullptr) request.roi = resize_numbers(c.constant(1));
  const auto known_sizes = c.has(3) ? c.integers(3) : std::nullopt;
  if (known_sizes) request.sizes = *known_sizes;
  const bool all_known =
      (!c.has(2) || scales != nullptr) && (!c.has(3) || known_sizes) && (!crops || c.constant(1) != nullptr);
  if (concrete_x && all_known) {
    const auto plan = resolve_resize(s, c, *concrete_x, request, [&](const auto&... parts) { c.error(parts...); });
    for (size_t i = 0; i < plan.size(); ++i) shape[i] = Dim(plan[i].to);
    return c.out(0, c.dtype(0), shape);
  }
  std::vector<size_t> axes;
  if (s.axes) {
    for (int64_t axis : *s.axes) axes.push_back(static_cast<size_t>(c.axis(axis, c.rank(0))));
  } else {
    for (size_t i = 0; i < shape.size(); ++i) axes.push_back(i);
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    Dim& extent = shape[axes[i]];
    if (by_scale) {
      const double scale = i < request.scales.size() ? request.scales[i] : 0;
      if (scale >= 1 && scale == std::floor(scale) && scale < 1e6 && !crops)
        extent = extent * Dim(static_cast<int64_t>(scale));
      else if (scale > 0 && 1 / scale == std::floor(1 / scale) && scale > 1e-6 && !crops)
        extent = floor_div(extent, Dim(static_cast<int64_t>(1 / scale)));
      else extent = Dim();
    } else {
      extent = sizes && s.aspect == ResizeAspect::kStretch && i < sizes->size() ? (*sizes)[i] : Dim();
    }
  }
  c.out(0, c.dtype(0), shape);
}

// --- nearest: elements are moved

// Every element twice.
template <typename T>
void double_run(T* to, const T* from, int64_t count) {
  int64_t i = 0;
  if constexpr (std::is_integral_v<T>) {
    for (; i + Vector16<T>::kCount <= count; i += Vector16<T>::kCount) {
      const auto v = Vector16<T>::load(from + i);
      interleave_low(v, v).store(to + 2 * i);
      interleave_high(v, v).store(to + 2 * i + Vector16<T>::kCount);
    }
  }
  for (; i < count; ++i) to[2 * i] = to[2 * i + 1] = from[i];
}

// Whole loops over the axes before the last resized one, then a line of positions, each `unit` elements long.
template <typename T>
void resize_nearest(const std::vector<ResizeAxis>& plan, const std::vector<ResizeTaps>& taps, T* to, const T* from,
                    const T& extrapolation) {
  size_t resized = plan.size();
  while (resized > 0 && taps[resized - 1].indices.empty()) --resized;
  int64_t unit = 1;
  for (size_t i = resized; i < plan.size(); ++i) unit *= plan[i].to;
  if (resized == 0) return copy_run(to, from, unit);
  const size_t line = resized - 1;
  const ResizeTaps& columns = taps[line];
  const int64_t width = plan[line].to;
  // The loops, with neighbours that keep their extents merged.
  struct Loop {
    int64_t to, from;
    const ResizeTaps* taps;
  };
  std::array<Loop, kMaxRank> loops;
  size_t depth = 0;
  int64_t rows = 1;
  for (size_t i = 0; i < line; ++i) {
    rows *= plan[i].to;
    if (depth > 0 && taps[i].indices.empty() && loops[depth - 1].taps->indices.empty()) {
      loops[depth - 1].to *= plan[i].to;
      loops[depth - 1].from *= plan[i].from;
    } else {
      loops[depth++] = {plan[i].to, plan[i].from, &taps[i]};
    }
  }
  const bool doubles = unit == 1 && width == 2 * plan[line].from && columns.outside.empty() && [&] {
    for (int64_t i = 0; i < width; ++i)
      if (columns.indices[static_cast<size_t>(i)] != i / 2) return false;
    return true;
  }();
  parallel_for(rows, move_grain(width * unit * static_cast<int64_t>(sizeof(T))), [&](int64_t begin, int64_t end) {
    int64_t previous = -1;
    for (int64_t row = begin; row < end; ++row) {
      T* write = to + row * width * unit;
      int64_t source = 0;
      int64_t stride = 1;
      int64_t rest = row;
      bool outside = false;
      for (size_t i = depth; i-- > 0;) {
        const Loop& loop = loops[i];
        int64_t at = i == 0 ? rest : rest % loop.to;
        if (i > 0) rest /= loop.to;
        outside = outside || (!loop.taps->outside.empty() && loop.taps->outside[static_cast<size_t>(at)]);
        if (!loop.taps->indices.empty()) at = loop.taps->indices[static_cast<size_t>(at)];
        source += at * stride;
        stride *= loop.from;
      }
      if (outside) {
        fill_run(write, width * unit, extrapolation);
        continue;
      }
      if (source == previous) {
        copy_run(write, write - width * unit, width * unit);
        continue;
      }
      previous = -1;
      const T* read = from + source * plan[line].from * unit;
      if (doubles) {
        double_run(write, read, width / 2);
      } else if (unit == 1) {
        for (int64_t i = 0; i < width; ++i) write[i] = read[columns.indices[static_cast<size_t>(i)]];
      } else {
        for (int64_t i = 0; i < width; ++i)
          copy_run(write + i * unit, read + columns.indices[static_cast<size_t>(i)] * unit, unit);
      }
      if (!columns.outside.empty()) {
        for (int64_t i = 0; i < width; ++i)
          if (columns.outside[static_cast<size_t>(i)])
            std::fill(write + i * unit, write + (i + 1) * unit, extrapolation);
      }
      previous = source;
    }
  });
}

// --- linear and cubic: weighted sums, axis by axis

// x as a T: rounded to nearest even and clamped where T is an integer type.
template <typename T, typename A>
T finish(A x) {
  if constexpr (std::is_integral_v<T>) {
    constexpr A kLow = static_cast<A>(std::numeric_limits<T>::min());
    const A high = std::nextafter(static_cast<A>(std::ldexp(A(1), std::numeric_limits<T>::digits)), A(0));
    const A rounded = std::nearbyint(x);
    if (!(rounded > kLow)) return std::numeric_limits<T>::min();
    return rounded > high ? std::numeric_limits<T>::max() : static_cast<T>(rounded);
  } else {
    return static_cast<T>(x);
  }
}

// The weights of taps in the type that sums are made in, laid out once for a whole pass.
template <typename A>
const A* weights_in(const ResizeTaps& taps, ScratchSlot slot) {
  A* weights = static_cast<A*>(thread_scratch(slot, taps.weights.size() * sizeof(A)));
  for (size_t i = 0; i < taps.weights.size(); ++i) weights[i] = static_cast<A>(taps.weights[i]);
  return weights;
}

// One axis: [outer, axis.from, inner] of In to [outer, axis.to, inner] of Out; sums are made in A.
template <typename A, typename In, typename Out>
void resize_pass(const ResizeAxis& axis, const ResizeTaps& taps, int64_t outer, int64_t inner, Out* to, const In* from,
                 A extrapolation) {
  const A* weights = weights_in<A>(taps, ScratchSlot::kPackA);
  const int64_t n = taps.count;
  if (inner == 1) {
    parallel_for(outer, std::max<int64_t>(32768 / (axis.to * n + 1), 1), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const In* read = from + row * axis.from;
        Out* write = to + row * axis.to;
        for (int64_t i = 0; i < axis.to; ++i) {
          A sum = 0;
          for (int64_t k = i * n; k < (i + 1) * n; ++k)
            sum += weights[k] * static_cast<A>(read[taps.indices[static_cast<size_t>(k)]]);
          if (!taps.outside.empty() && taps.outside[static_cast<size_t>(i)]) sum = extrapolation;
          write[i] = finish<Out>(sum);
        }
      }
    });
    return;
  }
  parallel_for(outer * axis.to, std::max<int64_t>(32768 / (inner * n + 1), 1), [&](int64_t begin, int64_t end) {
    A* sums = static_cast<A*>(thread_scratch(ScratchSlot::kTile, static_cast<size_t>(inner) * sizeof(A)));
    for (int64_t row = begin; row < end; ++row) {
      const int64_t i = row % axis.to;
      Out* write = to + row * inner;
      if (!taps.outside.empty() && taps.outside[static_cast<size_t>(i)]) {
        std::fill(write, write + inner, finish<Out>(extrapolation));
        continue;
      }
      std::fill(sums, sums + inner, A(0));
      for (int64_t k = i * n; k < (i + 1) * n; ++k) {
        const In* read = from + (row / axis.to * axis.from + taps.indices[static_cast<size_t>(k)]) * inner;
        const A weight = weights[k];
        if (weight == A(0)) continue;
        for (int64_t j = 0; j < inner; ++j) sums[j] += weight * static_cast<A>(read[j]);
      }
      for (int64_t j = 0; j < inner; ++j) write[j] = finish<Out>(sums[j]);
    }
  });
}

// Two neighbouring axes with nothing behind them, images: rows are blended first, each just before it is read.
template <typename A, typename T>
void resize_image(const ResizeAxis* axes, const ResizeTaps* taps, int64_t planes, T* to, const T* from,
                  A extrapolation) {
  const ResizeAxis& height = axes[0];
  const ResizeAxis& width = axes[1];
  const A* row_weights = weights_in<A>(taps[0], ScratchSlot::kPackA);
  const A* column_weights = weights_in<A>(taps[1], ScratchSlot::kPackB);
  const int64_t rows = taps[0].count;
  const int64_t columns = taps[1].count;
  const int64_t* picked = taps[1].indices.data();
  const int64_t work = width.from * rows + width.to * columns;
  parallel_for(planes * height.to, std::max<int64_t>(32768 / (work + 1), 1), [&](int64_t begin, int64_t end) {
    A* blend = static_cast<A*>(thread_scratch(ScratchSlot::kTile, static_cast<size_t>(width.from) * sizeof(A)));
    for (int64_t row = begin; row < end; ++row) {
      const int64_t y = row % height.to;
      T* write = to + row * width.to;
      if (!taps[0].outside.empty() && taps[0].outside[static_cast<size_t>(y)]) {
        std::fill(write, write + width.to, finish<T>(extrapolation));
        continue;
      }
      const T* plane = from + row / height.to * height.from * width.from;
      const auto source = [&](int64_t k) {
        return plane + taps[0].indices[static_cast<size_t>(y * rows + k)] * width.from;
      };
      if (rows == 2) {
        const T *above = source(0), *below = source(1);
        const A first = row_weights[2 * y], second = row_weights[2 * y + 1];
        for (int64_t x = 0; x < width.from; ++x)
          blend[x] = first * static_cast<A>(above[x]) + second * static_cast<A>(below[x]);
      } else {
        for (int64_t k = 0; k < rows; ++k) {
          const T* read = source(k);
          const A weight = row_weights[y * rows + k];
          if (k == 0)
            for (int64_t x = 0; x < width.from; ++x) blend[x] = weight * static_cast<A>(read[x]);
          else
            for (int64_t x = 0; x < width.from; ++x) blend[x] += weight * static_cast<A>(read[x]);
        }
      }
      if (columns == 2) {
        for (int64_t x = 0; x < width.to; ++x)
          write[x] = finish<T>(column_weights[2 * x] * blend[picked[2 * x]] +
                               column_weights[2 * x + 1] * blend[picked[2 * x + 1]]);
      } else {
        for (int64_t x = 0; x < width.to; ++x) {
          A sum = 0;
          for (int64_t k = x * columns; k < (x + 1) * columns; ++k) sum += column_weights[k] * blend[picked[k]];
          write[x] = finish<T>(sum);
        }
      }
      if (!taps[1].outside.empty()) {
        for (int64_t x = 0; x < width.to; ++x)
          if (taps[1].outside[static_cast<size_t>(x)]) write[x] = finish<T>(extrapolation);
      }
    }
  });
}

template <typename A, typename T>
void resize_smooth(const std::vector<ResizeAxis>& plan, const std::vector<ResizeTaps>& taps, T* to, const T* from,
                   A extrapolation) {
  std::vector<size_t> resized;
  for (size_t i = 0; i < plan.size(); ++i)
    if (!taps[i].indices.empty()) resized.push_back(i);
  auto product = [&](size_t first, size_t last, bool after) {
    int64_t size = 1;
    for (size_t i = first; i < last; ++i) size *= after ? plan[i].to : plan[i].from;
    return size;
  };
  const size_t rank = plan.size();
  if (resized.empty()) return copy_run(to, from, product(0, rank, true));
  if (resized.size() == 2 && resized[0] + 2 == rank && resized[1] + 1 == rank)
    return resize_image(&plan[rank - 2], &taps[rank - 2], product(0, rank - 2, true), to, from, extrapolation);
  // Passes in order of the axes; those between the first and the last keep their sums in scratch memory.
  const A* held = nullptr;
  for (size_t pass = 0; pass < resized.size(); ++pass) {
    const size_t i = resized[pass];
    const int64_t outer = product(0, i, true);
    const int64_t inner = product(i + 1, rank, false);
    if (pass + 1 == resized.size()) {
      if (held == nullptr) resize_pass(plan[i], taps[i], outer, inner, to, from, extrapolation);
      else resize_pass(plan[i], taps[i], outer, inner, to, held, extrapolation);
      return;
    }
    const auto slot = pass % 2 == 0 ? ScratchSlot::kOperator : ScratchSlot::kOperator2;
    const auto bytes = static_cast<size_t>(checked_mul(checked_mul(outer, checked_mul(plan[i].to, inner)), sizeof(A)));
    A* next = static_cast<A*>(thread_scratch(slot, bytes));
    if (held == nullptr) resize_pass(plan[i], taps[i], outer, inner, next, from, extrapolation);
    else resize_pass(plan[i], taps[i], outer, inner, next, held, extrapolation);
    held = next;
  }
}

// What a run needs to know; made once where nothing of it changes in the plan.
struct Prepared {
  std::vector<ResizeAxis> plan;
  std::vector<ResizeTaps> taps;
};

constexpr int64_t kLongestPrepared = int64_t{1} << 22;

Kernel make_resize(Prepare& p) {
  const NodeView node(p.node());
  const ResizeSettings s = resize_settings(node);
  const DType dtype = p.dtype(0);
  SX_CHECK(node, s.rule.mode == ResizeMode::kNearest || kNumbers.has(dtype), "mode '", node.attr_string("mode"),
           "' of ", name_of(dtype), " elements is not supported; numbers expected");
  auto prepared = std::make_shared<Prepared>();
  std::optional<Shape> known = p.shape(0);
  const bool crops = s.rule.coordinates == ResizeCoordinates::kTfCropAndResize;
  if (known && (!p.has(2) || p.constant(2)) && (!p.has(3) || p.constant(3)) && (!crops || p.constant(1))) {
    const ResizeRequest request{crops ? resize_numbers(p.constant(1)) : std::vector<double>(),
                                resize_numbers(p.constant(2)),
                                p.constant(3) ? p.constant(3)->integers() : std::vector<int64_t>()};
    prepared->plan = resolve_resize(s, node, *known, request, [&](const auto&... parts) { node.error(parts...); });
    // Long tables wait for the run, which takes the memory of its result first.
    const bool brief = std::all_of(prepared->plan.begin(), prepared->plan.end(),
                                   [](const ResizeAxis& axis) { return axis.to <= kLongestPrepared; });
    if (brief) prepared->taps = resize_taps(s.rule, prepared->plan);
    else known.reset();
  } else {
    known.reset();
  }
  return [node, s, known, crops, prepared = std::shared_ptr<const Prepared>(prepared)](Run& run) {
    const Tensor& x = run.in(0);
    const Prepared* use = prepared.get();
    Prepared found;
    if (!known || *known != x.shape()) {
      const ResizeRequest request = resize_request(run, s);
      found.plan = resolve_resize(s, node, x.shape(), request, [&](const auto&... parts) { run.error(parts...); });
      use = &found;
    }
    Shape shape;
    for (const ResizeAxis& axis : use->plan) shape.push_back(axis.to);
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    if (use == &found) found.taps = resize_taps(s.rule, found.plan);
    if (s.rule.mode == ResizeMode::kNearest) {
      Tensor extrapolation(x.dtype(), Shape{});
      with_storage(x.dtype(),
                   [&](auto zero) { *static_cast<decltype(zero)*>(extrapolation.raw()) = decltype(zero){}; });
      if (s.extrapolation != 0 && kNumbers.has(x.dtype()))
        with_number(x.dtype(), [&](auto zero) {
          *extrapolation.data<decltype(zero)>() = finish<decltype(zero)>(s.extrapolation);
        });
      return with_storage(x.dtype(), [&](auto zero) {
        using T = decltype(zero);
        resize_nearest(use->plan, use->taps, static_cast<T*>(y.raw()), static_cast<const T*>(x.raw()),
                       *static_cast<const T*>(extrapolation.raw()));
      });
    }
    with_number(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      using A = std::conditional_t<is_half_type<T> || (sizeof(T) < 4) || std::is_same_v<T, float>, float, double>;
      resize_smooth(use->plan, use->taps, y.data<T>(), x.data<T>(), static_cast<A>(s.extrapolation));
    });
  };
}

// --- older versions

// Resize-10 and Upsample know no coordinate mode: positions are divided by the scale and rounded down, or up along axes
// that shrink. Where axes of both kinds are possible, a node of its own shrinks first.
void name_coordinates(UpgradeContext& c) {
  ValueId scales = c.has_input(1) ? c.input_id(1) : kNone;
  bool shrinks = false, grows = false;
  if (scales != kNone) {
    const bool known = c.input(1).constant.defined();
    shrinks = grows = !known;
    for (double scale : resize_numbers(known ? &c.input(1).constant : nullptr)) {
      shrinks = shrinks || scale < 1;
      grows = grows || scale > 1;
    }
  }
  c.set("coordinate_transformation_mode", std::string("asymmetric"));
  c.set("nearest_mode", std::string(shrinks ? "ceil" : "floor"));
  if (shrinks && grows && c.view().attr_string("mode") == "nearest") {
    const ValueId one = c.constant(Tensor::scalar<float>(1));
    const ValueId x =
        c.emit("Resize", {c.draft().inputs[0], kNone, c.emit("Min", {scales, one})}, c.draft().attributes);
    c.set_input(0, x);
    c.set("nearest_mode", std::string("floor"));
    scales = c.emit("Max", {scales, one});
  }
  c.draft().inputs.resize(1);
  c.set_input(2, scales);
}

void scales_from_extents(UpgradeContext& c) {
  const float height = c.take<float>("height_scale", 1.0f);
  const float width = c.take<float>("width_scale", 1.0f);
  c.set("scales", std::vector<float>{1.0f, 1.0f, height, width});
  if (c.take<std::string>("mode", "nearest") == "bilinear") c.set("mode", std::string("linear"));
}

void scales_to_input(UpgradeContext& c) {
  const auto scales = c.take<std::vector<float>>("scales", {});
  c.set_input(1, c.constant(Tensor::of<float>(Shape{static_cast<int64_t>(scales.size())}, scales)));
}

}  // namespace

void define_resize(OpList& ops) {
  OpDef& resize =
      ops.add(OpDef("Resize")
                  .since(19, 10)
                  .in("X", "T1", kAllTypes)
                  .optional_in("roi", "T2", kFloats)
                  .optional_in("scales", "", DType::kFloat32)
                  .optional_in("sizes", "", DType::kInt64)
                  .out("Y", "T1")
                  .infer(infer_resize)
                  .kernel(make_resize)
                  .upgrade(11, name_coordinates)
                  // Resize-11 and -12 want roi even where it is not used: a node without it cannot be written for them.
                  .upgrade(13, [](UpgradeContext&) {})
                  .gradient(differentiate_resize));
  add_resize_attrs(resize);
  define_resize_gradient(ops);
  ops.add(OpDef("Upsample")
              .since(10)
              .attr("mode", "nearest")
              .in("X", "T", kAllTypes)
              .in("scales", "", DType::kFloat32)
              .out("Y", "T")
              .infer([](InferContext& c) { c.error("the operator ended with opset 10; Resize stands for it"); })
              .upgrade(7, scales_from_extents)
              .upgrade(9, scales_to_input)
              .upgrade(10, [](UpgradeContext& c) { c.become("Resize"); }));
}

}  // namespace sx
