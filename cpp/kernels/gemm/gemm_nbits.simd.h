// Products with weights of few bits, and their dequantization, for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"

namespace nbits_f32 {

#if SX_ISA_LEVEL >= 2
constexpr bool kLooksUp = true;  // 16 floats are one register, indexed by the low 4 bits of each lane
#else
constexpr bool kLooksUp = false;
#endif

// Words that codes are fetched ahead of their use by a single row.
constexpr int kAhead = 24;

// What the codes of a word stand for, before the scale. kTable: by NBitsMatrix::table; kZeros: a zero for each block.
template <int kBits, bool kZeros, bool kTable>
class Codes {
 public:
  static constexpr int kPerWord = 32 / kBits;

  SX_INLINE explicit Codes(const NBitsMatrix& b) {
    const float center = b.zero;
    if constexpr (kTable) {
      for (int i = 0; i < 16; ++i) table_[i] = b.table[i];
    } else if constexpr (kLooksUp && kBits <= 4) {
      for (int i = 0; i < 16; ++i) table_[i] = static_cast<float>(i & ((1 << kBits) - 1)) - (kZeros ? 0.0f : center);
    }
    center_ = splat(center);
#if SX_ISA_LEVEL >= 2
    if constexpr (kTable || kBits <= 4) values_ = load(table_);
#endif
  }

  // The values of the codes in the low bits of x.
  SX_INLINE F low(I x, F zero) const {
#if SX_ISA_LEVEL >= 2
    if constexpr (kBits <= 4) {
      const F value = _mm512_maskz_permutexvar_ps(kAllLanes, reinterpret_cast<__m512i>(x), values_);
      return kZeros ? value - zero : value;
    }
#endif
    if constexpr (kTable) {
      F value;
      for (int i = 0; i < kLanes; ++i) value[i] = table_[x[i] & 15];
      return value;
    }
    const F value = __builtin_convertvector(x & ((1 << kBits) - 1), F);
    return value - (kZeros ? zero : center_);
  }

 private:
  float table_[16];
  F center_;
#if SX_ISA_LEVEL >= 2
  F values_;
#endif
};

template <typename Codes, bool kZeros, int kR, int kS>
void tile(const NBitsMatrix& b, const NBitsProduct& p, int64_t row, int rows, int64_t strip) {
  constexpr int per_word = Codes::kPerWord;
  const Codes codes(b);
  const int64_t blocks = b.blocks(), words = b.words();
  const int64_t block_words = words / blocks;
  const float* a[kR];
#pragma GCC unroll 4
  for (int r = 0; r < kR; ++r) a[r] = p.a + (row + (r < rows ? r : 0)) * p.lda;
  F sum[kR][kS];
#pragma GCC unroll 4
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < kS; ++s) sum[r][s] = F{};
  }
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = block * b.block_size;
    const int64_t end = b.k - first < b.block_size ? b.k : first + b.block_size;
    const int32_t* from[kS];
    F scale[kS], zero[kS];
#pragma GCC unroll 4
    for (int s = 0; s < kS; ++s) {
      from[s] = reinterpret_cast<const int32_t*>(b.codes) + ((strip + s) * words + block * block_words) * kLanes;
      const int64_t at = ((strip + s) * blocks + block) * kLanes;
      scale[s] = load(b.scales + at);
      zero[s] = kZeros ? load(b.zeros + at) : F{};
    }
    int64_t k = first;
    for (; k + per_word <= end; k += per_word) {
      I x[kS];
#pragma GCC unroll 4
      for (int s = 0; s < kS; ++s) {
        if (kR == 1) __builtin_prefetch(from[s] + kAhead * kLanes);
        x[s] = load(from[s]);
        from[s] += kLanes;
      }
#pragma GCC unroll 16
      for (int i = 0; i < per_word; ++i) {
#pragma GCC unroll 4
        for (int s = 0; s < kS; ++s) {
          const F w = codes.low(x[s] >> (i * (32 / per_word)), zero[s]) * scale[s];
#pragma GCC unroll 4
          for (int r = 0; r < kR; ++r) sum[r][s] = fma(splat(a[r][k + i]), w, sum[r][s]);
        }
      }
    }
    for (int i = 0; k < end; ++k, ++i) {
#pragma GCC unroll 4
      for (int s = 0; s < kS; ++s) {
        const F w = codes.low(load(from[s]) >> (i * (32 / per_word)), zero[s]) * scale[s];
#pragma GCC unroll 4
        for (int r = 0; r < kR; ++r) sum[r][s] = fma(splat(a[r][k]), w, sum[r][s]);
      }
    }
  }
  for (int s = 0; s < kS; ++s) {
    const int64_t j = (strip + s) * kLanes;
    const int count = static_cast<int>(b.n - j < kLanes ? b.n - j : kLanes);
    const F bias = p.bias ? load_n(p.bias + j, count) : F{};
    for (int r = 0; r < rows; ++r) store_n(p.c + (row + r) * p.ldc + j, p.bias ? sum[r][s] + bias : sum[r][s], count);
  }
}

