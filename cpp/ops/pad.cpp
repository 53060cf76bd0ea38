// y = x with elements added at (or, for negative pads, cut off) both ends of its axes: a constant, or x's own edge,
// reflection or other end.
#include <algorithm>
#include <array>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/int_input.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

enum class Mode { kConstant, kReflect, kEdge, kWrap };

Mode mode_of(const NodeView& node) {
  static const char* const kNames[] = {"constant", "reflect", "edge", "wrap"};
  const std::string& name = node.attr_string("mode");
  const auto found = std::find(std::begin(kNames), std::end(kNames), name);
  SX_CHECK(node, found != std::end(kNames), "mode is '", name, "'; expected constant, reflect, edge or wrap");
  return static_cast<Mode>(found - std::begin(kNames));
}

void infer_pad(InferContext& c) {
  mode_of(c);
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  const auto pads = c.elements(1);
  const auto axes = c.has(3) ? c.integers(3) : std::nullopt;
  const int rank = c.rank(0);
  if (!pads || (c.has(3) && !axes)) return c.out(0, c.dtype(0), SymShape(static_cast<size_t>(rank)));
  const size_t count = axes ? axes->size() : static_cast<size_t>(rank);
  SX_CHECK(c, pads->size() == 2 * count, "has ", pads->size(), " pads; two for each of ", count, " axes expected");
  SymShape shape = c.shape(0);
  for (size_t i = 0; i < count; ++i) {
    const int axis = c.axis(axes ? (*axes)[i] : static_cast<int64_t>(i), rank);
    Dim& extent = shape[static_cast<size_t>(axis)];
    extent = extent + (*pads)[i] + (*pads)[count + i];
  }
  c.out(0, c.dtype(0), shape);
}

// One axis of the padding: y[i] = x[i - begin] where that is inside of [first, last), else by the mode.
struct PadAxis {
  int64_t extent = 1;  // of x
  int64_t result = 1;  // of y
  int64_t begin = 0;
  int64_t first = 0;  // the part of x that is left by negative pads
  int64_t last = 1;

  // The index in x for index i of y; -1 for the constant.
  int64_t source(Mode mode, int64_t i) const {
    const int64_t at = i - begin;
    if (at >= first && at < last) return at;
    const int64_t n = last - first;
    auto modulo = [](int64_t a, int64_t b) { return (a % b + b) % b; };
    switch (mode) {
      case Mode::kConstant: return -1;
      case Mode::kEdge: return at < first ? first : last - 1;
      case Mode::kWrap: return first + modulo(at - first, n);
      case Mode::kReflect: {
        if (n == 1) return first;
        const int64_t phase = modulo(at - first, 2 * (n - 1));
        return first + std::min(phase, 2 * (n - 1) - phase);
      }
    }
    return -1;
  }
};

// What is to be done, with unpadded axes merged: `axes` in order, then `unit` elements that stay together.
struct PadPlan {
  std::array<PadAxis, kMaxRank> axes;
  int count = 0;
  int64_t unit = 1;
};

PadPlan plan_pad(const Shape& x, const PadAxis* given, Mode mode) {
  PadPlan plan;
  int padded = x.rank();
  while (padded > 0 && given[padded - 1].begin == 0 && given[padded - 1].result == x[padded - 1])
    plan.unit *= x[--padded];
  for (int i = 0; i < padded; ++i) {
    const bool plain = given[i].begin == 0 && given[i].result == x[i];
    if (plain && plan.count > 0) {
      PadAxis& before = plan.axes[static_cast<size_t>(plan.count - 1)];
      if (before.begin == 0 && before.result == before.extent) {
        before.extent = before.result = before.last = before.extent * x[i];
        continue;
      }
    }
    plan.axes[static_cast<size_t>(plan.count++)] = given[i];
  }
  if (mode == Mode::kConstant && plan.count > 0) {
    PadAxis& last = plan.axes[static_cast<size_t>(plan.count - 1)];
    for (int64_t* scaled : {&last.extent, &last.result, &last.begin, &last.first, &last.last})
      *scaled = checked_mul(*scaled, plan.unit);
    plan.unit = 1;
  }
  return plan;
}

template <typename T>
void pad_rows(const PadPlan& plan, Mode mode, T* to, const T* from, const T& value) {
  const PadAxis& line = plan.axes[static_cast<size_t>(plan.count - 1)];
  const int64_t unit = plan.unit;
  int64_t rows = 1;
  for (int i = 0; i + 1 < plan.count; ++i) rows *= plan.axes[static_cast<size_t>(i)].result;
  const int64_t left = std::clamp<int64_t>(line.first + line.begin, 0, line.result);
  const int64_t right = std::clamp<int64_t>(line.last + line.begin, left, line.result);
  parallel_for(rows, move_grain(line.result * unit * static_cast<int64_t>(sizeof(T))), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T* write = to + row * line.result * unit;
      int64_t source = 0;
      int64_t stride = 1;
      int64_t rest = row;
      for (int i = plan.count - 2; i >= 0 && source >= 0; --i) {
        const PadAxis& axis = plan.axes[static_cast<size_t>(i)];
        const int64_t at = axis.source(mode, rest % axis.result);
        source = at < 0 ? -1 : source + at * stride;
        stride *= axis.extent;
        rest /= axis.result;
      }
      if (source < 0) {
        fill_run(write, line.result, value);
        continue;
      }
      const T* read = from + source * line.extent * unit;
      auto border = [&](int64_t first, int64_t last) {
        if (mode == Mode::kConstant) return fill_run(write + first, last - first, value);
        for (int64_t i = first; i < last; ++i) copy_run(write + i * unit, read + line.source(mode, i) * unit, unit);
      };
      border(0, left);
      copy_run(write + left * unit, read + (left - line.begin) * unit, (right - left) * unit);
      border(right, line.result);
    }
  });
}

