// 8-bit GEMM on every tier against a plain product: exact for every signedness, zero point and epilogue.
#include "kernels/gemm/gemm_int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.h"
#include "kernel_testing.h"

namespace sx {
namespace {

int32_t value_of(uint8_t byte, bool is_signed) { return is_signed ? static_cast<int8_t>(byte) : byte; }

struct Case {
  int64_t m, n, k;
  bool a_signed, b_signed, trans_a, trans_b, packed;
  bool row_zeros, column_zeros;
};

void check(const Case& c, Isa isa) {
  GemmInt8 g;
  g.m = c.m;
  g.n = c.n;
  g.k = c.k;
  g.lda = (c.trans_a ? c.m : c.k) + 1;
  g.ldb = (c.trans_b ? c.k : c.n) + 2;
  g.trans_a = c.trans_a;
  g.trans_b = c.trans_b;
  g.a_signed = c.a_signed;
  g.b_signed = c.b_signed;
  const std::vector<uint8_t> a = random_integers<uint8_t>((c.trans_a ? c.k : c.m) * g.lda, 1, 0, 255);
  const std::vector<uint8_t> b = random_integers<uint8_t>((c.trans_b ? c.n : c.k) * g.ldb, 2, 0, 255);
  const std::vector<int32_t> a_zeros = random_integers<int32_t>(c.m, 3, c.a_signed ? -128 : 0, c.a_signed ? 127 : 255);
  const std::vector<int32_t> b_zeros = random_integers<int32_t>(c.n, 4, c.b_signed ? -128 : 0, c.b_signed ? 127 : 255);
  g.a = a.data();
  g.b = b.data();
  g.a_zero = a_zeros[0];
  g.b_zero = c.b_signed ? 0 : 128;
  if (c.row_zeros) g.a_zeros = a_zeros.data();
  if (c.column_zeros) g.b_zeros = b_zeros.data();
  AlignedVector<uint8_t> packed(packed_b_int8_size(c.k, c.n, isa));
  if (c.packed) {
    pack_b_int8(c.k, c.n, b.data(), g.ldb, c.trans_b, c.b_signed, packed.data(), isa);
    g.packed_b = packed.data();
    g.b = nullptr;
  }
  std::vector<int32_t> expected(c.m * c.n), sums(c.m * c.n);
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      int32_t sum = 0;
      for (int64_t k = 0; k < c.k; ++k) {
        const uint8_t left = a[c.trans_a ? k * g.lda + i : i * g.lda + k];
        const uint8_t right = b[c.trans_b ? j * g.ldb + k : k * g.ldb + j];
        sum += (value_of(left, c.a_signed) - (c.row_zeros ? a_zeros[i] : g.a_zero)) *
               (value_of(right, c.b_signed) - (c.column_zeros ? b_zeros[j] : g.b_zero));
      }
      expected[i * c.n + j] = sum;
    }
  }
  g.c = sums.data();
  g.ldc = c.n;
  gemm_int8(g, isa);
  CHECK(same_bits(sums, expected));

