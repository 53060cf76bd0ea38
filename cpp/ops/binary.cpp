// y = a op b with NumPy broadcasting: Add, Sub, Mul, Div, Mod, Min, Max, Sum, Mean, bitwise and logical operators.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/f64.h"
#include "kernels/unary.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

// --- loops

template <Binary op, typename F>
void vectorized(const void* a, const void* b, void* y, const Tile& tile) {
  if (tile.scalar[0] && tile.scalar[1]) return binary_tile<float, float>(a, b, y, tile, F());
  BinaryRows rows;
  rows.rows = tile.rows;
  rows.n = tile.n;
  rows.a = static_cast<const float*>(a) + tile.at[0];
  rows.a_row = tile.row[0];
  rows.a_scalar = tile.scalar[0];
  rows.b = static_cast<const float*>(b) + tile.at[1];
  rows.b_row = tile.row[1];
  rows.b_scalar = tile.scalar[1];
  rows.y = static_cast<float*>(y) + tile.out;
  apply(op, rows);
}

template <typename T, typename F>
void loop_of(const void* a, const void* b, void* y, const Tile& tile) {
  binary_tile<T, T>(a, b, y, tile, F());
}

// Sums, differences and products of signed integers wrap around: they are those of unsigned ones.
struct AddOf {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a + b);
  }
};
struct SubOf {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(a - b);
  }
};
struct MulOf {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (sizeof(T) < sizeof(uint32_t) && std::is_integral_v<T>)
      return static_cast<T>(uint32_t(a) * uint32_t(b));
    else return a * b;
  }
};
// The least integer divided by -1 wraps around. Zero divisors are refused before.
struct DivOf {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_signed_v<T> && std::is_integral_v<T>) {
      if (b == T(-1)) return static_cast<T>(std::make_unsigned_t<T>(0) - static_cast<std::make_unsigned_t<T>>(a));
    }
    return static_cast<T>(a / b);
  }
};
struct MaxOf {
  template <typename T>
  T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct MinOf {
  template <typename T>
  T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};
// The remainder with the sign of the divisor / of the dividend.
struct ModOf {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if constexpr (std::is_signed_v<T>) {
        if (b == T(-1)) return 0;
      }
      const T rest = static_cast<T>(a % b);
      return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
    } else {
      const T rest = std::fmod(a, b);
      if (rest == 0) return std::copysign(rest, b);
      return (rest < 0) != (b < 0) ? rest + b : rest;
    }
  }
};
struct FmodOf {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if constexpr (std::is_signed_v<T>) {
        if (b == T(-1)) return 0;
      }
      return static_cast<T>(a % b);
    } else {
      return std::fmod(a, b);
    }
  }
};
void remainder_tile(const void* a, const void* b, void* y, const Tile& tile) {
  for (int64_t r = 0; r < tile.rows; ++r)
    remainder(static_cast<const float*>(a) + tile.at[0] + r * tile.row[0], tile.scalar[0],
              static_cast<const float*>(b) + tile.at[1] + r * tile.row[1], tile.scalar[1],
              static_cast<float*>(y) + tile.out + r * tile.n, tile.n);
}
template <IntegerDivision kKind>
void divide_tile(const void* a, const void* b, void* y, const Tile& tile) {
  for (int64_t r = 0; r < tile.rows; ++r)
    divide(kKind, static_cast<const int32_t*>(a) + tile.at[0] + r * tile.row[0], tile.scalar[0],
           static_cast<const int32_t*>(b) + tile.at[1] + r * tile.row[1], tile.scalar[1],
           static_cast<int32_t*>(y) + tile.out + r * tile.n, tile.n);
}
struct AndOf {
  template <typename T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct OrOf {
  template <typename T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct XorOf {
  template <typename T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};

// The loop for integers of any type; `wraps` when the signed ones may go through the unsigned ones.
template <typename F>
BinaryLoop integer_loop(DType dtype, bool wraps) {
  BinaryLoop loop = nullptr;
  auto pick = [&](auto zero) { loop = loop_of<decltype(zero), F>; };
  if (wraps) with_unsigned(dtype, pick);
  else with_integer(dtype, pick);
  return loop;
}

// Runs `loop` on two tensors, for half types with blocks of floats.
void run_loop(const Broadcast& plan, const Tensor& a, const Tensor& b, Tensor& y, int64_t grain, BinaryLoop loop) {
  if (kHalfFloats.has(a.dtype())) return run_binary_half(plan, a, b, y, grain, loop);
  run_binary(plan, a, b, y, grain, loop);
}

template <typename T>
bool has_zero(const Tensor& x) {
  const T* elements = static_cast<const T*>(x.raw());
  constexpr int64_t kBlock = 1024;
  for (int64_t first = 0; first < x.size(); first += kBlock) {
    const int64_t end = std::min(first + kBlock, x.size());
    int zeros = 0;
    for (int64_t i = first; i < end; ++i) zeros |= elements[i] == 0;
    if (zeros != 0) return true;
  }
  return false;
}

void require_divisors(const Run& run, const Tensor& b) {
  bool zero = false;
  with_unsigned(b.dtype(), [&](auto kind) { zero = has_zero<decltype(kind)>(b); });
  SX_CHECK(run, !zero, "integer division by zero");
}

// Loops of an operator over f32 (half types too), f64 and an integer type.
template <typename F>
BinaryLoop choose(DType dtype, BinaryLoop f32, bool wraps) {
  if (dtype == DType::kFloat64) return loop_of<double, F>;
  if (dtype == DType::kInt32 && std::is_same_v<F, DivOf>) return divide_tile<IntegerDivision::kQuotient>;
  if (dtype == DType::kInt32 && std::is_same_v<F, FmodOf>) return divide_tile<IntegerDivision::kRemainder>;
  if (dtype == DType::kInt32 && std::is_same_v<F, ModOf>) return divide_tile<IntegerDivision::kModulus>;
  return is_float(dtype) ? f32 : integer_loop<F>(dtype, wraps);
}

Kernel binary_kernel(BinaryLoop loop, int64_t grain, bool checks_divisor) {
  return [=](Run& run) {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(1);
    if (checks_divisor) require_divisors(run, b);
    const Broadcast plan = plan_broadcast(run, {&a.shape(), &b.shape()});
    run_loop(plan, a, b, run.out(0, plan.shape), grain, loop);
  };
}

template <Binary op, typename F>
Kernel make_arithmetic(Prepare& p) {
  const DType dtype = p.dtype(0);
  const bool divides = op == Binary::kDiv;
  return binary_kernel(choose<F>(dtype, vectorized<op, F>, !divides), kElementGrain, divides && is_integer(dtype));
}

Kernel make_mod(Prepare& p) {
  const DType dtype = p.dtype(0);
  const int64_t fmod = p.attr_int("fmod");
  SX_CHECK(p, fmod == 0 || fmod == 1, "fmod is ", fmod, "; 0 or 1 expected");
  const BinaryLoop loop =
      fmod ? choose<FmodOf>(dtype, remainder_tile, false) : choose<ModOf>(dtype, loop_of<float, ModOf>, false);
  return binary_kernel(loop, kElementGrain / 4, is_integer(dtype));
}

// --- variadic: y = a0 op a1 op a2 ..., from the left

template <Binary op, typename F>
Kernel make_variadic(Prepare& p, bool mean) {
  const BinaryLoop loop = choose<F>(p.dtype(0), vectorized<op, F>, op == Binary::kAdd);
  return [=](Run& run) {
    const Shape shape = broadcast_inputs(run);
    const int count = run.inputs();
    Tensor& y = run.out(0, shape);
    const DType dtype = run.in(0).dtype();
    if (count == 1) {
      if (y.bytes() > 0 && y.raw() != run.in(0).raw()) std::memcpy(y.raw(), run.in(0).raw(), y.bytes());
      return;
    }
    for (int i = 1; i < count; ++i) {
      const Tensor& left = i == 1 ? run.in(0) : y;
      const Broadcast plan = plan_broadcast(run, {&left.shape(), &run.in(i).shape()}, &shape);
      run_loop(plan, left, run.in(i), y, kElementGrain, loop);
    }
    if (!mean) return;
    const Tensor divisor =
        dtype == DType::kFloat64 ? Tensor::scalar<double>(count) : Tensor::scalar<float>(static_cast<float>(count));
    const BinaryLoop divide = dtype == DType::kFloat64 ? loop_of<double, DivOf> : vectorized<Binary::kDiv, DivOf>;
    run_loop(plan_broadcast(run, {&shape, &divisor.shape()}), y, divisor, y, kElementGrain, divide);
  };
}

// --- BitShift

template <typename T, bool left>
struct ShiftOf {
  // Amounts outside [0, bits) leave what the sign alone gives.
  T operator()(T a, T b) const {
    using U = std::make_unsigned_t<T>;
    constexpr int kBits = static_cast<int>(sizeof(T)) * 8;
    const bool outside = b < 0 || b >= T(kBits);
    if (left) return outside ? T(0) : static_cast<T>(static_cast<uint64_t>(static_cast<U>(a)) << b);
    const bool negative = std::is_signed_v<T> && a < 0;
    if (outside) return negative ? T(-1) : T(0);
    const U shifted = static_cast<U>(static_cast<uint64_t>(static_cast<U>(negative ? ~a : a)) >> b);
    return static_cast<T>(negative ? ~shifted : shifted);
  }
};

Kernel make_bit_shift(Prepare& p) {
  const std::string& direction = p.attr_string("direction");
  SX_CHECK(p, direction == "LEFT" || direction == "RIGHT", "direction is '", direction,
           "'; 'LEFT' or 'RIGHT' expected");
  BinaryLoop loop = nullptr;
  with_integer(p.dtype(0), [&](auto zero) {
    using T = decltype(zero);
    loop = direction == "LEFT" ? loop_of<T, ShiftOf<T, true>> : loop_of<T, ShiftOf<T, false>>;
  });
  return binary_kernel(loop, kElementGrain, false);
}

template <typename F>
Kernel make_bitwise(Prepare& p) {
  return binary_kernel(integer_loop<F>(p.dtype(0), true), kElementGrain, false);
}

template <typename F>
Kernel make_logical(Prepare&) {
  return binary_kernel(loop_of<uint8_t, F>, kElementGrain, false);
}

// --- inference of integer elements

Dim add(const Dim& a, const Dim& b) { return a + b; }
Dim subtract(const Dim& a, const Dim& b) { return a - b; }
Dim multiply(const Dim& a, const Dim& b) { return a * b; }
Dim divide(const Dim& a, const Dim& b) {
  if (a.known() && b.known() && b.value() != 0 && b.value() != -1) return Dim(a.value() / b.value());
  return a.non_negative() && b.non_negative() ? floor_div(a, b) : Dim();
}
Dim modulo(const Dim& a, const Dim& b) {
  if (b == Dim(0)) return Dim();
  return a.non_negative() && b.non_negative() ? a - b * floor_div(a, b) : Dim();
}
// A symbol stands for an extent, so a bound of at most zero does not touch it.
Dim largest(const Dim& a, const Dim& b) {
  if (a.non_negative() && b.known() && b.value() <= 0) return a;
  if (b.non_negative() && a.known() && a.value() <= 0) return b;
  return max(a, b);
}
Dim least(const Dim& a, const Dim& b) { return min(a, b); }

// --- gradients

void differentiate_add(GradientContext& c) {
  c.give_sum(0, c.grad());
  c.give_sum(1, c.grad());
}
void differentiate_sub(GradientContext& c) {
  c.give_sum(0, c.grad());
  if (c.wants(1)) c.give_sum(1, -c.grad());
}
void differentiate_mul(GradientContext& c) {
  if (c.wants(0)) c.give_sum(0, c.grad() * c.in(1));
  if (c.wants(1)) c.give_sum(1, c.grad() * c.in(0));
}
void differentiate_div(GradientContext& c) {
  if (c.wants(0)) c.give_sum(0, c.grad() / c.in(1));
  if (c.wants(1)) c.give_sum(1, -(c.grad() * c.out() / c.in(1)));
}
// a - b * trunc(a / b) with fmod = 1, which floating-point numbers need.
void differentiate_mod(GradientContext& c) {
  c.give_sum(0, c.grad());
  if (c.wants(1)) c.give_sum(1, c.grad() * c.op("Round", {(c.out() - c.in(0)) / c.in(1)}));
}
void differentiate_sum(GradientContext& c) {
  for (size_t i = 0; i < c.inputs(); ++i) c.give_sum(i, c.grad());
}
void differentiate_mean(GradientContext& c) {
  const Expr share = c.grad() / static_cast<double>(c.inputs());
  for (size_t i = 0; i < c.inputs(); ++i) c.give_sum(i, share);
}
// Inputs that are equal to the result share its gradient.
void differentiate_extremum(GradientContext& c) {
  std::vector<Expr> chosen;
  Expr count;
  for (size_t i = 0; i < c.inputs(); ++i) {
    chosen.push_back(c.cast(c.op("Equal", {c.in(i), c.out()}), c.grad().dtype()));
    count = count ? count + chosen.back() : chosen.back();
  }
  const Expr share = c.inputs() == 1 ? c.grad() : c.grad() / count;
  for (size_t i = 0; i < c.inputs(); ++i)
    if (c.wants(i)) c.give_sum(i, share * chosen[i]);
}

OpDef binary(const char* name, int since, int first, DTypeSet types) {
  OpDef op(name);
  op.since(since, first)
      .in("a", "T", types)
      .in("b", "T", types)
      .out("c", "T")
      .in_place({0, 1})
      .infer(broadcast_like(0));
  if (first == 1) op.upgrade(7, upgrade_legacy_broadcast);
  return op;
}

OpDef variadic(const char* name, int since, DTypeSet types) {
  OpDef op(name);
  op.since(since).variadic_in("data", "T", types).out("result", "T").in_place({0, 1}).infer(broadcast_like(0));
  op.upgrade(6, drop_consumed_inputs);
  return op;
}

}  // namespace

void define_binary(OpList& ops) {
  ops.add(binary("Add", 14, 1, kNumbers)
              .infer(infer_elementwise(add))
              .kernel(make_arithmetic<Binary::kAdd, AddOf>)
              .gradient(differentiate_add));
  ops.add(binary("Sub", 14, 1, kNumbers)
              .infer(infer_elementwise(subtract))
              .kernel(make_arithmetic<Binary::kSub, SubOf>)
              .gradient(differentiate_sub));
  ops.add(binary("Mul", 14, 1, kNumbers)
              .infer(infer_elementwise(multiply))
              .kernel(make_arithmetic<Binary::kMul, MulOf>)
              .gradient(differentiate_mul));
  ops.add(binary("Div", 14, 1, kNumbers)
              .infer(infer_elementwise(divide))
              .kernel(make_arithmetic<Binary::kDiv, DivOf>)
              .gradient(differentiate_div));
  ops.add(binary("Mod", 28, 10, kNumbers)
              .attr("fmod", 0)
              .infer(infer_elementwise(modulo))
              .kernel(make_mod)
              .gradient(differentiate_mod));
  ops.add(variadic("Max", 13, kNumbers)
              .infer(infer_elementwise(largest))
              .kernel([](Prepare& p) { return make_variadic<Binary::kMax, MaxOf>(p, false); })
              .gradient(differentiate_extremum));
  ops.add(variadic("Min", 13, kNumbers)
              .infer(infer_elementwise(least))
              .kernel([](Prepare& p) { return make_variadic<Binary::kMin, MinOf>(p, false); })
              .gradient(differentiate_extremum));
  ops.add(variadic("Sum", 13, kFloats)
              .kernel([](Prepare& p) { return make_variadic<Binary::kAdd, AddOf>(p, false); })
              .gradient(differentiate_sum));
  ops.add(variadic("Mean", 13, kFloats)
              .kernel([](Prepare& p) { return make_variadic<Binary::kAdd, AddOf>(p, true); })
              .gradient(differentiate_mean));
  ops.add(binary("And", 7, 1, DType::kBool).kernel(make_logical<AndOf>));
  ops.add(binary("Or", 7, 1, DType::kBool).kernel(make_logical<OrOf>));
  ops.add(binary("Xor", 7, 1, DType::kBool).kernel(make_logical<XorOf>));
  ops.add(binary("BitwiseAnd", 18, 18, kIntegers).kernel(make_bitwise<AndOf>));
  ops.add(binary("BitwiseOr", 18, 18, kIntegers).kernel(make_bitwise<OrOf>));
  ops.add(binary("BitwiseXor", 18, 18, kIntegers).kernel(make_bitwise<XorOf>));
  ops.add(binary("BitShift", 28, 11, kIntegers).required_attr("direction", AttrKind::kString).kernel(make_bit_shift));
}

}  // namespace sx
