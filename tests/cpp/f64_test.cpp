// Functions that compute in f64 on every tier, against the C library's long doubles.
#include "kernels/f64.h"

#include <random>

#include "check.h"
#include "kernel_testing.h"

namespace sx {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Units in the last place of T at `expected` between it and y; denormals count in units of the smallest normal's.
template <typename T>
double ulps(T y, long double expected) {
  constexpr int kDigits = std::numeric_limits<T>::digits, kLeast = std::numeric_limits<T>::min_exponent;
  if (std::isnan(expected) || std::isnan(y)) return std::isnan(expected) == std::isnan(y) ? 0 : 1e9;
  const T rounded = static_cast<T>(expected);
  if (y == rounded) return expected == 0 && std::signbit(expected) != std::signbit(y) ? 1e9 : 0;
  if (std::isinf(rounded) || std::isinf(y)) return 1e9;
  const int exponent = rounded == 0 ? kLeast : std::max(kLeast, std::ilogb(rounded) + 1);
  return static_cast<double>(std::fabs(static_cast<long double>(y) - expected) / std::ldexp(1.0L, exponent - kDigits));
}

long double sigmoid(long double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }

struct Function {
  Activation kind;
  long double (*f)(long double);
  double tolerance;
};
const Function kFunctions[] = {
    {Activation::kRelu, [](long double x) { return x < 0 ? 0 : x; }, 0},
    {Activation::kSigmoid, sigmoid, 3},
    {Activation::kTanh, std::tanh, 3},
    {Activation::kErf, std::erf, 2},
    {Activation::kExp, std::exp, 1.5},
    {Activation::kLog, std::log, 1.5},
    {Activation::kSqrt, std::sqrt, 0.5},
    {Activation::kReciprocal, [](long double x) { return 1 / x; }, 0.51},
    {Activation::kSquare, [](long double x) { return x * x; }, 0.51},
    {Activation::kAbs, std::fabs, 0},
    {Activation::kNeg, [](long double x) { return -x; }, 0},
    {Activation::kFloor, std::floor, 0},
    {Activation::kCeil, std::ceil, 0},
    {Activation::kRound, std::nearbyint, 0},
};

// Any bits, and numbers spread over the ranges where functions bend.
std::vector<double> arguments() {
  std::mt19937_64 generator(1);
  std::vector<double> x = {0.0,    -0.0,   1.0,    -1.0,   0.5,    2.5,    -2.5,   6.0,     6.5,       kNan,
                           709.78, 709.79, -708.5, -745.1, -745.2, 5e-324, 1e-310, -1e-310, kInfinity, -kInfinity};
  for (int i = 0; i < 20000; ++i) {
    double value;
    const uint64_t bits = generator();
    std::memcpy(&value, &bits, sizeof(value));
    x.push_back(value);
    for (double reach : {1.0, 7.0, 30.0, 760.0})
      x.push_back(std::uniform_real_distribution<>(-reach, reach)(generator));
  }
  return x;
}

TEST(f64_accuracy) {
  const std::vector<double> x = arguments();
  std::vector<double> y(x.size());
  for (Isa isa : tested_isas()) {
    for (const Function& function : kFunctions) {
      double_function(function.kind, isa)(x.data(), y.data(), static_cast<int64_t>(x.size()));
      for (size_t i = 0; i < x.size(); ++i) {
        const long double expected = function.f(x[i]);
        const double off = ulps(y[i], expected);
        if (off > function.tolerance)
          check::failed(__FILE__, __LINE__,
                        std::string(name_of(isa)) + ": function " + std::to_string(static_cast<int>(function.kind)) +
                            " of " + check::text_of(x[i]) + " is " + check::text_of(y[i]) + ": " + check::text_of(off) +
                            " ulp");
      }
    }
    CHECK(double_function(Activation::kMish, isa) == nullptr);
  }
}

TEST(f64_lengths_and_in_place) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33}) {
      std::vector<double> y(static_cast<size_t>(n) + 1, 3.0);
      double_function(Activation::kSquare, isa)(y.data(), y.data(), n);
      for (int64_t i = 0; i < n; ++i) CHECK_EQ(y[i], 9.0);
      CHECK_EQ(y[n], 3.0);
    }
  }
}

