// f32 convolution on every tier against plain loops.
#include "kernels/conv/conv.h"

#include "check.h"
#include "conv_testing.h"
#include "kernel_testing.h"

namespace sx {
namespace {

std::vector<float> run(const ConvShape& shape, const std::vector<float>& x, const std::vector<float>& weights,
                       const Epilogue& epilogue, Isa isa, int threads = 0) {
  AlignedVector<float> packed(packed_conv_size(shape, isa));
  pack_conv(shape, weights.data(), packed.data(), isa);
  std::vector<float> y(static_cast<size_t>(shape.batch * shape.filters * shape.out_size()), 7.0f);
  ThreadLimit limit(threads);
  conv(shape, x.data(), packed.data(), y.data(), epilogue, isa);
  return y;
}

void check(const ConvShape& shape) {
  const std::vector<float> x = random_floats(shape.batch * shape.channels * shape.in_size(), 1);
  const int64_t depth = shape.channels / shape.groups * shape.kernel_size();
  const std::vector<float> weights = random_floats(shape.filters * depth, 2);
  const std::vector<float> bias = random_floats(shape.filters, 3);
  std::vector<double> magnitude;
  const std::vector<double> expected = plain_conv(shape, x, weights, &magnitude);
  for (Isa isa : tested_isas()) {
    Epilogue epilogue;
    epilogue.row_bias = bias.data();
    epilogue.activation = Activation::kLeakyRelu;
    epilogue.alpha = 0.5f;
    const std::vector<float> y = run(shape, x, weights, epilogue, isa);
    for (size_t i = 0; i < y.size(); ++i) {
      double want = expected[i] + bias[i / shape.out_size() % shape.filters];
      if (want < 0) want *= 0.5;
      CHECK_NEAR(y[i], want, 1.2e-7 * static_cast<double>(depth + 4) * (magnitude[i] + 1));
    }
    CHECK(same_bits(y, run(shape, x, weights, epilogue, isa, 1)));
  }
}

TEST(conv_pointwise) {
  check(conv_2d({2, 5, 7, 1}, {6, 9}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 64, 40, 1}, {14, 14}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({2, 12, 18, 3}, {5, 5}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 8, 4, 1}, {8, 8}, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}));
}

