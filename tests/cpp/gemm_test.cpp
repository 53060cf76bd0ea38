// The GEMM on every tier, of f32 and bf16, against a plain double-precision product, and its promise of the same bits.
#include "kernels/gemm/gemm.h"

#include <cstring>

#include "check.h"
#include "kernel_testing.h"

namespace sx {
namespace {

struct Case {
  int64_t m, n, k;
  bool trans_a, trans_b, packed_a, packed_b;
  Precision precision = Precision::kF32;
};

// One problem with its operands stored with gaps between the rows, and the answer with its error bound.
struct Problem {
  Problem(const Case& c, Isa isa) : c(c), isa(isa), lda((c.trans_a ? c.m : c.k) + 3), ldb((c.trans_b ? c.k : c.n) + 2) {
    a = random_floats((c.trans_a ? c.k : c.m) * lda, 1);
    b = random_floats((c.trans_b ? c.n : c.k) * ldb, 2);
  }
  float at_a(int64_t i, int64_t k) const { return a[c.trans_a ? k * lda + i : i * lda + k]; }
  float at_b(int64_t k, int64_t j) const { return b[c.trans_b ? j * ldb + k : k * ldb + j]; }

  Gemm gemm() {
    Gemm g;
    g.m = c.m;
    g.n = c.n;
    g.k = c.k;
    g.a = a.data();
    g.lda = lda;
    g.trans_a = c.trans_a;
    g.b = b.data();
    g.ldb = ldb;
    g.trans_b = c.trans_b;
    g.precision = c.precision;
    if (c.packed_a) {
      pack_a(c.m, c.k, g.a, lda, c.trans_a, packed_a.data(), isa, c.precision);
      g.packed_a = packed_a.data();
      g.a = nullptr;
    }
    if (c.packed_b) {
      pack_b(c.k, c.n, g.b, ldb, c.trans_b, packed_b.data(), isa, c.precision);
      g.packed_b = packed_b.data();
      g.b = nullptr;
    }
    return g;
  }

  Case c;
  Isa isa;
  int64_t lda, ldb;
  std::vector<float> a, b;
  AlignedVector<float> packed_a{packed_a_size(c.m, c.k, isa, c.precision)};
  AlignedVector<float> packed_b{packed_b_size(c.k, c.n, isa, c.precision)};
};

void check(const Case& c, Isa isa) {
  Problem problem(c, isa);
  Gemm g = problem.gemm();
  const int64_t ldc = c.n + 5;
  std::vector<float> out(static_cast<size_t>(c.m * ldc), 7.0f);
  g.c = out.data();
  g.ldc = ldc;
  gemm(g, isa);
  bool close = true, untouched = true;
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      double sum = 0, magnitude = 0, rounding = 0;
      for (int64_t k = 0; k < c.k; ++k) {
        const double product = static_cast<double>(problem.at_a(i, k)) * problem.at_b(k, j);
        sum += product;
        magnitude += std::fabs(product);
        // To bf16 each factor is rounded, by 2^-8 of itself at most; to f16 one of them, by 2^-11, or 2^-25 below
        // 2^-14.
        if (c.precision == Precision::kBf16) rounding += std::ldexp(2.01, -8) * std::fabs(product);
        if (c.precision == Precision::kF16)
          rounding +=
              std::max(std::ldexp(std::fabs(product), -11), std::ldexp(std::fabs(double{problem.at_a(i, k)}), -25));
      }
      const double bound = 1.2e-7 * (static_cast<double>(c.k) + 2) * magnitude + rounding;
      close = close && std::fabs(out[i * ldc + j] - sum) <= bound;
    }
    for (int64_t j = c.n; j < ldc; ++j) untouched = untouched && out[i * ldc + j] == 7.0f;
  }
  CHECK(close);
  CHECK(untouched);
}

