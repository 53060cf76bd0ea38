// Constant matrices in the layout that products read.
#include "ops/pack_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "kernels/unary.h"
#include "ops/float_io.h"

namespace sx {
namespace {

// A matrix is packed, and its memory given back, in pieces of about this many bytes.
constexpr int64_t kPieceBytes = int64_t{4} << 20;
// A multiple of the columns in every kernel's panel.
constexpr int64_t kColumnStep = 192;
// A multiple of the rows that a panel keeps in one word.
constexpr int64_t kRowStep = 2;

// Fewer factors are not worth a look whether f16 holds them.
constexpr int64_t kManyFactors = int64_t{1} << 16;
// Elements that are looked at in one go.
constexpr int64_t kSample = 1024;

// Whether f16 holds all of the values, exactly or, else, within its range.
bool fit_f16(const float* values, int64_t count, bool exactly) {
  std::atomic<bool> fit{true};
  parallel_for((count + kSample - 1) / kSample, 64, [&](int64_t begin, int64_t end) {
    Float16 halves[kSample];
    float back[kSample];
    for (int64_t sample = begin; sample < end && fit.load(std::memory_order_relaxed); ++sample) {
      const float* x = values + sample * kSample;
      const int64_t n = std::min(kSample, count - sample * kSample);
      convert(x, halves, n);
      convert(halves, back, n);
      bool all = true;
      for (int64_t i = 0; i < n; ++i) {
        const bool kept = exactly ? back[i] == x[i] : std::isfinite(back[i]) || !std::isfinite(x[i]);
        all = all && (kept || std::isnan(x[i]));
      }
      if (!all) fit.store(false, std::memory_order_relaxed);
    }
  });
  return fit.load();
}

}  // namespace

Precision kept_precision(const float* values, int64_t count, Precision allowed) {
  if (allowed == Precision::kBf16) return allowed;
  if (allowed == Precision::kF32 && count < kManyFactors) return allowed;
  return fit_f16(values, count, allowed == Precision::kF32) ? Precision::kF16 : Precision::kF32;
}

Tensor packed_memory(int64_t floats, Precision precision) {
  if (precision == Precision::kF32) return Tensor(DType::kFloat32, Shape{floats});
  return Tensor(precision == Precision::kBf16 ? DType::kBFloat16 : DType::kFloat16, Shape{checked_mul(2, floats)});
}

Precision packed_precision(const Tensor& packed) {
  switch (packed.dtype()) {
    case DType::kBFloat16: return Precision::kBf16;
    case DType::kFloat16: return Precision::kF16;
    default: return Precision::kF32;
  }
}

void describe_precision(Prepare& p, Precision precision) {
  if (precision != Precision::kF32) p.describe(precision == Precision::kBf16 ? "bf16" : "weights in f16");
}

Tensor pack_matrix(const Tensor& matrix, bool trans, Precision allowed) {
  const int64_t k = matrix.dim(trans ? 1 : 0);
  const int64_t n = matrix.dim(trans ? 0 : 1);
  const Isa isa = active_isa();
  const Tensor from = to_f32(matrix.take());
  const Precision precision = kept_precision(from.data<float>(), from.size(), allowed);
  const Tensor packed = packed_memory(packed_b_size(k, n, isa, precision), precision);
  const int64_t row_bytes = matrix.dim(1) * static_cast<int64_t>(sizeof(float));
  const int64_t step = trans ? kColumnStep : kRowStep;
  const int64_t piece = std::max(kPieceBytes / row_bytes / step, int64_t{1}) * step;
  for (int64_t at = 0; at < matrix.dim(0); at += piece) {
    const int64_t rows = std::min(piece, matrix.dim(0) - at);
    const float* b = from.data<float>() + at * matrix.dim(1);
    if (trans) pack_b(k, rows, b, k, true, packed_words(packed) + packed_b_size(k, at, isa, precision), isa, precision);
    else pack_b_rows(k, n, at, rows, b, n, packed_words(packed), isa, precision);
    from.discard(static_cast<size_t>(at * row_bytes), static_cast<size_t>(rows * row_bytes));
  }
  return packed;
}

}  // namespace sx
