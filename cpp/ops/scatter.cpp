// y = data with updates written or reduced into it: ScatterElements, ScatterND and TensorScatter.
#include <algorithm>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/index_input.h"
#include "ops/infer.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

enum class Reduction { kNone, kAdd, kMul, kMax, kMin };

Reduction reduction_of(const NodeView& node, DType dtype) {
  static const char* const kNames[] = {"none", "add", "mul", "max", "min"};
  const std::string& name = node.attr_string("reduction");
  const auto found = std::find(std::begin(kNames), std::end(kNames), name);
  SX_CHECK(node, found != std::end(kNames), "reduction is '", name, "'; expected none, add, mul, max or min");
  const auto reduction = static_cast<Reduction>(found - std::begin(kNames));
  SX_CHECK(node, reduction == Reduction::kNone || (kNumbers | DType::kBool).has(dtype), "reduction '", name, "' of ",
           name_of(dtype), " elements is not supported; numbers or bool expected");
  return reduction;
}

template <Reduction kReduction, typename T>
T combine(T old, T update) {
  if constexpr (is_half_type<T>) {
    return T(combine<kReduction>(static_cast<float>(old), static_cast<float>(update)));
  } else if constexpr (kReduction == Reduction::kNone) {
    return update;
  } else if constexpr (std::is_same_v<T, bool>) {
    return kReduction == Reduction::kAdd || kReduction == Reduction::kMax ? old || update : old && update;
  } else if constexpr (kReduction == Reduction::kMax) {
    return old > update || old != old ? old : update;
  } else if constexpr (kReduction == Reduction::kMin) {
    return old < update || old != old ? old : update;
  } else if constexpr (std::is_integral_v<T>) {
    const auto a = static_cast<uint64_t>(old);
    const auto b = static_cast<uint64_t>(update);
    return static_cast<T>(kReduction == Reduction::kAdd ? a + b : a * b);
  } else {
    return kReduction == Reduction::kAdd ? old + update : old * update;
  }
}

// Calls f(T{}, std::integral_constant<Reduction>) for what is to be done on elements of `dtype`.
template <typename F>
void with_reduction(DType dtype, Reduction reduction, F f) {
  if (reduction == Reduction::kNone)
    return with_storage(dtype, [&](auto zero) { f(zero, std::integral_constant<Reduction, Reduction::kNone>()); });
  auto typed = [&](auto zero) {
    switch (reduction) {
      case Reduction::kAdd: return f(zero, std::integral_constant<Reduction, Reduction::kAdd>());
      case Reduction::kMul: return f(zero, std::integral_constant<Reduction, Reduction::kMul>());
      case Reduction::kMax: return f(zero, std::integral_constant<Reduction, Reduction::kMax>());
      default: return f(zero, std::integral_constant<Reduction, Reduction::kMin>());
    }
  };
  if (dtype == DType::kBool) typed(bool{});
  else with_number(dtype, typed);
}

// Output 0: a copy of input 0, or input 0 itself where the output took its place.
Tensor& copy_of_data(Run& run) {
  const Tensor& x = run.in(0);
  Tensor& y = run.out(0, x.shape());
  if (y.raw() == x.raw()) return y;
  const auto step = static_cast<int64_t>(size_of(x.dtype()));
  parallel_for(x.size(), move_grain(step), [&](int64_t begin, int64_t end) {
    copy_elements(x.dtype(), static_cast<char*>(y.raw()) + begin * step,
                  static_cast<const char*>(x.raw()) + begin * step, end - begin);
  });
  return y;
}

// --- ScatterElements

void infer_scatter_elements(InferContext& c) {
  if (c.rank(0) >= 0) c.axis(c.attr_int("axis"), c.rank(0));
  for (int i = 1; i < 3; ++i)
    SX_CHECK(c, c.rank(0) < 0 || c.rank(i) < 0 || c.rank(i) == c.rank(0), i == 1 ? "indices" : "updates", " is ",
             c.type(i).str(), "; the rank of data ", c.type(0).str(), " expected");
  c.out(0, c.type(0));
}