TEST(gemm_values) {
  for (Isa isa : tested_isas()) {
    for (int64_t m : {1, 2, 3, 5, 6, 11, 12, 13, 16, 17, 25}) {
      for (int64_t n : {1, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65}) {
        for (int64_t k : {1, 5, 16, 33}) {
          for (int bits = 0; bits < 16; ++bits) {
            if ((m * 7 + n * 3 + k + bits) % 4 != 0) continue;
            for (Precision precision : {Precision::kF32, Precision::kBf16, Precision::kF16})
              check({m, n, k, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, precision}, isa);
          }
        }
      }
    }
    // One row, which takes up to four panels at a time.
    for (int64_t n = 1; n <= 300; n += 13) {
      for (int64_t k : {1, 2, 37}) {
        for (Precision precision : {Precision::kF32, Precision::kBf16, Precision::kF16}) {
          check({1, n, k, n % 2 == 0, false, false, false, precision}, isa);
          check({1, n, k, false, n % 2 == 0, false, true, precision}, isa);
        }
      }
    }
    for (Precision precision : {Precision::kF32, Precision::kBf16, Precision::kF16}) {
      check({300, 70, 801, false, false, false, false, precision}, isa);
      check({61, 3200, 500, false, true, true, false, precision}, isa);
      check({9, 300, 1000, false, false, false, false, precision}, isa);
      check({250, 100, 400, true, false, false, true, precision}, isa);
      check({128, 520, 900, true, false, false, false, precision}, isa);
    }
  }
}

// A result in the panels of the next product's A holds what packing the plain result gives, for any cut of K.
TEST(gemm_result_in_panels) {
  for (Isa isa : tested_isas()) {
    for (Precision precision : {Precision::kF32, Precision::kBf16}) {
      for (int64_t m : {1, 5, 12, 29, 130}) {
        for (int64_t n : {2, 18, 64, 334}) {
          for (int64_t k : {3, 40, 4100}) {
            Problem problem({m, n, k, false, false, (m + n) % 2 == 0, true, precision}, isa);
            Gemm g = problem.gemm();
            const std::vector<float> residual = random_floats(m * n, 3);
            g.epilogue.residual = residual.data();
            g.epilogue.residual_stride = n;
            std::vector<float> plain(static_cast<size_t>(m * n));
            g.c = plain.data();
            g.ldc = n;
            gemm(g, isa);
            const int64_t size = packed_a_size(m, n, isa, precision);
            AlignedVector<float> expected(size), found(size);
            pack_a(m, n, plain.data(), n, false, expected.data(), isa, precision);
            g.c = found.data();
            g.c_panels = true;
            gemm(g, isa);
            CHECK(std::memcmp(found.data(), expected.data(), static_cast<size_t>(size) * sizeof(float)) == 0);
          }
        }
      }
    }
  }
}

TEST(gemm_packs_parts_of_a) {
  for (Isa isa : tested_isas()) {
    for (Precision precision : {Precision::kF32, Precision::kBf16}) {
      for (int64_t m : {1, 12, 31}) {
        const int64_t k = 38, cut = 16, height = a_panel_rows(isa, precision);
        const std::vector<float> a = random_floats(m * k, 4);
        const int64_t size = packed_a_size(m, k, isa, precision);
        AlignedVector<float> expected(size), found(size);
        pack_a(m, k, a.data(), k, false, expected.data(), isa, precision);
        for (int64_t i = 0; i < m; i += height) {
          const int64_t rows = std::min(height, m - i);
          pack_a_part(m, k, {i, rows, cut, k - cut}, a.data() + i * k + cut, k, found.data(), isa, precision);
          pack_a_part(m, k, {i, rows, 0, cut}, a.data() + i * k, k, found.data(), isa, precision);
        }
        CHECK(std::memcmp(found.data(), expected.data(), static_cast<size_t>(size) * sizeof(float)) == 0);
      }
    }
  }
}

