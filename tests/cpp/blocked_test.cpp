// Convolution of channel-blocked data on every tier against plain loops.
#include "kernels/conv/blocked.h"

#include "check.h"
#include "conv_testing.h"
#include "kernel_testing.h"
#include "kernels/conv/blocked_expand.h"
#include "kernels/conv/winograd.h"

namespace sx {
namespace {

int64_t padded(int64_t channels, Isa isa) {
  const int64_t block = channel_block(isa);
  return (channels + block - 1) / block * block;
}

template <typename T>
struct Blocked {
  ConvShape shape;
  bool plain = false;
  Isa isa;

  // The blocked convolution of plain data, as plain data. What fills up blocks of the input and residual is NaN.
  std::vector<float> run(const std::vector<float>& x, const std::vector<float>& weights, const float* residual,
                         Epilogue epilogue, int threads = 0) const {
    const Precision precision = sizeof(T) == 2 ? Precision::kBf16 : Precision::kF32;
    const BlockedMethod method = blocked_method(shape, plain, true, precision);
    AlignedVector<float> packed(packed_blocked_size(shape, method, precision, isa));
    pack_blocked(shape, method, precision, weights.data(), packed.data(), isa);
    const auto blocked = [&](const float* from, int64_t channels, int64_t size) {
      std::vector<T> to(static_cast<size_t>(shape.batch * padded(channels, isa) * size));
      to_blocks(from, shape.batch, channels, size, to.data(), isa);
      const int64_t block = channel_block(isa);
      for (int64_t i = 0; i < static_cast<int64_t>(to.size()); ++i)
        if (i / (size * block) % (padded(channels, isa) / block) * block + i % block >= channels)
          to[static_cast<size_t>(i)] = T(NAN);
      return to;
    };
    const std::vector<T> from = plain ? std::vector<T>() : blocked(x.data(), shape.channels, shape.in_size());
    std::vector<T> added;
    std::vector<float> bias(static_cast<size_t>(padded(shape.filters, isa)), NAN);
    if (residual) added = blocked(residual, shape.filters, shape.out_size());
    if (epilogue.row_bias) {
      std::copy(epilogue.row_bias, epilogue.row_bias + shape.filters, bias.begin());
      epilogue.row_bias = bias.data();
    }
    std::vector<T> to(static_cast<size_t>(shape.batch * padded(shape.filters, isa) * shape.out_size()));
    ThreadLimit limit(threads);
    const void* data = plain ? static_cast<const void*>(x.data()) : from.data();
    blocked_conv<T>(shape, method, data, packed.data(), residual ? added.data() : nullptr, to.data(), epilogue, isa);
    std::vector<float> y(static_cast<size_t>(shape.batch * shape.filters * shape.out_size()));
    from_blocks(to.data(), shape.batch, shape.filters, shape.out_size(), y.data(), isa);
    return y;
  }
};

std::vector<float> rounded(std::vector<float> values) {
  for (float& value : values) value = static_cast<float>(BFloat16(value));
  return values;
}

// With bf16 the numbers that go into the sums are those rounded; the result is rounded once. Winograd's bf16 factors
// are rounded a second time.
template <typename T>
void check_as(const ConvShape& shape, bool plain, const std::vector<Isa>& isas) {
  if (isas.empty()) return;
  constexpr bool kShort = sizeof(T) == 2;
  constexpr double kRounding = kShort ? 0x1.01p-8 : 0;
  constexpr Precision kPrecision = kShort ? Precision::kBf16 : Precision::kF32;
  const std::vector<float> x = random_floats(shape.batch * shape.channels * shape.in_size(), 1);
  const int64_t depth = shape.channels / shape.groups * shape.kernel_size();
  const std::vector<float> weights = random_floats(shape.filters * depth, 2);
  const std::vector<float> bias = random_floats(shape.filters, 3);
  const std::vector<float> residual = random_floats(shape.batch * shape.filters * shape.out_size(), 4);
  const std::vector<float> added = kShort ? rounded(residual) : residual;
  const bool winograd = blocked_method(shape, plain, true, kPrecision) == BlockedMethod::kWinograd;
  const bool twice = kShort && winograd && winograd_tile(shape, kPrecision) == 2;
  std::vector<double> magnitude;
  const std::vector<double> expected =
      plain_conv(shape, kShort ? rounded(x) : x, kShort && !winograd ? rounded(weights) : weights, &magnitude);
  const auto bound = [&](size_t i, double want) {
    const double sums = (1.2e-7 * static_cast<double>(depth + 4) + (twice ? 0x1p-8 : 0)) * (magnitude[i] + 2);
    return sums + kRounding * std::abs(want);
  };
  for (Isa isa : isas) {
    const Blocked<T> conv{shape, plain, isa};
    Epilogue epilogue;
    epilogue.row_bias = bias.data();
    epilogue.activation = Activation::kLeakyRelu;
    epilogue.alpha = 0.5f;
    const std::vector<float> y = conv.run(x, weights, residual.data(), epilogue);
    for (size_t i = 0; i < y.size(); ++i) {
      double want = expected[i] + bias[i / shape.out_size() % shape.filters] + added[i];
      if (want < 0) want *= 0.5;
      CHECK_NEAR(y[i], want, bound(i, want));
    }
    CHECK(same_bits(y, conv.run(x, weights, residual.data(), epilogue, 1)));
    epilogue.residual_last = true;
    epilogue.activation = Activation::kRelu;
    const std::vector<float> z = conv.run(x, weights, residual.data(), epilogue);
    for (size_t i = 0; i < z.size(); ++i) {
      const double want = std::max(0.0, expected[i] + bias[i / shape.out_size() % shape.filters]) + added[i];
      CHECK_NEAR(z[i], want, bound(i, want));
    }
  }
}

void check(const ConvShape& shape, bool plain = false) {
  std::vector<Isa> with_bf16;
  for (Isa isa : tested_isas())
    if (has_bf16_blocks(isa)) with_bf16.push_back(isa);
  check_as<float>(shape, plain, tested_isas());
  check_as<BFloat16>(shape, plain, with_bf16);
}

TEST(blocked_direct) {
  check(conv_2d({2, 5, 7, 1}, {6, 9}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 64, 40, 1}, {7, 7}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({3, 17, 33, 1}, {14, 15}, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({2, 20, 18, 1}, {17, 19}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({1, 9, 18, 1}, {12, 31}, {5, 3}, {1, 1}, {1, 1}, {2, 0, 3, 2}));
  check(conv_2d({1, 4, 5, 1}, {11, 13}, {3, 2}, {2, 3}, {2, 1}, {0, 1, 2, 3}));
  check(conv_2d({1, 3, 5, 1}, {2, 2}, {3, 3}, {1, 1}, {1, 1}, {4, 4, 4, 4}));
  check(conv_2d({1, 18, 18, 1}, {5, 5}, {3, 3}, {1, 1}, {4, 4}, {4, 4, 4, 4}));
  // One column.
  check(conv_2d({2, 20, 34, 1}, {37, 1}, {5, 1}, {2, 1}, {1, 1}, {2, 0, 1, 0}));
  check(conv_2d({1, 20, 18, 1}, {9, 1}, {3, 1}, {1, 3}, {2, 1}, {2, 1, 2, 1}));
}

TEST(blocked_strides_of_any_size) {
  const int64_t most = 1 << 30;
  check(conv_2d({1, 32, 5, 1}, {6, 9}, {3, 3}, {most, most}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 3, 5, 1}, {6, 9}, {3, 3}, {most, most}, {1, 1}, {1, 0, 0, 1}), true);
  check(conv_2d({1, 32, 32, 32}, {6, 9}, {3, 3}, {most, most}, {1, 1}, {0, 0, 1, 1}));
}

TEST(blocked_plain_input) {
  check(conv_2d({2, 3, 34, 1}, {29, 31}, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}), true);
  check(conv_2d({1, 1, 8, 1}, {28, 28}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), true);
  check(conv_2d({1, 3, 20, 1}, {16, 16}, {4, 4}, {4, 4}, {1, 1}, {0, 0, 0, 0}), true);
  check(conv_2d({2, 4, 18, 1}, {13, 11}, {3, 5}, {2, 1}, {1, 2}, {1, 4, 2, 3}), true);
  check(conv_2d({1, 2, 5, 1}, {3, 2}, {3, 3}, {1, 1}, {1, 1}, {5, 5, 5, 5}), true);
  check(conv_2d({1, 2, 40, 1}, {31, 1}, {3, 1}, {1, 1}, {2, 1}, {2, 0, 2, 0}), true);
  check(conv_2d({3, 2, 50, 1}, {13, 17}, {3, 5}, {1, 2}, {2, 1}, {4, 0, 1, 3}), true);
  check(conv_2d({1, 2, 16, 1}, {13, 17}, {3, 3}, {1, 2}, {1, 3}, {1, 3, 1, 3}), true);
  // Windows in the padding alone, and padding too large to be written out.
  check(conv_2d({1, 2, 16, 1}, {3, 4}, {2, 3}, {1, 1}, {1, 1}, {8, 9, 7, 9}), true);
  check(conv_2d({1, 2, 16, 1}, {3, 4}, {2, 3}, {9, 11}, {1, 1}, {40, 50, 41, 50}), true);
}

TEST(blocked_depthwise) {
  check(conv_2d({2, 9, 9, 9}, {14, 15}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({1, 40, 40, 40}, {28, 29}, {5, 5}, {2, 2}, {1, 1}, {2, 1, 2, 2}));
  check(conv_2d({1, 4, 4, 4}, {20, 20}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}));
  check(conv_2d({1, 18, 18, 18}, {7, 7}, {7, 7}, {1, 1}, {1, 1}, {3, 3, 3, 3}));
  check(conv_2d({2, 18, 18, 18}, {40, 1}, {5, 1}, {1, 1}, {1, 1}, {2, 0, 2, 0}));
  // Every number of columns that a row of tiles can leave over, and every border.
  for (int64_t kernel : {3, 5}) {
    for (int64_t stride : {1, 2}) {
      for (int64_t width = 1; width < 22; ++width)
        check(conv_2d({1, 18, 18, 18}, {6, width}, {kernel, kernel}, {stride, stride}, {1, 1},
                      {kernel / 2, width % kernel, kernel / 2, kernel - 1}));
    }
  }
  for (int64_t half : {1, 2}) {
    for (int64_t width = 1; width < 12; ++width)
      check(conv_2d({1, 18, 18, 18}, {4, width}, {3, 2 * half + 1}, {1, 1}, {1, 1}, {1, half, 1, half}));
  }
  check(conv_2d({1, 4, 4, 4}, {2, 3}, {5, 5}, {1, 1}, {3, 3}, {6, 6, 6, 6}));
  check(conv_2d({1, 4, 4, 4}, {1, 1}, {3, 3}, {1, 1}, {1, 1}, {4, 4, 4, 4}));
}

// The maxima of 2 x 2 results have the bits of a pool behind the convolution.
void check_maxima(const ConvShape& s, bool plain, Activation activation) {
  const std::vector<float> weights = random_floats(s.filters * s.channels * s.kernel_size(), 2);
  for (Isa isa : tested_isas()) {
    const BlockedMethod method = blocked_method(s, plain);
    AlignedVector<float> packed(packed_blocked_size(s, method, Precision::kF32, isa));
    pack_blocked(s, method, Precision::kF32, weights.data(), packed.data(), isa);
    const int64_t block = channel_block(isa), planes = s.batch * padded(s.filters, isa) / block;
    const int64_t rows = s.out[0] / 2, columns = s.out[1] / 2;
    std::vector<float> x = random_floats(s.batch * (plain ? s.channels : padded(s.channels, isa)) * s.in_size(), 1);
    x[x.size() / 2] = NAN;
    const std::vector<float> bias = random_floats(padded(s.filters, isa), 3);
    Epilogue epilogue;
    epilogue.row_bias = bias.data();
    epilogue.activation = activation;
    std::vector<float> results(static_cast<size_t>(planes * block * s.out_size()));
    blocked_conv<float>(s, method, x.data(), packed.data(), nullptr, results.data(), epilogue, isa);
    std::vector<float> expected(static_cast<size_t>(planes * block * rows * columns)), y(expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto at = static_cast<int64_t>(i), lane = at % block, column = at / block % columns;
      const int64_t row = at / block / columns % rows, plane = at / block / columns / rows;
      float largest = -std::numeric_limits<float>::infinity();
      for (int64_t tap = 0; tap < 4; ++tap) {
        const int64_t pixel = (plane * s.out[0] + 2 * row + tap / 2) * s.out[1] + 2 * column + tap % 2;
        const float value = results[static_cast<size_t>(pixel * block + lane)];
        if (value > largest || std::isnan(value)) largest = value;
      }
      expected[i] = largest;
    }
    blocked_conv_maxima(s, method, x.data(), packed.data(), y.data(), epilogue, isa);
    for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == expected[i] || (std::isnan(y[i]) && std::isnan(expected[i])));
    ThreadLimit limit(1);
    std::vector<float> z(y.size());
    blocked_conv_maxima(s, method, x.data(), packed.data(), z.data(), epilogue, isa);
    CHECK(same_bits(y, z));
  }
}

TEST(blocked_maxima) {
  for (Activation activation : {Activation::kNone, Activation::kRelu, Activation::kTanh}) {
    for (int64_t extent : {2, 3, 7, 14, 28, 31}) {
      check_maxima(conv_2d({2, 1, 16, 1}, {extent, extent + 2}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), true,
                   activation);
      check_maxima(conv_2d({2, 3, 40, 1}, {extent + 5, extent}, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}), true,
                   activation);
      check_maxima(conv_2d({1, 16, 32, 1}, {extent, extent + 1}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), false,
                   activation);
      check_maxima(conv_2d({1, 40, 50, 1}, {extent + 1, extent}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), false,
                   activation);
      check_maxima(conv_2d({2, 20, 35, 1}, {extent + 4, extent + 3}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}), false,
                   activation);
    }
  }
}

