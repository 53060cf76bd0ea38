// Constant matrices in the layout that products read.
#include "ops/pack_matrix.h"

#include <algorithm>

#include "kernels/gemm/gemm.h"
#include "ops/float_io.h"

namespace sx {
namespace {

// A matrix is packed, and its memory given back, in pieces of about this many bytes.
constexpr int64_t kPieceBytes = int64_t{4} << 20;
// A multiple of the columns in every kernel's panel.
constexpr int64_t kColumnStep = 192;
// A multiple of the rows that a panel keeps in one word.
constexpr int64_t kRowStep = 2;

}  // namespace

Tensor pack_matrix(const Tensor& matrix, bool trans, Precision precision) {
  const int64_t k = matrix.dim(trans ? 1 : 0);
  const int64_t n = matrix.dim(trans ? 0 : 1);
  const Isa isa = active_isa();
  Tensor packed(DType::kFloat32, Shape{packed_b_size(k, n, isa, precision)});
  const Tensor from = to_f32(matrix.take());
  const int64_t row_bytes = matrix.dim(1) * static_cast<int64_t>(sizeof(float));
  const int64_t step = trans ? kColumnStep : kRowStep;
  const int64_t piece = std::max(kPieceBytes / row_bytes / step, int64_t{1}) * step;
  for (int64_t at = 0; at < matrix.dim(0); at += piece) {
    const int64_t rows = std::min(piece, matrix.dim(0) - at);
    const float* b = from.data<float>() + at * matrix.dim(1);
    if (trans) pack_b(k, rows, b, k, true, packed.data<float>() + packed_b_size(k, at, isa, precision), isa, precision);
    else pack_b_rows(k, n, at, rows, b, n, packed.data<float>(), isa, precision);
    from.discard(static_cast<size_t>(at * row_bytes), static_cast<size_t>(rows * row_bytes));
  }
  return packed;
}

}  // namespace sx
