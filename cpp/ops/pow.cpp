// y = a ^ b with NumPy broadcasting; the exponent may have another type than the base, whose type the result has.
#include <cmath>
#include <limits>

#include "base/scratch.h"
#include "kernels/f64.h"
#include "kernels/unary.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Integers wrap around as products do; negative exponents leave the integer part of the fraction.
template <typename T>
T integer_power(T base, int64_t exponent) {
  using U = std::make_unsigned_t<T>;
  if (exponent < 0) {
    if (base == 1) return 1;
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
    return 0;
  }
  U result = 1;
  U square = static_cast<U>(base);
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result *= square;
    square *= square;
  }
  return static_cast<T>(result);
}

template <typename T>
T real_power(T base, double exponent) {
  const double power = std::pow(static_cast<double>(base), exponent);
  if (std::isnan(power)) return 0;
  // 2^31 and 2^63 are the least doubles out of range.
  const double limit = -static_cast<double>(std::numeric_limits<T>::min());
  if (power >= limit) return std::numeric_limits<T>::max();
  return power <= -limit ? std::numeric_limits<T>::min() : static_cast<T>(power);
}

// The base has elements of type T, the exponents are all of type E.
template <typename T, typename E, typename F>
void power_tile(const void* a_all, const void* b_all, void* y_all, const Tile& tile, F f) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const T* a = static_cast<const T*>(a_all) + tile.at[0] + r * tile.row[0];
    const E* b = static_cast<const E*>(b_all) + tile.at[1] + r * tile.row[1];
    T* y = static_cast<T*>(y_all) + tile.out + r * tile.n;
    const int64_t a_step = tile.scalar[0] ? 0 : 1;
    const int64_t b_step = tile.scalar[1] ? 0 : 1;
    for (int64_t i = 0; i < tile.n; ++i) y[i] = f(a[i * a_step], b[i * b_step]);
  }
}

void pow_f32(const void* a, const void* b, void* y, const Tile& tile) {
  for (int64_t r = 0; r < tile.rows; ++r)
    power(static_cast<const float*>(a) + tile.at[0] + r * tile.row[0], tile.scalar[0],
          static_cast<const float*>(b) + tile.at[1] + r * tile.row[1], tile.scalar[1],
          static_cast<float*>(y) + tile.out + r * tile.n, tile.n);
}
void pow_f64(const void* a, const void* b, void* y, const Tile& tile) {
  power_tile<double, double>(a, b, y, tile, [](double x, double e) { return std::pow(x, e); });
}
template <typename T>
void pow_integer(const void* a, const void* b, void* y, const Tile& tile) {
  power_tile<T, int64_t>(a, b, y, tile, integer_power<T>);
}
template <typename T>
void pow_real(const void* a, const void* b, void* y, const Tile& tile) {
  power_tile<T, double>(a, b, y, tile, real_power<T>);
}

// x^e for the exponents that models use; false for others.
bool special_power(double exponent, const Tensor& x, Tensor& y) {
  auto map = [&](auto f32, auto f64) {
    map_floats(x, y, kElementGrain, f32, f64);
    return true;
  };
  auto each = [&](auto f) {
    auto loop = [f](auto* from, auto* to, int64_t n) {
      for (int64_t i = 0; i < n; ++i) to[i] = f(from[i]);
    };
    return map(loop, loop);
  };
  auto vectorized = [&](Activation function, auto f) {
    return map([function](const float* from, float* to, int64_t n) { apply(function, from, to, n); },
               [f](const double* from, double* to, int64_t n) {
                 for (int64_t i = 0; i < n; ++i) to[i] = f(from[i]);
               });
  };
  if (exponent == 2.0) return vectorized(Activation::kSquare, [](double v) { return v * v; });
  if (exponent == 1.0) return vectorized(Activation::kNone, [](double v) { return v; });
  if (exponent == -1.0) return vectorized(Activation::kReciprocal, [](double v) { return 1 / v; });
  if (exponent == 3.0) return each([](auto v) { return v * v * v; });
  // Unlike the root, the power of -inf is inf, and that of -0 is 0.
  if (exponent == 0.5) return each([](auto v) { return std::isinf(v) ? std::fabs(v) : std::sqrt(v) + 0; });
  return false;
}

