// Each element of the result is the maximum, the mean or the p-norm of a window of the data.
#include "ops/pool.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/pool.h"
#include "ops/elementwise.h"
#include "ops/float_io.h"
#include "ops/pool_rows.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {

PoolShape pool_shape(const NodeView& node, const WindowSpec& window, const Shape& x) {
  PoolShape s;
  s.rank = x.rank() - 2;
  SX_CHECK(node, s.rank >= 1 && s.rank <= kMaxSpatialRank, "pools ", x.str(), "; from 1 to ", kMaxSpatialRank,
           " spatial axes behind a batch and a channel axis expected");
  SX_CHECK(node, window.kernel().size() == static_cast<size_t>(s.rank), "attribute 'kernel_shape' is ",
           Shape(window.kernel()).str(), "; ", s.rank, " values expected");
  window.check_rank(node, s.rank);
  s.planes = checked_mul(x[0], x[1]);
  int64_t taps = 1;  // of a window, which stay countable
  for (int64_t extent : window.kernel()) taps = checked_mul(taps, extent);
  for (int i = 0; i < s.rank; ++i) {
    const WindowSpec::Axis axis = window.axis(node, i, window.kernel()[static_cast<size_t>(i)], x[i + 2]);
    s.in[i] = x[i + 2];
    s.out[i] = axis.out;
    s.kernel[i] = window.kernel()[static_cast<size_t>(i)];
    s.stride[i] = window.stride(i);
    s.dilation[i] = window.dilation(i);
    s.pad_begin[i] = axis.pad_begin;
    s.pad_end[i] = axis.pad_end;
  }
  return s;
}

Shape pool_result(const PoolShape& shape, const Shape& x) {
  Shape out{x[0], x[1]};
  for (int i = 0; i < shape.rank; ++i) out.push_back(shape.out[i]);
  return out;
}

void infer_pool(InferContext& c) {
  const WindowSpec window(c);
  const auto rank = static_cast<int>(window.kernel().size());
  SX_CHECK(c, !c.has_shape(0) || c.rank(0) == rank + 2, "pools ", c.type(0).str(), " with a kernel of ", rank,
           " axes; a batch axis, a channel axis and one for each of the kernel's expected");
  SX_CHECK(c, rank >= 1 && rank <= kMaxSpatialRank, "attribute 'kernel_shape' has ", rank, " values; from 1 to ",
           kMaxSpatialRank, " are supported");
  window.check_rank(c, rank);
  SymShape out(static_cast<size_t>(rank) + 2);
  if (c.has_shape(0)) {
    out[0] = c.shape(0)[0];
    out[1] = c.shape(0)[1];
    for (int i = 0; i < rank; ++i) {
      const auto axis = static_cast<size_t>(i);
      out[axis + 2] = window.extent(c, i, window.kernel()[axis], c.shape(0)[axis + 2]);
    }
  }
  c.out(0, c.dtype(0), out);
  c.out(1, DType::kInt64, out);
}

OpDef& add_pool_attrs(OpDef& op) {
  return op.attr("auto_pad", "NOTSET")
      .attr("ceil_mode", 0)
      .optional_attr("dilations", AttrKind::kInts)
      .required_attr("kernel_shape", AttrKind::kInts)
      .optional_attr("pads", AttrKind::kInts)
      .optional_attr("strides", AttrKind::kInts);
}

Expr lp_slope(const Expr& x, int64_t p) {
  Emitter& e = x.emitter();
  if (p == 1) return e.op("Sign", {x});
  if (p == 2) return x;
  const Expr exponent = e.scalar(static_cast<double>(p - 1), x.dtype());
  return e.op("Pow", {e.op("Abs", {x}), exponent}) * e.op("Sign", {x});
}

Expr lp_share(const Expr& dy, const Expr& y, int64_t p) {
  if (p == 1) return dy;
  Emitter& e = y.emitter();
  const Expr zero = e.scalar(0, y.dtype());
  const Expr empty = e.op("Equal", {y, zero});
  const Expr base = e.where(empty, e.scalar(1, y.dtype()), y);
  const Expr power = p == 2 ? base : e.op("Pow", {base, e.scalar(static_cast<double>(p - 1), y.dtype())});
  return e.where(empty, zero, dy / power);
}

