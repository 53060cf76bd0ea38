// Elementwise f32 functions over arrays, split over the thread pool.
#include "kernels/unary.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/activation.h"
#include "kernels/unary_kernel.h"

#define SX_SIMD_SOURCE "kernels/unary_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {

SX_DEFINE_FOR_ISA(UnaryKernel, kUnaryKernel)

// Elements that one thread takes at a time: a few microseconds of work, and little enough for the nearest cache.
constexpr int64_t kGrain = 8192;
constexpr int64_t kConvertGrain = 32768;

}  // namespace

const UnaryKernel& unary_kernel(Isa isa) { return for_isa(isa); }

void apply(Activation function, const float* x, float* y, int64_t n, float alpha, float beta, Isa isa) {
  const ActivationFunction run = activation_function(function, isa);
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) { run(x + begin, y + begin, end - begin, alpha, beta); });
}

void apply(Binary op, const BinaryRows& rows, Isa isa) {
  if (rows.rows <= 0 || rows.n <= 0) return;
  const int form = (rows.a_scalar ? 2 : 0) + (rows.b_scalar ? 1 : 0);
  const BinaryFunction run = for_isa(isa).binary[static_cast<int>(op)][form];
  const ActivationFunction activate =
      rows.activation == Activation::kNone ? nullptr : activation_function(rows.activation, isa);
  const int64_t pieces = (rows.n + kGrain - 1) / kGrain;
  const int64_t grain = std::max<int64_t>(1, kGrain / rows.n);
  parallel_for(rows.rows * pieces, grain, [&](int64_t begin, int64_t end) {
    int64_t row = begin / pieces, piece = begin % pieces;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t from = piece * kGrain;
      const int64_t count = std::min(kGrain, rows.n - from);
      const float* a = rows.a + row * rows.a_row + (rows.a_scalar ? 0 : from);
      const float* b = rows.b + row * rows.b_row + (rows.b_scalar ? 0 : from);
      float* y = rows.y + row * rows.n + from;
      run(a, b, y, count);
      if (activate) activate(y, y, count, rows.alpha, rows.beta);
      if (++piece == pieces) {
        piece = 0;
        ++row;
      }
    }
  });
}

void choose(const bool* condition, const int32_t* a, bool a_scalar, const int32_t* b, bool b_scalar, int32_t* y,
            int64_t n, Isa isa) {
  for_isa(isa).choose[(a_scalar ? 2 : 0) + (b_scalar ? 1 : 0)](condition, a, b, y, n);
}

void find_nan(const float* x, bool* y, int64_t n, Isa isa) { for_isa(isa).find_nan(x, y, n); }
void find_infinity(const float* x, bool negative, bool positive, bool* y, int64_t n, Isa isa) {
  for_isa(isa).find_infinity(x, negative, positive, y, n);
}

void convert(const Float16* x, float* y, int64_t n, Isa isa) {
  parallel_for(n, kConvertGrain,
               [&](int64_t begin, int64_t end) { for_isa(isa).from_f16(x + begin, y + begin, end - begin); });
}
void convert(const BFloat16* x, float* y, int64_t n, Isa isa) {
  parallel_for(n, kConvertGrain,
               [&](int64_t begin, int64_t end) { for_isa(isa).from_bf16(x + begin, y + begin, end - begin); });
}
void convert(const float* x, Float16* y, int64_t n, Isa isa) {
  parallel_for(n, kConvertGrain,
               [&](int64_t begin, int64_t end) { for_isa(isa).to_f16(x + begin, y + begin, end - begin); });
}
void convert(const float* x, BFloat16* y, int64_t n, Isa isa) {
  parallel_for(n, kConvertGrain,
               [&](int64_t begin, int64_t end) { for_isa(isa).to_bf16(x + begin, y + begin, end - begin); });
}

}  // namespace sx
