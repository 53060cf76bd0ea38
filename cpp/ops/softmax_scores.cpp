// Softmax of attention scores: f32 by the row kernels, f64 plainly.
#include "ops/softmax_scores.h"

#include <algorithm>
#include <cmath>

#include "kernels/rows.h"

namespace sx {

void softmax_scores(float* x, int64_t rows, int64_t n, bool zero_dead) {
  SoftmaxRows problem;
  problem.rows = rows, problem.n = n;
  problem.x = x, problem.y = x;
  problem.zero_dead_rows = zero_dead;
  softmax_rows(problem);
}

void softmax_scores(double* x, int64_t rows, int64_t n, bool zero_dead) {
  for (int64_t i = 0; i < rows && n > 0; ++i, x += n) {
    const double top = *std::max_element(x, x + n);
    if (zero_dead && std::isinf(top) && top < 0) {
      std::fill(x, x + n, 0.0);
      continue;
    }
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) sum += x[j] = std::exp(x[j] - top);
    for (int64_t j = 0; j < n; ++j) x[j] /= sum;
  }
}

}  // namespace sx
