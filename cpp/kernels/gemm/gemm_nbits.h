// C = A * B + bias in f32 where B is kept as codes of 2, 4 or 8 bits with one scale for each block along K.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace sx {

// B [k x n], repacked for one ISA in strips of nbits_lanes() columns. Element (i, j) stands for
// (value(code) - zero) * scale, where scale and zero belong to block i / block_size of column j, value(code) is
// table[code], or the code itself without a table, and zero is `zero` without `zeros`; with a table and no zeros
// nothing is taken off.
//
// Each element of C is one chain of multiply-adds over k = 0..K-1 as in gemm(), of A with the elements of B rounded to
// f32: its bits do not depend on the number of rows, and are those that gemm() gives for the dequantized B.
struct NBitsMatrix {
  int64_t k = 0, n = 0;
  int bits = 4;                     // 2, 4 or 8; with a table 4
  int64_t block_size = 32;          // bits * block_size is a multiple of 32
  const uint32_t* codes = nullptr;  // [strips][words of a column][lanes], the codes of a word from its low bits on
  const float* scales = nullptr;    // [strips][blocks][lanes]
  const float* zeros = nullptr;     // the same, or null
  float zero = 8.0f;
  const float* table = nullptr;  // 16 values, or null

  int64_t blocks() const;
  // 32-bit words of the codes of one column, whole blocks.
  int64_t words() const;
};

int nbits_lanes(Isa isa = active_isa());
// The strips of a matrix of n columns.
int64_t nbits_strips(int64_t n, Isa isa = active_isa());

// [n][words] as bytes, low bits first, to [strips][words][lanes]; the columns past n get codes of 0.
void pack_nbits_codes(int64_t n, int64_t words, const uint8_t* from, uint32_t* to, Isa isa = active_isa());
// [n][blocks] to [strips][blocks][lanes]; 0 for the columns past n.
void pack_nbits_scales(int64_t n, int64_t blocks, const float* from, float* to, Isa isa = active_isa());

// c[i * ldc + j] for m rows of A, row i at a + i * lda. bias [n] may be null.
struct NBitsProduct {
  int64_t m = 0;
  const float* a = nullptr;
  int64_t lda = 0;
  const float* bias = nullptr;
  float* c = nullptr;
  int64_t ldc = 0;
};
void gemm_nbits(const NBitsMatrix& b, const NBitsProduct& product, Isa isa = active_isa());

}  // namespace sx