template <int kBits, bool kZeros, bool kTable>
void multiply(const NBitsMatrix& b, const NBitsProduct& p, int64_t row, int rows, int64_t strip, int strips) {
  using Kind = Codes<kBits, kZeros, kTable>;
  int s = 0;
  if (rows == 1) {
    if (strips == 4) return tile<Kind, kZeros, 1, 4>(b, p, row, rows, strip);
    for (; s < strips; ++s) tile<Kind, kZeros, 1, 1>(b, p, row, rows, strip + s);
    return;
  }
  for (; s + 2 <= strips; s += 2) tile<Kind, kZeros, 4, 2>(b, p, row, rows, strip + s);
  if (s < strips) tile<Kind, kZeros, 4, 1>(b, p, row, rows, strip + s);
}

template <int kBits, bool kZeros, bool kTable>
void dequantize(const NBitsMatrix& b, int64_t strip, int64_t k0, int64_t k, float* out, int64_t step) {
  using Kind = Codes<kBits, kZeros, kTable>;
  constexpr int per_word = Kind::kPerWord;
  const Kind codes(b);
  const int64_t blocks = b.blocks(), words = b.words();
  const auto* from = reinterpret_cast<const int32_t*>(b.codes) + strip * words * kLanes;
  const float* scales = b.scales + strip * blocks * kLanes;
  const float* zeros = kZeros ? b.zeros + strip * blocks * kLanes : nullptr;
  const int64_t last = k0 + k;
  for (int64_t at = k0; at < last;) {
    const int64_t block = at / b.block_size;
    const int64_t block_end = (block + 1) * b.block_size < last ? (block + 1) * b.block_size : last;
    const F scale = load(scales + block * kLanes);
    const F zero = kZeros ? load(zeros + block * kLanes) : F{};
    while (at < block_end) {
      const I x = load(from + at / per_word * kLanes);
      const int first = static_cast<int>(at % per_word);
      if (first == 0 && at + per_word <= block_end) {
#pragma GCC unroll 16
        for (int i = 0; i < per_word; ++i, out += step) store(out, codes.low(x >> (i * kBits), zero) * scale);
        at += per_word;
      } else {
        store(out, codes.low(x >> (first * kBits), zero) * scale);
        out += step;
        ++at;
      }
    }
  }
}

void multiply_any(const NBitsMatrix& b, const NBitsProduct& p, int64_t row, int rows, int64_t strip, int strips) {
  if (b.table) return multiply<4, false, true>(b, p, row, rows, strip, strips);
  if (b.zeros) {
    if (b.bits == 2) return multiply<2, true, false>(b, p, row, rows, strip, strips);
    if (b.bits == 4) return multiply<4, true, false>(b, p, row, rows, strip, strips);
    return multiply<8, true, false>(b, p, row, rows, strip, strips);
  }
  if (b.bits == 2) return multiply<2, false, false>(b, p, row, rows, strip, strips);
  if (b.bits == 4) return multiply<4, false, false>(b, p, row, rows, strip, strips);
  return multiply<8, false, false>(b, p, row, rows, strip, strips);
}

void dequantize_any(const NBitsMatrix& b, int64_t strip, int64_t k0, int64_t k, float* out, int64_t step) {
  if (b.table) return dequantize<4, false, true>(b, strip, k0, k, out, step);
  if (b.zeros) {
    if (b.bits == 2) return dequantize<2, true, false>(b, strip, k0, k, out, step);
    if (b.bits == 4) return dequantize<4, true, false>(b, strip, k0, k, out, step);
    return dequantize<8, true, false>(b, strip, k0, k, out, step);
  }
  if (b.bits == 2) return dequantize<2, false, false>(b, strip, k0, k, out, step);
  if (b.bits == 4) return dequantize<4, false, false>(b, strip, k0, k, out, step);
  return dequantize<8, false, false>(b, strip, k0, k, out, step);
}

}  // namespace nbits_f32

constexpr NBitsTable kNBits = {kLanes, nbits_f32::multiply_any, nbits_f32::dequantize_any};

}  // namespace SX_ISA
}  // namespace sx
