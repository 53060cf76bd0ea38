// The product with weights of few bits: rows one by one from the codes for small M, dequantized panels for the GEMM.
#include "kernels/gemm/gemm_nbits.h"

#include <algorithm>

#include "base/shape.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm_driver.h"

namespace sx {
namespace {

// The strips that one call of `multiply` works on at most, and the rows.
constexpr int kMostStrips = 4;
constexpr int64_t kMostRows = 4;

struct NBitsTable {
  int lanes;
  // rows (1..kMostRows) x strips [strip, strip + strips) of C.
  void (*multiply)(const NBitsMatrix& b, const NBitsProduct& p, int64_t row, int rows, int64_t strip, int strips);
  // Rows [k0, k0 + k) of a strip, the first lanes elements of each row of `out`.
  void (*dequantize)(const NBitsMatrix& b, int64_t strip, int64_t k0, int64_t k, float* out, int64_t step);
};

}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/gemm/gemm_nbits.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {

SX_DEFINE_FOR_ISA(NBitsTable, kNBits)

// Up to so many rows, dequantizing anew for every four of them is cheaper than panels in memory.
constexpr int64_t kDirectRows = 8;
// A thread is not worth waking for less (multiply-adds).
constexpr int64_t kLeastWork = 200'000;

void multiply_rows(const NBitsMatrix& b, const NBitsProduct& p, Isa isa) {
  const NBitsTable& kernel = for_isa(isa);
  const int64_t strips = nbits_strips(b.n, isa);
  const int64_t groups = (strips + kMostStrips - 1) / kMostStrips;
  const double work = static_cast<double>(b.k) * static_cast<double>(p.m) * kernel.lanes * kMostStrips;
  const int64_t grain = std::max<int64_t>(1, static_cast<int64_t>(kLeastWork / work));
  parallel_for(groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t strip = group * kMostStrips;
      const int count = static_cast<int>(std::min<int64_t>(kMostStrips, strips - strip));
      for (int64_t row = 0; row < p.m; row += kMostRows)
        kernel.multiply(b, p, row, static_cast<int>(std::min(kMostRows, p.m - row)), strip, count);
    }
  });
}

void multiply_panels(const NBitsMatrix& b, const NBitsProduct& p, Isa isa) {
  const NBitsTable& kernel = for_isa(isa);
  Gemm g;
  g.m = p.m, g.n = b.n, g.k = b.k;
  g.a = p.a, g.lda = p.lda;
  g.c = p.c, g.ldc = p.ldc;
  g.epilogue.column_bias = p.bias;
  const auto make = [&](int64_t, int64_t k0, int64_t k, int64_t j, int columns, float* packed) {
    const int64_t width = (columns + kernel.lanes - 1) / kernel.lanes * kernel.lanes;
    for (int64_t at = 0; at < width; at += kernel.lanes)
      kernel.dequantize(b, (j + at) / kernel.lanes, k0, k, packed + at, width);
  };
  const MakePanel make_panel(make);
  run_gemms(
      g, 1, [&](int64_t) { return GemmOperands{p.a, nullptr, nullptr, nullptr, p.c, nullptr, nullptr}; }, &make_panel,
      isa);
}

}  // namespace

int64_t NBitsMatrix::blocks() const { return k / block_size + (k % block_size != 0); }
int64_t NBitsMatrix::words() const { return blocks() * (block_size * bits / 32); }

int nbits_lanes(Isa isa) { return for_isa(isa).lanes; }

int64_t nbits_strips(int64_t n, Isa isa) {
  const int64_t lanes = nbits_lanes(isa);
  return n / lanes + (n % lanes != 0);
}

void pack_nbits_codes(int64_t n, int64_t words, const uint8_t* from, uint32_t* to, Isa isa) {
  const int64_t lanes = nbits_lanes(isa);
  parallel_for(nbits_strips(n, isa), 8, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const int64_t column = strip * lanes + lane;
        uint32_t* place = to + strip * words * lanes + lane;
        for (int64_t w = 0; w < words; ++w) {
          const uint8_t* bytes = from + (column * words + w) * 4;
          place[w * lanes] = column >= n
                                 ? 0u
                                 : static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8 |
                                       static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[3]) << 24;
        }
      }
    }
  });
}

void pack_nbits_scales(int64_t n, int64_t blocks, const float* from, float* to, Isa isa) {
  const int64_t lanes = nbits_lanes(isa);
  for (int64_t strip = 0; strip < nbits_strips(n, isa); ++strip) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t column = strip * lanes + lane;
      for (int64_t block = 0; block < blocks; ++block)
        to[(strip * blocks + block) * lanes + lane] = column < n ? from[column * blocks + block] : 0.0f;
    }
  }
}

void gemm_nbits(const NBitsMatrix& b, const NBitsProduct& product, Isa isa) {
  if (product.m <= 0 || b.n <= 0) return;
  if (product.m <= kDirectRows) multiply_rows(b, product, isa);
  else multiply_panels(b, product, isa);
}

}  // namespace sx
