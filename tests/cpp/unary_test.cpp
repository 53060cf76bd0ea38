// Elementwise functions, binary operations and half-precision conversion on every tier against the C library in double.
#include "kernels/unary.h"

#include <algorithm>
#include <functional>

#include "check.h"
#include "kernel_testing.h"

namespace sx {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

// Units in the last place of `expected` between it and y; denormals count in units of the smallest normal's.
double ulps(float y, double expected) {
  if (std::isnan(expected) || std::isnan(y)) return std::isnan(expected) == std::isnan(y) ? 0 : 1e9;
  const float rounded = static_cast<float>(expected);
  if (y == rounded) return 0;
  if (std::isinf(rounded) || std::isinf(y)) return 1e9;
  const int exponent = std::max(-125, rounded == 0 ? -125 : std::ilogb(rounded) + 1);
  return std::fabs(static_cast<double>(y) - expected) / std::ldexp(1.0, exponent - 24);
}

struct Function {
  Activation kind;
  std::function<double(double)> f;
  double low, high, tolerance;
  // Where cancellation makes small results meaningless, errors count against this magnitude instead.
  double absolute = 0;
  float alpha = 0, beta = 0;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<Function> functions() {
  const auto relu = [](double x) { return std::max(x, 0.0); };
  return {
      {Activation::kExp, [](double x) { return std::exp(x); }, -110, 90, 2},
      {Activation::kExpm1, [](double x) { return std::expm1(x); }, -30, 90, 3},
      {Activation::kExpm1, [](double x) { return std::expm1(x); }, -1, 1, 3},
      {Activation::kLog, [](double x) { return std::log(x); }, 1e-40, 5, 2},
      {Activation::kLog, [](double x) { return std::log(x); }, 0, 1e38, 2},
      {Activation::kLog1p, [](double x) { return std::log1p(x); }, -1, 2, 4},
      {Activation::kLog1p, [](double x) { return std::log1p(x); }, -1e-3, 1e-3, 4},
      {Activation::kTanh, [](double x) { return std::tanh(x); }, -12, 12, 4},
      {Activation::kTanh, [](double x) { return std::tanh(x); }, -0.1, 0.1, 4},
      {Activation::kSigmoid, sigmoid, -100, 100, 4},
      {Activation::kErf, [](double x) { return std::erf(x); }, -5, 5, 4},
      {Activation::kErf, [](double x) { return std::erf(x); }, -0.01, 0.01, 4},
      {Activation::kGelu, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }, -6, 6, 4, 0.5},
      {Activation::kGeluTanh,
       [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }, -6, 6, 4,
       0.25},
      {Activation::kSwish, [](double x) { return x * sigmoid(1.5 * x); }, -20, 20, 4, 0.1, 1.5f},
      {Activation::kMish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, -20, 30, 6},
      {Activation::kSoftplus, [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }, -80, 80,
       4},
      {Activation::kElu, [](double x) { return x < 0 ? 0.5 * std::expm1(x) : x; }, -20, 20, 4, 0, 0.5f},
      {Activation::kSelu, [](double x) { return 1.25 * (x < 0 ? 1.5 * std::expm1(x) : x); }, -20, 20, 5, 0, 1.5f,
       1.25f},
      {Activation::kCelu, [](double x) { return x < 0 ? 2 * std::expm1(x / 2) : x; }, -20, 20, 4, 0, 2.0f},
      {Activation::kRelu, relu, -5, 5, 0},
      {Activation::kClip, [](double x) { return std::min(std::max(x, -1.0), 2.0); }, -5, 5, 0, 0, -1.0f, 2.0f},
      {Activation::kLeakyRelu, [](double x) { return x < 0 ? x * 0.25 : x; }, -5, 5, 0, 0, 0.25f},
      {Activation::kThresholdedRelu, [](double x) { return x > 1 ? x : 0; }, -5, 5, 0, 0, 1.0f},
      {Activation::kHardSigmoid, [](double x) { return std::min(std::max(0.25 * x + 0.5, 0.0), 1.0); }, -5, 5, 1, 0.1,
       0.25f, 0.5f},
      {Activation::kHardSwish, [](double x) { return x * std::min(std::max(x / 6 + 0.5, 0.0), 1.0); }, -5, 5, 4, 0.5},
      {Activation::kSoftsign, [](double x) { return x / (1 + std::fabs(x)); }, -5, 5, 2},
      {Activation::kSqrt, [](double x) { return std::sqrt(x); }, 0, 1e10, 0.6},
      {Activation::kReciprocal, [](double x) { return 1 / x; }, 0.001, 1e10, 0.6},
      {Activation::kReciprocalSqrt, [](double x) { return 1 / std::sqrt(x); }, 0.001, 1e10, 2},
      {Activation::kSquare, [](double x) { return x * x; }, -5, 5, 0.6},
      {Activation::kAbs, [](double x) { return std::fabs(x); }, -5, 5, 0},
      {Activation::kNeg, [](double x) { return -x; }, -5, 5, 0},
      {Activation::kSign, [](double x) { return (x > 0) - (x < 0); }, -5, 5, 0},
      {Activation::kFloor, [](double x) { return std::floor(x); }, -5, 5, 0},
      {Activation::kCeil, [](double x) { return std::ceil(x); }, -5, 5, 0},
      {Activation::kRound, [](double x) { return std::nearbyint(x); }, -5, 5, 0},
      {Activation::kTrunc, [](double x) { return std::trunc(x); }, -5, 5, 0},
      {Activation::kRound, [](double x) { return std::nearbyint(x); }, -1e10, 1e10, 0},
      {Activation::kAffine, [](double x) { return 2 * x + 1; }, 1, 5, 1, 0, 2.0f, 1.0f},
  };
}

TEST(unary_accuracy) {
  for (Isa isa : tested_isas()) {
    for (const Function& function : functions()) {
      const std::vector<float> x =
          random_floats(20011, 1, static_cast<float>(function.low), static_cast<float>(function.high));
      std::vector<float> y(x.size());
      apply(function.kind, x.data(), y.data(), static_cast<int64_t>(x.size()), function.alpha, function.beta, isa);
      for (size_t i = 0; i < x.size(); ++i) {
        const double expected = function.f(x[i]);
        double off = ulps(y[i], expected);
        if (std::fabs(expected) < function.absolute) {
          off = std::fabs(y[i] - expected) / std::ldexp(function.absolute, -23);
        }
        if (off > function.tolerance) {
          check::failed(__FILE__, __LINE__,
                        std::string(name_of(isa)) + ": function " + std::to_string(static_cast<int>(function.kind)) +
                            " of " + check::text_of(x[i]) + " is " + check::text_of(y[i]) + ", expected " +
                            check::text_of(expected) + ": " + check::text_of(off) + " ulp");
        }
      }
    }
  }
}

float one(Activation kind, float x, Isa isa, float alpha = 0, float beta = 0) {
  float y = 0;
  apply(kind, &x, &y, 1, alpha, beta, isa);
  return y;
}

TEST(unary_special_values) {
  for (Isa isa : tested_isas()) {
    for (int kind = 0; kind < static_cast<int>(Activation::kAffine) + 1; ++kind) {
      if (static_cast<Activation>(kind) == Activation::kThresholdedRelu) continue;
      CHECK(std::isnan(one(static_cast<Activation>(kind), kNan, isa, 1.0f, 1.0f)));
    }
    CHECK_EQ(one(Activation::kExp, kInfinity, isa), kInfinity);
    CHECK_EQ(one(Activation::kExp, -kInfinity, isa), 0.0f);
    CHECK_EQ(one(Activation::kExp, 0.0f, isa), 1.0f);
    CHECK_EQ(one(Activation::kExp, 88.8f, isa), kInfinity);
    CHECK_EQ(one(Activation::kExpm1, kInfinity, isa), kInfinity);
    CHECK_EQ(one(Activation::kExpm1, -kInfinity, isa), -1.0f);
    CHECK(std::signbit(one(Activation::kExpm1, -0.0f, isa)));
    CHECK_EQ(one(Activation::kLog, 0.0f, isa), -kInfinity);
    CHECK_EQ(one(Activation::kLog, -0.0f, isa), -kInfinity);
    CHECK_EQ(one(Activation::kLog, 1.0f, isa), 0.0f);
    CHECK_EQ(one(Activation::kLog, kInfinity, isa), kInfinity);
    CHECK(std::isnan(one(Activation::kLog, -1.0f, isa)));
    CHECK(std::isnan(one(Activation::kLog, -kInfinity, isa)));
    CHECK_EQ(one(Activation::kLog1p, -1.0f, isa), -kInfinity);
    CHECK_EQ(one(Activation::kLog1p, kInfinity, isa), kInfinity);
    CHECK(std::isnan(one(Activation::kLog1p, -2.0f, isa)));
    CHECK_EQ(one(Activation::kTanh, kInfinity, isa), 1.0f);
    CHECK_EQ(one(Activation::kTanh, -kInfinity, isa), -1.0f);
    CHECK(std::signbit(one(Activation::kTanh, -0.0f, isa)));
    CHECK_EQ(one(Activation::kErf, kInfinity, isa), 1.0f);
    CHECK_EQ(one(Activation::kErf, -kInfinity, isa), -1.0f);
    CHECK_EQ(one(Activation::kSigmoid, kInfinity, isa), 1.0f);
    CHECK_EQ(one(Activation::kSigmoid, -kInfinity, isa), 0.0f);
    CHECK_EQ(one(Activation::kSoftplus, kInfinity, isa), kInfinity);
    CHECK_EQ(one(Activation::kSoftplus, -kInfinity, isa), 0.0f);
    CHECK_EQ(one(Activation::kMish, kInfinity, isa), kInfinity);
    CHECK_EQ(one(Activation::kRound, 0.5f, isa), 0.0f);
    CHECK_EQ(one(Activation::kRound, 1.5f, isa), 2.0f);
    CHECK_EQ(one(Activation::kRound, -2.5f, isa), -2.0f);
    CHECK_EQ(one(Activation::kRound, -kInfinity, isa), -kInfinity);
    CHECK(std::signbit(one(Activation::kRound, -0.25f, isa)));
    CHECK(std::signbit(one(Activation::kCeil, -0.25f, isa)));
    CHECK(std::signbit(one(Activation::kNeg, 0.0f, isa)));
    CHECK(std::isnan(one(Activation::kSqrt, -1.0f, isa)));
  }
}

struct Circular {
  Activation kind;
  double (*f)(double);
};
const Circular kCircular[] = {
    {Activation::kSin, std::sin},     {Activation::kCos, std::cos},     {Activation::kTan, std::tan},
    {Activation::kAsin, std::asin},   {Activation::kAcos, std::acos},   {Activation::kAtan, std::atan},
    {Activation::kSinh, std::sinh},   {Activation::kCosh, std::cosh},   {Activation::kAsinh, std::asinh},
    {Activation::kAcosh, std::acosh}, {Activation::kAtanh, std::atanh},
};

// Floats of every exponent and sign, denormals, NaN and infinities with them, and both zeros.
std::vector<float> floats_of_all_magnitudes() {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 99991) {
    const auto low = static_cast<uint32_t>(bits);
    float value;
    std::memcpy(&value, &low, sizeof(value));
    x.push_back(value);
  }
  for (float magnitude : {0.0f, 0.5f, 1.0f, 1.5707963f, 89.4f, 89.5f, 6000.0f, 100000.0f, 1e10f, 3.4e38f, kInfinity})
    x.insert(x.end(), {magnitude, -magnitude});
  return x;
}