TEST(gemm_empty) {
  for (Isa isa : tested_isas()) {
    const float bias[2] = {1.0f, 2.0f};
    float out[6] = {9, 9, 9, 9, 9, 9};
    Gemm g;
    g.m = 2;
    g.n = 3;
    g.a = bias;
    g.b = bias;
    g.lda = g.ldb = 3;
    g.c = out;
    g.ldc = 3;
    g.epilogue.row_bias = bias;
    gemm(g, isa);
    CHECK((out[0] == 1.0f && out[2] == 1.0f && out[3] == 2.0f && out[5] == 2.0f));
    g.m = 0;
    out[0] = 5.0f;
    gemm(g, isa);
    CHECK(out[0] == 5.0f);
  }
}

std::vector<float> run_with_threads(const Gemm& g, Isa isa, int threads) {
  Gemm copy = g;
  std::vector<float> out(static_cast<size_t>(g.m * g.n));
  copy.c = out.data();
  copy.ldc = g.n;
  ThreadLimit limit(threads);
  gemm(copy, isa);
  return out;
}

void check_same_bits(Precision precision) {
  for (Isa isa : tested_isas()) {
    const Case c{150, 333, 903, false, false, false, false, precision};
    Problem plain(c, isa), packed({c.m, c.n, c.k, false, false, true, true, precision}, isa);
    const std::vector<float> expected = run_with_threads(plain.gemm(), isa, 1);
    CHECK(same_bits(expected, run_with_threads(plain.gemm(), isa, 0)));
    CHECK(same_bits(expected, run_with_threads(packed.gemm(), isa, 0)));
    CHECK(same_bits(expected, run_with_threads(packed.gemm(), isa, 1)));
    for (int64_t rows : {1, 2, 5, 14}) {
      for (bool use_packed : {false, true}) {
        Gemm g = use_packed ? packed.gemm() : plain.gemm();
        g.a = plain.a.data();
        g.packed_a = nullptr;
        g.m = rows;
        const std::vector<float> few = run_with_threads(g, isa, 0);
        CHECK(std::memcmp(few.data(), expected.data(), few.size() * sizeof(float)) == 0);
      }
    }
    Gemm narrow = plain.gemm();
    narrow.n = 45;
    const std::vector<float> few = run_with_threads(narrow, isa, 0);
    bool same = true;
    for (int64_t i = 0; i < c.m; ++i) {
      same = same && std::memcmp(few.data() + i * 45, expected.data() + i * c.n, 45 * sizeof(float)) == 0;
    }
    CHECK(same);
  }
}

TEST(gemm_same_bits) { check_same_bits(Precision::kF32); }
TEST(gemm_bf16_same_bits) { check_same_bits(Precision::kBf16); }
TEST(gemm_f16_same_bits) { check_same_bits(Precision::kF16); }

TEST(gemm_bf16_rounds_to_even) {
  for (Isa isa : tested_isas()) {
    // Halfway between two bf16, twice: once the lower one is even, once the upper one.
    const std::vector<float> b = {1.0f + 1.0f / 256, 1.0f + 3.0f / 256, std::numeric_limits<float>::quiet_NaN(), -3.0f};
    const std::vector<float> expected = {1.0f, 1.0f + 4.0f / 256, 0.0f, -3.0f};
    const float one = 1.0f;
    std::vector<float> out(4);
    Gemm g;
    g.m = g.k = g.lda = 1;
    g.n = g.ldb = g.ldc = 4;
    g.a = &one;
    g.b = b.data();
    g.c = out.data();
    g.precision = Precision::kBf16;
    gemm(g, isa);
    CHECK((out[0] == expected[0] && out[1] == expected[1] && std::isnan(out[2]) && out[3] == expected[3]));
  }
}