// Updates that differ on an axis other than `axis` go to different elements: they are spread over threads by the axes
// before it and by stretches of those behind it; along `axis` they are applied in order.
template <Reduction kReduction, typename T>
void scatter_elements(const Run& run, Tensor& y, int axis) {
  const Tensor& picked = run.in(1);
  const Shape& shape = picked.shape();
  const Shape strides = strides_of(y.shape());
  const int64_t count = shape[axis];
  const int64_t inner = shape.size(axis + 1, shape.rank());
  const bool dense = inner == strides[axis];
  const int64_t extent = y.dim(axis), stride = strides[axis];
  const T* updates = static_cast<const T*>(run.in(2).raw());
  T* to = static_cast<T*>(y.raw());
  // The element of y for position `at` within the axes [first, last) of the indices.
  auto offset = [&](int64_t at, int first, int last) {
    int64_t sum = 0;
    for (int i = last - 1; i >= first; --i) {
      sum += at % shape[i] * strides[i];
      at /= shape[i];
    }
    return sum;
  };
  constexpr int64_t kStretch = 1024;
  const int64_t stretches = (inner + kStretch - 1) / kStretch;
  const int64_t work = count * std::min(inner, kStretch);
  parallel_for(shape.size(0, axis) * stretches, std::max<int64_t>(16384 / std::max<int64_t>(work, 1), 1),
               [&](int64_t begin, int64_t end) {
                 const Indices indices(picked);
                 for (int64_t unit = begin; unit < end; ++unit) {
                   const int64_t outer = unit / stretches;
                   const int64_t first = unit % stretches * kStretch;
                   const int64_t last = std::min(first + kStretch, inner);
                   T* base = to + offset(outer, 0, axis);
                   for (int64_t k = 0; k < count; ++k) {
                     for (int64_t j = first, i = (outer * count + k) * inner + first; j < last; ++j, ++i) {
                       T& element =
                           base[indices.at(run, i, extent) * stride + (dense ? j : offset(j, axis + 1, shape.rank()))];
                       element = combine<kReduction>(element, updates[i]);
                     }
                   }
                 }
               });
}

Kernel make_scatter_elements(Prepare& p) {
  const NodeView node(p.node());
  const Reduction reduction = reduction_of(node, p.dtype(0));
  const int64_t given_axis = node.attr_int("axis");
  return [node, reduction, given_axis](Run& run) {
    const Shape& x = run.in(0).shape();
    const Shape& indices = run.in(1).shape();
    SX_CHECK(run, run.in(2).shape() == indices, "updates has shape ", run.in(2).shape().str(),
             "; that of indices expected: ", indices.str());
    SX_CHECK(run, indices.rank() == x.rank() && x.rank() > 0, "indices has shape ", indices.str(),
             " for data of shape ", x.str(), "; equal ranks of 1 or more expected");
    const int axis = node.axis(given_axis, x.rank());
    for (int i = 0; i < x.rank(); ++i)
      SX_CHECK(run, i == axis || indices[i] <= x[i], "indices of shape ", indices.str(), " reach beyond data of shape ",
               x.str());
    Tensor& y = copy_of_data(run);
    if (indices.size() == 0) return;
    with_reduction(y.dtype(), reduction, [&](auto zero, auto kind) {
      scatter_elements<decltype(kind)::value, decltype(zero)>(run, y, axis);
    });
  };
}

// --- ScatterND

void infer_scatter_nd(InferContext& c) {
  c.out(0, c.type(0));
  if (!c.has_shape(0) || !c.has_shape(1)) return;
  const SymShape& indices = c.shape(1);
  SX_CHECK(c, !indices.empty(), "indices is a scalar; rank 1 or more expected");
  const Dim depth = indices.back();
  if (!depth.known()) return;
  SX_CHECK(c, depth.value() <= c.rank(0), "indices ", c.type(1).str(), " address ", depth.str(), " axes; data is ",
           c.type(0).str());
  const int64_t expected = c.rank(1) - 1 + c.rank(0) - depth.value();
  SX_CHECK(c, c.rank(2) < 0 || c.rank(2) == expected, "updates is ", c.type(2).str(), "; rank ", expected, " expected");
}

