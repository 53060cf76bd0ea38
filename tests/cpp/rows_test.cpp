// Softmax, normalization and reduction on every tier against plain loops in double.
#include "kernels/rows.h"

#include <algorithm>

#include "check.h"
#include "kernel_testing.h"

namespace sx {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const int64_t kLengths[] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 64, 100, 1000};

TEST(softmax_values) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : kLengths) {
      for (int form = 0; form < 8; ++form) {
        const int64_t rows = 6;
        const std::vector<float> x = random_floats(rows * n, 1, -10, 10), mask = random_floats(2 * n, 2, -3, 0);
        std::vector<float> y(rows * n);
        SoftmaxRows problem;
        problem.rows = rows;
        problem.n = n;
        problem.x = x.data();
        problem.y = y.data();
        problem.log = form & 1;
        problem.scale = form & 2 ? -0.5f : 1.0f;
        if (form & 4) {
          problem.mask = mask.data();
          problem.mask_row = n;
          problem.mask_period = 2;
        }
        softmax_rows(problem, isa);
        for (int64_t r = 0; r < rows; ++r) {
          std::vector<double> t(n);
          double sum = 0;
          for (int64_t i = 0; i < n; ++i) {
            t[i] = static_cast<double>(x[r * n + i]) * problem.scale + (problem.mask ? mask[r % 2 * n + i] : 0.0f);
            sum += std::exp(t[i]);
          }
          for (int64_t i = 0; i < n; ++i) {
            const double expected = problem.log ? t[i] - std::log(sum) : std::exp(t[i]) / sum;
            CHECK_NEAR(y[r * n + i], expected, 4e-6 * (std::fabs(expected) + (problem.log ? 1 : 0)));
          }
        }
      }
    }
  }
}

TEST(softmax_special_rows) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {3, 20}) {
      std::vector<float> x(n, -kInfinity), y(n);
      SoftmaxRows problem;
      problem.rows = 1;
      problem.n = n;
      problem.x = x.data();
      problem.y = y.data();
      softmax_rows(problem, isa);
      for (float value : y) CHECK(std::isnan(value));
      problem.zero_dead_rows = true;
      softmax_rows(problem, isa);
      for (float value : y) CHECK_EQ(value, 0.0f);
      x[n - 1] = 5.0f;
      softmax_rows(problem, isa);
      CHECK_EQ(y[n - 1], 1.0f);
      CHECK_EQ(y[0], 0.0f);
      x[1] = std::numeric_limits<float>::quiet_NaN();
      softmax_rows(problem, isa);
      for (float value : y) CHECK(std::isnan(value));
    }
  }
}

TEST(normalized_rows) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : kLengths) {
      for (int form = 0; form < 8; ++form) {
        const int64_t rows = 3;
        const std::vector<float> x = random_floats(rows * n, 1, 2, 5), skip = random_floats(rows * n, 2);
        const std::vector<float> scale = random_floats(n, 3), bias = random_floats(n, 4);
        std::vector<float> y(rows * n), sum(rows * n), mean(rows), inv_std(rows);
        NormRows problem;
        problem.rows = rows;
        problem.n = n;
        problem.x = x.data();
        problem.y = y.data();
        problem.rms = form & 1;
        problem.mean = mean.data();
        problem.inv_std = inv_std.data();
        if (form & 2) {
          problem.scale = scale.data();
          problem.bias = bias.data();
        }
        if (form & 4) {
          problem.skip = skip.data();
          problem.skip_bias = bias.data();
          problem.sum = sum.data();
        }
        normalize_rows(problem, isa);
        for (int64_t r = 0; r < rows; ++r) {
          std::vector<double> t(n);
          double average = 0, variance = 0;
          for (int64_t i = 0; i < n; ++i) {
            t[i] = x[r * n + i];
            if (form & 4) {
              t[i] += static_cast<double>(skip[r * n + i]) + bias[i];
              CHECK_NEAR(sum[r * n + i], t[i], 2e-6);
            }
            average += problem.rms ? 0 : t[i] / static_cast<double>(n);
          }
          for (double value : t) variance += (value - average) * (value - average) / static_cast<double>(n);
          const double by = 1 / std::sqrt(variance + problem.epsilon);
          CHECK_NEAR(mean[r], average, 1e-5);
          CHECK_NEAR(inv_std[r], by, 1e-4 * by);
          for (int64_t i = 0; i < n; ++i) {
            double expected = (t[i] - average) * by;
            if (form & 2) expected = expected * scale[i] + bias[i];
            // Rounding of x, about 5, counts in units of the spread.
            CHECK_NEAR(y[r * n + i], expected, 1e-5 + 2e-6 * by);
          }
        }
      }
    }
  }
}