TEST(circular_functions) {
  const std::vector<float> x = floats_of_all_magnitudes();
  std::vector<float> y(x.size());
  for (Isa isa : tested_isas()) {
    for (const Circular& function : kCircular) {
      apply(function.kind, x.data(), y.data(), static_cast<int64_t>(x.size()), 0, 0, isa);
      for (size_t i = 0; i < x.size(); ++i) {
        const double expected = function.f(x[i]);
        const double off = ulps(y[i], expected);
        if (off > 4 || (expected == 0 && std::signbit(expected) != std::signbit(y[i])))
          check::failed(__FILE__, __LINE__,
                        std::string(name_of(isa)) + ": function " + std::to_string(static_cast<int>(function.kind)) +
                            " of " + check::text_of(x[i]) + " is " + check::text_of(y[i]) + ", expected " +
                            check::text_of(expected) + ": " + check::text_of(off) + " ulp");
      }
    }
  }
}

TEST(unary_lengths_and_in_place) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100}) {
      std::vector<float> x = random_floats(n + 1, 5), y = x;
      apply(Activation::kSquare, y.data(), y.data(), n, 0, 0, isa);
      for (int64_t i = 0; i < n; ++i) CHECK_EQ(y[i], x[i] * x[i]);
      CHECK_EQ(y[n], x[n]);
    }
  }
}