void check_power(float a, float b, float y, Isa isa) {
  const double off = ulps(y, std::pow(static_cast<long double>(a), static_cast<long double>(b)));
  if (off > 1)
    check::failed(__FILE__, __LINE__,
                  std::string(name_of(isa)) + ": " + check::text_of(a) + " ^ " + check::text_of(b) + " is " +
                      check::text_of(y) + ": " + check::text_of(off) + " ulp");
}

TEST(powers) {
  std::mt19937_64 generator(2);
  std::vector<float> a, b;
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = generator();
    float pair[2];
    std::memcpy(pair, &bits, sizeof(pair));
    a.push_back(pair[0]);
    b.push_back(pair[1]);
    a.push_back(std::uniform_real_distribution<float>(0, 100)(generator));
    b.push_back(std::uniform_real_distribution<float>(-30, 30)(generator));
    a.push_back(std::uniform_real_distribution<float>(-5, 0)(generator));
    b.push_back(std::nearbyint(std::uniform_real_distribution<float>(-40, 40)(generator)));
  }
  const float special[] = {0.0f,
                           -0.0f,
                           1.0f,
                           -1.0f,
                           0.5f,
                           -0.5f,
                           2.0f,
                           -2.0f,
                           3.0f,
                           -3.0f,
                           1e-40f,
                           -1e-40f,
                           3e38f,
                           16777216.0f,
                           std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity(),
                           std::numeric_limits<float>::quiet_NaN()};
  for (float base : special) {
    for (float exponent : special) {
      a.push_back(base);
      b.push_back(exponent);
    }
  }
  std::vector<float> y(a.size());
  const auto n = static_cast<int64_t>(a.size());
  for (Isa isa : tested_isas()) {
    power(a.data(), false, b.data(), false, y.data(), n, isa);
    for (size_t i = 0; i < a.size(); ++i) check_power(a[i], b[i], y[i], isa);
    for (float one : special) {
      power(&one, true, b.data(), false, y.data(), 100, isa);
      for (size_t i = 0; i < 100; ++i) check_power(one, b[i], y[i], isa);
      power(a.data(), false, &one, true, y.data(), 99, isa);
      for (size_t i = 0; i < 99; ++i) check_power(a[i], one, y[i], isa);
      power(&one, true, &one, true, y.data(), 3, isa);
      for (size_t i = 0; i < 3; ++i) check_power(one, one, y[i], isa);
    }
  }
}

TEST(remainders) {
  std::mt19937_64 generator(3);
  std::vector<float> a, b;
  for (int i = 0; i < 100000; ++i) {
    const uint64_t bits = generator();
    float pair[2];
    std::memcpy(pair, &bits, sizeof(pair));
    a.push_back(pair[0]);
    b.push_back(pair[1]);
    // Near whole multiples of small and of large divisors.
    const float divisor = std::uniform_real_distribution<float>(-2, 2)(generator);
    a.push_back(divisor * std::nearbyint(std::uniform_real_distribution<float>(-3e8f, 3e8f)(generator)));
    b.push_back(divisor);
    a.push_back(std::uniform_real_distribution<float>(-100, 100)(generator));
    b.push_back(divisor);
  }
  for (float x : {0.0f, -0.0f, 1.0f, -1e-40f, 3e38f, static_cast<float>(kInfinity), static_cast<float>(kNan)}) {
    for (float y : {0.0f, -0.0f, 1.0f, -1e-40f, 3e38f, static_cast<float>(kInfinity), static_cast<float>(kNan)}) {
      a.push_back(x);
      b.push_back(y);
    }
  }
  std::vector<float> y(a.size());
  for (Isa isa : tested_isas()) {
    remainder(a.data(), false, b.data(), false, y.data(), static_cast<int64_t>(a.size()), isa);
    for (size_t i = 0; i < a.size(); ++i) {
      const float expected = std::fmod(a[i], b[i]);
      CHECK(std::isnan(expected) ? std::isnan(y[i]) : std::memcmp(&y[i], &expected, sizeof(float)) == 0);
    }
    remainder(&a[4], true, b.data(), false, y.data(), 99, isa);
    for (size_t i = 0; i < 99; ++i) CHECK_EQ(y[i], std::fmod(a[4], b[i]));
    remainder(a.data(), false, &b[4], true, y.data(), 99, isa);
    for (size_t i = 0; i < 99; ++i) {
      const float expected = std::fmod(a[i], b[4]);
      CHECK(y[i] == expected || (std::isnan(expected) && std::isnan(y[i])));
    }
  }
}

}  // namespace
}  // namespace sx
