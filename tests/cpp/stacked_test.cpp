// Convolution of stacked data and its gradients on every tier against plain loops.
#include "kernels/conv/stacked.h"

#include "check.h"
#include "conv_testing.h"
#include "kernel_testing.h"
#include "kernels/conv/blocked.h"
#include "kernels/conv/winograd.h"

namespace sx {
namespace {

// Plain data stacked. What fills up blocks is NaN: nobody may read it.
std::vector<float> stacked(const std::vector<float>& x, int64_t batch, int64_t channels, int64_t size, Isa isa) {
  const int64_t block = channel_block(isa), blocks = (channels + block - 1) / block;
  std::vector<float> y(static_cast<size_t>(blocks * block * batch * size));
  to_stacked(x.data(), batch, channels, size, y.data(), isa);
  for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i)
    if (i / (size * batch * block) * block + i % block >= channels) y[static_cast<size_t>(i)] = NAN;
  return y;
}

std::vector<float> unstacked(const std::vector<float>& x, int64_t batch, int64_t channels, int64_t size, Isa isa) {
  std::vector<float> y(static_cast<size_t>(batch * channels * size));
  from_stacked(x.data(), batch, channels, size, y.data(), isa);
  return y;
}

struct Results {
  std::vector<float> y, dx, dw;
};

// The result for x, with `bias`, and the gradients for dy, that of x on top of `residual`.
Results run(const ConvShape& s, bool plain, bool winograd, const std::vector<float>& x,
            const std::vector<float>& weights, const std::vector<float>& dy, const std::vector<float>& bias,
            const std::vector<float>& residual, Isa isa, int threads, Precision precision = Precision::kF32) {
  const ThreadLimit limit(threads);
  std::vector<float> data(x.size());
  if (plain) stack_plain(x.data(), s.batch, s.channels * s.in_size(), data.data(), isa);
  else data = stacked(x, s.batch, s.channels, s.in_size(), isa);
  const std::vector<float> given = stacked(dy, s.batch, s.filters, s.out_size(), isa);
  Epilogue with_bias, with_residual;
  std::vector<float> padded(bias);
  padded.resize(given.size() / static_cast<size_t>(s.batch * s.out_size()), NAN);
  with_bias.row_bias = padded.data();
  Results r;
  const StackedMethod method = stacked_method(s, plain, winograd, precision);
  std::vector<float> y(given.size());
  stacked_conv(s, method, data.data(), weights.data(), y.data(), with_bias, precision, isa);
  r.y = unstacked(y, s.batch, s.filters, s.out_size(), isa);

  std::vector<float> dx = stacked(residual, s.batch, s.channels, s.in_size(), isa);
  with_residual.residual = dx.data();
  const StackedMethod back = stacked_gradient_method(s, winograd, precision);
  stacked_input_gradient(s, back, given.data(), weights.data(), dx.data(), with_residual, precision, isa);
  r.dx = unstacked(dx, s.batch, s.channels, s.in_size(), isa);

  r.dw.resize(weights.size());
  stacked_weight_gradient(s, plain, data.data(), given.data(), r.dw.data(), precision, isa);
  return r;
}

void check(const ConvShape& s, bool plain = false, bool winograd = false) {
  const int64_t depth = s.channels * s.kernel_size();
  const std::vector<float> x = random_floats(s.batch * s.channels * s.in_size(), 1);
  const std::vector<float> weights = random_floats(s.filters * depth, 2), bias = random_floats(s.filters, 3);
  const std::vector<float> dy = random_floats(s.batch * s.filters * s.out_size(), 4);
  const std::vector<float> residual = random_floats(static_cast<int64_t>(x.size()), 5);
  std::vector<double> y(dy.size()), dx(x.size()), dw(weights.size()), of_y(dy.size()), of_dx(x.size()),
      of_dw(weights.size());
  for_each_product(s, [&](int64_t from, int64_t weight, int64_t to) {
    const double w = weights[weight], d = dy[to], v = x[from];
    y[to] += v * w, of_y[to] += std::fabs(v * w);
    dx[from] += d * w, of_dx[from] += std::fabs(d * w);
    dw[weight] += d * v, of_dw[weight] += std::fabs(d * v);
  });
  for (size_t i = 0; i < y.size(); ++i) y[i] += bias[i / s.out_size() % s.filters];
  for (size_t i = 0; i < dx.size(); ++i) dx[i] += residual[i];
  const auto near = [](const std::vector<float>& a, const std::vector<double>& b, const std::vector<double>& magnitude,
                       int64_t terms, Precision precision) {
    // bf16 rounds each factor by 2^-8 of itself at most.
    const double rounding = precision == Precision::kBf16 ? 2.02 / 256 : 0;
    for (size_t i = 0; i < b.size(); ++i)
      CHECK_NEAR(a[i], b[i], rounding * magnitude[i] + 1.2e-7 * static_cast<double>(terms + 4) * (magnitude[i] + 2));
  };
  for (Isa isa : tested_isas()) {
    for (Precision allowed : {Precision::kF32, Precision::kBf16}) {
      const Precision precision = stacked_precision(allowed, isa);
      if (precision != allowed) continue;
      const Results all = run(s, plain, winograd, x, weights, dy, bias, residual, isa, 0, precision);
      near(all.y, y, of_y, depth, precision);
      near(all.dx, dx, of_dx, s.filters * s.kernel_size(), precision);
      near(all.dw, dw, of_dw, s.batch * s.out_size(), precision);
      const Results one = run(s, plain, winograd, x, weights, dy, bias, residual, isa, 1, precision);
      CHECK(same_bits(all.y, one.y) && same_bits(all.dx, one.dx) && same_bits(all.dw, one.dw));
    }
  }
}

TEST(stacked_convolution) {
  check(conv_2d({2, 16, 16, 1}, {8, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({3, 20, 50, 1}, {12, 12}, {5, 5}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 8, 9, 1}, {7, 5}, {3, 2}, {2, 3}, {1, 1}, {1, 0, 2, 1}));
  check(conv_2d({5, 33, 17, 1}, {9, 10}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({5, 33, 17, 1}, {9, 10}, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({4, 12, 24, 1}, {15, 9}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}));
  check(conv_2d({4, 12, 24, 1}, {15, 9}, {3, 3}, {2, 2}, {3, 2}, {2, 3, 2, 3}));
  // Strides and dilations with and without common factors; windows that lie in the padding.
  check(conv_2d({4, 12, 24, 1}, {15, 9}, {2, 3}, {4, 6}, {2, 4}, {1, 0, 1, 0}));
  check(conv_2d({2, 12, 9, 1}, {9, 9}, {3, 3}, {3, 3}, {1, 1}, {4, 5, 0, 2}));
  check(conv_2d({3, 10, 9, 1}, {2, 2}, {3, 3}, {1, 1}, {1, 1}, {4, 4, 4, 4}));
  check(conv_2d({16, 16, 16, 1}, {2, 2}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({17, 16, 40, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  // Sums of more than one chain of pixels, and weights that do not stay near.
  check(conv_2d({16, 9, 8, 1}, {20, 23}, {2, 3}, {1, 1}, {1, 1}, {0, 1, 1, 1}));
  check(conv_2d({2, 70, 160, 1}, {3, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
}

TEST(stacked_plain_input) {
  check(conv_2d({4, 3, 34, 1}, {29, 31}, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}), true);
  check(conv_2d({17, 1, 20, 1}, {14, 14}, {5, 5}, {1, 1}, {1, 1}, {0, 0, 0, 0}), true);
  check(conv_2d({2, 5, 9, 1}, {6, 11}, {2, 3}, {1, 2}, {3, 1}, {2, 0, 1, 7}), true);
  check(conv_2d({2, 2, 9, 1}, {2, 2}, {3, 3}, {1, 1}, {1, 1}, {4, 4, 4, 4}), true);
}

TEST(stacked_winograd) {
  const auto check_tile = [](const ConvShape& shape, int tile) {
    CHECK_EQ(stacked_winograd_tile(shape, false, Precision::kF32), tile);
    CHECK_EQ(stacked_winograd_tile(shape, true, Precision::kF32), tile);
    check(shape, false, true);
  };
  check_tile(conv_2d({3, 48, 40, 1}, {21, 27}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), 4);
  check_tile(conv_2d({2, 32, 37, 1}, {17, 18}, {3, 3}, {1, 1}, {1, 1}, {0, 2, 2, 0}), 4);
  check_tile(conv_2d({17, 40, 40, 1}, {8, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), 4);
}

TEST(stacked_bits_do_not_depend_on_the_batch) {
  for (int64_t size : {3, 4, 12}) {
    const ConvShape one = conv_2d({1, 24, 40, 1}, {size, size}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1});
    ConvShape five = one;
    five.batch = 5;
    const std::vector<float> x = random_floats(5 * 24 * size * size, 1), weights = random_floats(40 * 24 * 9, 2);
    const std::vector<float> dy = random_floats(5 * 40 * size * size, 3), bias(40), residual(x.size());
    for (Isa isa : tested_isas()) {
      const Precision precision = stacked_precision(size == 12 ? Precision::kF32 : Precision::kBf16, isa);
      const Results all = run(five, false, true, x, weights, dy, bias, residual, isa, 0, precision);
      const Results first = run(one, false, true, {x.begin(), x.begin() + 24 * size * size}, weights,
                                {dy.begin(), dy.begin() + 40 * size * size}, bias, residual, isa, 0, precision);
      CHECK(std::memcmp(all.y.data(), first.y.data(), first.y.size() * sizeof(float)) == 0);
      CHECK(std::memcmp(all.dx.data(), first.dx.data(), first.dx.size() * sizeof(float)) == 0);
    }
  }
}

}  // namespace
}  // namespace sx