TEST(gemm_epilogue) {
  for (Isa isa : tested_isas()) {
    for (int64_t k : {20, 1000}) {
      for (Activation activation : {Activation::kNone, Activation::kRelu, Activation::kClip, Activation::kSigmoid}) {
        for (bool last : {false, true}) {
          const Case c{31, 77, k, false, false, false, true};
          Problem problem(c, isa);
          Gemm g = problem.gemm();
          const std::vector<float> raw = run_with_threads(g, isa, 1);
          const std::vector<float> row_bias = random_floats(c.m, 3), column_bias = random_floats(c.n, 4);
          const std::vector<float> residual = random_floats(c.m * c.n, 5);
          std::vector<float> out = residual;
          g.c = out.data();
          g.ldc = c.n;
          g.epilogue.scale = 0.5f;
          g.epilogue.row_bias = row_bias.data();
          g.epilogue.column_bias = column_bias.data();
          g.epilogue.residual = out.data();
          g.epilogue.residual_stride = c.n;
          g.epilogue.residual_scale = 2.0f;
          g.epilogue.residual_last = last;
          g.epilogue.activation = activation;
          g.epilogue.alpha = -0.25f;
          g.epilogue.beta = 0.5f;
          gemm(g, isa);
          bool close = true;
          for (int64_t i = 0; i < c.m; ++i) {
            for (int64_t j = 0; j < c.n; ++j) {
              const float added = 2.0f * residual[i * c.n + j];
              float y = 0.5f * raw[i * c.n + j] + row_bias[i] + column_bias[j] + (last ? 0.0f : added);
              if (activation == Activation::kRelu) y = std::max(y, 0.0f);
              if (activation == Activation::kClip) y = std::min(std::max(y, -0.25f), 0.5f);
              if (activation == Activation::kSigmoid) y = 1.0f / (1.0f + std::exp(-y));
              if (last) y += added;
              close = close && std::fabs(out[i * c.n + j] - y) <= 4e-6f * (1 + std::fabs(y));
            }
          }
          CHECK(close);
        }
      }
    }
  }
}

TEST(gemm_nan_and_infinity) {
  for (Isa isa : tested_isas()) {
    const Case c{13, 40, 30, false, false, false, false};
    Problem problem(c, isa);
    problem.a[3 * problem.lda + 2] = std::numeric_limits<float>::quiet_NaN();
    problem.b[5 * problem.ldb + 7] = std::numeric_limits<float>::infinity();
    Gemm g = problem.gemm();
    g.epilogue.activation = Activation::kRelu;
    const std::vector<float> out = run_with_threads(g, isa, 1);
    CHECK(std::isnan(out[3 * 40 + 0]));
    CHECK(std::isnan(out[3 * 40 + 39]));
    CHECK(out[0 * 40 + 7] == (problem.a[5] > 0 ? std::numeric_limits<float>::infinity() : 0.0f));
    CHECK(std::isfinite(out[0]));
  }
}

TEST(gemm_batched) {
  for (Isa isa : tested_isas()) {
    const int64_t m = 37, n = 29, k = 41, batch = 5;
    const std::vector<float> a = random_floats(batch * m * k, 1), b = random_floats(batch * k * n, 2);
    std::vector<float> together(batch * m * n), one_by_one(batch * m * n), listed(batch * m * n);
    Gemm g;
    g.m = m;
    g.n = n;
    g.k = k;
    g.a = a.data();
    g.lda = k;
    g.b = b.data();
    g.ldb = n;
    g.c = together.data();
    g.ldc = n;
    gemm_batched(g, batch, {m * k, k * n, m * n, 0}, isa);
    std::vector<BatchItem> items;
    for (int64_t i = 0; i < batch; ++i) {
      items.push_back({a.data() + i * m * k, b.data() + i * k * n, listed.data() + i * m * n});
      Gemm one = g;
      one.a = items.back().a;
      one.b = items.back().b;
      one.c = one_by_one.data() + i * m * n;
      gemm(one, isa);
    }
    gemm_each(g, items.data(), batch, isa);
    CHECK(same_bits(together, one_by_one));
    CHECK(same_bits(together, listed));
  }
}

}  // namespace
}  // namespace sx