Kernel make_pad(Prepare& p) {
  const NodeView node(p.node());
  const Mode mode = mode_of(node);
  const IntInput pads_input(p, 1), axes_input(p, 3);
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<int64_t> buffers[2];
    const std::vector<int64_t>& pads = pads_input.get(run, buffers[0]);
    const std::vector<int64_t>& axes = axes_input.get(run, buffers[1]);
    const size_t count = run.has(3) ? axes.size() : static_cast<size_t>(x.rank());
    SX_CHECK(run, pads.size() == 2 * count, "has ", pads.size(), " pads; two for each of ", count, " axes expected");
    PadAxis padded[kMaxRank];
    Shape shape = x.shape();
    for (int i = 0; i < x.rank(); ++i) padded[i] = {x.dim(i), x.dim(i), 0, 0, x.dim(i)};
    for (size_t i = 0; i < count; ++i) {
      const int axis = node.axis(run.has(3) ? axes[i] : static_cast<int64_t>(i), x.rank());
      const int64_t begin = pads[i], end = pads[count + i];
      const int64_t extent = x.dim(axis);
      SX_CHECK(run, padded[axis].begin == 0 && padded[axis].result == extent, "axis ", axis, " is padded twice");
      shape[axis] = checked_add(checked_add(extent, begin), end);
      SX_CHECK(run, shape[axis] >= 0, "pads ", begin, " and ", end, " leave nothing of axis ", axis, " of extent ",
               extent);
      padded[axis] = {extent, shape[axis], begin, begin < 0 ? std::min(-begin, extent) : 0,
                      end < 0 ? std::max<int64_t>(extent + end, 0) : extent};
      SX_CHECK(run, mode == Mode::kConstant || padded[axis].first < padded[axis].last || shape[axis] == 0, "axis ",
               axis, " of ", x.shape().str(), " has no elements to pad with");
    }
    Tensor value;
    if (run.has(2)) {
      value = run.in(2);
      SX_CHECK(run, value.size() == 1, "constant_value has shape ", value.shape().str(), "; a scalar expected");
    }
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const PadPlan plan = plan_pad(x.shape(), padded, mode);
    with_storage(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T fill = value.defined() ? *static_cast<const T*>(value.raw()) : T{};
      if (plan.count == 0) copy_elements(x.dtype(), y.raw(), x.raw(), y.size());
      else pad_rows(plan, mode, static_cast<T*>(y.raw()), static_cast<const T*>(x.raw()), fill);
    });
  };
}

void paddings_to_pads(UpgradeContext& c) {
  if (c.has("paddings")) c.set("pads", c.take<std::vector<int64_t>>("paddings", {}));
}

void pads_to_inputs(UpgradeContext& c) {
  const float value = c.take<float>("value", 0.0f);
  ints_to_input("pads", 1)(c);
  if (value == 0.0f) return;
  const DType dtype = c.input(0).type.dtype;
  c.set_input(2, c.constant(dtype == DType::kFloat16   ? Tensor::scalar(Float16(value))
                            : dtype == DType::kFloat64 ? Tensor::scalar(static_cast<double>(value))
                                                       : Tensor::scalar(value)));
}

// What was added is cut off again.
void differentiate_pad(GradientContext& c) {
  SX_CHECK(c, c.attr_string("mode") == "constant", "has no gradient for the mode '", c.attr_string("mode"),
           "'; 'constant' expected");
  const Expr inside = c.op("Pad", {c.grad(), -c.in(1), Expr(), c.in(3)});
  c.give(0, inside);
  if (!c.wants(2)) return;
  const Expr rest = c.op("ReduceSum", {c.grad()}, {{"keepdims", int64_t{0}}}) -
                    c.op("ReduceSum", {inside}, {{"keepdims", int64_t{0}}});
  c.give(2, c.reshape_like(rest, c.in(2)));
}

}  // namespace

void define_pad(OpList& ops) {
  ops.add(OpDef("Pad")
              .since(25)
              .attr("mode", "constant")
              .in("data", "T", kAllTypes)
              .in("pads", "", DType::kInt64)
              .optional_in("constant_value", "T", kAllTypes)
              .optional_in("axes", "", DType::kInt32 | DType::kInt64)
              .out("output", "T")
              .infer(infer_pad)
              .kernel(make_pad)
              .gradient(differentiate_pad)
              .upgrade(2, paddings_to_pads)
              .upgrade(11, pads_to_inputs));
}

}  // namespace sx