// The expansion and the depthwise convolution in one have the bits of the two one after the other.
template <typename T>
void check_expansion(int64_t channels, const ConvShape& s, Activation first, Activation second, Isa isa) {
  const ConvShape expand = conv_2d({s.batch, channels, s.channels, 1}, {s.in[0], s.in[1]}, {1, 1}, {1, 1}, {1, 1}, {});
  const std::vector<float> weights = random_floats(s.channels * channels, 2);
  const std::vector<float> windows = random_floats(s.channels * s.kernel_size(), 3);
  const int64_t all = padded(s.channels, isa);
  const std::vector<float> values = random_floats(s.batch * padded(channels, isa) * s.in_size(), 1);
  const std::vector<T> x(values.begin(), values.end());
  const std::vector<float> bias = random_floats(all, 4);
  constexpr Precision kPrecision = precision_of<T>;
  AlignedVector<float> packed(packed_blocked_size(expand, BlockedMethod::kDirect, kPrecision, isa));
  pack_blocked(expand, BlockedMethod::kDirect, kPrecision, weights.data(), packed.data(), isa);
  AlignedVector<float> packed_windows(packed_blocked_size(s, BlockedMethod::kDepthwise, kPrecision, isa));
  pack_blocked(s, BlockedMethod::kDepthwise, kPrecision, windows.data(), packed_windows.data(), isa);
  Epilogue epilogue, last;
  epilogue.row_bias = bias.data();
  epilogue.activation = first;
  last.activation = second;
  epilogue.alpha = last.alpha = 0.5f;
  last.beta = 2.0f;
  std::vector<T> between(static_cast<size_t>(s.batch * all * s.in_size()));
  std::vector<T> expected(static_cast<size_t>(s.batch * all * s.out_size())), y(expected.size());
  blocked_conv<T>(expand, BlockedMethod::kDirect, x.data(), packed.data(), nullptr, between.data(), epilogue, isa);
  blocked_conv<T>(s, BlockedMethod::kDepthwise, between.data(), packed_windows.data(), nullptr, expected.data(), last,
                  isa);
  for (int threads : {0, 1}) {
    ThreadLimit limit(threads);
    std::fill(y.begin(), y.end(), T(NAN));
    blocked_expand({&expand, packed.data(), &epilogue}, {&s, packed_windows.data(), &last}, x.data(), y.data(), isa);
    CHECK(std::memcmp(y.data(), expected.data(), y.size() * sizeof(T)) == 0);
  }
}

