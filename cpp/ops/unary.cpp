// y = f(x): mathematical, rounding and classifying functions of one argument.
#include <cmath>
#include <type_traits>

#include "kernels/f64.h"
#include "kernels/unary.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/registry.h"

namespace sx {
namespace {

// The gradient of x from that of y, dy.
using Pullback = Expr (*)(const Expr& dy, const Expr& x, const Expr& y);

OpDef& differentiate(OpDef& op, Pullback pullback) {
  if (pullback == nullptr) return op.zero_gradient();
  return op.gradient([pullback](GradientContext& c) { c.give(0, pullback(c.grad(), c.in(0), c.out())); });
}

Expr square(const Expr& x) { return x * x; }
Expr apply_op(const char* op, const Expr& x) { return x.emitter().op(op, {x}); }
Expr root(const Expr& x) { return apply_op("Sqrt", x); }

// --- functions of floating-point numbers

struct FloatFunction {
  const char* name;
  int since, first;
  Activation f32;
  double (*f64)(double);        // null where the kernels have one for f64
  Pullback pullback = nullptr;  // null: the gradient is zero
};

template <typename T>
T sign_of(T x) {
  return x > 0 ? T(1) : x < 0 ? T(-1) : x == 0 ? T(0) : x;
}

constexpr FloatFunction kFloatFunctions[] = {
    {"Exp", 13, 1, Activation::kExp, nullptr, [](const Expr& dy, const Expr&, const Expr& y) { return dy * y; }},
    {"Log", 13, 1, Activation::kLog, nullptr, [](const Expr& dy, const Expr& x, const Expr&) { return dy / x; }},
    {"Sqrt", 13, 1, Activation::kSqrt, nullptr,
     [](const Expr& dy, const Expr&, const Expr& y) { return dy / (y * 2.0); }},
    {"Reciprocal", 13, 1, Activation::kReciprocal, nullptr,
     [](const Expr& dy, const Expr&, const Expr& y) { return -(dy * square(y)); }},
    {"Floor", 13, 1, Activation::kFloor, nullptr},
    {"Ceil", 13, 1, Activation::kCeil, nullptr},
    {"Round", 22, 11, Activation::kRound, nullptr},
    {"Tanh", 13, 1, Activation::kTanh, nullptr,
     [](const Expr& dy, const Expr&, const Expr& y) { return dy * (1.0 - square(y)); }},
    {"Erf", 13, 9, Activation::kErf, nullptr,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy * apply_op("Exp", -square(x)) * M_2_SQRTPI; }},
    {"Sin", 22, 7, Activation::kSin, std::sin,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy * apply_op("Cos", x); }},
    {"Cos", 22, 7, Activation::kCos, std::cos,
     [](const Expr& dy, const Expr& x, const Expr&) { return -(dy * apply_op("Sin", x)); }},
    {"Tan", 22, 7, Activation::kTan, std::tan,
     [](const Expr& dy, const Expr&, const Expr& y) { return dy * (1.0 + square(y)); }},
    {"Asin", 22, 7, Activation::kAsin, std::asin,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy / root(1.0 - square(x)); }},
    {"Acos", 22, 7, Activation::kAcos, std::acos,
     [](const Expr& dy, const Expr& x, const Expr&) { return -(dy / root(1.0 - square(x))); }},
    {"Atan", 22, 7, Activation::kAtan, std::atan,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy / (1.0 + square(x)); }},
    {"Sinh", 22, 9, Activation::kSinh, std::sinh,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy * apply_op("Cosh", x); }},
    {"Cosh", 22, 9, Activation::kCosh, std::cosh,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy * apply_op("Sinh", x); }},
    {"Asinh", 22, 9, Activation::kAsinh, std::asinh,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy / root(square(x) + 1.0); }},
    {"Acosh", 22, 9, Activation::kAcosh, std::acosh,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy / root(square(x) - 1.0); }},
    {"Atanh", 22, 9, Activation::kAtanh, std::atanh,
     [](const Expr& dy, const Expr& x, const Expr&) { return dy / (1.0 - square(x)); }},
};

