// dx of a Resize: each element of dy goes back to the elements that it was blended of, axis by axis.
#include <algorithm>
#include <type_traits>

#include "base/scratch.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/resize_plan.h"

namespace sx {
namespace {

// For every source position the positions that it went to, with weights: those of position i are [begin[i],
// begin[i + 1]).
struct BackTaps {
  std::vector<int64_t> begin, positions;
  std::vector<double> weights;
};

BackTaps turned(const ResizeTaps& taps, const ResizeAxis& axis) {
  BackTaps back;
  const auto entries = static_cast<size_t>(axis.to * taps.count);
  const auto weight = [&](size_t k) {
    const size_t position = k / static_cast<size_t>(taps.count);
    if (!taps.outside.empty() && taps.outside[position]) return 0.0;
    return taps.weights.empty() ? 1.0 : taps.weights[k];
  };
  back.begin.assign(static_cast<size_t>(axis.from) + 1, 0);
  for (size_t k = 0; k < entries; ++k)
    if (weight(k) != 0) ++back.begin[static_cast<size_t>(taps.indices[k]) + 1];
  for (size_t i = 1; i < back.begin.size(); ++i) back.begin[i] += back.begin[i - 1];
  back.positions.resize(static_cast<size_t>(back.begin.back()));
  back.weights.resize(back.positions.size());
  std::vector<int64_t> next(back.begin.begin(), back.begin.end() - 1);
  for (size_t k = 0; k < entries; ++k) {
    if (weight(k) == 0) continue;
    const auto at = static_cast<size_t>(next[static_cast<size_t>(taps.indices[k])]++);
    back.positions[at] = static_cast<int64_t>(k) / taps.count;
    back.weights[at] = weight(k);
  }
  return back;
}

// One axis: [outer, axis.to, inner] to [outer, axis.from, inner].
template <typename T>
void back_pass(const ResizeAxis& axis, const BackTaps& taps, int64_t outer, int64_t inner, const T* dy, T* dx) {
  parallel_for(outer * axis.from, std::max<int64_t>(1, 8192 / inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto i = static_cast<size_t>(row % axis.from);
      T* to = dx + row * inner;
      std::fill(to, to + inner, T{0});
      for (auto k = static_cast<size_t>(taps.begin[i]); k < static_cast<size_t>(taps.begin[i + 1]); ++k) {
        const T* from = dy + (row / axis.from * axis.to + taps.positions[k]) * inner;
        const T weight = static_cast<T>(taps.weights[k]);
        for (int64_t j = 0; j < inner; ++j) to[j] += weight * from[j];
      }
    }
  });
}

template <typename T>
void resize_back(const std::vector<ResizeAxis>& plan, const std::vector<ResizeTaps>& taps, const T* dy, T* dx) {
  std::vector<size_t> passes;
  for (size_t i = plan.size(); i-- > 0;)
    if (!taps[i].indices.empty()) passes.push_back(i);
  int64_t outer = 1, inner = 1;
  for (const ResizeAxis& axis : plan) outer *= axis.to;
  if (passes.empty()) {
    std::copy_n(dy, outer, dx);
    return;
  }
  const T* held = dy;
  size_t done = plan.size();  // the axes from here on have their extents in x
  for (size_t pass = 0; pass < passes.size(); ++pass) {
    const size_t i = passes[pass];
    for (; done > i + 1; --done) {
      outer /= plan[done - 1].to;
      inner *= plan[done - 1].from;
    }
    outer /= plan[i].to;
    T* to = dx;
    if (pass + 1 < passes.size()) {
      const auto slot = pass % 2 == 0 ? ScratchSlot::kOperator : ScratchSlot::kOperator2;
      to = static_cast<T*>(
          thread_scratch(slot, static_cast<size_t>(checked_mul(outer, checked_mul(plan[i].from, inner))) * sizeof(T)));
    }
    back_pass(plan[i], turned(taps[i], plan[i]), outer, inner, held, to);
    inner *= plan[i].from;
    done = i;
    held = to;
  }
}

Kernel make(Prepare& p) {
  return [node = NodeView(p.node()), s = resize_settings(p)](Run& run) {
    const Tensor& dy = run.in(0);
    const Shape& like = run.in(4).shape();
    const auto plan =
        resolve_resize(s, node, like, resize_request(run, s), [&](const auto&... parts) { run.error(parts...); });
    Shape expected;
    for (const ResizeAxis& axis : plan) expected.push_back(axis.to);
    SX_CHECK(run, dy.shape() == expected, "the gradient is ", dy.shape().str(), "; ", expected.str(), " expected");
    Tensor& dx = run.out(0, like);
    if (dx.size() == 0) return;
    if (dy.size() == 0) {
      std::fill_n(static_cast<char*>(dx.raw()), dx.bytes(), char{0});
      return;
    }
    const std::vector<ResizeTaps> taps = resize_taps(s.rule, plan);
    if (dx.dtype() == DType::kFloat64) return resize_back(plan, taps, dy.data<double>(), dx.data<double>());
    const FloatOut out(dx);
    resize_back(plan, taps, FloatIn(dy).data(), out.data());
    out.store();
  };
}

}  // namespace

void differentiate_resize(GradientContext& c) {
  SX_CHECK(c, !c.wants(1), "has no gradient by its region; only by what it resizes");
  c.give(0, c.op("ResizeGradient", {c.grad(), c.in(1), c.in(2), c.in(3), c.in(0)}, c.node().attributes, "sardonyx"));
}

void define_resize_gradient(OpList& ops) {
  add_resize_attrs(ops.add(OpDef("ResizeGradient", "sardonyx")
                               .in("dY", "T1", kFloats)
                               .optional_in("roi", "T2", kFloats)
                               .optional_in("scales", "", DType::kFloat32)
                               .optional_in("sizes", "", DType::kInt64)
                               .in("like", "T1", kFloats)
                               .out("dX", "T1")
                               .shape_only({4})
                               .infer([](InferContext& c) { c.out(0, c.dtype(0), c.type(4).shape); })
                               .kernel(make)
                               // What lies outside of the data is constant, whatever stands there.
                               .gradient([](GradientContext& c) {
                                 Attributes attributes = c.node().attributes;
                                 attributes["extrapolation_value"] = 0.0f;
                                 c.give(0, c.op("Resize", {c.grad(), c.in(1), c.in(2), c.in(3)}, attributes));
                               })));
}

}  // namespace sx
