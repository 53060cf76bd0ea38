// The gates of recurrent cells on every tier against plain functions in double.
#include "kernels/recurrent_gates.h"

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
        std::vector<float> gates = sums;
        lstm_gates(gates.data(), n, c.data(), h.data(), false, isa);
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

TEST(lstm_gates_kept) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {1, 4, 15, 33}) {
      const std::vector<float> sums = random_floats(4 * n, 1, -4, 4), before = random_floats(n, 2, -3, 3);
      std::vector<float> plain = sums, c = before, h(n), gates = sums, kept_c = before, kept_h(n);
      lstm_gates(plain.data(), n, c.data(), h.data(), false, isa);
      lstm_gates(gates.data(), n, kept_c.data(), kept_h.data(), true, isa);
      CHECK(kept_c == c && kept_h == h);
      for (int64_t i = 0; i < 4 * n; ++i) {
        const double x = sums[i];
        CHECK_NEAR(gates[i], i < 3 * n ? sigmoid(x) : std::tanh(x), 1e-6);
      }
    }
  }
}

TEST(lstm_gates_backward_values) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {1, 4, 15, 33}) {
      const std::vector<float> gates = random_floats(4 * n, 1, 0, 1), before = random_floats(n, 2, -3, 3),
                               c = random_floats(n, 3, -3, 3), dh = random_floats(n, 4, -2, 2),
                               dc = random_floats(n, 5, -2, 2);
      std::vector<float> found = gates, dc_before = dc;
      lstm_gates_backward(found.data(), n, before.data(), c.data(), dh.data(), dc_before.data(), isa);
      for (int64_t i = 0; i < n; ++i) {
        const double in = gates[i], out = gates[n + i], forget = gates[2 * n + i], cell = gates[3 * n + i];
        const double tangent = std::tanh(static_cast<double>(c[i]));
        const double d = dc[i] + dh[i] * out * (1 - tangent * tangent);
        CHECK_NEAR(found[i], d * cell * in * (1 - in), 1e-6);
        CHECK_NEAR(found[n + i], dh[i] * tangent * out * (1 - out), 1e-6);
        CHECK_NEAR(found[2 * n + i], d * before[i] * forget * (1 - forget), 2e-6);
        CHECK_NEAR(found[3 * n + i], d * in * (1 - cell * cell), 1e-6);
        CHECK_NEAR(dc_before[i], d * forget, 1e-6);
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
    std::vector<float> gates = sums;
    lstm_gates(gates.data(), 6, c.data(), h.data(), false, isa);
    CHECK(c[0] == 3.0f);
    CHECK_NEAR(h[0], std::tanh(3.0), 1e-6);
    CHECK(c[1] == 0.0f && h[1] == 0.0f);
    CHECK(std::isnan(c[2]) && std::isnan(h[2]));
    CHECK(std::isnan(c[3]) && std::isnan(h[3]));
    CHECK(std::isnan(c[4]) && std::isnan(h[4]));
    CHECK(c[5] == 0.5f && std::isnan(h[5]));
  }
}

TEST(gru_gates_values) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {1, 4, 15, 33}) {
      const std::vector<float> x = random_floats(3 * n, 1, -4, 4), sums = random_floats(3 * n, 2, -4, 4),
                               bias = random_floats(n, 3, -1, 1), before = random_floats(n, 4, -1, 1);
      for (bool has_bias : {false, true}) {
        std::vector<float> gates = sums, plain = sums, kept(n), h = before, plain_h = before;
        const float* b = has_bias ? bias.data() : nullptr;
        gru_gates(x.data(), plain.data(), b, n, plain_h.data(), nullptr, isa);
        gru_gates(x.data(), gates.data(), b, n, h.data(), kept.data(), isa);
        CHECK(h == plain_h);
        for (int64_t i = 0; i < n; ++i) {
          const double update = sigmoid(static_cast<double>(x[i]) + sums[i]);
          const double reset = sigmoid(static_cast<double>(x[n + i]) + sums[n + i]);
          const double inner = sums[2 * n + i] + (has_bias ? bias[i] : 0.0);
          const double fresh = std::tanh(x[2 * n + i] + reset * inner);
          CHECK_NEAR(kept[i], inner, 1e-6);
          CHECK_NEAR(gates[i], update, 1e-6);
          CHECK_NEAR(gates[n + i], reset, 1e-6);
          CHECK_NEAR(gates[2 * n + i], fresh, 2e-6);
          CHECK_NEAR(h[i], (1 - update) * fresh + update * before[i], 2e-6);
        }
      }
    }
  }
}

TEST(gru_gates_special_values) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (Isa isa : tested_isas()) {
    // The update gate open, then closed with the hidden gate saturated; then a NaN in each gate and in h.
    const std::vector<float> x = {infinity, -infinity, nan, 0,   0,   0,  //
                                  0,        infinity,  0,   nan, 0,   0,  //
                                  5,        infinity,  0,   0,   nan, 0};
    std::vector<float> sums(18, 0.5f), h = {2, 2, 2, 2, 2, nan};
    gru_gates(x.data(), sums.data(), nullptr, 6, h.data(), nullptr, isa);
    CHECK_NEAR(h[0], 2, 1e-6);
    CHECK(h[1] == 1.0f);
    for (int i = 2; i < 6; ++i) CHECK(std::isnan(h[static_cast<size_t>(i)]));
  }
}

TEST(gru_gates_backward_values) {
  for (Isa isa : tested_isas()) {
    for (int64_t n : {1, 4, 15, 33}) {
      const std::vector<float> gates = random_floats(3 * n, 1, 0, 1), before = random_floats(n, 2, -1, 1),
                               kept = random_floats(n, 3, -3, 3), dh = random_floats(n, 4, -2, 2);
      std::vector<float> found = gates, recurred(3 * n), left = dh;
      gru_gates_backward(found.data(), n, before.data(), kept.data(), recurred.data(), left.data(), isa);
      for (int64_t i = 0; i < n; ++i) {
        const double update = gates[i], reset = gates[n + i], fresh = gates[2 * n + i];
        const double d_fresh = dh[i] * (1 - update) * (1 - fresh * fresh);
        CHECK_NEAR(found[i], dh[i] * (before[i] - fresh) * update * (1 - update), 1e-6);
        CHECK_NEAR(found[n + i], d_fresh * kept[i] * reset * (1 - reset), 2e-6);
        CHECK_NEAR(found[2 * n + i], d_fresh, 1e-6);
        CHECK(recurred[i] == found[i] && recurred[n + i] == found[n + i]);
        CHECK_NEAR(recurred[2 * n + i], d_fresh * reset, 1e-6);
        CHECK_NEAR(left[i], dh[i] * update, 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace sx