void map(const FloatFunction& function, const Tensor& x, Tensor& y) {
  const DoubleFunction vectorized = double_function(function.f32);
  map_floats(
      x, y, kElementGrain, [&](const float* from, float* to, int64_t n) { apply(function.f32, from, to, n); },
      [&](const double* from, double* to, int64_t n) {
        if (vectorized) return vectorized(from, to, n);
        for (int64_t i = 0; i < n; ++i) to[i] = function.f64(from[i]);
      });
}

Kernel float_kernel(const FloatFunction& function) {
  return [&function](Run& run) { map(function, run.in(0), run.out(0, run.in(0).shape())); };
}

// --- Abs, Neg and Sign, of integers too

constexpr FloatFunction kAbs = {
    "Abs",   13,
    1,       Activation::kAbs,
    nullptr, [](const Expr& dy, const Expr& x, const Expr&) {
      return dy * apply_op("Sign", x); }};
constexpr FloatFunction kNeg = {
    "Neg", 13, 1, Activation::kNeg, nullptr, [](const Expr& dy, const Expr&, const Expr&) { return -dy; }};
constexpr FloatFunction kSign = {"Sign", 13, 9, Activation::kSign, sign_of<double>};

// The least integer has no positive counterpart and stays.
struct AbsInteger {
  template <typename T>
  T operator()(T x) const {
    return x < T(0) ? static_cast<T>(std::make_unsigned_t<T>(0) - static_cast<std::make_unsigned_t<T>>(x)) : x;
  }
};
struct NegInteger {
  template <typename T>
  T operator()(T x) const {
    return static_cast<T>(std::make_unsigned_t<T>(0) - static_cast<std::make_unsigned_t<T>>(x));
  }
};
struct SignInteger {
  template <typename T>
  T operator()(T x) const {
    return static_cast<T>((x > T(0)) - (x < T(0)));
  }
};
struct Complement {
  template <typename T>
  T operator()(T x) const {
    return static_cast<T>(~x);
  }
};

template <typename F>
void map_integers(const Tensor& x, Tensor& y, F f) {
  with_integer(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    parallel_for(x.size(), kElementGrain, [&, from = x.data<T>(), to = y.data<T>()](int64_t begin, int64_t end) {
      generate(to + begin, end - begin, [&, in = from + begin](int64_t i) { return f(in[i]); });
    });
  });
}

template <typename F>
KernelFactory number_kernel(const FloatFunction& function, F integer) {
  return [&function, integer](Prepare& p) -> Kernel {
    if (is_float(p.dtype(0))) return float_kernel(function);
    return [integer](Run& run) { map_integers(run.in(0), run.out(0, run.in(0).shape()), integer); };
  };
}

void infer_neg(InferContext& c) {
  same_as(0)(c);
  if (!c.facts(0).elements) return;
  std::vector<Dim> elements;
  for (const Dim& dim : *c.facts(0).elements) elements.push_back(Dim(0) - dim);
  note_elements(c, c.dtype(0), std::move(elements));
}

// --- Not, BitwiseNot

Kernel make_not(Prepare&) {
  return [](Run& run) {
    const auto* x = static_cast<const uint8_t*>(run.in(0).raw());
    auto* y = static_cast<uint8_t*>(run.out(0, run.in(0).shape()).raw());
    parallel_for(run.in(0).size(), kElementGrain, [&](int64_t begin, int64_t end) {
      generate(y + begin, end - begin, [in = x + begin](int64_t i) { return static_cast<uint8_t>(in[i] ^ 1); });
    });
  };
}

Kernel make_bitwise_not(Prepare&) {
  return [](Run& run) { map_integers(run.in(0), run.out(0, run.in(0).shape()), Complement()); };
}

// --- IsNaN, IsInf

constexpr DTypeSet kClassified = kFloats | kFloat8s;

