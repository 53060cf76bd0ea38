// NonZero: the positions of elements that are not zero; Compress: the slices that a condition selects; Unique: the
// distinct slices.
#include <algorithm>
#include <complex>
#include <numeric>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Calls f(T{}) for every type of the operators here.
template <typename F>
void with_comparable(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kString: return f(std::string());
    case DType::kBool: return f(bool{});
    case DType::kComplex64: return f(std::complex<float>());
    case DType::kComplex128: return f(std::complex<double>());
    default: with_number(dtype, f);
  }
}
constexpr DTypeSet kComparable = kNumbers | kComplex | DType::kBool | DType::kString;

// --- NonZero

template <typename T>
bool is_set(const T& x) {
  if constexpr (std::is_same_v<T, std::string>) return !x.empty();
  else if constexpr (is_half_type<T>) return (x.bits & 0x7fffu) != 0;
  else return x != T(0);
}

void infer_nonzero(InferContext& c) {
  c.out(0, DType::kInt64, SymShape{c.rank(0) >= 0 ? Dim(c.rank(0)) : Dim(), Dim()});
}

Kernel make_nonzero(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    with_comparable(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* from = x.data<T>();
      int64_t count = 0;
      for (int64_t i = 0; i < x.size(); ++i) count += is_set(from[i]) ? 1 : 0;
      int64_t* to = run.out(0, Shape{x.rank(), count}).data<int64_t>();
      if (count == 0 || x.rank() == 0) return;
      Shape at = Shape::filled(x.rank(), 0);
      const int last = x.rank() - 1;
      for (int64_t i = 0, k = 0; k < count; ++i) {
        if (is_set(from[i])) {
          for (int axis = 0; axis <= last; ++axis) to[axis * count + k] = at[axis];
          ++k;
        }
        for (int axis = last; axis >= 0 && ++at[axis] == x.dim(axis); --axis) at[axis] = 0;
      }
    });
  };
}

// --- Compress

void infer_compress(InferContext& c) {
  if (!c.has_attr("axis")) return c.out(0, c.dtype(0), SymShape{Dim()});
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  SymShape shape = c.shape(0);
  shape[static_cast<size_t>(c.axis(c.attr_int("axis"), c.rank(0)))] = Dim();
  c.out(0, c.dtype(0), shape);
}

Kernel make_compress(Prepare& p) {
  const NodeView node(p.node());
  return [node](Run& run) {
    const bool flat = !node.has_attr("axis");
    const Tensor x = flat ? run.in(0).reshaped(Shape{run.in(0).size()}) : run.in(0);
    const Tensor& condition = run.in(1);
    const int axis = flat ? 0 : node.axis(node.attr_int("axis"), x.rank());
    const int64_t extent = x.dim(axis);
    SX_CHECK(run, condition.rank() == 1, "condition has shape ", condition.shape().str(), "; rank 1 expected");
    SX_CHECK(run, condition.size() <= extent, "condition has ", condition.size(), " elements for an axis of ", extent);
    const bool* keep = condition.data<bool>();
    const int64_t tested = condition.size();
    Shape shape = x.shape();
    shape[axis] = std::count(keep, keep + tested, true);
    Tensor& y = run.out(0, shape);
    if (y.size() == 0) return;
    const int64_t unit = shape.size(axis + 1, shape.rank());
    const auto step = static_cast<int64_t>(size_of(x.dtype())) * unit;
    const char* from = static_cast<const char*>(x.raw());
    char* to = static_cast<char*>(y.raw());
    parallel_for(shape.size(0, axis), move_grain(extent * step), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        char* write = to + row * shape[axis] * step;
        for (int64_t i = 0; i < tested; ++i) {
          if (!keep[i]) continue;
          copy_elements(x.dtype(), write, from + (row * extent + i) * step, unit);
          write += step;
        }
      }
    });
  };
}

// --- Unique

// Less than, equal or greater than 0; NaN is equal to NaN and greater than all else.
template <typename T>
int compare(const T& a, const T& b) {
  if constexpr (is_half_type<T>) {
    return compare(static_cast<float>(a), static_cast<float>(b));
  } else if constexpr (std::is_same_v<T, std::string>) {
    return a.compare(b);
  } else if constexpr (std::is_same_v<T, std::complex<float>> || std::is_same_v<T, std::complex<double>>) {
    const int real = compare(a.real(), b.real());
    return real != 0 ? real : compare(a.imag(), b.imag());
  } else {
    if (a < b) return -1;
    if (b < a) return 1;
    return static_cast<int>(a != a) - static_cast<int>(b != b);
  }
}

void infer_unique(InferContext& c) {
  const bool flat = !c.has_attr("axis");
  if (flat) {
    c.out(0, c.dtype(0), SymShape{Dim()});
  } else if (c.has_shape(0)) {
    SymShape shape = c.shape(0);
    shape[static_cast<size_t>(c.axis(c.attr_int("axis"), c.rank(0)))] = Dim();
    c.out(0, c.dtype(0), shape);
  } else {
    c.out(0, c.dtype(0), std::nullopt);
  }
  for (int i = 1; i < c.outputs(); ++i) c.out(i, DType::kInt64, SymShape{Dim()});
}

