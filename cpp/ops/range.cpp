// Range: start, start + delta, ...; ConstantOfShape: one value everywhere; EyeLike: ones on a diagonal; OneHot: values
// at indices.
#include <algorithm>
#include <cmath>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/int_input.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"

namespace sx {
namespace {

void fill(Tensor& y, const void* value) {
  CopyNest nest;
  nest.add(y.size(), 1, 0);
  nest.run(y.dtype(), y.raw(), value);
}

// --- Range

int64_t integer_count(int64_t start, int64_t limit, int64_t delta) {
  if (delta > 0 ? limit <= start : limit >= start) return 0;
  const auto from = static_cast<uint64_t>(start);
  const auto to = static_cast<uint64_t>(limit);
  const uint64_t span = delta > 0 ? to - from : from - to;
  const uint64_t step = delta > 0 ? static_cast<uint64_t>(delta) : uint64_t{0} - static_cast<uint64_t>(delta);
  const uint64_t count = (span - 1) / step + 1;
  SX_REQUIRE(count < (uint64_t{1} << 62), kInvalidArgument, "a range of ", count, " elements is too long");
  return static_cast<int64_t>(count);
}

void infer_range(InferContext& c) {
  const DType dtype = c.dtype(0);
  auto bound = [&](int i) -> Dim {
    if (!is_integer(dtype)) return Dim();
    if (const Tensor* known = c.constant(i)) return known->size() == 1 ? Dim(known->scalar_as_int()) : Dim();
    const auto elements = c.elements(i);
    return elements && elements->size() == 1 ? (*elements)[0] : Dim();
  };
  if (!is_integer(dtype)) {
    const Tensor* start = c.constant(0);
    const Tensor* limit = c.constant(1);
    const Tensor* delta = c.constant(2);
    if (start == nullptr || limit == nullptr || delta == nullptr) return c.out(0, dtype, SymShape{Dim()});
    const double count = std::ceil((limit->scalar_as_double() - start->scalar_as_double()) / delta->scalar_as_double());
    return c.out(0, dtype, SymShape{count < 1e15 ? Dim(static_cast<int64_t>(std::max(count, 0.0))) : Dim()});
  }
  const Dim start = bound(0), limit = bound(1), delta = bound(2);
  SX_CHECK(c, delta != Dim(0), "delta is 0");
  if (!delta.known()) return c.out(0, dtype, SymShape{Dim()});
  const bool known = start.known() && limit.known();
  const Dim count = known               ? Dim(integer_count(start.value(), limit.value(), delta.value()))
                    : delta.value() > 0 ? ceil_div(limit - start, delta)
                                        : ceil_div(start - limit, Dim(0) - delta);
  c.out(0, dtype, SymShape{count.known() ? Dim(std::max<int64_t>(count.value(), 0)) : count});
  if (!count.known() || count.value() > 64) return;
  std::vector<Dim> elements;
  for (int64_t i = 0; i < count.value(); ++i) elements.push_back(start + delta * Dim(i));
  c.out_elements(0, elements);
}

Kernel make_range(Prepare& p) {
  const DType dtype = p.dtype(0);
  if (is_integer(dtype)) {
    return [](Run& run) {
      for (int i = 0; i < 3; ++i)
        SX_CHECK(run, run.in(i).size() == 1, "input ", i, " has shape ", run.in(i).shape().str(),
                 "; a scalar expected");
      const int64_t start = run.in(0).scalar_as_int();
      const int64_t delta = run.in(2).scalar_as_int();
      SX_CHECK(run, delta != 0, "delta is 0");
      const int64_t count = integer_count(start, run.in(1).scalar_as_int(), delta);
      Tensor& y = run.out(0, Shape{count});
      with_number(y.dtype(), [&](auto zero) {
        using T = decltype(zero);
        if constexpr (std::is_integral_v<T>) {
          T* to = y.data<T>();
          using U = std::make_unsigned_t<T>;
          const U first = static_cast<U>(start), step = static_cast<U>(delta);
          // Several at a time, which do not wait for one another.
          constexpr int64_t kGroup = 16;
          U at[kGroup];
          for (int64_t k = 0; k < kGroup; ++k) at[k] = static_cast<U>(first + static_cast<U>(k) * step);
          int64_t i = 0;
          for (; i + kGroup <= count; i += kGroup) {
            std::memcpy(to + i, at, sizeof(at));
            for (U& value : at) value = static_cast<U>(value + static_cast<U>(kGroup * step));
          }
          for (int64_t k = 0; i < count; ++i, ++k) to[i] = static_cast<T>(at[k]);
        }
      });
    };
  }
  return [](Run& run) {
    for (int i = 0; i < 3; ++i)
      SX_CHECK(run, run.in(i).size() == 1, "input ", i, " has shape ", run.in(i).shape().str(), "; a scalar expected");
    const double start = run.in(0).scalar_as_double();
    const double delta = run.in(2).scalar_as_double();
    SX_CHECK(run, delta != 0, "delta is 0");
    const double count = std::max(std::ceil((run.in(1).scalar_as_double() - start) / delta), 0.0);
    SX_CHECK(run, count < 1e15, "a range from ", start, " by ", delta, " would have ", count, " elements");
    Tensor& y = run.out(0, Shape{static_cast<int64_t>(count)});
    with_number(y.dtype(), [&](auto zero) {
      using T = decltype(zero);
      if constexpr (!std::is_integral_v<T>) {
        T* to = y.data<T>();
        for (int64_t i = 0; i < y.size(); ++i)
          to[i] = T(static_cast<Arithmetic<T>>(start + static_cast<double>(i) * delta));
      }
    });
  };
}

// --- ConstantOfShape

// The `value` of a ConstantOfShape; float 0 when it is not given.
Tensor fill_value(const NodeView& node) {
  if (!node.has_attr("value")) return Tensor::scalar(0.0f);
  const Tensor& value = node.attr<Tensor>("value");
  SX_CHECK(node, value.size() == 1, "value has shape ", value.shape().str(), "; one element expected");
  return value;
}

void infer_constant_of_shape(InferContext& c) {
  const Tensor value = fill_value(c);
  const auto shape = c.elements(0);
  if (shape) c.out(0, value.dtype(), *shape);
  else c.out(0, value.dtype(), std::nullopt);
  if (!shape || shape->size() > 1 || (value.dtype() != DType::kInt64 && value.dtype() != DType::kInt32)) return;
  const Dim count = shape->empty() ? Dim(1) : (*shape)[0];
  if (count.known() && count.value() <= 64)
    c.out_elements(0, std::vector<Dim>(static_cast<size_t>(count.value()), Dim(value.scalar_as_int())));
}

Kernel make_constant_of_shape(Prepare& p) {
  const IntInput shape_input(p, 0);
  return [shape_input, value = fill_value(p)](Run& run) {
    std::vector<int64_t> buffer;
    const std::vector<int64_t>& shape = shape_input.get(run, buffer);
    for (int64_t extent : shape)
      SX_CHECK(run, extent >= 0, "the shape ", to_string(Attribute(shape)), " has a negative extent");
    fill(run.out(0, value.dtype(), Shape(shape)), value.raw());
  };
}

// --- EyeLike

void infer_eye_like(InferContext& c) {
  const DType dtype = c.has_attr("dtype") ? dtype_from_onnx(static_cast<int>(c.attr_int("dtype"))) : c.dtype(0);
  SX_CHECK(c, (kNumbers | DType::kBool).has(dtype), "dtype is ", name_of(dtype), "; a number or bool expected");
  if (!c.has_shape(0)) return c.out(0, dtype, SymShape{Dim(), Dim()});
  SX_CHECK(c, c.rank(0) == 2, "the input is ", c.type(0).str(), "; rank 2 expected");
  c.out(0, dtype, c.shape(0));
}

// Zeros with `one` where column - row == k.
template <typename T>
void diagonal(Tensor& y, int64_t k, T one) {
  T* to = y.data<T>();
  std::fill(to, to + y.size(), T());
  const int64_t rows = y.dim(0), columns = y.dim(1);
  if (k >= columns || k <= -rows) return;
  for (int64_t row = std::max<int64_t>(-k, 0); row < rows && row + k < columns; ++row)
    to[row * columns + row + k] = one;
}

Kernel make_eye_like(Prepare& p) {
  const int64_t k = p.attr_int("k");
  return [k](Run& run) {
    const Shape shape = run.in(0).shape();
    SX_CHECK(run, shape.rank() == 2, "the input has shape ", shape.str(), "; rank 2 expected");
    Tensor& y = run.out(0, shape);
    if (y.dtype() == DType::kBool) return diagonal(y, k, true);
    with_number(y.dtype(), [&](auto zero) { diagonal(y, k, decltype(zero)(1)); });
  };
}

// --- OneHot

// x as an integer, rounded towards zero; far out of any range where it does not fit.
template <typename T>
int64_t to_integer(T x) {
  if constexpr (std::is_same_v<T, uint64_t>) {
    return x > static_cast<uint64_t>(INT64_MAX) ? INT64_MAX : static_cast<int64_t>(x);
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<int64_t>(x);
  } else {
    const auto value = static_cast<double>(static_cast<Arithmetic<T>>(x));
    return std::abs(value) < 9e18 ? static_cast<int64_t>(value) : INT64_MIN;
  }
}

int64_t scalar_integer(const Tensor& x) {
  int64_t value = 0;
  with_number(x.dtype(), [&](auto zero) { value = to_integer(*x.data<decltype(zero)>()); });
  return value;
}

void infer_one_hot(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(2), std::nullopt);
  SymShape shape = c.shape(0);
  const Tensor* known = c.constant(1);
  Dim depth;
  if (known != nullptr) {
    SX_CHECK(c, known->size() == 1, "depth has shape ", known->shape().str(), "; a scalar expected");
    depth = Dim(scalar_integer(*known));
  } else if (const auto elements = c.elements(1); elements && elements->size() == 1) {
    depth = (*elements)[0];
  }
  shape.insert(shape.begin() + c.axis(c.attr_int("axis"), c.rank(0) + 1), depth);
  c.out(0, c.dtype(2), shape);
}

Kernel make_one_hot(Prepare& p) {
  const NodeView node(p.node());
  const int64_t given_axis = node.attr_int("axis");
  return [node, given_axis](Run& run) {
    const Tensor& indices = run.in(0);
    const Tensor& values = run.in(2);
    SX_CHECK(run, run.in(1).size() == 1, "depth has shape ", run.in(1).shape().str(), "; a scalar expected");
    SX_CHECK(run, values.size() == 2, "values has shape ", values.shape().str(), "; two elements expected: off and on");
    const int64_t depth = scalar_integer(run.in(1));
    SX_CHECK(run, depth >= 0, "depth is ", depth);
    Shape shape = indices.shape();
    const int axis = node.axis(given_axis, indices.rank() + 1);
    shape.insert(axis, depth);
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    fill(y, values.raw());
    const int64_t inner = indices.shape().size(axis, indices.rank());
    const auto step = static_cast<int64_t>(size_of(y.dtype()));
    const char* on = static_cast<const char*>(values.raw()) + step;
    char* to = static_cast<char*>(y.raw());
    with_number(indices.dtype(), [&](auto zero) {
      const auto* index = indices.data<decltype(zero)>();
      parallel_for(indices.size(), 1 << 14, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          int64_t at = to_integer(index[i]);
          if (at < 0 && at >= -depth) at += depth;
          if (at < 0 || at >= depth) continue;
          copy_elements(y.dtype(), to + ((i / inner * depth + at) * inner + i % inner) * step, on, 1);
        }
      });
    });
  };
}