// Updates are applied in order; threads share the columns of wide slices.
template <Reduction kReduction, typename T>
void scatter_nd(const Run& run, Tensor& y, int64_t count, int depth, int64_t inner) {
  const Shape strides = strides_of(y.shape());
  const Indices indices(run.in(1));
  const T* updates = static_cast<const T*>(run.in(2).raw());
  T* to = static_cast<T*>(y.raw());
  const int64_t grain =
      std::max<int64_t>(std::max<int64_t>(65536 / std::max<int64_t>(count, 1), 1024), (inner + 63) / 64);
  parallel_for(inner, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < count; ++i) {
      int64_t offset = 0;
      for (int k = 0; k < depth; ++k) offset += indices.at(run, i * depth + k, y.dim(k)) * strides[k];
      const T* update = updates + i * inner;
      if constexpr (kReduction == Reduction::kNone) {
        if (inner == 1) to[offset] = update[0];
        else copy_run(to + offset + begin, update + begin, end - begin);
      } else {
        for (int64_t j = begin; j < end; ++j) to[offset + j] = combine<kReduction>(to[offset + j], update[j]);
      }
    }
  });
}

Kernel make_scatter_nd(Prepare& p) {
  const Reduction reduction = reduction_of(p, p.dtype(0));
  return [reduction](Run& run) {
    const Shape& x = run.in(0).shape();
    const Shape& indices = run.in(1).shape();
    SX_CHECK(run, indices.rank() > 0 && indices.back() <= x.rank(), "indices of shape ", indices.str(),
             " do not address data of shape ", x.str());
    const int depth = static_cast<int>(indices.back());
    Shape expected(indices.begin(), indices.end() - 1);
    for (int i = depth; i < x.rank(); ++i) expected.push_back(x[i]);
    SX_CHECK(run, run.in(2).shape() == expected, "updates has shape ", run.in(2).shape().str(), "; ", expected.str(),
             " expected");
    Tensor& y = copy_of_data(run);
    if (expected.size() == 0) return;
    with_reduction(y.dtype(), reduction, [&](auto zero, auto kind) {
      scatter_nd<decltype(kind)::value, decltype(zero)>(run, y, indices.size(0, indices.rank() - 1), depth,
                                                        x.size(depth, x.rank()));
    });
  };
}

// --- TensorScatter

int cache_axis(const NodeView& node, int rank) {
  const int axis = node.axis(node.attr_int("axis"), rank);
  SX_CHECK(node, axis != 0, "axis is the batch axis 0; a sequence axis expected");
  return axis;
}

void infer_tensor_scatter(InferContext& c) {
  if (c.rank(0) >= 0) cache_axis(c, c.rank(0));
  c.out(0, c.type(0));
}

