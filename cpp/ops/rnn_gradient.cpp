// The gradient of a simple recurrent network's step, with dh what comes from y and from later times:
// dP = dh f'(P), dh_before = dP R.
#include <algorithm>

#include "ops/recurrent_backward.h"
#include "ops/rnn.h"

namespace sx {
namespace {

template <typename T>
class RnnBackward : public BackwardCell<T> {
 public:
  RnnBackward(const RecurrentSpec& spec, const RnnForm&) : spec_(spec) {}

  void step(const BackwardStep<T>& s) const override {
    const int64_t n = s.sizes.hidden;
    const Activation kind = spec_.activations[static_cast<size_t>(s.direction)][0].kind;
    for (int64_t row = 0; row < s.rows; ++row) {
      T* y = s.projected + row * n;
      if (!s.active(row)) {
        std::fill_n(y, n, T{0});
        continue;
      }
      T* dh = s.dh + row * n;
      switch (kind) {
        case Activation::kTanh:
          for (int64_t j = 0; j < n; ++j) y[j] = dh[j] * (1 - y[j] * y[j]);
          break;
        case Activation::kSigmoid:
          for (int64_t j = 0; j < n; ++j) y[j] = dh[j] * y[j] * (1 - y[j]);
          break;
        default:
          SX_ASSERT(kind == Activation::kRelu);
          for (int64_t j = 0; j < n; ++j) y[j] = y[j] > 0 ? dh[j] : T{0};
      }
      // What a finished sequence has in dh stays there.
      if (s.lengths != nullptr) std::fill_n(dh, n, T{0});
    }
    s.products.multiply(s.direction, 0, s.t, s.rows, s.projected, s.lengths != nullptr, s.dh);
  }

 private:
  const RecurrentSpec& spec_;
};

}  // namespace

void define_rnn_gradient(OpList& ops) { add_recurrent_gradient<RnnBackward, RnnForm>(ops, "RNNGradient", rnn_cell); }

}  // namespace sx