namespace {

// The maximum of each window and where it stands: the first of equals, as an offset into the whole tensor.
template <typename T>
void max_with_indices(const PoolShape& s, bool column_major, const T* x, T* y, int64_t* indices) {
  const int64_t size = s.out_size();
  const int last = s.rank - 1;
  int64_t cost = 1;
  for (int axis = 0; axis <= last; ++axis) cost *= s.most_taps(axis);
  parallel_for(s.planes * size, std::max<int64_t>(1, 8192 / cost), [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t first = i / size * s.in_size();
      T best = pools::MaxOf<T>().none();
      int64_t best_at = -1;
      PoolTaps taps[kMaxSpatialRank];
      int64_t index = i % size, present = 1, tap[kMaxSpatialRank];
      for (int axis = last; axis >= 0; --axis) {
        taps[axis] = pool_taps(s, axis, index % s.out[axis]);
        index /= s.out[axis];
        present *= taps[axis].last - taps[axis].first;
        tap[axis] = taps[axis].first;
      }
      for (int64_t k = 0; k < present; ++k) {
        int64_t at = 0;
        for (int axis = 0; axis <= last; ++axis) at = at * s.in[axis] + taps[axis].start + tap[axis] * s.dilation[axis];
        for (int axis = last; axis >= 0 && ++tap[axis] == taps[axis].last; --axis) tap[axis] = taps[axis].first;
        const T value = x[first + at];
        if (best_at < 0 || value > best || (value != value && best == best)) {
          best = value;
          best_at = at;
        }
      }
      if (column_major && best_at >= 0) {
        int64_t at = best_at, stride = s.in_size();
        best_at = 0;
        for (int axis = last; axis >= 0; --axis) {
          stride /= s.in[axis];
          best_at += at % s.in[axis] * stride;
          at /= s.in[axis];
        }
      }
      y[i] = best;
      indices[i] = best_at < 0 ? -1 : first + best_at;
    }
  });
}

struct MaxPool {
  bool column_major;
  template <typename T>
  void operator()(Run& run, const PoolShape& s, const T* x, T* y) const {
    if (run.wants(1)) max_with_indices(s, column_major, x, y, run.out(1, run_shape(run, s)).data<int64_t>());
    else pools::pool_rows(s, pools::MaxOf<T>(), false, x, y);
  }
  static Shape run_shape(const Run& run, const PoolShape& s) { return pool_result(s, run.in(0).shape()); }
};

struct MeanPool {
  bool count_padding;
  template <typename T>
  void operator()(Run&, const PoolShape& s, const T* x, T* y) const {
    pools::pool_rows(s, pools::MeanOf<T>(), count_padding, x, y);
  }
};

struct SumPool {
  template <typename T>
  void operator()(Run&, const PoolShape& s, const T* x, T* y) const {
    pools::pool_rows(s, pools::SumOf<T>(), false, x, y);
  }
};

struct NormPool {
  int64_t p;
  template <typename T>
  void operator()(Run&, const PoolShape& s, const T* x, T* y) const {
    pools::pool_rows(s, pools::NormOf<T>{p}, false, x, y);
  }
};

template <typename Pool>
void run_floats(Run& run, const Pool& pool, const PoolShape& s, Tensor& y) {
  if (y.dtype() == DType::kFloat64) return pool(run, s, run.in(0).data<double>(), y.data<double>());
  const FloatIn x(run.in(0));
  const FloatOut out(y);
  pool(run, s, x.data(), out.data());
  out.store();
}