// The exponents as E in scratch memory of the calling thread, or where they are.
template <typename E>
const void* exponents_as(const Tensor& b) {
  if (b.dtype() == dtype_of<E>) return b.raw();
  E* to = static_cast<E*>(thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(b.size()) * sizeof(E)));
  auto convert_from = [&](auto zero) {
    using B = decltype(zero);
    const B* from = b.data<B>();
    for (int64_t i = 0; i < b.size(); ++i) {
      if constexpr (std::is_arithmetic_v<B>) to[i] = static_cast<E>(from[i]);
      else to[i] = static_cast<E>(static_cast<float>(from[i]));
    }
  };
  // Only integer exponents are asked for as integers.
  if (is_integer(b.dtype())) {
    with_integer(b.dtype(), convert_from);
  } else if constexpr (!std::is_integral_v<E>) {
    if (b.dtype() == DType::kFloat32) convert_from(float());
    else if (b.dtype() == DType::kFloat64) convert_from(double());
    else if (b.dtype() == DType::kFloat16) convert_from(Float16());
    else convert_from(BFloat16());
  }
  return to;
}

Kernel make_pow(Prepare&) {
  return [](Run& run) {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(1);
    const Broadcast plan = plan_broadcast(run, {&a.shape(), &b.shape()});
    Tensor& y = run.out(0, plan.shape);
    const DType base = a.dtype();
    if (is_float(base) && b.size() == 1 && plan.shape == a.shape() && special_power(b.scalar_as_double(), a, y)) return;
    const int64_t grain = kElementGrain / 16;
    auto run_with = [&](const void* exponents, BinaryLoop loop) {
      for_each_tile(plan, grain, [&](const Tile& tile) { loop(a.raw(), exponents, y.raw(), tile); });
    };
    if (base == DType::kFloat32) return run_with(exponents_as<float>(b), pow_f32);
    if (base == DType::kFloat64) return run_with(exponents_as<double>(b), pow_f64);
    if (is_integer(base)) {
      const bool wide = base == DType::kInt64;
      if (is_integer(b.dtype()))
        return run_with(exponents_as<int64_t>(b), wide ? pow_integer<int64_t> : pow_integer<int32_t>);
      return run_with(exponents_as<double>(b), wide ? pow_real<int64_t> : pow_real<int32_t>);
    }
    const void* exponents = exponents_as<float>(b);
    for_each_tile(plan, grain, [&](const Tile& tile) {
      for (int64_t r = 0; r < tile.rows; ++r) {
        for (int64_t i = 0; i < tile.n; i += kHalfBlock) {
          alignas(64) float block[kHalfBlock];
          Tile part;
          part.rows = 1;
          part.n = std::min(kHalfBlock, tile.n - i);
          part.scalar[0] = tile.scalar[0];
          part.scalar[1] = tile.scalar[1];
          part.at[1] = tile.at[1] + r * tile.row[1] + (tile.scalar[1] ? 0 : i);
          load_floats(base, element(a, tile.at[0] + r * tile.row[0] + (tile.scalar[0] ? 0 : i)), block,
                      tile.scalar[0] ? 1 : part.n);
          alignas(64) float result[kHalfBlock];
          pow_f32(block, exponents, result, part);
          store_floats(base, result, element(y, tile.out + r * tile.n + i), part.n);
        }
      }
    });
  };
}

// x ** y by x is y * x ** (y - 1), zero where y is; by y it is z * log(x), zero where x and z are.
void differentiate_pow(GradientContext& c) {
  const Expr y = c.cast(c.in(1), c.in(0).dtype());
  const Expr zero = c.scalar(0, y.dtype());
  if (c.wants(0)) {
    const Expr slope = y * c.op("Pow", {c.in(0), y - 1.0});
    c.give_sum(0, c.grad() * c.where(c.op("Equal", {y, zero}), zero, slope));
  }
  if (c.wants(1)) {
    const Expr one = c.scalar(1, y.dtype());
    const Expr vanishes = c.op("And", {c.op("Equal", {c.in(0), zero}), c.op("GreaterOrEqual", {y, zero})});
    const Expr log = c.op("Log", {c.where(vanishes, one, c.in(0))});
    c.give_sum(1, c.cast(c.grad() * c.out() * log, c.in(1).dtype()));
  }
}

}  // namespace

void define_pow(OpList& ops) {
  ops.add(OpDef("Pow")
              .since(15)
              .in("x", "T", kFloats | DType::kInt32 | DType::kInt64)
              .in("y", "T1", kNumbers)
              .out("z", "T")
              .in_place({0})
              .infer(broadcast_like(0))
              .kernel(make_pow)
              .gradient(differentiate_pow)
              .upgrade(7, upgrade_legacy_broadcast));
}

}  // namespace sx
