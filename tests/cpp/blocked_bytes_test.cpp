// 8-bit convolution of channel-blocked data on every tier gives the bytes of the plain one.
#include "kernels/conv/blocked_bytes.h"

#include <algorithm>
#include <random>

#include "check.h"
#include "conv_testing.h"
#include "kernel_testing.h"
#include "kernels/conv/conv_int8.h"
#include "kernels/conv/winograd_bytes.h"

namespace sx {
namespace {

std::vector<uint8_t> random_bytes(int64_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(engine());
  return bytes;
}

struct Problem {
  ConvShape shape;
  bool plain, winograd = false;
  uint8_t x_zero = 17, w_zero;
  std::vector<uint8_t> x, w;
  std::vector<int32_t> bias;
  std::vector<float> scales;

  Problem(const ConvShape& given, bool plain_input, uint8_t zero_of_w)
      : shape(given), plain(plain_input), w_zero(zero_of_w) {
    const int64_t depth = shape.channels / shape.groups * shape.kernel_size();
    x = random_bytes(shape.batch * shape.channels * shape.in_size(), 1);
    w = random_bytes(shape.filters * depth, 2);
    for (int64_t f = 0; f < shape.filters; ++f) {
      bias.push_back(static_cast<int32_t>(f * 97 % 1000) - 500);
      scales.push_back(0.01f / static_cast<float>(1 + depth + f % 5));
    }
  }

  std::vector<uint8_t> expected() const {
    std::vector<uint8_t> y(static_cast<size_t>(shape.batch * shape.filters * shape.out_size()));
    std::vector<uint8_t> packed(static_cast<size_t>(packed_conv_int8_size(shape)) + 64);
    pack_conv_int8(shape, w.data(), false, packed.data());
    ConvInt8 problem;
    problem.shape = shape;
    problem.x = x.data();
    problem.x_zero = x_zero;
    problem.w_signed = false;
    problem.w_zero = w_zero;
    problem.y = y.data();
    problem.epilogue.output = Int8Output::kUInt8;
    problem.epilogue.row_scales = scales.data();
    problem.epilogue.bias = bias.data();
    problem.epilogue.zero_point = 120;
    conv_int8(problem, packed.data());
    return y;
  }