float plain(Binary op, float a, float b) {
  switch (op) {
    case Binary::kAdd: return a + b;
    case Binary::kSub: return a - b;
    case Binary::kMul: return a * b;
    case Binary::kDiv: return a / b;
    case Binary::kMax: return std::isnan(a) || std::isnan(b) ? kNan : std::max(a, b);
    case Binary::kMin: return std::isnan(a) || std::isnan(b) ? kNan : std::min(a, b);
  }
  return 0;
}

TEST(binary_rows) {
  for (Isa isa : tested_isas()) {
    for (Binary op : {Binary::kAdd, Binary::kSub, Binary::kMul, Binary::kDiv, Binary::kMax, Binary::kMin}) {
      for (int64_t n : {1, 5, 16, 37, 20000}) {
        for (int form = 0; form < 16; ++form) {
          const int64_t count = n > 1000 ? 2 : 5;
          BinaryRows rows;
          rows.rows = count;
          rows.n = n;
          rows.a_scalar = form & 1;
          rows.b_scalar = form & 2;
          rows.a_row = form & 4 ? 0 : (rows.a_scalar ? 1 : n);
          rows.b_row = form & 8 ? 0 : (rows.b_scalar ? 1 : n);
          std::vector<float> a = random_floats(count * n, 1), b = random_floats(count * n, 2), y(count * n);
          a[0] = kNan;
          b[n - 1] = kNan;
          rows.a = a.data();
          rows.b = b.data();
          rows.y = y.data();
          apply(op, rows, isa);
          for (int64_t r = 0; r < count; ++r) {
            for (int64_t i = 0; i < n; ++i) {
              const float left = a[r * rows.a_row + (rows.a_scalar ? 0 : i)];
              const float right = b[r * rows.b_row + (rows.b_scalar ? 0 : i)];
              CHECK_NEAR(y[r * n + i], plain(op, left, right), 0);
            }
          }
        }
      }
    }
  }
}

