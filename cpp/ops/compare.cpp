// Equal, Less, Greater, LessOrEqual, GreaterOrEqual: a ? b as bool; Where: condition ? x : y.
#include "kernels/unary.h"
#include "ops/elements.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

struct EqualOf {
  template <typename T>
  bool operator()(const T& a, const T& b) const {
    return a == b;
  }
};
struct LessOf {
  template <typename T>
  bool operator()(T a, T b) const {
    return a < b;
  }
};
struct LessOrEqualOf {
  template <typename T>
  bool operator()(T a, T b) const {
    return a <= b;
  }
};
struct GreaterOf {
  template <typename T>
  bool operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterOrEqualOf {
  template <typename T>
  bool operator()(T a, T b) const {
    return a >= b;
  }
};

template <typename T, typename F>
void loop_of(const void* a, const void* b, void* y, const Tile& tile) {
  binary_tile<T, bool>(a, b, y, tile, F());
}

template <typename F>
Kernel compare_kernel(BinaryLoop loop) {
  return [loop](Run& run) {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(1);
    const Broadcast plan = plan_broadcast(run, {&a.shape(), &b.shape()});
    Tensor& y = run.out(0, plan.shape);
    if (loop != nullptr) return run_binary(plan, a, b, y, kElementGrain, loop);
    run_binary_half(plan, a, b, y, kElementGrain, loop_of<float, F>);
  };
}

template <typename F>
Kernel make_compare(Prepare& p) {
  const DType dtype = p.dtype(0);
  BinaryLoop loop = nullptr;
  if (dtype == DType::kFloat32) loop = loop_of<float, F>;
  else if (dtype == DType::kFloat64) loop = loop_of<double, F>;
  else if (is_integer(dtype)) with_integer(dtype, [&](auto zero) { loop = loop_of<decltype(zero), F>; });
  return compare_kernel<F>(loop);
}

Kernel make_equal(Prepare& p) {
  const DType dtype = p.dtype(0);
  BinaryLoop loop = nullptr;
  if (dtype == DType::kString) loop = loop_of<std::string, EqualOf>;
  else if (dtype == DType::kFloat32) loop = loop_of<float, EqualOf>;
  else if (dtype == DType::kFloat64) loop = loop_of<double, EqualOf>;
  else if (!is_float(dtype)) with_unsigned(dtype, [&](auto zero) { loop = loop_of<decltype(zero), EqualOf>; });
  return compare_kernel<EqualOf>(loop);
}

// Provably equal or different extents; unknown otherwise.
Dim equal(const Dim& a, const Dim& b) {
  if (a == b) return Dim(1);
  if (a.known() && b.known()) return Dim(0);
  if (a.known() && a.value() < 0 && b.non_negative()) return Dim(0);
  if (b.known() && b.value() < 0 && a.non_negative()) return Dim(0);
  return Dim();
}

void infer_equal(InferContext& c) {
  infer_elementwise(equal)(c);
  broadcast_to(DType::kBool)(c);
}

OpDef comparison(const char* name, int since, int first, DTypeSet types) {
  OpDef op(name);
  op.since(since, first)
      .in("a", "T", types)
      .in("b", "T", types)
      .out("c", "T1", DType::kBool)
      .infer(broadcast_to(DType::kBool));
  if (first == 1) op.upgrade(7, upgrade_legacy_broadcast);
  return op;
}

// --- Where

// Integers are mixed by masks, so that a condition that cannot be predicted costs nothing.
template <typename T>
T choose(bool condition, const T& x, const T& y) {
  if constexpr (std::is_unsigned_v<T>) {
    const T mask = static_cast<T>(T(0) - T(condition));
    return static_cast<T>((x & mask) | (y & static_cast<T>(~mask)));
  } else {
    return condition ? x : y;
  }
}

template <typename T>
void select(const void* condition_all, const void* x_all, const void* y_all, void* out_all, const Tile& tile) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const bool* condition = static_cast<const bool*>(condition_all) + tile.at[0] + r * tile.row[0];
    const T* x = static_cast<const T*>(x_all) + tile.at[1] + r * tile.row[1];
    const T* y = static_cast<const T*>(y_all) + tile.at[2] + r * tile.row[2];
    T* out = static_cast<T*>(out_all) + tile.out + r * tile.n;
    if (tile.scalar[0]) {
      const T* from = *condition ? x : y;
      const int64_t step = tile.scalar[*condition ? 1 : 2] ? 0 : 1;
      generate(out, tile.n, [=](int64_t i) { return from[i * step]; });
    } else if constexpr (std::is_same_v<T, uint32_t>) {
      sx::choose(condition, reinterpret_cast<const int32_t*>(x), tile.scalar[1], reinterpret_cast<const int32_t*>(y),
                 tile.scalar[2], reinterpret_cast<int32_t*>(out), tile.n);
    } else if (tile.scalar[1] && tile.scalar[2]) {
      generate(out, tile.n,
               [condition, left = *x, right = *y](int64_t i) { return choose(condition[i], left, right); });
    } else if (tile.scalar[1]) {
      generate(out, tile.n, [condition, left = *x, y](int64_t i) { return choose(condition[i], left, y[i]); });
    } else if (tile.scalar[2]) {
      generate(out, tile.n, [condition, x, right = *y](int64_t i) { return choose(condition[i], x[i], right); });
    } else {
      generate(out, tile.n, [=](int64_t i) { return choose(condition[i], x[i], y[i]); });
    }
  }
}