  std::vector<uint8_t> run(Isa isa, const std::vector<uint8_t>& map, int threads) const {
    const int64_t block = channel_block(isa);
    const auto filled = [&](int64_t channels) { return (channels + block - 1) / block * block; };
    std::vector<int16_t> weights;
    for (const uint8_t weight : w) weights.push_back(static_cast<int16_t>(weight - w_zero));
    const BlockedMethod method = winograd ? BlockedMethod::kWinograd : blocked_method(shape, plain, false);
    std::vector<int32_t> packed(static_cast<size_t>(packed_blocked_bytes_size(shape, method, isa)));
    pack_blocked_bytes(shape, method, weights.data(), packed.data(), isa);
    std::vector<int32_t> starts(static_cast<size_t>(filled(shape.filters)));
    std::vector<float> factors(starts.size());
    const size_t depth = weights.size() / static_cast<size_t>(shape.filters);
    for (size_t f = 0; f < bias.size(); ++f) {
      starts[f] = bias[f];
      factors[f] = scales[f];
      for (size_t i = f * depth; i < (f + 1) * depth; ++i) starts[f] -= x_zero * weights[i];
    }
    BlockedBytesConv problem;
    problem.shape = shape;
    problem.method = method;
    std::vector<uint8_t> from = x;
    if (!plain) {
      from.assign(static_cast<size_t>(shape.batch * filled(shape.channels) * shape.in_size()), 0);
      bytes_to_blocks(x.data(), shape.batch, shape.channels, shape.in_size(), 0, from.data(), isa);
    }
    std::vector<uint8_t> to(static_cast<size_t>(shape.batch * filled(shape.filters) * shape.out_size()));
    problem.x = from.data();
    problem.x_zero = x_zero;
    problem.packed = packed.data();
    problem.starts = starts.data();
    problem.scales = factors.data();
    problem.tail.zero = 120;
    problem.tail.table = map.empty() ? nullptr : map.data();
    problem.y = to.data();
    ThreadLimit limit(threads);
    blocked_bytes_conv(problem, isa);
    std::vector<uint8_t> y(static_cast<size_t>(shape.batch * shape.filters * shape.out_size()));
    bytes_from_blocks(to.data(), shape.batch, shape.filters, shape.out_size(), 0, y.data(), isa);
    return y;
  }
};

void check(const ConvShape& shape, bool plain = false, bool winograd = false) {
  const std::vector<uint8_t> table = random_bytes(256, 5);
  // Weights of signed bytes, and others.
  for (const uint8_t w_zero : {uint8_t{128}, uint8_t{3}}) {
    Problem problem(shape, plain, w_zero);
    problem.winograd = winograd;
    if (winograd && w_zero != 128) continue;
    const std::vector<uint8_t> expected = problem.expected();
    std::vector<uint8_t> mapped = expected;
    for (uint8_t& byte : mapped) byte = table[byte];
    for (const Isa tier : tested_isas()) {
      const Isa isa = w_zero == 128 ? tier : std::min(tier, Isa::kAvx512);
      CHECK(problem.run(isa, {}, 0) == expected);
      CHECK(problem.run(isa, {}, 1) == expected);
      CHECK(problem.run(isa, table, 0) == mapped);
    }
  }
}

TEST(blocked_bytes_direct) {
  check(conv_2d({2, 5, 7, 1}, {6, 9}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 64, 40, 1}, {7, 7}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 33, 20, 1}, {9, 30}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({2, 16, 17, 1}, {11, 13}, {3, 2}, {2, 3}, {2, 1}, {2, 0, 1, 1}));
  check(conv_2d({1, 20, 16, 1}, {30, 1}, {5, 1}, {1, 1}, {2, 1}, {4, 0, 4, 0}));
}

TEST(blocked_bytes_winograd) {
  for (const int64_t extent : {1, 2, 3, 4, 5, 6, 7, 13, 14})
    check(conv_2d({2, 20, 37, 1}, {extent, 30 - extent}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), false, true);
  check(conv_2d({1, 34, 1000, 1}, {7, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), false, true);
  check(conv_2d({3, 16, 64, 1}, {28, 28}, {3, 3}, {1, 1}, {1, 1}, {0, 2, 1, 5}), false, true);
  // Weights that are transformed among products: all of them, some, by few tiles or many, and an odd block of filters.
  check(conv_2d({1, 260, 48, 1}, {14, 14}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), false, true);
  check(conv_2d({2, 130, 130, 1}, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), false, true);
  check(conv_2d({1, 100, 200, 1}, {27, 25}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), false, true);
}

// Data and weights at the ends of their ranges, which transforms make the largest numbers of.
TEST(blocked_bytes_winograd_extremes) {
  Problem problem(conv_2d({1, 48, 16, 1}, {14, 20}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}), false, 128);
  problem.winograd = true;
  for (const int period : {2, 3, 4, 5, 7, 1000}) {
    for (size_t i = 0; i < problem.x.size(); ++i) problem.x[i] = static_cast<int>(i) % period % 2 != 0 ? 255 : 0;
    for (size_t i = 0; i < problem.w.size(); ++i) problem.w[i] = static_cast<int>(i) % 9 % period % 2 != 0 ? 0 : 255;
    const std::vector<uint8_t> expected = problem.expected();
    for (const Isa isa : tested_isas()) CHECK(problem.run(isa, {}, 0) == expected);
  }
}

TEST(blocked_bytes_winograd_fits) {
  std::vector<int16_t> weights(2 * 256 * 9, 127);
  CHECK(winograd_bytes_fits(8, 64, weights.data()));
  for (size_t i = 0; i < weights.size(); i += 3) weights[i] = -128;
  CHECK(!winograd_bytes_fits(1, 512, weights.data()));
  CHECK(!winograd_bytes_fits(1, 1, std::vector<int16_t>(9, 255).data()));
}

TEST(blocked_bytes_plain_input) {
  check(conv_2d({2, 3, 18, 1}, {23, 21}, {3, 3}, {2, 2}, {1, 1}, {0, 0, 1, 1}), true);
  check(conv_2d({1, 1, 5, 1}, {9, 16}, {7, 6}, {1, 1}, {1, 1}, {3, 2, 3, 3}), true);
}

TEST(blocked_bytes_depthwise) {
  check(conv_2d({1, 37, 37, 37}, {7, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({2, 16, 16, 16}, {14, 15}, {5, 5}, {2, 2}, {1, 1}, {1, 1, 2, 2}));
  check(conv_2d({1, 8, 8, 8}, {20, 33}, {4, 6}, {3, 3}, {2, 2}, {3, 5, 4, 0}));
}

TEST(bytes_of_blocks_and_functions) {
  const std::vector<uint8_t> x = random_bytes(3 * 21 * 35, 4), table = random_bytes(256, 5);
  for (const Isa isa : tested_isas()) {
    const int64_t block = channel_block(isa), blocks = (21 + block - 1) / block;
    std::vector<uint8_t> there(static_cast<size_t>(3 * blocks * block * 35)), back(x.size()), mapped(x.size());
    bytes_to_blocks(x.data(), 3, 21, 35, 0x80, there.data(), isa);
    CHECK(there[static_cast<size_t>(block)] == (x[1] ^ 0x80));
    bytes_from_blocks(there.data(), 3, 21, 35, 0x80, back.data(), isa);
    CHECK(back == x);
    map_bytes(table.data(), x.data(), mapped.data(), static_cast<int64_t>(x.size()), isa);
    for (size_t i = 0; i < x.size(); ++i) CHECK(mapped[i] == table[x[i]]);
    int64_t sums[kMostBlock];
    sum_pixels(x.data(), 37, sums, isa);
    for (int64_t c = 0; c < block; ++c) {
      int64_t sum = 0;
      for (int64_t i = 0; i < 37; ++i) sum += x[static_cast<size_t>(i * block + c)];
      CHECK(sums[c] == sum);
    }
  }
}

}  // namespace
}  // namespace sx