// --- gradients

// start + i delta for the numbers i that there are; their count moves in steps.
void differentiate_range(GradientContext& c) {
  const auto number = [&](size_t i) { return c.op("Reshape", {c.in(i), c.ints({})}); };
  const Expr i = c.cast(c.iota(c.extent(c.out(), 0)), c.grad().dtype());
  c.give_through({number(0) + i * number(2)});
}

// off + (on - off) hot, with hot 1 at the indices and 0 elsewhere.
void differentiate_one_hot(GradientContext& c) {
  const DType dtype = c.grad().dtype();
  const Expr range = c.cast(c.ints({0, 1}), dtype);
  const Expr hot = c.op("OneHot", {c.in(0), c.in(1), range}, c.node().attributes);
  const auto value = [&](int64_t i) { return c.op("Gather", {c.in(2), c.constant(Tensor::scalar(i))}); };
  c.give_through({value(0) + (value(1) - value(0)) * hot});
}

}  // namespace

void define_range(OpList& ops) {
  const DTypeSet ranged = kFloats | DType::kInt16 | DType::kInt32 | DType::kInt64;
  ops.add(OpDef("Range")
              .since(27, 11)
              .attr("stash_type", 1)
              .in("start", "T", ranged)
              .in("limit", "T", ranged)
              .in("delta", "T", ranged)
              .out("output", "T")
              .infer(infer_range)
              .kernel(make_range)
              .gradient(differentiate_range));
  ops.add(OpDef("ConstantOfShape")
              .since(25, 9)
              .optional_attr("value", AttrKind::kTensor)
              .in("input", "", DType::kInt64)
              .out("output")
              .infer(infer_constant_of_shape)
              .kernel(make_constant_of_shape)
              .zero_gradient());
  ops.add(OpDef("EyeLike")
              .since(22, 9)
              .optional_attr("dtype", AttrKind::kInt)
              .attr("k", 0)
              .in("input", "T1", kNumbers | DType::kBool)
              .out("output")
              .shape_only({0})
              .infer(infer_eye_like)
              .kernel(make_eye_like)
              .zero_gradient());
  ops.add(OpDef("OneHot")
              .since(28, 9)
              .attr("axis", -1)
              .in("indices", "T1", kNumbers)
              .in("depth", "T2", kNumbers)
              .in("values", "T3", kAllTypes)
              .out("output", "T3")
              .infer(infer_one_hot)
              .kernel(make_one_hot)
              .gradient(differentiate_one_hot));
}

}  // namespace sx
