// Steps down for functions of elements: newer ones in terms of older ones.
#include <cmath>
#include <limits>

#include "ops/convert.h"
#include "ops/downgrade.h"

namespace sx {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Expr less(const Expr& a, const Expr& b) { return a.emitter().op("Less", {a, b}); }
Expr greater(const Expr& a, const Expr& b) { return a.emitter().op("Greater", {a, b}); }
Expr number(const Expr& like, double value) { return like.emitter().scalar(value, like.dtype()); }
Expr negate(const Expr& a) { return a.emitter().op("Not", {a}); }
Expr any(const Expr& a, const Expr& b) { return a.emitter().op("Or", {a, b}); }
Expr both(const Expr& a, const Expr& b) { return a.emitter().op("And", {a, b}); }
Expr call(const char* op, const Expr& x) { return x.emitter().op(op, {x}); }

// True but for NaN, which is neither below nor above anything.
Expr is_number(const Expr& x) { return any(less(x, number(x, kInfinity)), greater(x, number(x, -kInfinity))); }

// The floating-point type of a node's input; of others, older versions cannot compute at all.
void need_float(const DowngradeContext& c, DType dtype) {
  SX_CHECK(c, (kFloats - DType::kBFloat16).has(dtype),
           join("works on ", name_of(dtype), ", which ", c.node().op->name(), " does from opset ", c.version(), " on"));
}

void mish(DowngradeContext& c) { c.replace({c.in(0) * call("Tanh", call("Softplus", c.in(0)))}); }

Expr swish_of(DowngradeContext& c, const Expr& x) {
  const double alpha = c.attr_float("alpha");
  return x * call("Sigmoid", alpha == 1 ? x : x * alpha);
}
void swish(DowngradeContext& c) { c.replace({swish_of(c, c.in(0))}); }
void swiglu(DowngradeContext& c) { c.replace({swish_of(c, c.in(0)) * c.in(1)}); }

void hard_swish(DowngradeContext& c) {
  const Expr x = c.in(0);
  c.replace({x * c.op("Max", {c.op("Min", {x / 6.0 + 0.5, number(x, 1)}), number(x, 0)})});
}

void gelu(DowngradeContext& c) {
  const Expr x = c.in(0);
  if (c.attr_string("approximate") == "tanh") {
    const Expr inner = (x + x * x * x * 0.044715) * std::sqrt(2 / M_PI);
    return c.replace({x * 0.5 * (call("Tanh", inner) + 1.0)});
  }
  c.replace({x * 0.5 * (call("Erf", x * std::sqrt(0.5)) + 1.0)});
}

void celu(DowngradeContext& c) {
  const double alpha = c.attr_float("alpha");
  c.replace({c.op("Elu", {c.in(0) / alpha}) * alpha});
}

void thresholded_relu(DowngradeContext& c) {
  const Expr x = c.in(0);
  c.replace({c.where(greater(x, number(x, c.attr_float("alpha"))), x, number(x, 0))});
}

void shrink(DowngradeContext& c) { c.error("selects elements, which needs Where, of opset 9"); }

void or_equal(DowngradeContext& c) {
  const char* strict = c.node().op->name() == "GreaterOrEqual" ? "Greater" : "Less";
  c.replace({any(c.op(strict, {c.in(0), c.in(1)}), c.op("Equal", {c.in(0), c.in(1)}))});
}

// Equal-7 compares bool, i32 and i64.
void equal_floats(DowngradeContext& c) {
  const Expr a = c.in(0), b = c.in(1);
  if ((DType::kBool | DType::kInt32 | DType::kInt64).has(a.dtype())) return;
  need_float(c, a.dtype());
  c.replace({both(negate(any(less(a, b), greater(a, b))), both(is_number(a), is_number(b)))});
}

// Integers, of which Max and Min know from opset 12 on, by comparing; floats pass.
void select_integers(DowngradeContext& c) {
  const Expr first = c.in(0);
  if (!is_integer(first.dtype())) return;
  const bool most = c.node().op->name() == "Max";
  Expr y = first;
  for (size_t i = 1; i < c.node().inputs.size(); ++i)
    y = c.where(most ? greater(y, c.in(i)) : less(y, c.in(i)), y, c.in(i));
  c.replace({y});
}

void clip_integers(DowngradeContext& c) {
  if (!is_integer(c.in(0).dtype())) return;
  Expr y = c.in(0);
  if (c.has_in(1)) y = c.op("Max", {y, c.in(1)});
  if (c.has_in(2)) y = c.op("Min", {y, c.in(2)});
  c.replace({y});
}

void relu_of_integers(DowngradeContext& c) {
  if (is_integer(c.in(0).dtype())) c.replace({c.op("Max", {c.in(0), number(c.in(0), 0)})});
}

void nan_by_order(DowngradeContext& c) { c.replace({negate(is_number(c.in(0)))}); }

void inf_by_equal(DowngradeContext& c) {
  const Expr x = c.in(0);
  const bool up = c.attr_int("detect_positive") != 0, down = c.attr_int("detect_negative") != 0;
  const auto is = [&](double bound) { return c.op("Equal", {x, number(x, bound)}); };
  if (up && down) return c.replace({any(is(kInfinity), is(-kInfinity))});
  if (up || down) return c.replace({is(up ? kInfinity : -kInfinity)});
  c.replace({both(is(kInfinity), is(-kInfinity))});
}

void sign_by_order(DowngradeContext& c) {
  const Expr x = c.in(0);
  need_float(c, x.dtype());
  c.replace({c.cast(greater(x, number(x, 0)), x.dtype()) - c.cast(less(x, number(x, 0)), x.dtype())});
}

void sinh_by_exponents(DowngradeContext& c) { c.replace({(call("Exp", c.in(0)) - call("Exp", -c.in(0))) * 0.5}); }
void cosh_by_exponents(DowngradeContext& c) { c.replace({(call("Exp", c.in(0)) + call("Exp", -c.in(0))) * 0.5}); }
void asinh_by_exponents(DowngradeContext& c) {
  const Expr x = c.in(0), size = call("Abs", x);
  c.replace({call("Sign", x) * call("Log", size + call("Sqrt", x * x + 1.0))});
}
void acosh_by_exponents(DowngradeContext& c) {
  const Expr x = c.in(0);
  c.replace({call("Log", x + call("Sqrt", (x - 1.0) * (x + 1.0)))});
}
void atanh_by_exponents(DowngradeContext& c) { c.replace({call("Log", (1.0 + c.in(0)) / (1.0 - c.in(0))) * 0.5}); }

// To the nearest, halves to the even number: with f = floor(x), that is 2 floor(f / 2 + 1 / 2).
void round_half_even(DowngradeContext& c) {
  const Expr x = c.in(0);
  const Expr low = call("Floor", x);
  const Expr rest = x - low;
  const Expr even = call("Floor", low * 0.5 + 0.5) * 2.0;
  const Expr half = number(x, 0.5);
  const Expr y = c.where(greater(rest, half), low + 1.0, c.where(less(rest, half), low, even));
  // Infinities have no rest.
  const Expr finite = both(less(x, number(x, kInfinity)), greater(x, number(x, -kInfinity)));
  c.replace({c.where(finite, y, x)});
}

// Before 28, only the remainder of truncation is known for floats: its sign is mended.
void floored_mod(DowngradeContext& c) {
  if (c.attr_int("fmod") != 0 || !is_float(c.in(0).dtype())) return;
  const Expr a = c.in(0), b = c.in(1);
  const Expr r = c.op("Mod", {a, b}, {{"fmod", int64_t{1}}});
  const Expr zero = number(r, 0);
  const Expr off = any(both(less(r, zero), greater(b, zero)), both(greater(r, zero), less(b, zero)));
  c.replace({c.where(off, r + b, r)});
}

// The exponent has the type of the base before opset 12.
void pow_of_one_type(DowngradeContext& c) {
  const DType base = c.in(0).dtype(), exponent = c.in(1).dtype();
  need_float(c, base);
  if (exponent != base) c.set_in(1, c.cast(c.in(1), base));
}
void pow_of_known_exponent(DowngradeContext& c) {
  const DType exponent = c.in(1).dtype();
  if (exponent == DType::kBFloat16) c.set_in(1, c.cast(c.in(1), DType::kFloat32));
}

// Integers as sums of products; MatMul takes them from opset 9 on.
void matmul_of_integers(DowngradeContext& c) {
  if (!is_integer(c.in(0).dtype())) return;
  const int ra = c.rank_in(0, "multiplies integers, which MatMul does from opset 9 on");
  const int rb = c.rank_in(1, "multiplies integers, which MatMul does from opset 9 on");
  SX_CHECK(c, ra >= 2 && rb >= 2 && (DType::kInt32 | DType::kInt64).has(c.in(0).dtype()),
           "multiplies integers, which MatMul does from opset 9 on");
  const Expr product = c.unsqueeze(c.in(0), {ra}) * c.unsqueeze(c.in(1), {rb - 2});
  c.replace({c.reduce_sum(product, {std::max(ra, rb) - 1}, false)});
}

// A signed shift to the left is one of the same bits without sign; to the right, of ~x where x is negative.
void shift_of_signed(DowngradeContext& c) {
  const DType dtype = c.in(0).dtype();
  if (!is_signed_integer(dtype)) return;
  const DType bits = dtype == DType::kInt8    ? DType::kUInt8
                     : dtype == DType::kInt16 ? DType::kUInt16
                     : dtype == DType::kInt32 ? DType::kUInt32
                                              : DType::kUInt64;
  const Expr x = c.in(0), count = c.cast(c.in(1), bits);
  const auto shifted = [&](const Expr& value) {
    return c.cast(c.op("BitShift", {c.cast(value, bits), count}, {{"direction", c.attr_string("direction")}}), dtype);
  };
  if (c.attr_string("direction") == "LEFT") return c.replace({shifted(x)});
  const Expr negative = less(x, number(x, 0));
  const auto inverse = [&](const Expr& value) { return number(x, -1) - value; };
  const Expr y = shifted(c.where(negative, inverse(x), x));
  c.replace({c.where(negative, inverse(y), y)});
}

// Casts between integers of one size keep their bits.
void bit_cast(DowngradeContext& c) {
  const DType from = c.in(0).dtype(), to = c.out_type().dtype;
  SX_CHECK(c, from == to || (kIntegers.has(from) && kIntegers.has(to)),
           join("reads the bits of ", name_of(from), " as ", name_of(to), ", which began with opset 26"));
  c.replace({c.cast(c.in(0), to)});
}

void bernoulli(DowngradeContext& c) {
  Attributes draw{{"dtype", static_cast<int64_t>(DType::kFloat32)}};
  if (c.has("seed")) draw["seed"] = c.attr_float("seed");
  const Expr p = c.cast(c.in(0), DType::kFloat32);
  c.replace({c.cast(less(c.op("RandomUniformLike", {p}, draw), p), c.out_type().dtype)});
}

// n = ceil((limit - start) / delta) is computed as older opsets do, in f32.
void range_in_f32(DowngradeContext& c) {
  const DType dtype = c.in(0).dtype();
  if (!kHalfFloats.has(dtype)) return;
  SX_CHECK(c, c.attr_int("stash_type") == 1, "counts in the type of its results (stash_type), from opset 27 on");
  const auto wide = [&](size_t i) { return c.cast(c.in(i), DType::kFloat32); };
  c.replace({c.cast(c.op("Range", {wide(0), wide(1), wide(2)}), dtype)});
}

// a0 - a1 cos(2 pi k / n) + a2 cos(4 pi k / n), with n one less unless periodic.
void window(DowngradeContext& c) {
  const std::string& op = c.node().op->name();
  const double a0 = op == "HannWindow" ? 0.5 : op == "HammingWindow" ? 25.0 / 46 : 0.42;
  const double a2 = op == "BlackmanWindow" ? 0.08 : 0;
  const DType dtype = c.out_type().dtype;
  const DType inner = dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  SX_CHECK(c, is_float(dtype), "gives a window of integers, which began with opset 17");
  const Expr size = c.cast(c.in(0), inner);
  const Expr n = c.attr_int("periodic") != 0 ? size : size - 1.0;
  const Expr k = c.op("Range", {c.scalar(0, inner), size, c.scalar(1, inner)});
  const Expr angle = k * (2 * M_PI) / n;
  Expr y = a0 - call("Cos", angle) * (op == "BlackmanWindow" ? 0.5 : 1 - a0);
  if (a2 != 0) y = y + call("Cos", angle * 2.0) * a2;
  c.replace({c.cast(y, dtype)});
}

}  // namespace