template <typename Pool>
Kernel make_pool(const NodeView& node, const Pool& pool) {
  return [node, pool, window = WindowSpec(node)](Run& run) {
    const Shape& shape = run.in(0).shape();
    const PoolShape s = pool_shape(node, window, shape);
    Tensor& y = run.out(0, pool_result(s, shape));
    if (y.size() == 0) {
      if (run.wants(1)) run.out(1, y.shape());
      return;
    }
    if constexpr (std::is_same_v<Pool, MaxPool>) {
      if (y.dtype() == DType::kInt8) return pool(run, s, run.in(0).data<int8_t>(), y.data<int8_t>());
      if (y.dtype() == DType::kUInt8) return pool(run, s, run.in(0).data<uint8_t>(), y.data<uint8_t>());
    }
    run_floats(run, pool, s, y);
  };
}

int64_t norm_order(const NodeView& node) {
  const int64_t p = node.attr_int("p");
  SX_CHECK(node, p >= 1, "attribute 'p' is ", p, "; at least 1 expected");
  return p;
}

// --- gradients

// What each window gives goes to the element that it was.
void differentiate_max_pool(GradientContext& c) {
  Attributes attributes = c.node().attributes;
  attributes.erase("storage_order");
  c.give(0, c.op("MaxPoolGradient", {c.grad(), c.in(0), c.out()}, attributes, "sardonyx"));
}

// The gradient by dy of what reads dy: the elements that the windows were, taken out.
void differentiate_max_pool_gradient(GradientContext& c) {
  const Expr everything = c.ints({-1});
  const std::vector<Expr> pooled = c.ops(2, "MaxPool", {c.in(1)}, c.node().attributes);
  const Expr taken = c.op("Gather", {c.op("Reshape", {c.grad(), everything}), pooled[1]});
  c.give(0, c.reshape_like(taken, c.in(0)));
}

// dx, zero but for the first element of each window that equals its maximum y; NaN equals NaN.
template <typename T>
void give_to_maxima(const PoolShape& s, const T* dy, const T* x, const T* y, T* dx) {
  const auto is_maximum = [](T value, T maximum) {
    return value == maximum || (std::isnan(value) && std::isnan(maximum));
  };
  parallel_for(s.planes, std::max<int64_t>(1, 16384 / (s.in_size() + 1)), [&](int64_t from, int64_t to) {
    const int last = s.rank - 1;
    const int64_t width = s.out[last], rows = width == 0 ? 0 : s.out_size() / width;
    for (int64_t plane = from; plane < to; ++plane) {
      const T* source = x + plane * s.in_size();
      T* target = dx + plane * s.in_size();
      std::fill(target, target + s.in_size(), T{0});
      for (int64_t row = 0; row < rows; ++row) {
        PoolTaps outer[kMaxSpatialRank];
        int64_t index = row, lines = 1;
        for (int axis = last - 1; axis >= 0; --axis) {
          outer[axis] = pool_taps(s, axis, index % s.out[axis]);
          index /= s.out[axis];
          lines *= outer[axis].last - outer[axis].first;
        }
        const int64_t first = plane * s.out_size() + row * width;
        for (int64_t j = 0; j < width; ++j) {
          const PoolTaps inner = pool_taps(s, last, j);
          bool given = false;
          for (int64_t line = 0; line < lines && !given; ++line) {
            int64_t rest = line, at = inner.start, step = s.in[last];
            for (int axis = last - 1; axis >= 0; --axis) {
              const int64_t extent = outer[axis].last - outer[axis].first;
              at += (outer[axis].start + (outer[axis].first + rest % extent) * s.dilation[axis]) * step;
              step *= s.in[axis];
              rest /= extent;
            }
            for (int64_t tap = inner.first; tap < inner.last && !given; ++tap) {
              given = is_maximum(source[at + tap * s.dilation[last]], y[first + j]);
              if (given) target[at + tap * s.dilation[last]] += dy[first + j];
            }
          }
        }
      }
    }
  });
}

