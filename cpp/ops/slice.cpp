// y = x[starts:ends:steps] on the given axes, with NumPy's clamping.
#include <algorithm>
#include <cstring>

#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/int_input.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

struct Window {
  int64_t start = 0;
  int64_t count = 0;
  int64_t step = 1;
};

// The part of an axis of `extent` that start:end:step selects; any values.
Window window(int64_t extent, int64_t start, int64_t end, int64_t step) {
  auto from_front = [&](int64_t at) { return at < 0 ? at + extent : at; };
  Window w;
  w.step = step;
  if (step > 0) {
    w.start = std::clamp<int64_t>(from_front(start), 0, extent);
    const int64_t stop = std::clamp<int64_t>(from_front(end), 0, extent);
    if (stop > w.start) w.count = (stop - w.start - 1) / step + 1;
  } else {
    w.start = std::clamp<int64_t>(from_front(start), -1, extent - 1);
    const int64_t stop = std::clamp<int64_t>(from_front(end), -1, extent - 1);
    const auto stride = uint64_t{0} - static_cast<uint64_t>(step);
    if (w.start > stop) w.count = static_cast<int64_t>((static_cast<uint64_t>(w.start - stop) - 1) / stride) + 1;
  }
  if (w.count <= 1) w.step = 1;
  return w;
}

bool negative(const Dim& dim) { return dim.known() ? dim.value() < 0 : dim.str()[0] == '-'; }

// The length of the window where some bound is symbolic. Symbolic bounds are taken to lie within the axis.
Dim symbolic_length(const Dim& extent, const Dim& start, const Dim& end, int64_t step) {
  constexpr int64_t kFar = int64_t{1} << 30;  // how models write "to the end"
  if (extent.known() && start.known() && end.known())
    return Dim(window(extent.value(), start.value(), end.value(), step).count);
  if (step < 0) {
    const bool all =
        start.known() && end.known() && (start.value() == -1 || start.value() >= kFar) && end.value() < -kFar;
    return all ? ceil_div(extent, Dim(-step)) : Dim();
  }
  if (start.unknown() || end.unknown()) return Dim();
  const Dim first = negative(start) ? extent + start : start;
  Dim last = negative(end) ? extent + end : end;
  if (end.known() && end.value() >= 0) last = end.value() >= kFar ? extent : min(end, extent);
  const Dim length = last - first;
  return length.known() ? Dim((std::max<int64_t>(length.value(), 0) + step - 1) / step) : ceil_div(length, Dim(step));
}

void infer_slice(InferContext& c) {
  const auto starts = c.elements(1);
  const auto ends = c.elements(2);
  const auto axes = c.has(3) ? c.integers(3) : std::nullopt;
  const auto steps = c.has(4) ? c.integers(4) : std::nullopt;
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  const int rank = c.rank(0);
  if (!starts || !ends || (c.has(3) && !axes)) return c.out(0, c.dtype(0), SymShape(static_cast<size_t>(rank)));
  SX_CHECK(c, starts->size() == ends->size(), "has ", starts->size(), " starts but ", ends->size(), " ends");
  SX_CHECK(c, !axes || axes->size() == starts->size(), "has ", starts->size(), " starts but ", axes ? axes->size() : 0,
           " axes");
  SX_CHECK(c, !steps || steps->size() == starts->size(), "has ", starts->size(), " starts but ",
           steps ? steps->size() : 0, " steps");
  SymShape shape = c.shape(0);
  for (size_t i = 0; i < starts->size(); ++i) {
    const auto axis = static_cast<size_t>(c.axis(axes ? (*axes)[i] : static_cast<int64_t>(i), rank));
    if (c.has(4) && !steps) {
      shape[axis] = Dim();
      continue;
    }
    const int64_t step = steps ? (*steps)[i] : 1;
    SX_CHECK(c, step != 0, "step 0 on axis ", axis);
    shape[axis] = symbolic_length(shape[axis], (*starts)[i], (*ends)[i], step);
  }
  c.out(0, c.dtype(0), shape);
  const auto elements = rank == 1 ? c.elements(0) : std::nullopt;
  if (!elements || starts->size() != 1 || !(*starts)[0].known() || !(*ends)[0].known() || (c.has(4) && !steps)) return;
  const Window w =
      window(static_cast<int64_t>(elements->size()), (*starts)[0].value(), (*ends)[0].value(), steps ? (*steps)[0] : 1);
  std::vector<Dim> picked;
  for (int64_t i = 0; i < w.count; ++i) picked.push_back((*elements)[static_cast<size_t>(w.start + i * w.step)]);
  c.out_elements(0, picked);
}

// The windows that inputs `first` and on (starts, ends, axes, steps) cut out of a tensor.
class WindowInputs {
 public:
  WindowInputs(Prepare& p, int first)
      : node_(p.node()),
        first_(first),
        starts_(p, first),
        ends_(p, first + 1),
        axes_(p, first + 2),
        steps_(p, first + 3) {}