TEST(blocked_expansion) {
  const auto check_all = [](int64_t channels, const ConvShape& s) {
    const Activation pairs[][2] = {{Activation::kSwish, Activation::kNone},
                                   {Activation::kNone, Activation::kSwish},
                                   {Activation::kRelu, Activation::kClip}};
    for (const auto& [first, second] : pairs) {
      for (Isa isa : tested_isas()) {
        check_expansion<float>(channels, s, first, second, isa);
        if (has_bf16_blocks(isa)) check_expansion<BFloat16>(channels, s, first, second, isa);
      }
    }
  };
  check_all(5, conv_2d({2, 40, 40, 40}, {9, 11}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check_all(16, conv_2d({1, 96, 96, 96}, {112, 112}, {3, 3}, {2, 2}, {1, 1}, {0, 0, 1, 1}));
  check_all(24, conv_2d({3, 18, 18, 18}, {57, 55}, {5, 5}, {2, 2}, {1, 1}, {2, 2, 2, 2}));
  check_all(17, conv_2d({1, 33, 33, 33}, {60, 200}, {5, 3}, {1, 2}, {1, 1}, {4, 0, 1, 2}));
  check_all(8, conv_2d({1, 16, 16, 16}, {2, 3000}, {3, 3}, {1, 1}, {1, 1}, {3, 1, 3, 1}));
  check_all(8, conv_2d({1, 20, 20, 20}, {90, 1}, {3, 1}, {1, 1}, {1, 1}, {1, 0, 1, 0}));
}

TEST(blocked_winograd) {
  const auto check_tile = [](const ConvShape& shape, int tile) {
    CHECK(blocked_method(shape, false) == BlockedMethod::kWinograd);
    CHECK_EQ(winograd_tile(shape, Precision::kF32), tile);
    check(shape);
  };
  check_tile(conv_2d({2, 48, 40, 1}, {21, 75}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), 4);
  check_tile(conv_2d({3, 32, 37, 1}, {25, 26}, {3, 3}, {1, 1}, {1, 1}, {0, 2, 3, 0}), 4);
  check_tile(conv_2d({1, 16, 16, 1}, {64, 66}, {3, 3}, {1, 1}, {1, 1}, {0, 0, 0, 0}), 4);
  check_tile(conv_2d({9, 100, 90, 1}, {14, 14}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), 2);
  check_tile(conv_2d({2, 70, 64, 1}, {7, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), 2);
  CHECK_EQ(winograd_tile(conv_2d({1, 130, 140, 1}, {14, 13}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), Precision::kBf16),
           2);
  check(conv_2d({2, 130, 140, 1}, {14, 13}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
}

template <typename T>
void check_batches(const ConvShape& one, Isa isa) {
  ConvShape three = one;
  three.batch = 3;
  const std::vector<float> x = random_floats(3 * one.channels * one.in_size(), 1);
  const std::vector<float> weights = random_floats(one.filters * one.channels * one.kernel_size(), 2);
  const std::vector<float> all = Blocked<T>{three, false, isa}.run(x, weights, nullptr, Epilogue());
  const std::vector<float> first = Blocked<T>{one, false, isa}.run(x, weights, nullptr, Epilogue());
  CHECK(std::memcmp(all.data(), first.data(), first.size() * sizeof(float)) == 0);
}

TEST(blocked_bits_do_not_depend_on_the_batch) {
  for (int64_t size : {7, 30}) {
    for (int64_t kernel : {1, 3}) {
      const ConvShape one = conv_2d({1, 24, 40, 1}, {size, size}, {kernel, kernel}, {1, 1}, {1, 1}, {1, 1, 1, 1});
      for (Isa isa : tested_isas()) {
        check_batches<float>(one, isa);
        if (has_bf16_blocks(isa)) check_batches<BFloat16>(one, isa);
      }
    }
  }
}

}  // namespace
}  // namespace sx