TEST(conv_few_positions) {
  check(conv_2d({1, 1, 258, 1}, {1, 640}, {1, 256}, {1, 128}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({3, 9, 16, 1}, {2, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({2, 7, 33, 1}, {5, 4}, {3, 2}, {2, 2}, {1, 2}, {1, 1, 0, 2}));
  check(conv_2d({5, 20, 40, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({2, 300, 64, 1}, {3, 3}, {3, 3}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
}

TEST(conv_spatial) {
  check(conv_2d({2, 3, 8, 1}, {17, 19}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({1, 3, 16, 1}, {33, 35}, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}));
  check(conv_2d({1, 4, 5, 1}, {11, 13}, {3, 2}, {2, 3}, {2, 1}, {0, 1, 2, 3}));
  check(conv_2d({1, 32, 24, 1}, {7, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({1, 50, 30, 1}, {9, 40}, {3, 3}, {1, 1}, {3, 3}, {3, 3, 3, 3}));
  check(conv_2d({3, 8, 12, 4}, {10, 10}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({1, 2, 3, 1}, {5, 6}, {3, 3}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 2, 3, 1}, {4, 4}, {3, 3}, {3, 3}, {1, 1}, {4, 4, 5, 5}));
  check(conv_2d({1, 4, 4, 2}, {6, 6}, {5, 5}, {4, 4}, {1, 1}, {2, 2, 2, 2}));
}

TEST(conv_few_filters) {
  for (int64_t filters = 1; filters <= 9; ++filters) {
    for (int64_t columns : {16, 17, 33, 50}) {
      check(conv_2d({2, 3, filters, 1}, {5, columns}, {3, 5}, {1, 1}, {1, 1}, {1, 2, 1, 2}));
    }
    check(conv_2d({1, 1, filters, 1}, {1, 300}, {1, 64}, {1, 2}, {1, 1}, {0, 0, 0, 0}));
    check(conv_2d({1, 4, filters * 2, 2}, {11, 80}, {2, 3}, {2, 3}, {3, 2}, {0, 1, 2, 3}));
  }
  check(conv_2d({3, 40, 1, 1}, {70, 90}, {3, 3}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
  check(conv_2d({1, 8, 8, 1}, {20, 64}, {3, 39}, {1, 1}, {1, 1}, {1, 19, 1, 19}));
}

TEST(conv_depthwise) {
  check(conv_2d({2, 9, 9, 9}, {14, 15}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({1, 6, 6, 6}, {28, 29}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}));
  check(conv_2d({1, 6, 6, 6}, {28, 33}, {5, 5}, {2, 2}, {1, 1}, {2, 1, 2, 2}));
  check(conv_2d({1, 5, 15, 5}, {7, 7}, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}));
  check(conv_2d({1, 4, 4, 4}, {20, 20}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}));
  check(conv_2d({1, 3, 3, 3}, {9, 70}, {2, 7}, {1, 1}, {1, 1}, {0, 0, 0, 0}));
}

TEST(conv_of_other_ranks) {
  ConvShape line;
  line.rank = 1;
  line.batch = 2;
  line.channels = 6;
  line.filters = 8;
  line.groups = 2;
  line.in[0] = 37;
  line.kernel[0] = 5;
  line.stride[0] = 2;
  line.pad_begin[0] = 3;
  line.pad_end[0] = 1;
  set_out(&line);
  check(line);
  line.groups = line.channels = line.filters = 6;
  check(line);
  ConvShape volume;
  volume.rank = 3;
  volume.channels = 3;
  volume.filters = 5;
  const int64_t in[3] = {7, 6, 9}, kernel[3] = {3, 2, 3}, stride[3] = {2, 1, 2}, pad[3] = {1, 0, 2};
  for (int axis = 0; axis < 3; ++axis) {
    volume.in[axis] = in[axis];
    volume.kernel[axis] = kernel[axis];
    volume.stride[axis] = stride[axis];
    volume.pad_begin[axis] = volume.pad_end[axis] = pad[axis];
  }
  set_out(&volume);
  check(volume);
  volume.groups = volume.filters = 3;
  check(volume);
  volume.stride[2] = 1;
  volume.pad_begin[0] = volume.pad_end[0] = volume.pad_begin[2] = volume.pad_end[2] = 0;
  set_out(&volume);
  check(volume);
}

TEST(conv_residual_onto_its_output) {
  for (const auto& [groups, columns] : {std::pair<int64_t, int64_t>{1, 9}, {16, 9}, {2, 37}}) {
    const ConvShape shape = conv_2d({1, 16, 16, groups}, {9, columns}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1});
    const int64_t size = 16 * 9 * columns;
    const std::vector<float> x = random_floats(size, 1), weights = random_floats(16 * 16 / groups * 9, 2);
    for (Isa isa : tested_isas()) {
      AlignedVector<float> packed(packed_conv_size(shape, isa));
      pack_conv(shape, weights.data(), packed.data(), isa);
      const std::vector<float> plain = run(shape, x, weights, Epilogue(), isa);
      for (bool last : {false, true}) {
        std::vector<float> y = x;
        Epilogue epilogue;
        epilogue.residual = y.data();
        epilogue.residual_last = last;
        epilogue.activation = Activation::kRelu;
        conv(shape, x.data(), packed.data(), y.data(), epilogue, isa);
        for (int64_t i = 0; i < size; ++i) {
          CHECK_EQ(y[i], last ? std::max(plain[i], 0.0f) + x[i] : std::max(plain[i] + x[i], 0.0f));
        }
      }
    }
  }
}

TEST(conv_bits_do_not_depend_on_the_batch) {
  const ConvShape one = conv_2d({1, 24, 20, 1}, {12, 12}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1});
  ConvShape three = one;
  three.batch = 3;
  const std::vector<float> x = random_floats(3 * 24 * 144, 1), weights = random_floats(20 * 24 * 9, 2);
  for (Isa isa : tested_isas()) {
    const std::vector<float> all = run(three, x, weights, Epilogue(), isa);
    const std::vector<float> first = run(one, x, weights, Epilogue(), isa);
    CHECK(std::memcmp(all.data(), first.data(), first.size() * sizeof(float)) == 0);
  }
}

// `shape` is the convolution whose transpose is checked.
void check_transpose(const ConvShape& shape) {
  const int64_t depth = shape.channels / shape.groups * shape.kernel_size();
  const std::vector<float> x = random_floats(shape.batch * shape.filters * shape.out_size(), 1);
  const std::vector<float> weights = random_floats(shape.filters * depth, 2);
  const std::vector<float> bias = random_floats(shape.channels, 3);
  const int64_t size = shape.batch * shape.channels * shape.in_size();
  const std::vector<float> residual = random_floats(size, 4);
  std::vector<double> expected(size), magnitude(size);
  for_each_product(shape, [&](int64_t to, int64_t weight, int64_t from) {
    const double product = static_cast<double>(x[from]) * weights[weight];
    expected[to] += product;
    magnitude[to] += std::fabs(product);
  });
  for (Isa isa : tested_isas()) {
    AlignedVector<float> packed(packed_conv_transpose_size(shape, isa));
    pack_conv_transpose(shape, weights.data(), packed.data(), isa);
    std::vector<float> y = residual;
    Epilogue epilogue;
    epilogue.row_bias = bias.data();
    epilogue.residual = y.data();
    epilogue.activation = Activation::kRelu;
    conv_transpose(shape, x.data(), packed.data(), y.data(), epilogue, isa);
    for (int64_t i = 0; i < size; ++i) {
      const double want = std::max(0.0, expected[i] + bias[i / shape.in_size() % shape.channels] + residual[i]);
      CHECK_NEAR(y[i], want, 1.2e-7 * static_cast<double>(depth + 8) * (magnitude[i] + 2));
    }
    std::vector<float> alone = residual;
    epilogue.residual = alone.data();
    const ThreadLimit limit(1);
    conv_transpose(shape, x.data(), packed.data(), alone.data(), epilogue, isa);
    CHECK(same_bits(y, alone));
  }
}

TEST(conv_transpose_values) {
  check_transpose(conv_2d({2, 5, 7, 1}, {12, 10}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}));
  check_transpose(conv_2d({1, 40, 12, 1}, {15, 17}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}));
  check_transpose(conv_2d({1, 8, 6, 2}, {16, 16}, {4, 4}, {2, 2}, {1, 1}, {1, 1, 1, 1}));
  check_transpose(conv_2d({1, 3, 4, 1}, {13, 14}, {3, 2}, {3, 2}, {2, 1}, {0, 1, 2, 0}));
  check_transpose(conv_2d({1, 6, 6, 6}, {9, 9}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}));
  ConvShape line;
  line.rank = 1;
  line.channels = 4;
  line.filters = 3;
  line.in[0] = 30;
  line.kernel[0] = 5;
  line.stride[0] = 3;
  line.pad_begin[0] = 2;
  set_out(&line);
  check_transpose(line);
}

}  // namespace
}  // namespace sx