  const std::vector<float> row_scales = random_floats(c.m, 5, 0.5f, 1), column_scales = random_floats(c.n, 6, 0.5f, 1);
  const std::vector<float> float_bias = random_floats(c.n, 7);
  const std::vector<int32_t> bias = random_integers<int32_t>(c.n, 8, -1000, 1000);
  g.epilogue.scale = 1e-3f;
  g.epilogue.row_scales = row_scales.data();
  g.epilogue.column_scales = column_scales.data();
  g.epilogue.bias = bias.data();
  g.epilogue.float_bias = float_bias.data();
  g.epilogue.output = Int8Output::kFloat32;
  std::vector<float> floats(c.m * c.n);
  g.c = floats.data();
  gemm_int8(g, isa);
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      const float scale = 1e-3f * row_scales[i] * column_scales[j];
      CHECK_EQ(floats[i * c.n + j], static_cast<float>(expected[i * c.n + j] + bias[j]) * scale + float_bias[j]);
    }
  }
  const std::vector<float> addend = random_floats(c.m * (c.n + 3), 9);
  const std::vector<float> without = floats;
  g.epilogue.addend = addend.data();
  g.epilogue.addend_stride = c.n + 3;
  gemm_int8(g, isa);
  for (int64_t i = 0; i < c.m; ++i)
    for (int64_t j = 0; j < c.n; ++j) CHECK_EQ(floats[i * c.n + j], without[i * c.n + j] + addend[i * (c.n + 3) + j]);
  g.epilogue.addend = nullptr;
  for (Int8Output output : {Int8Output::kUInt8, Int8Output::kInt8}) {
    const int low = output == Int8Output::kUInt8 ? 0 : -128;
    g.epilogue.output = output;
    g.epilogue.zero_point = low + 100;
    std::vector<uint8_t> bytes(c.m * c.n);
    g.c = bytes.data();
    gemm_int8(g, isa);
    for (int64_t i = 0; i < c.m; ++i) {
      for (int64_t j = 0; j < c.n; ++j) {
        const float scale = 1e-3f * row_scales[i] * column_scales[j];
        const float value = std::nearbyint(static_cast<float>(expected[i * c.n + j] + bias[j]) * scale) +
                            static_cast<float>(g.epilogue.zero_point);
        const float limited = std::min(std::max(value, static_cast<float>(low)), static_cast<float>(low + 255));
        CHECK_EQ(value_of(bytes[i * c.n + j], output == Int8Output::kInt8), static_cast<int>(limited));
      }
    }
  }
  // Without what belongs to rows the sums stay in registers.
  g.epilogue.row_scales = nullptr;
  for (Int8Output output : {Int8Output::kUInt8, Int8Output::kInt8, Int8Output::kFloat32}) {
    const int low = output == Int8Output::kUInt8 ? 0 : -128;
    const std::vector<float> addends = random_floats(c.n, 9, -50, 50);
    g.epilogue.output = output;
    g.epilogue.zero_point = low + 100;
    g.epilogue.addends = addends.data();
    g.epilogue.sum_scale = 0.75f;
    g.epilogue.sum_zero = low + 90;
    std::vector<uint8_t> bytes(c.m * c.n * 4);
    g.c = bytes.data();
    gemm_int8(g, isa);
    for (int64_t i = 0; i < c.m; ++i) {
      for (int64_t j = 0; j < c.n; ++j) {
        const int64_t at = i * c.n + j;
        const float value = static_cast<float>(expected[at] + bias[j]) * (1e-3f * column_scales[j]);
        if (output == Int8Output::kFloat32) {
          float found;
          std::memcpy(&found, bytes.data() + at * 4, 4);
          CHECK_EQ(found, value + float_bias[j]);
          continue;
        }
        const auto saturate = [&](float steps, int zero) {
          return std::clamp(std::nearbyint(steps), static_cast<float>(low - zero),
                            static_cast<float>(low + 255 - zero));
        };
        const float own = saturate(value, g.epilogue.zero_point);
        const float sum = saturate(own * 0.75f + addends[j], g.epilogue.sum_zero);
        CHECK_EQ(value_of(bytes[at], output == Int8Output::kInt8), static_cast<int>(sum) + g.epilogue.sum_zero);
      }
    }
  }
}

TEST(gemm_int8_values) {
  for (Isa isa : tested_isas()) {
    int count = 0;
    for (int64_t m : {1, 2, 5, 6, 7, 12, 13, 30}) {
      for (int64_t n : {1, 8, 15, 16, 17, 32, 33, 70}) {
        for (int64_t k : {1, 2, 3, 4, 7, 64, 101}) {
          for (int bits = 0; bits < 128; ++bits) {
            if (++count % 37 != 0) continue;
            check({m, n, k, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0,
                   (bits & 32) != 0, (bits & 64) != 0},
                  isa);
          }
        }
      }
    }
    // One row, which takes up to four panels at a time.
    for (int64_t n = 1; n <= 300; n += 13) {
      for (int bits = 0; bits < 128; ++bits) {
        if (++count % 17 != 0) continue;
        check({1, n, 1 + count % 70, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0,
               (bits & 16) != 0, (bits & 32) != 0, (bits & 64) != 0},
              isa);
      }
    }
    check({300, 90, 2000, false, true, false, false, true, false, false}, isa);
    check({60, 96, 2047, false, true, false, false, true, false, false}, isa);
    check({20, 32, 2048, true, true, false, false, true, false, false}, isa);
    check({43, 64, 260, false, false, false, false, true, false, false}, isa);
    check({43, 96, 260, true, true, false, true, false, false, false}, isa);
  }
}

TEST(gemm_int8_extremes_do_not_saturate) {
  for (Isa isa : tested_isas()) {
    const int64_t k = 64;
    const std::vector<uint8_t> a(3 * k, 255), b(k * 20, 127);
    std::vector<int32_t> c(3 * 20);
    GemmInt8 g;
    g.m = 3;
    g.n = 20;
    g.k = k;
    g.a = a.data();
    g.lda = k;
    g.b = b.data();
    g.ldb = 20;
    g.c = c.data();
    g.ldc = 20;
    gemm_int8(g, isa);
    for (int32_t value : c) CHECK_EQ(value, 255 * 127 * 64);
  }
}

TEST(gemm_int8_without_depth) {
  for (Isa isa : tested_isas()) {
    std::vector<int32_t> c(6, 9);
    GemmInt8 g;
    g.m = 2;
    g.n = 3;
    g.a = g.b = c.data();
    g.lda = g.ldb = 3;
    g.a_zero = 5;
    g.b_zero = 3;
    g.c = c.data();
    g.ldc = 3;
    gemm_int8(g, isa);
    for (int32_t value : c) CHECK_EQ(value, 0);
  }
}

}  // namespace
}  // namespace sx
