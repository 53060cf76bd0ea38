// The gradient of an LSTM's step: with the gates i, o, f, g and dh, dc what comes from y and from later times,
//   dc += dh o (1 - tanh(c)^2),
//   dP = (dc g i (1 - i), dh tanh(c) o (1 - o), dc c_before f (1 - f), dc i (1 - g^2)),
//   dh_before = dP R, dc_before = dc f.
#include <algorithm>

#include "kernels/recurrent_gates.h"
#include "ops/lstm.h"
#include "ops/recurrent_backward.h"

namespace sx {
namespace {

void gates_backward(float* gates, int64_t n, const float* c_before, const float* c, const float* dh, float* dc) {
  lstm_gates_backward(gates, n, c_before, c, dh, dc);
}
void gates_backward(double* gates, int64_t n, const double* c_before, const double* c, const double* dh, double* dc) {
  for (int64_t j = 0; j < n; ++j) {
    const double i = gates[j], o = gates[n + j], f = gates[2 * n + j], g = gates[3 * n + j], tangent = std::tanh(c[j]);
    const double d = dc[j] + dh[j] * o * (1 - tangent * tangent);
    gates[j] = d * g * i * (1 - i);
    gates[n + j] = dh[j] * tangent * o * (1 - o);
    gates[2 * n + j] = d * c_before[j] * f * (1 - f);
    gates[3 * n + j] = d * i * (1 - g * g);
    dc[j] = d * f;
  }
}

template <typename T>
class LstmBackward : public BackwardCell<T> {
 public:
  LstmBackward(const RecurrentSpec&, const LstmForm&) {}

  void step(const BackwardStep<T>& s) const override {
    const int64_t n = s.sizes.hidden, width = s.sizes.width();
    for (int64_t row = 0; row < s.rows; ++row) {
      T* gates = s.projected + row * width;
      if (!s.active(row)) {
        std::fill_n(gates, width, T{0});
        continue;
      }
      T* dh = s.dh + row * n;
      gates_backward(gates, n, s.inner_before + row * n, s.inner + row * n, dh, s.dc + row * n);
      // What a finished sequence has in dh stays there.
      if (s.lengths != nullptr) std::fill_n(dh, n, T{0});
    }
    s.products.multiply(s.direction, 0, s.t, s.rows, s.projected, s.lengths != nullptr, s.dh);
  }
};

}  // namespace

void define_lstm_gradient(OpList& ops) {
  add_recurrent_gradient<LstmBackward, LstmForm>(ops, "LSTMGradient", lstm_cell).attr("input_forget", 0);
}

}  // namespace sx