Kernel make_tensor_scatter(Prepare& p) {
  const NodeView node(p.node());
  const std::string& mode = node.attr_string("mode");
  SX_CHECK(node, mode == "linear" || mode == "circular", "mode is '", mode, "'; linear or circular expected");
  const bool circular = mode == "circular";
  return [node, circular](Run& run) {
    const Shape& cache = run.in(0).shape();
    const Tensor& update = run.in(1);
    const int axis = cache_axis(node, cache.rank());
    bool fits = update.rank() == cache.rank();
    for (int i = 0; fits && i < cache.rank(); ++i)
      fits = i == axis ? update.dim(i) <= cache[i] : update.dim(i) == cache[i];
    SX_CHECK(run, fits, "update has shape ", update.shape().str(), ", which does not fit into the cache of shape ",
             cache.str(), " along axis ", axis);
    const int64_t capacity = cache[axis];
    const int64_t length = update.dim(axis);
    const int64_t* starts = nullptr;
    if (run.has(2)) {
      SX_CHECK(run, run.in(2).size() == cache[0], "write_indices has shape ", run.in(2).shape().str(),
               "; one for each of ", cache[0], " samples expected");
      starts = run.in(2).data<int64_t>();
      for (int64_t i = 0; i < cache[0]; ++i)
        SX_CHECK(run, starts[i] >= 0 && (circular || starts[i] <= capacity - length), "write index ", starts[i],
                 " with ", length, " new entries does not fit into ", capacity);
    }
    Tensor& y = copy_of_data(run);
    if (update.size() == 0) return;
    const int64_t inner = cache.size(axis + 1, cache.rank());
    const int64_t rows = cache.size(0, axis);
    const int64_t rows_per_sample = rows / cache[0];
    const auto step = static_cast<int64_t>(size_of(y.dtype()));
    char* to = static_cast<char*>(y.raw());
    const char* from = static_cast<const char*>(update.raw());
    parallel_for(rows, move_grain(length * inner * step), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t start = starts != nullptr ? starts[row / rows_per_sample] % capacity : 0;
        const int64_t head = std::min(length, capacity - start);
        const char* source = from + row * length * inner * step;
        copy_elements(y.dtype(), to + (row * capacity + start) * inner * step, source, head * inner);
        copy_elements(y.dtype(), to + row * capacity * inner * step, source + head * inner * step,
                      (length - head) * inner);
      }
    });
  };
}

// --- gradients

// Input 0 of the node replaced by `data` and the updates by `updates`, with another reduction.
Expr scattered(GradientContext& c, const Expr& data, const Expr& updates, const char* reduction) {
  Attributes attributes = c.node().attributes;
  attributes["reduction"] = std::string(reduction);
  return c.op(c.node().op->name(), {data, c.in(1), updates}, attributes);
}

// Each factor takes the product of the others, which is the whole over itself but for zeros: with one zero among the
// factors of a place only that one takes anything.
void differentiate_scatter_mul(GradientContext& c, const std::string& gather, const Attributes& place) {
  const Expr x = c.in(0), updates = c.in(2);
  const Expr zero = c.scalar(0, x.dtype()), one = c.scalar(1, x.dtype());
  const auto is_zero = [&](const Expr& v) { return c.op("Equal", {v, zero}); };
  const auto without_zeros = [&](const Expr& v) { return c.where(is_zero(v), one, v); };
  const Expr product = scattered(c, without_zeros(x), without_zeros(updates), "mul");
  const Expr zeros = scattered(c, c.cast(is_zero(x), x.dtype()), c.cast(is_zero(updates), x.dtype()), "add");
  const auto share = [&](const Expr& factor, const Expr& all, const Expr& count) {
    const Expr at_zero = c.where(c.op("Equal", {count, one}), all, zero);
    const Expr elsewhere = c.where(is_zero(count), all / without_zeros(factor), zero);
    return c.where(is_zero(factor), at_zero, elsewhere);
  };
  const auto picked = [&](const Expr& v) { return c.op(gather, {v, c.in(1)}, place); };
  if (c.wants(0)) c.give(0, c.grad() * share(x, product, zeros));
  if (c.wants(2)) c.give(2, picked(c.grad()) * share(updates, picked(product), picked(zeros)));
}

// Those that are equal to the extremum of a place share its gradient.
void differentiate_scatter_extreme(GradientContext& c, const std::string& gather, const Attributes& place) {
  const auto picked = [&](const Expr& v) { return c.op(gather, {v, c.in(1)}, place); };
  const Expr here = c.cast(c.op("Equal", {c.in(0), c.out()}), c.grad().dtype());
  const Expr there = c.cast(c.op("Equal", {c.in(2), picked(c.out())}), c.grad().dtype());
  const Expr share = c.grad() / scattered(c, here, there, "add");
  if (c.wants(0)) c.give(0, here * share);
  if (c.wants(2)) c.give(2, there * picked(share));
}