TEST(normalized_groups) {
  const int64_t images = 2, channels = 6, size = 35;
  const std::vector<float> x = random_floats(images * channels * size, 1), scale = random_floats(channels, 2);
  const std::vector<float> bias = random_floats(channels, 3);
  for (Isa isa : tested_isas()) {
    for (int64_t groups : {1, 2, 6}) {
      std::vector<float> y(x.size());
      ChannelNorm problem;
      problem.images = images;
      problem.channels = channels;
      problem.groups = groups;
      problem.size = size;
      problem.x = x.data();
      problem.y = y.data();
      problem.scale = scale.data();
      problem.bias = bias.data();
      normalize_groups(problem, isa);
      const int64_t n = channels / groups * size;
      for (int64_t item = 0; item < images * groups; ++item) {
        double average = 0, variance = 0;
        for (int64_t i = 0; i < n; ++i) average += x[item * n + i] / static_cast<double>(n);
        for (int64_t i = 0; i < n; ++i) variance += std::pow(x[item * n + i] - average, 2) / static_cast<double>(n);
        for (int64_t i = 0; i < n; ++i) {
          const int64_t channel = item % groups * (channels / groups) + i / size;
          const double expected =
              (x[item * n + i] - average) / std::sqrt(variance + problem.epsilon) * scale[channel] + bias[channel];
          CHECK_NEAR(y[item * n + i], expected, 1e-5);
        }
      }
    }
  }
}

double plain(Reduction kind, const std::vector<double>& values) {
  double sum = 0, product = 1, squares = 0, magnitudes = 0, exponentials = 0;
  for (double v : values) {
    sum += v;
    product *= v;
    squares += v * v;
    magnitudes += std::fabs(v);
    exponentials += std::exp(v);
  }
  switch (kind) {
    case Reduction::kSum: return sum;
    case Reduction::kMean: return sum / static_cast<double>(values.size());
    case Reduction::kMax: return *std::max_element(values.begin(), values.end());
    case Reduction::kMin: return *std::min_element(values.begin(), values.end());
    case Reduction::kProd: return product;
    case Reduction::kSumSquare: return squares;
    case Reduction::kL1: return magnitudes;
    case Reduction::kL2: return std::sqrt(squares);
    case Reduction::kLogSumExp: return std::log(exponentials);
  }
  return 0;
}

TEST(reductions) {
  for (Isa isa : tested_isas()) {
    for (int kind = 0; kind <= static_cast<int>(Reduction::kLogSumExp); ++kind) {
      const Reduction reduction = static_cast<Reduction>(kind);
      for (int64_t n : kLengths) {
        const std::vector<float> x = random_floats(3 * n, 1, -1.5f, 1.5f);
        std::vector<float> y(3);
        reduce_rows(reduction, x.data(), 3, n, y.data(), isa);
        for (int64_t r = 0; r < 3; ++r) {
          const double expected = plain(reduction, {x.begin() + r * n, x.begin() + (r + 1) * n});
          CHECK_NEAR(y[r], expected, 2e-6 * (1 + std::fabs(expected)) * (1 + std::sqrt(static_cast<double>(n))));
        }
      }
      for (int64_t inner : {1, 3, 16, 70, 300}) {
        const int64_t outer = 2, n = 9;
        const std::vector<float> x = random_floats(outer * n * inner, 1, -1.5f, 1.5f);
        std::vector<float> y(outer * inner);
        reduce_middle(reduction, x.data(), outer, n, inner, y.data(), isa);
        for (int64_t o = 0; o < outer; ++o) {
          for (int64_t i = 0; i < inner; ++i) {
            std::vector<double> column;
            for (int64_t j = 0; j < n; ++j) column.push_back(x[(o * n + j) * inner + i]);
            const double expected = plain(reduction, column);
            CHECK_NEAR(y[o * inner + i], expected, 1e-5 * (1 + std::fabs(expected)));
          }
        }
      }
    }
  }
}

TEST(reductions_of_special_values) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {2, 40}) {
      std::vector<float> x(n, -kInfinity);
      float y = 0;
      reduce_rows(Reduction::kLogSumExp, x.data(), 1, n, &y, isa);
      CHECK_EQ(y, -kInfinity);
      x[n - 1] = kInfinity;
      reduce_rows(Reduction::kLogSumExp, x.data(), 1, n, &y, isa);
      CHECK_EQ(y, kInfinity);
      x[0] = std::numeric_limits<float>::quiet_NaN();
      for (Reduction kind : {Reduction::kMax, Reduction::kMin, Reduction::kSum}) {
        reduce_rows(kind, x.data(), 1, n, &y, isa);
        CHECK(std::isnan(y));
        reduce_middle(kind, x.data(), 1, n, 1, &y, isa);
        CHECK(std::isnan(y));
      }
    }
    float y = 5;
    reduce_rows(Reduction::kSum, nullptr, 1, 0, &y, isa);
    CHECK_EQ(y, 0.0f);
    reduce_rows(Reduction::kProd, nullptr, 1, 0, &y, isa);
    CHECK_EQ(y, 1.0f);
  }
}

}  // namespace
}  // namespace sx