Kernel make_where(Prepare& p) {
  void (*loop)(const void*, const void*, const void*, void*, const Tile&) = nullptr;
  with_storage(p.dtype(1), [&](auto zero) { loop = select<decltype(zero)>; });
  return [loop](Run& run) {
    const Broadcast plan = plan_broadcast(run, {&run.in(0).shape(), &run.in(1).shape(), &run.in(2).shape()});
    Tensor& y = run.out(0, plan.shape);
    for_each_tile(plan, kElementGrain,
                  [&](const Tile& tile) { loop(run.in(0).raw(), run.in(1).raw(), run.in(2).raw(), y.raw(), tile); });
  };
}

// The condition's elements as 0 and 1, as far as they are known.
std::optional<std::vector<Dim>> truths(const InferContext& c) {
  if (c.facts(0).elements) return c.facts(0).elements;
  const Tensor* known = c.constant(0);
  if (known == nullptr || known->rank() > 1) return std::nullopt;
  std::vector<Dim> elements;
  for (int64_t x : known->integers()) elements.emplace_back(x);
  return elements;
}

void infer_where(InferContext& c) {
  broadcast_like(1)(c);
  const auto condition = truths(c);
  const auto x = c.elements(1);
  const auto y = c.elements(2);
  if (!condition || !x || !y) return;
  size_t n = 1;
  for (const auto* part : {&*condition, &*x, &*y})
    if (part->size() != 1) n = part->size();
  for (const auto* part : {&*condition, &*x, &*y})
    if (part->size() != 1 && part->size() != n) return;
  std::vector<Dim> elements;
  for (size_t i = 0; i < n; ++i) {
    const Dim& choice = (*condition)[condition->size() == 1 ? 0 : i];
    const Dim& left = (*x)[x->size() == 1 ? 0 : i];
    const Dim& right = (*y)[y->size() == 1 ? 0 : i];
    elements.push_back(choice.known() ? (choice.value() != 0 ? left : right) : left == right ? left : Dim());
  }
  c.out_elements(0, std::move(elements));
}

void differentiate_where(GradientContext& c) {
  const Expr zero = c.scalar(0, c.grad().dtype());
  if (c.wants(1)) c.give_sum(1, c.where(c.in(0), c.grad(), zero));
  if (c.wants(2)) c.give_sum(2, c.where(c.in(0), zero, c.grad()));
}

}  // namespace

void define_compare(OpList& ops) {
  ops.add(comparison("Equal", 19, 1, kNumbers | DType::kBool | DType::kString).infer(infer_equal).kernel(make_equal));
  ops.add(comparison("Less", 13, 1, kNumbers).kernel(make_compare<LessOf>));
  ops.add(comparison("Greater", 13, 1, kNumbers).kernel(make_compare<GreaterOf>));
  ops.add(comparison("LessOrEqual", 16, 12, kNumbers).kernel(make_compare<LessOrEqualOf>));
  ops.add(comparison("GreaterOrEqual", 16, 12, kNumbers).kernel(make_compare<GreaterOrEqualOf>));
  const DTypeSet any = kNumbers | kComplex | DType::kBool | DType::kString;
  ops.add(OpDef("Where")
              .since(16, 9)
              .in("condition", "B", DType::kBool)
              .in("x", "T", any)
              .in("y", "T", any)
              .out("output", "T")
              .infer(infer_where)
              .kernel(make_where)
              .gradient(differentiate_where));
}

}  // namespace sx
