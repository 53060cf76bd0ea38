// The gates of an LSTM on every tier against plain functions in double.
#include "kernels/lstm_gates.h"

#include "check.h"
#include "kernel_testing.h"

namespace sx {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(lstm_gates_values) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {1, 3, 4, 15, 16, 33, 256}) {
      for (float range : {0.01f, 4.0f, 80.0f}) {
        const std::vector<float> sums = random_floats(4 * n, 1, -range, range), before = random_floats(n, 2, -3, 3);
        std::vector<float> c = before, h(n);
        lstm_gates(sums.data(), n, c.data(), h.data(), isa);
        for (int64_t i = 0; i < n; ++i) {
          const double kept = sigmoid(sums[2 * n + i]) * before[i];
          const double added = sigmoid(sums[i]) * std::tanh(static_cast<double>(sums[3 * n + i]));
          CHECK_NEAR(c[i], kept + added, std::ldexp(std::fabs(kept) + std::fabs(added), -21) + 1e-37);
          const double out = sigmoid(sums[n + i]) * std::tanh(static_cast<double>(c[i]));
          CHECK_NEAR(h[i], out, std::ldexp(std::fabs(out), -21) + 1e-37);
        }
      }
    }
  }
}

TEST(lstm_gates_special_values) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (Isa isa : tested_isas()) {
    // Input, output and forget gate open, the cell gate saturated; then all closed; then a NaN in each place.
    const std::vector<float> sums = {infinity, -infinity, nan,      0, 0,    0,    //
                                     infinity, -infinity, 0,        0, 0,    nan,  //
                                     infinity, -infinity, 0,        0, nan,  0,    //
                                     infinity, infinity,  infinity, 0, 0.5f, -infinity};
    std::vector<float> c = {2, 2, 2, nan, 2, 2}, h(6);
    lstm_gates(sums.data(), 6, c.data(), h.data(), isa);
    CHECK(c[0] == 3.0f);
    CHECK_NEAR(h[0], std::tanh(3.0), 1e-6);
    CHECK(c[1] == 0.0f && h[1] == 0.0f);
    CHECK(std::isnan(c[2]) && std::isnan(h[2]));
    CHECK(std::isnan(c[3]) && std::isnan(h[3]));
    CHECK(std::isnan(c[4]) && std::isnan(h[4]));
    CHECK(c[5] == 0.5f && std::isnan(h[5]));
  }
}

}  // namespace
}  // namespace sx