// The updates take the gradient from where they went; with "none" the data has none there. Of updates with "none" that
// meet in one place, each takes the gradient of that place.
void differentiate_scatter(GradientContext& c, const std::string& gather, const Attributes& place) {
  const std::string& reduction = c.attr_string("reduction");
  if (reduction == "mul") return differentiate_scatter_mul(c, gather, place);
  if (reduction == "max" || reduction == "min") return differentiate_scatter_extreme(c, gather, place);
  if (c.wants(0)) {
    const Expr kept = reduction == "add"
                          ? c.grad()
                          : c.op(c.node().op->name(), {c.grad(), c.in(1), c.zeros_like(c.in(2))}, c.node().attributes);
    c.give(0, kept);
  }
  if (c.wants(2)) c.give(2, c.op(gather, {c.grad(), c.in(1)}, place));
}

void differentiate_scatter_elements(GradientContext& c) {
  differentiate_scatter(c, "GatherElements", {{"axis", c.attr_int("axis")}});
}

void differentiate_scatter_nd(GradientContext& c) { differentiate_scatter(c, "GatherND", {}); }

// The update of sample b went to places start[b], start[b] + 1 ... along the axis, round the end where it is circular.
void differentiate_tensor_scatter(GradientContext& c) {
  const Expr x = c.in(0), update = c.in(1);
  if (c.wants(0)) c.give(0, c.op("TensorScatter", {c.grad(), c.zeros_like(update), c.in(2)}, c.node().attributes));
  if (!c.wants(1)) return;
  SX_CHECK(c, update.rank() >= 0, "has no gradient where the rank of its update is unknown");
  const int axis = c.axis(c.attr_int("axis"), update.rank());
  std::vector<int64_t> behind_batch, around;
  for (int i = 1; i < update.rank(); ++i) behind_batch.push_back(i);
  for (int i = 0; i < update.rank(); ++i)
    if (i != axis) around.push_back(i);
  Expr place = c.unsqueeze(c.iota(c.extent(update, axis)), around);
  if (c.in(2)) place = place + c.unsqueeze(c.in(2), behind_batch);
  place = c.op("Mod", {place, c.extent(x, axis)});
  c.give(1, c.op("GatherElements", {c.grad(), c.expand_like(place, update)}, {{"axis", static_cast<int64_t>(axis)}}));
}

}  // namespace

void define_scatter(OpList& ops) {
  const DTypeSet index = DType::kInt32 | DType::kInt64;
  ops.add(OpDef("ScatterElements")
              .since(18, 11)
              .attr("axis", 0)
              .attr("reduction", "none")
              .in("data", "T", kAllTypes)
              .in("indices", "Tind", index)
              .in("updates", "T", kAllTypes)
              .out("output", "T")
              .in_place({0})
              .infer(infer_scatter_elements)
              .kernel(make_scatter_elements)
              .gradient(differentiate_scatter_elements));
  ops.add(
      OpDef("Scatter")
          .since(11, 9)
          .attr("axis", 0)
          .in("data", "T", kAllTypes)
          .in("indices", "Tind", index)
          .in("updates", "T", kAllTypes)
          .out("output", "T")
          .infer([](InferContext& c) { c.error("the operator ended with opset 11; ScatterElements stands for it"); })
          .upgrade(11, [](UpgradeContext& c) { c.become("ScatterElements"); }));
  ops.add(OpDef("ScatterND")
              .since(18, 11)
              .attr("reduction", "none")
              .in("data", "T", kAllTypes)
              .in("indices", "", DType::kInt64)
              .in("updates", "T", kAllTypes)
              .out("output", "T")
              .in_place({0})
              .infer(infer_scatter_nd)
              .kernel(make_scatter_nd)
              .gradient(differentiate_scatter_nd));
  ops.add(OpDef("TensorScatter")
              .since(24, 24)
              .attr("axis", -2)
              .attr("mode", "linear")
              .in("past_cache", "T", kAllTypes)
              .in("update", "T", kAllTypes)
              .optional_in("write_indices", "", DType::kInt64)
              .out("present_cache", "T")
              .in_place({0})
              .infer(infer_tensor_scatter)
              .kernel(make_tensor_scatter)
              .gradient(differentiate_tensor_scatter));
}

}  // namespace sx
