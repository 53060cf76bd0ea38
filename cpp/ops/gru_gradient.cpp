// The gradient of a GRU's step: with the gates z, r, n and dh what comes from y and from later times,
//   dP = (dh (h_before - n) z (1 - z), dr r (1 - r), dh (1 - z) (1 - n^2)), dh_before = dh z + ...
// where the reset gate acts behind the product q = h R + b, dr = dP_n q, ... = (dP_z, dP_r, dP_n r) R; else with
// s = dP_n R_n, dr = s h_before, ... = s r + (dP_z, dP_r) R.
#include <algorithm>

#include "kernels/recurrent_gates.h"
#include "ops/gru.h"
#include "ops/recurrent_backward.h"

namespace sx {
namespace {

void gates_backward(float* gates, int64_t n, const float* before, const float* inner, float* recurred, float* dh) {
  gru_gates_backward(gates, n, before, inner, recurred, dh);
}
void gates_backward(double* gates, int64_t n, const double* before, const double* inner, double* recurred, double* dh) {
  for (int64_t j = 0; j < n; ++j) {
    const double z = gates[j], r = gates[n + j], fresh = gates[2 * n + j], d = dh[j];
    const double d_fresh = d * (1 - z) * (1 - fresh * fresh);
    gates[j] = recurred[j] = d * (before[j] - fresh) * z * (1 - z);
    gates[n + j] = recurred[n + j] = d_fresh * inner[j] * r * (1 - r);
    gates[2 * n + j] = d_fresh;
    recurred[2 * n + j] = d_fresh * r;
    dh[j] = d * z;
  }
}

template <typename T>
class GruBackward : public BackwardCell<T> {
 public:
  GruBackward(const RecurrentSpec&, const GruForm& form) : reset_behind_(form.reset_behind) {}

  void step(const BackwardStep<T>& s) const override {
    if (reset_behind_) step_reset_behind(s);
    else step_reset_before(s);
  }

 private:
  static void step_reset_behind(const BackwardStep<T>& s) {
    const int64_t n = s.sizes.hidden, width = s.sizes.width();
    for (int64_t row = 0; row < s.rows; ++row) {
      T* gates = s.projected + row * width;
      T* recurred = s.recurred + row * width;
      if (!s.active(row)) {
        std::fill_n(gates, width, T{0});
        std::fill_n(recurred, width, T{0});
        continue;
      }
      gates_backward(gates, n, s.before + row * n, s.inner + row * n, recurred, s.dh + row * n);
    }
    s.products.multiply(s.direction, 0, s.t, s.rows, s.recurred, true, s.dh);
  }

  static void step_reset_before(const BackwardStep<T>& s) {
    const int64_t n = s.sizes.hidden, width = s.sizes.width();
    for (int64_t row = 0; row < s.rows; ++row) {
      T* gates = s.projected + row * width;
      if (!s.active(row)) {
        std::fill_n(gates, width, T{0});
        continue;
      }
      const T* before = s.before + row * n;
      T* dh = s.dh + row * n;
      for (int64_t j = 0; j < n; ++j) {
        const T z = gates[j], fresh = gates[2 * n + j], d = dh[j];
        gates[j] = d * (before[j] - fresh) * z * (1 - z);
        gates[2 * n + j] = d * (1 - z) * (1 - fresh * fresh);
        dh[j] = d * z;
      }
    }
    T* const d_inner = s.scratch;
    s.products.multiply(s.direction, 1, s.t, s.rows, s.projected, false, d_inner);
    for (int64_t row = 0; row < s.rows; ++row) {
      if (!s.active(row)) continue;
      T* reset = s.projected + row * width + n;
      for (int64_t j = 0; j < n; ++j) {
        const T r = reset[j], d = d_inner[row * n + j];
        reset[j] = d * s.before[row * n + j] * r * (1 - r);
        s.dh[row * n + j] += d * r;
      }
    }
    s.products.multiply(s.direction, 0, s.t, s.rows, s.projected, true, s.dh);
  }

  bool reset_behind_;
};

}  // namespace

void define_gru_gradient(OpList& ops) {
  add_recurrent_gradient<GruBackward, GruForm>(ops, "GRUGradient", gru_cell).attr("linear_before_reset", 0);
}

}  // namespace sx
