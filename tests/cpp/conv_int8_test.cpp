// 8-bit convolution on every tier against plain loops: exact for every signedness, zero point and padding.
#include "kernels/conv/conv_int8.h"

#include <algorithm>

#include "check.h"
#include "conv_testing.h"
#include "kernel_testing.h"

namespace sx {
namespace {

int32_t value_of(uint8_t byte, bool is_signed) { return is_signed ? static_cast<int8_t>(byte) : byte; }

void check(const ConvShape& shape) {
  const int64_t x_size = shape.batch * shape.channels * shape.in_size();
  const int64_t w_size = shape.filters * (shape.channels / shape.groups) * shape.kernel_size();
  const std::vector<uint8_t> x = random_integers<uint8_t>(x_size, 1, 0, 255);
  const std::vector<uint8_t> w = random_integers<uint8_t>(w_size, 2, 0, 255);
  for (Isa isa : tested_isas()) {
    for (int form = 0; form < 8; ++form) {
      ConvInt8 problem;
      problem.shape = shape;
      problem.x = x.data();
      problem.x_signed = form & 1;
      problem.w_signed = form & 2;
      problem.x_zero = problem.x_signed ? -7 : 131;
      problem.w_zero = problem.w_signed ? 0 : 128;
      const std::vector<int32_t> w_zeros = random_integers<int32_t>(shape.filters, 3, 0, 127);
      if (form & 4) problem.w_zeros = w_zeros.data();
      std::vector<int32_t> expected(shape.batch * shape.filters * shape.out_size()), y(expected.size(), 5);
      const int64_t filter_size = w_size / shape.filters;
      for_each_product(shape, [&](int64_t from, int64_t weight, int64_t to) {
        const int32_t zero = problem.w_zeros ? w_zeros[weight / filter_size] : problem.w_zero;
        expected[to] +=
            (value_of(x[from], problem.x_signed) - problem.x_zero) * (value_of(w[weight], problem.w_signed) - zero);
      });
      AlignedVector<uint8_t> packed(packed_conv_int8_size(shape, isa));
      pack_conv_int8(shape, w.data(), problem.w_signed, packed.data(), isa);
      problem.y = y.data();
      conv_int8(problem, packed.data(), isa);
      CHECK(same_bits(y, expected));

      const std::vector<float> scales = random_floats(shape.filters, 4, 0.5f, 1);
      const std::vector<int32_t> bias = random_integers<int32_t>(shape.filters, 5, -1000, 1000);
      problem.epilogue.output = Int8Output::kUInt8;
      problem.epilogue.scale = 2e-3f;
      problem.epilogue.row_scales = scales.data();
      problem.epilogue.bias = bias.data();
      problem.epilogue.zero_point = 120;
      std::vector<uint8_t> bytes(expected.size());
      problem.y = bytes.data();
      conv_int8(problem, packed.data(), isa);
      for (size_t i = 0; i < bytes.size(); ++i) {
        const int64_t filter = static_cast<int64_t>(i) / shape.out_size() % shape.filters;
        const float value =
            std::nearbyint(static_cast<float>(expected[i] + bias[filter]) * (2e-3f * scales[filter])) + 120.0f;
        CHECK_EQ(bytes[i], static_cast<int>(std::min(std::max(value, 0.0f), 255.0f)));
      }
    }
  }
}

TEST(conv_int8_values) {
  check(conv_2d({2, 3, 8, 1}, {11, 13}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({1, 5, 15, 1}, {9, 9}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 8, 12, 2}, {12, 10}, {3, 3}, {2, 2}, {1, 1}, {1, 0, 1, 1}));
  check(conv_2d({1, 6, 6, 6}, {14, 14}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({2, 9, 9, 9}, {17, 35}, {3, 5}, {2, 2}, {1, 1}, {1, 2, 0, 1}));
  check(conv_2d({2, 5, 10, 5}, {7, 7}, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}));
  check(conv_2d({1, 4, 4, 4}, {6, 1}, {2, 1}, {3, 1}, {2, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 40, 26, 1}, {7, 7}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}));
  check(conv_2d({1, 3, 4, 1}, {21, 22}, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}));
}

}  // namespace
}  // namespace sx