// y[i] = f(x[i]) with x as float, or as double where it is f64; f32 by `vectorized`.
template <typename F, typename V>
void classify(const Tensor& x, bool* y, F f, V vectorized) {
  auto each = [&](auto zero) {
    using T = decltype(zero);
    parallel_for(x.size(), kElementGrain, [&, from = x.data<T>()](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<T, float>) return vectorized(from + begin, y + begin, end - begin);
      for (int64_t i = begin; i < end; ++i) {
        if constexpr (std::is_same_v<T, double>) y[i] = f(from[i]);
        else y[i] = f(static_cast<float>(from[i]));
      }
    });
  };
  switch (x.dtype()) {
    case DType::kFloat32: return each(float());
    case DType::kFloat64: return each(double());
    case DType::kFloat16: return each(Float16());
    case DType::kBFloat16: return each(BFloat16());
    case DType::kFloat8E4M3FN: return each(Float8E4M3FN());
    case DType::kFloat8E4M3FNUZ: return each(Float8E4M3FNUZ());
    case DType::kFloat8E5M2: return each(Float8E5M2());
    default: return each(Float8E5M2FNUZ());
  }
}

void infer_classified(InferContext& c) { c.out(0, DType::kBool, c.type(0).shape); }

Kernel make_is_nan(Prepare&) {
  return [](Run& run) {
    classify(
        run.in(0), run.out(0, run.in(0).shape()).data<bool>(), [](auto x) { return std::isnan(x); },
        [](const float* x, bool* y, int64_t n) { find_nan(x, y, n); });
  };
}

Kernel make_is_inf(Prepare& p) {
  const bool negative = p.attr_int("detect_negative") != 0;
  const bool positive = p.attr_int("detect_positive") != 0;
  return [=](Run& run) {
    classify(
        run.in(0), run.out(0, run.in(0).shape()).data<bool>(),
        [=](auto x) { return std::isinf(x) && (x > 0 ? positive : negative); },
        [=](const float* x, bool* y, int64_t n) { find_infinity(x, negative, positive, y, n); });
  };
}

OpDef unary(const char* name, int since, int first, DTypeSet types) {
  OpDef op(name);
  op.since(since, first).in("x", "T", types).out("y", "T").in_place({0}).infer(same_as(0));
  if (first == 1) op.upgrade(6, drop_consumed_inputs);
  return op;
}

// Erf-9 takes integers, by way of f32.
void erf_of_integers(UpgradeContext& c) {
  const DType dtype = c.input(0).type.dtype;
  if (!is_integer(dtype)) return;
  c.set_input(0, c.emit("Cast", {c.draft().inputs[0]}, {{"to", static_cast<int64_t>(DType::kFloat32)}}));
  const ValueId result = c.draft().outputs[0];
  c.emit_after(result, "Cast", {c.detach_output(0)}, {{"to", static_cast<int64_t>(dtype)}});
}

}  // namespace

void define_unary(OpList& ops) {
  for (const FloatFunction& function : kFloatFunctions) {
    OpDef op = unary(function.name, function.since, function.first, kFloats);
    if (op.name() == "Erf") op.upgrade(13, erf_of_integers);
    ops.add(differentiate(op.kernel([&function](Prepare&) { return float_kernel(function); }), function.pullback));
  }
  const auto number = [&](const FloatFunction& function, DTypeSet types, auto integer) -> OpDef& {
    OpDef op = unary(function.name, function.since, function.first, types);
    return ops.add(differentiate(op.kernel(number_kernel(function, integer)), function.pullback));
  };
  number(kAbs, kNumbers, AbsInteger());
  number(kNeg, kFloats | kSignedIntegers, NegInteger()).infer(infer_neg);
  number(kSign, kNumbers, SignInteger());
  ops.add(unary("Not", 1, 1, DType::kBool).kernel(make_not));
  ops.add(unary("BitwiseNot", 18, 18, kIntegers).kernel(make_bitwise_not));
  ops.add(OpDef("IsNaN")
              .since(20, 9)
              .in("x", "T1", kClassified)
              .out("y", "T2", DType::kBool)
              .infer(infer_classified)
              .kernel(make_is_nan));
  ops.add(OpDef("IsInf")
              .since(20, 10)
              .attr("detect_negative", 1)
              .attr("detect_positive", 1)
              .in("x", "T1", kClassified)
              .out("y", "T2", DType::kBool)
              .infer(infer_classified)
              .kernel(make_is_inf));
}

}  // namespace sx
