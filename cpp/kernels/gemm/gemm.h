// C = epilogue(op(A) * op(B)) with sums in f32: blocked and packed, with weights packed ahead of time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "base/precision.h"
#include "kernels/epilogue.h"

namespace sx {

// Each element of C is one chain of multiply-adds over k = 0..K-1 (fused where the ISA has it), so its bits depend on
// its row of A, its column of B and the ISA only: not on M, N, the batch, the packing or the number of threads.
//
// With Precision::kBf16, B is rounded to bf16 as it is packed. Where the ISA multiplies bf16 in hardware A is so too,
// and the chain takes pairs of products, which flush denormals to zero; elsewhere the chain is that of f32. With
// Precision::kF16, B is rounded to f16 as it is packed, and the chain is that of f32 with those values.
//
// op(A) is M x K: element (i, k) stands at a[i * lda + k], or at a[k * lda + i] with trans_a.
// op(B) is K x N: element (k, j) stands at b[k * ldb + j], or at b[j * ldb + k] with trans_b.
// Where packed_a (packed_b) is set, a (b) is not read. K may be 0: the product is then all zero. Where packed_b_rows is
// set, packed_b holds that many rows, of which this product takes K from packed_b_first on, which is even. Packed
// operands have the precision of the product.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;
  int64_t lda = 0;
  bool trans_a = false;
  const float* b = nullptr;
  int64_t ldb = 0;
  bool trans_b = false;
  const float* packed_a = nullptr;
  const float* packed_b = nullptr;
  int64_t packed_b_rows = 0, packed_b_first = 0;
  // Goes through the columns from the last to the first. Who multiplies by the same B again and again finds more of it
  // in the cache when he turns round each time.
  bool last_columns_first = false;
  float* c = nullptr;
  int64_t ldc = 0;
  // C becomes the packed A of a product of the same precision, packed_a_size(m, n) at `c`; of a single product only.
  bool c_panels = false;
  Precision precision = Precision::kF32;
  Epilogue epilogue;
};

// The precision of a product whose operands both change from run to run: bf16 where it is allowed and the ISA
// multiplies it, else f32, which is as fast there and rounds nothing.
Precision changing_precision(Precision allowed, Isa isa = active_isa());

// The memory that a packed op(A) or op(B) takes, in floats; it must be aligned to 64 bytes. A packed matrix fits the
// ISA and the precision that it was packed for and no other.
int64_t packed_a_size(int64_t m, int64_t k, Isa isa = active_isa(), Precision precision = Precision::kF32);
int64_t packed_b_size(int64_t k, int64_t n, Isa isa = active_isa(), Precision precision = Precision::kF32);
void pack_a(int64_t m, int64_t k, const float* a, int64_t lda, bool trans_a, float* packed, Isa isa = active_isa(),
            Precision precision = Precision::kF32);
void pack_b(int64_t k, int64_t n, const float* b, int64_t ldb, bool trans_b, float* packed, Isa isa = active_isa(),
            Precision precision = Precision::kF32);
// Rows [i, i + rows) x columns [j, j + columns) of an A of m x k, which stand at `a`: pack_a() in parts, on the calling
// thread. i is a multiple of a_panel_rows() and j even; so are rows and columns, or they are all that is left.
int64_t a_panel_rows(Isa isa = active_isa(), Precision precision = Precision::kF32);
struct PartOfA {
  int64_t i, rows, j, columns;
};
void pack_a_part(int64_t m, int64_t k, const PartOfA& part, const float* a, int64_t lda, float* packed,
                 Isa isa = active_isa(), Precision precision = Precision::kF32);
// `rows` rows of B that stand at `b`, from row `first` of the whole on, which is even: pack_b() in parts.
void pack_b_rows(int64_t k, int64_t n, int64_t first, int64_t rows, const float* b, int64_t ldb, float* packed,
                 Isa isa = active_isa(), Precision precision = Precision::kF32);

void gemm(const Gemm& problem, Isa isa = active_isa());

// `batch` products; between one and the next a, b, c, packed_a, packed_b and the residual move by these strides (in
// elements; 0 repeats the operand). The biases are shared.
struct BatchStrides {
  int64_t a = 0, b = 0, c = 0, residual = 0;
};
void gemm_batched(const Gemm& first, int64_t batch, const BatchStrides& strides, Isa isa = active_isa());

// A list of products of one shape whose operands stand anywhere; used where broadcasting makes the strides irregular.
struct BatchItem {
  const float* a;
  const float* b;
  float* c;
};
void gemm_each(const Gemm& shape, const BatchItem* items, int64_t batch, Isa isa = active_isa());

}  // namespace sx