void add_function_downgrades(Downgrades& all) {
  all.add("Mish", 18, mish);
  all.add("Swish", 24, swish);
  all.add("SwiGLU", 28, swiglu);
  all.add("HardSwish", 14, hard_swish);
  all.add("Gelu", 20, gelu);
  all.add("Celu", 12, celu);
  all.add("ThresholdedRelu", 10, thresholded_relu);
  all.add("Shrink", 9, shrink);
  all.add_each({"GreaterOrEqual", "LessOrEqual"}, 12, or_equal);
  all.add("Equal", 11, equal_floats);
  all.add_each({"Max", "Min"}, 12, select_integers);
  all.add("Clip", 12, clip_integers);
  all.add("Relu", 14, relu_of_integers);
  all.add("IsNaN", 9, nan_by_order);
  all.add("IsInf", 10, inf_by_equal);
  all.add("Sign", 9, sign_by_order);
  all.add("Sinh", 9, sinh_by_exponents);
  all.add("Cosh", 9, cosh_by_exponents);
  all.add("Asinh", 9, asinh_by_exponents);
  all.add("Acosh", 9, acosh_by_exponents);
  all.add("Atanh", 9, atanh_by_exponents);
  all.add("Round", 11, round_half_even);
  all.add("Mod", 28, floored_mod);
  all.add("Pow", 13, pow_of_known_exponent);
  all.add("Pow", 12, pow_of_one_type);
  all.add("MatMul", 9, matmul_of_integers);
  all.add("BitShift", 28, shift_of_signed);
  all.add("BitCast", 26, bit_cast);
  all.add("Bernoulli", 15, bernoulli);
  all.add("Range", 27, range_in_f32);
  all.add_each({"HannWindow", "HammingWindow", "BlackmanWindow"}, 17, window);
}

}  // namespace sx
