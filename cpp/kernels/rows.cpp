// Softmax, normalization and reduction of rows, split over the thread pool.
#include "kernels/rows.h"

#include <algorithm>
#include <cmath>

#include "base/scratch.h"
#include "base/thread_pool.h"
#include "kernels/rows_kernel.h"

#define SX_SIMD_SOURCE "kernels/rows_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {

SX_DEFINE_FOR_ISA(RowsKernel, kRowsKernel)

// Rows that make up a few microseconds of work.
int64_t row_grain(int64_t n, int64_t elements) { return std::max<int64_t>(1, elements / std::max<int64_t>(n, 1)); }

}  // namespace

void softmax_rows(const SoftmaxRows& problem, Isa isa) {
  const RowsKernel& kernel = for_isa(isa);
  const int64_t n = problem.n;
  const bool log_only = problem.log && problem.mask == nullptr && problem.scale == 1.0f && !problem.zero_dead_rows;
  parallel_for(problem.rows, row_grain(n, 4096), [&](int64_t begin, int64_t end) {
    if (log_only) return kernel.log_softmax(problem.x + begin * n, problem.y + begin * n, end - begin, n);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t mask_at = problem.mask_period > 0 ? row % problem.mask_period : row;
      const float* mask = problem.mask ? problem.mask + mask_at * problem.mask_row : nullptr;
      kernel.softmax(problem.x + row * n, mask, problem.y + row * n, n, problem.scale, problem.log,
                     problem.zero_dead_rows);
    }
  });
}

void softmax_middle(bool log, const float* x, int64_t outer, int64_t n, int64_t inner, float* y, Isa isa) {
  if (outer <= 0 || n <= 0 || inner <= 0) return;
  const auto softmax = for_isa(isa).softmax_columns;
  constexpr int64_t kColumns = 64;
  constexpr int64_t kMostHeld = int64_t{1} << 16;  // elements; above, y is as near
  const int64_t pieces = (inner + kColumns - 1) / kColumns;
  const int64_t width = (std::min(inner, kColumns) + 15) / 16 * 16;
  const bool holds = n * width <= kMostHeld;
  parallel_for(outer * pieces, row_grain(n * std::min(inner, kColumns), 4096), [&](int64_t begin, int64_t end) {
    float* scratch = holds ? static_cast<float*>(
                                 thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(n * width) * sizeof(float)))
                           : nullptr;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / pieces, from = task % pieces * kColumns;
      const int64_t at = o * n * inner + from;
      softmax(x + at, y + at, n, inner, std::min(kColumns, inner - from), log, scratch);
    }
  });
}

void normalize_rows(const NormRows& problem, Isa isa) {
  const RowsKernel& kernel = for_isa(isa);
  const int64_t n = problem.n;
  const float count = static_cast<float>(n);
  parallel_for(problem.rows, row_grain(n, 8192), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = problem.x + row * n;
      float* y = problem.y + row * n;
      if (problem.skip) {
        float* sum = problem.sum ? problem.sum + row * n : y;
        kernel.add_skip(x, problem.skip + row * n, problem.skip_bias, sum, n);
        x = sum;
      }
      const float mean = problem.rms ? 0.0f : kernel.sum(x, n) / count;
      const float inv_std = 1.0f / std::sqrt(kernel.sum_square(x, n, mean) / count + problem.epsilon);
      kernel.normalize(x, y, n, mean, inv_std, problem.scale, problem.bias);
      if (problem.mean) problem.mean[row] = mean;
      if (problem.inv_std) problem.inv_std[row] = inv_std;
    }
  });
}

void normalize_groups(const ChannelNorm& problem, Isa isa) {
  const RowsKernel& kernel = for_isa(isa);
  const int64_t channels = problem.channels / problem.groups;
  const int64_t n = channels * problem.size;
  const float count = static_cast<float>(n);
  parallel_for(problem.images * problem.groups, row_grain(n, 8192), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const float* x = problem.x + item * n;
      const float mean = kernel.sum(x, n) / count;
      const float inv_std = 1.0f / std::sqrt(kernel.sum_square(x, n, mean) / count + problem.epsilon);
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t channel = item % problem.groups * channels + c;
        const float scale = inv_std * (problem.scale ? problem.scale[channel] : 1.0f);
        const float bias = (problem.bias ? problem.bias[channel] : 0.0f) - mean * scale;
        kernel.affine(x + c * problem.size, problem.y + item * n + c * problem.size, problem.size, scale, bias);
      }
    }
  });
}

void reduce_rows(Reduction kind, const float* x, int64_t rows, int64_t n, float* y, Isa isa) {
  const auto reduce = for_isa(isa).reduce[static_cast<int>(kind)];
  parallel_for(rows, row_grain(n, 16384), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) y[row] = reduce(x + row * n, n);
  });
}

void reduce_middle(Reduction kind, const float* x, int64_t outer, int64_t n, int64_t inner, float* y, Isa isa) {
  if (outer <= 0 || inner <= 0) return;
  const auto reduce = for_isa(isa).reduce_columns[static_cast<int>(kind)];
  const int64_t columns = inner >= 4096 ? 2048 : 256;
  const int64_t pieces = (inner + columns - 1) / columns;
  parallel_for(outer * pieces, row_grain(n * std::min(inner, columns), 16384), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / pieces, from = task % pieces * columns;
      reduce(x + o * n * inner + from, n, inner, std::min(columns, inner - from), y + o * inner + from);
    }
  });
}

void place_extremes(bool greatest, bool last, const float* x, int64_t outer, int64_t n, int64_t inner, int64_t* y,
                    Isa isa) {
  if (inner == 1) {
    const auto place = for_isa(isa).place[greatest][last];
    return parallel_for(outer, row_grain(n, 8192), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) y[row] = place(x + row * n, n);
    });
  }
  const auto place = for_isa(isa).place_columns[greatest][last];
  constexpr int64_t kColumns = 64;
  const int64_t pieces = (inner + kColumns - 1) / kColumns;
  parallel_for(outer * pieces, row_grain(n * std::min(inner, kColumns), 8192), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / pieces, from = task % pieces * kColumns;
      place(x + o * n * inner + from, n, inner, std::min(kColumns, inner - from), y + o * inner + from);
    }
  });
}

NextBeyond next_beyond(bool greater, Isa isa) { return for_isa(isa).next_beyond[greater]; }

void softmax_gradient_rows(const float* y, const float* dy, float* dx, int64_t rows, int64_t n, Isa isa) {
  const RowsKernel& kernel = for_isa(isa);
  parallel_for(rows, row_grain(n, 16384), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) kernel.softmax_gradient(y + row * n, dy + row * n, dx + row * n, n);
  });
}

void normalize_gradient_rows(const NormGradientRows& problem, Isa isa) {
  const RowsKernel& kernel = for_isa(isa);
  const int64_t n = problem.n;
  const float count = static_cast<float>(n);
  parallel_for(problem.rows, row_grain(n, 8192), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = problem.x + row * n;
      const float mean = kernel.sum(x, n) / count;
      const float inv_std = 1.0f / std::sqrt(kernel.sum_square(x, n, mean) / count + problem.epsilon);
      kernel.normalize_gradient(problem, row, mean, inv_std);
    }
  });
}

}  // namespace sx