Kernel make_max_pool_gradient(Prepare& p) {
  return [node = NodeView(p.node()), window = WindowSpec(p)](Run& run) {
    const Tensor &dy = run.in(0), &x = run.in(1), &y = run.in(2);
    const PoolShape s = pool_shape(node, window, x.shape());
    SX_CHECK(run, dy.shape() == pool_result(s, x.shape()) && y.shape() == dy.shape(), "the gradient is ",
             dy.shape().str(), "; ", pool_result(s, x.shape()).str(), " expected");
    Tensor& dx = run.out(0, x.shape());
    if (dx.size() == 0) return;
    if (dx.dtype() == DType::kFloat64)
      return give_to_maxima(s, dy.data<double>(), x.data<double>(), y.data<double>(), dx.data<double>());
    const FloatIn from(x), maxima(y), given(dy);
    const FloatOut out(dx);
    give_to_maxima(s, given.data(), from.data(), maxima.data(), out.data());
    out.store();
  };
}

void differentiate_average_pool(GradientContext& c) {
  c.give(0, c.op("AveragePoolGradient", {c.grad(), c.in(0)}, c.node().attributes, "sardonyx"));
}

void differentiate_lp_pool(GradientContext& c) {
  const int64_t p = c.attr_int("p");
  Attributes attributes = c.node().attributes;
  attributes.erase("p");
  const Expr shares = c.op("SumPoolGradient", {lp_share(c.grad(), c.out(), p), c.in(0)}, attributes, "sardonyx");
  c.give(0, lp_slope(c.in(0), p) * shares);
}

// What an element of a window gets of the window's gradient: all of it, or what a mean leaves.
enum class Share { kAll, kMean, kMeanWithPadding };

// Every element of a window gets its share; the axes are walked with the last one innermost.
template <typename T>
void spread(const PoolShape& s, Share mode, const T* dy, T* dx) {
  const bool count_padding = mode == Share::kMeanWithPadding;
  int64_t taps = 1;
  for (int axis = 0; axis < s.rank; ++axis) taps *= s.most_taps(axis);
  parallel_for(s.planes, std::max<int64_t>(1, 32768 / (s.out_size() * taps + 1)), [&](int64_t from, int64_t to) {
    for (int64_t plane = from; plane < to; ++plane) {
      T* target = dx + plane * s.in_size();
      std::fill(target, target + s.in_size(), T{0});
      for (int64_t i = 0; i < s.out_size(); ++i) {
        PoolTaps inside[kMaxSpatialRank];
        int64_t index = i, count = 1, present = 1;
        for (int axis = s.rank - 1; axis >= 0; --axis) {
          const int64_t output = index % s.out[axis];
          index /= s.out[axis];
          inside[axis] = pool_taps(s, axis, output);
          const PoolTaps counted =
              count_padding ? pool_taps(s, axis, output, s.pad_begin[axis], s.pad_end[axis]) : inside[axis];
          count *= counted.last - counted.first;
          present *= inside[axis].last - inside[axis].first;
        }
        if (mode == Share::kAll) count = 1;
        const T share = count == 0 ? T{0} : dy[plane * s.out_size() + i] / static_cast<T>(count);
        for (int64_t tap = 0; tap < present; ++tap) {
          int64_t rest = tap, at = 0, step = 1;
          for (int axis = s.rank - 1; axis >= 0; --axis) {
            const int64_t extent = inside[axis].last - inside[axis].first;
            at += (inside[axis].start + (inside[axis].first + rest % extent) * s.dilation[axis]) * step;
            step *= s.in[axis];
            rest /= extent;
          }
          target[at] += share;
        }
      }
    }
  });
}

Kernel make_pool_gradient(Prepare& p, Share share) {
  return [node = NodeView(p.node()), window = WindowSpec(p), share](Run& run) {
    const Shape& like = run.in(1).shape();
    const PoolShape s = pool_shape(node, window, like);
    SX_CHECK(run, run.in(0).shape() == pool_result(s, like), "the gradient is ", run.in(0).shape().str(), "; ",
             pool_result(s, like).str(), " expected");
    Tensor& dx = run.out(0, like);
    if (dx.size() == 0) return;
    if (dx.dtype() == DType::kFloat64) return spread(s, share, run.in(0).data<double>(), dx.data<double>());
    const FloatIn dy(run.in(0));
    const FloatOut out(dx);
    spread(s, share, dy.data(), out.data());
    out.store();
  };
}

}  // namespace