TEST(half_precision_conversion) {
  std::vector<float> x = random_floats(5003, 1, -70000.0f, 70000.0f);
  for (float tiny : random_floats(3000, 2, -1e-4f, 1e-4f)) x.push_back(tiny);
  for (float value : {0.0f, -0.0f, kInfinity, -kInfinity, kNan, 65519.0f, 65520.0f, 6e-8f, 3e38f}) x.push_back(value);
  const int64_t n = static_cast<int64_t>(x.size());
  for (Isa isa : tested_isas()) {
    std::vector<Float16> half(n);
    std::vector<BFloat16> brain(n);
    std::vector<float> back(n);
    convert(x.data(), half.data(), n, isa);
    convert(x.data(), brain.data(), n, isa);
    convert(half.data(), back.data(), n, isa);
    for (int64_t i = 0; i < n; ++i) {
      if (std::isnan(x[i])) {
        CHECK(is_nan(half[i]) && is_nan(brain[i]) && std::isnan(back[i]));
      } else {
        CHECK_EQ(half[i].bits, Float16(x[i]).bits);
        CHECK_EQ(brain[i].bits, BFloat16(x[i]).bits);
        CHECK_EQ(back[i], static_cast<float>(half[i]));
      }
    }
    convert(brain.data(), back.data(), n, isa);
    for (int64_t i = 0; i < n; ++i) CHECK_NEAR(back[i], static_cast<float>(brain[i]), 0);
  }
}

}  // namespace
}  // namespace sx