  // Fills windows[axis] for every axis of `shape`.
  void get(Run& run, const Shape& shape, Window* windows) const {
    std::vector<int64_t> buffers[4];
    const std::vector<int64_t>& starts = starts_.get(run, buffers[0]);
    const std::vector<int64_t>& ends = ends_.get(run, buffers[1]);
    const std::vector<int64_t>& axes = axes_.get(run, buffers[2]);
    const std::vector<int64_t>& steps = steps_.get(run, buffers[3]);
    const bool has_axes = run.has(first_ + 2);
    const bool has_steps = run.has(first_ + 3);
    SX_CHECK(run,
             ends.size() == starts.size() && (!has_axes || axes.size() == starts.size()) &&
                 (!has_steps || steps.size() == starts.size()),
             "starts, ends, axes and steps have different lengths");
    SX_CHECK(run, static_cast<int>(starts.size()) <= shape.rank(), "slices ", starts.size(),
             " axes of an input of rank ", shape.rank());
    bool cut[kMaxRank] = {};
    for (int i = 0; i < shape.rank(); ++i) windows[i] = {0, shape[i], 1};
    for (size_t i = 0; i < starts.size(); ++i) {
      const int axis = node_.axis(has_axes ? axes[i] : static_cast<int64_t>(i), shape.rank());
      const int64_t step = has_steps ? steps[i] : 1;
      SX_CHECK(run, step != 0, "step 0 on axis ", axis);
      SX_CHECK(run, !cut[axis], "axis ", axis, " is sliced twice");
      cut[axis] = true;
      windows[axis] = window(shape[axis], starts[i], ends[i], step);
    }
  }

 private:
  NodeView node_;
  int first_;
  IntInput starts_, ends_, axes_, steps_;
};

Shape counts(const Window* windows, int rank) {
  Shape shape;
  for (int i = 0; i < rank; ++i) shape.push_back(windows[i].count);
  return shape;
}

// The address in `x`, of the given shape, of the first element within the windows.
void* first_element(const Tensor& x, const Window* windows) {
  const Shape strides = strides_of(x.shape());
  int64_t offset = 0;
  for (int i = 0; i < x.rank(); ++i) offset += windows[i].start * strides[i];
  return static_cast<char*>(x.raw()) + offset * static_cast<int64_t>(size_of(x.dtype()));
}

Kernel make_slice(Prepare& p) {
  const WindowInputs inputs(p, 1);
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    Window windows[kMaxRank];
    inputs.get(run, x.shape(), windows);
    const Shape shape = counts(windows, x.rank());
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const Shape to = strides_of(shape);
    const Shape from = strides_of(x.shape());
    CopyNest nest;
    for (int i = 0; i < x.rank(); ++i) nest.add(shape[i], to[i], windows[i].step * from[i]);
    nest.run(x.dtype(), y.raw(), first_element(x, windows));
  };
}

// --- sardonyx::PlaceSlice

Kernel make_place_slice(Prepare& p) {
  const WindowInputs inputs(p, 2);
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const Shape& shape = run.in(1).shape();
    Window windows[kMaxRank];
    inputs.get(run, shape, windows);
    SX_CHECK(run, counts(windows, shape.rank()) == x.shape(), "x has the shape ", x.shape().str(), "; the slice has ",
             counts(windows, shape.rank()).str());
    Tensor& y = run.out(0, shape);
    if (y.bytes() > 0) std::memset(y.raw(), 0, y.bytes());
    if (x.size() == 0) return;
    const Shape to = strides_of(shape);
    const Shape from = strides_of(x.shape());
    CopyNest nest;
    for (int i = 0; i < x.rank(); ++i) nest.add(x.dim(i), windows[i].step * to[i], from[i]);
    nest.run(x.dtype(), first_element(y, windows), x.raw());
  };
}

// --- gradients

std::vector<Expr> window_inputs(GradientContext& c, size_t first) {
  std::vector<Expr> inputs;
  for (size_t i = first; i < c.inputs(); ++i) inputs.push_back(c.in(i));
  return inputs;
}

void differentiate_slice(GradientContext& c) {
  std::vector<Expr> inputs = window_inputs(c, 1);
  inputs.insert(inputs.begin(), {c.grad(), c.in(0)});
  c.give(0, c.op("PlaceSlice", inputs, {}, "sardonyx"));
}

void differentiate_place_slice(GradientContext& c) {
  std::vector<Expr> inputs = window_inputs(c, 2);
  inputs.insert(inputs.begin(), c.grad());
  c.give(0, c.op("Slice", inputs));
}

void windows_to_inputs(UpgradeContext& c) {
  ints_to_input("starts", 1)(c);
  ints_to_input("ends", 2)(c);
  ints_to_input("axes", 3)(c);
}

}  // namespace

void define_slice(OpList& ops) {
  const DTypeSet index = DType::kInt32 | DType::kInt64;
  ops.add(OpDef("Slice")
              .since(13)
              .in("data", "T", kAllTypes)
              .in("starts", "Tind", index)
              .in("ends", "Tind", index)
              .optional_in("axes", "Tind", index)
              .optional_in("steps", "Tind", index)
              .out("output", "T")
              .infer(infer_slice)
              .kernel(make_slice)
              .gradient(differentiate_slice)
              .upgrade(10, windows_to_inputs));
  // Zeros of the shape of `like`, with x in the place that the slice names.
  ops.add(OpDef("PlaceSlice", "sardonyx")
              .in("x", "T", kFloats)
              .in("like", "", kAllTypes)
              .in("starts", "Tind", index)
              .in("ends", "Tind", index)
              .optional_in("axes", "Tind", index)
              .optional_in("steps", "Tind", index)
              .out("y", "T")
              .shape_only({1})
              .infer([](InferContext& c) { c.out(0, c.dtype(0), c.type(1).shape); })
              .kernel(make_place_slice)
              .gradient(differentiate_place_slice));
}

}  // namespace sx