void define_pool(OpList& ops) {
  add_pool_attrs(ops.add(OpDef("MaxPoolGradient", "sardonyx")
                             .in("dY", "T", kFloats)
                             .in("X", "T", kFloats)
                             .in("Y", "T", kFloats)
                             .out("dX", "T")
                             .infer([](InferContext& c) { c.out(0, c.dtype(0), c.type(1).shape); })
                             .kernel(make_max_pool_gradient)
                             .gradient(differentiate_max_pool_gradient)));
  add_pool_attrs(ops.add(OpDef("MaxPool")
                             .since(22)
                             .attr("storage_order", 0)
                             .in("X", "T", kFloats | DType::kInt8 | DType::kUInt8)
                             .out("Y", "T")
                             .optional_out("Indices", "I", DType::kInt64)
                             .infer(infer_pool)
                             .kernel([](Prepare& p) { return make_pool(p, MaxPool{p.attr_int("storage_order") != 0}); })
                             .gradient(differentiate_max_pool)));
  add_pool_attrs(
      ops.add(OpDef("AveragePool")
                  .since(22)
                  .attr("count_include_pad", 0)
                  .in("X", "T", kFloats)
                  .out("Y", "T")
                  .infer(infer_pool)
                  .kernel([](Prepare& p) { return make_pool(p, MeanPool{p.attr_int("count_include_pad") != 0}); })
                  .gradient(differentiate_average_pool)));
  add_pool_attrs(ops.add(
      OpDef("AveragePoolGradient", "sardonyx")
          .attr("count_include_pad", 0)
          .in("dY", "T", kFloats)
          .in("like", "T", kFloats)
          .out("dX", "T")
          .shape_only({1})
          .infer([](InferContext& c) { c.out(0, c.dtype(0), c.type(1).shape); })
          .kernel([](Prepare& p) {
            return make_pool_gradient(p, p.attr_int("count_include_pad") != 0 ? Share::kMeanWithPadding : Share::kMean);
          })
          .gradient([](GradientContext& c) { c.give(0, c.op("AveragePool", {c.grad()}, c.node().attributes)); })));
  // The sums of windows, and the opposite: both are linear and each is the gradient of the other.
  add_pool_attrs(ops.add(OpDef("SumPool", "sardonyx")
                             .in("X", "T", kFloats)
                             .out("Y", "T")
                             .infer(infer_pool)
                             .kernel([](Prepare& p) { return make_pool(p, SumPool()); })
                             .gradient([](GradientContext& c) {
                               c.give(0, c.op("SumPoolGradient", {c.grad(), c.in(0)}, c.node().attributes, "sardonyx"));
                             })));
  add_pool_attrs(ops.add(OpDef("SumPoolGradient", "sardonyx")
                             .in("dY", "T", kFloats)
                             .in("like", "T", kFloats)
                             .out("dX", "T")
                             .shape_only({1})
                             .infer([](InferContext& c) { c.out(0, c.dtype(0), c.type(1).shape); })
                             .kernel([](Prepare& p) { return make_pool_gradient(p, Share::kAll); })
                             .gradient([](GradientContext& c) {
                               c.give(0, c.op("SumPool", {c.grad()}, c.node().attributes, "sardonyx"));
                             })));
  add_pool_attrs(ops.add(OpDef("LpPool")
                             .since(22)
                             .attr("p", 2)
                             .in("X", "T", kFloats)
                             .out("Y", "T")
                             .infer(infer_pool)
                             .kernel([](Prepare& p) { return make_pool(p, NormPool{norm_order(p)}); })
                             .gradient(differentiate_lp_pool)
                             .upgrade(2, [](UpgradeContext& c) {
                               const float p = c.take<float>("p", 2.0f);
                               SX_REQUIRE(p >= 1.0f && p <= 1e6f && p == std::floor(p), kNotImplemented,
                                          label(c.draft()), " attribute 'p' is ", p, "; a positive integer expected");
                               c.set("p", static_cast<int64_t>(p));
                             })));
}

}  // namespace sx