Kernel make_unique(Prepare& p) {
  const NodeView node(p.node());
  const bool sorted = node.attr_int("sorted") != 0;
  return [node, sorted](Run& run) {
    const bool flat = !node.has_attr("axis");
    const Tensor x = flat ? run.in(0).reshaped(Shape{run.in(0).size()}) : run.in(0);
    const int axis = flat ? 0 : node.axis(node.attr_int("axis"), x.rank());
    const int64_t extent = x.dim(axis);
    const int64_t outer = x.shape().size(0, axis);
    const int64_t unit = x.shape().size(axis + 1, x.rank());
    struct Group {
      int64_t first;
      int64_t count;
    };
    std::vector<Group> groups;
    std::vector<int64_t> group_of(static_cast<size_t>(extent));
    with_comparable(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* from = x.data<T>();
      auto compare_slices = [&](int64_t a, int64_t b) {
        for (int64_t i = 0; i < outer; ++i) {
          const T* row = from + i * extent * unit;
          for (int64_t k = 0; k < unit; ++k)
            if (const int order = compare(row[a * unit + k], row[b * unit + k]); order != 0) return order;
        }
        return 0;
      };
      std::vector<int64_t> order(static_cast<size_t>(extent));
      std::iota(order.begin(), order.end(), 0);
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        const int difference = compare_slices(a, b);
        return difference != 0 ? difference < 0 : a < b;
      });
      for (int64_t i : order) {
        if (groups.empty() || compare_slices(groups.back().first, i) != 0) groups.push_back({i, 0});
        ++groups.back().count;
        group_of[static_cast<size_t>(i)] = static_cast<int64_t>(groups.size()) - 1;
      }
    });
    const auto count = static_cast<int64_t>(groups.size());
    if (!sorted) {
      std::vector<int64_t> by_position(groups.size());
      std::iota(by_position.begin(), by_position.end(), 0);
      std::sort(by_position.begin(), by_position.end(), [&](int64_t a, int64_t b) {
        return groups[static_cast<size_t>(a)].first < groups[static_cast<size_t>(b)].first;
      });
      std::vector<Group> reordered;
      std::vector<int64_t> rank(groups.size());
      for (int64_t g : by_position) {
        rank[static_cast<size_t>(g)] = static_cast<int64_t>(reordered.size());
        reordered.push_back(groups[static_cast<size_t>(g)]);
      }
      for (int64_t& g : group_of) g = rank[static_cast<size_t>(g)];
      groups = std::move(reordered);
    }
    if (run.wants(0)) {
      Shape shape = x.shape();
      shape[axis] = count;
      Tensor& y = run.out(0, shape);
      const auto step = static_cast<int64_t>(size_of(x.dtype())) * unit;
      for (int64_t i = 0; i < outer; ++i)
        for (int64_t g = 0; g < count; ++g)
          copy_elements(x.dtype(), static_cast<char*>(y.raw()) + (i * count + g) * step,
                        static_cast<const char*>(x.raw()) + (i * extent + groups[static_cast<size_t>(g)].first) * step,
                        unit);
    }
    auto write = [&](int output, int64_t length, auto value) {
      if (!run.wants(output)) return;
      int64_t* to = run.out(output, Shape{length}).data<int64_t>();
      for (int64_t i = 0; i < length; ++i) to[i] = value(static_cast<size_t>(i));
    };
    write(1, count, [&](size_t g) { return groups[g].first; });
    write(2, extent, [&](size_t i) { return group_of[i]; });
    write(3, count, [&](size_t g) { return groups[g].count; });
  };
}

// --- gradients

// y = Gather(x, indices) along the axis, or of the elements in order where there is none.
void give_gathered(GradientContext& c, const Expr& x, const Expr& indices, int64_t axis) {
  c.give_through({c.op("Gather", {x, indices}, {{"axis", axis}})});
}

void differentiate_compress(GradientContext& c) {
  const bool flat = !c.has_attr("axis");
  const Expr x = flat ? c.reshape(c.in(0), {-1}) : c.in(0);
  SX_CHECK(c, flat || x.rank() > 0, "has no gradient where the rank of its input is unknown");
  const int64_t axis = flat ? 0 : c.axis(c.attr_int("axis"), x.rank());
  give_gathered(c, x, c.op("Compress", {c.iota(c.extent(x, axis)), c.in(1)}, {{"axis", int64_t{0}}}), axis);
}

// Of what is equal, the first takes the gradient.
void differentiate_unique(GradientContext& c) {
  const bool flat = !c.has_attr("axis");
  const Expr indices = c.out(1);
  give_gathered(c, flat ? c.reshape(c.in(0), {-1}) : c.in(0), indices, flat ? 0 : c.attr_int("axis"));
}

}  // namespace

void define_nonzero(OpList& ops) {
  ops.add(OpDef("NonZero")
              .since(13, 9)
              .in("X", "T", kComparable)
              .out("Y", "", DType::kInt64)
              .infer(infer_nonzero)
              .kernel(make_nonzero));
  ops.add(OpDef("Compress")
              .since(28, 9)
              .optional_attr("axis", AttrKind::kInt)
              .in("input", "T", kAllTypes)
              .in("condition", "", DType::kBool)
              .out("output", "T")
              .infer(infer_compress)
              .kernel(make_compress)
              .gradient(differentiate_compress));
  ops.add(OpDef("Unique")
              .since(28, 11)
              .optional_attr("axis", AttrKind::kInt)
              .attr("sorted", 1)
              .in("X", "T", kComparable)
              .out("Y", "T")
              .optional_out("indices", "", DType::kInt64)
              .optional_out("inverse_indices", "", DType::kInt64)
              .optional_out("counts", "", DType::kInt64)
              .infer(infer_unique)
              .kernel(make_unique)
              .gradient(differentiate_unique));
}

}  // namespace sx
