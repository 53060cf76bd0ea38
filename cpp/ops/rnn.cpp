// h' = f(x W + h R + b): the simple recurrent network.
#include "ops/rnn.h"

#include <algorithm>

namespace sx {
namespace {

template <typename T>
class RnnCell : public RecurrentCell<T> {
 public:
  RnnCell(const RecurrentSpec& spec, const RnnForm&, const RecurrentIo<T>&) : spec_(spec) {}

  void step(const RecurrentStep<T>& s) const override {
    const int64_t n = s.sizes.hidden;
    s.products.recur(s.direction, 0, s.t, s.rows, s.h, s.projected, s.projected_stride, s.gates, n);
    for (int64_t row = 0; row < s.rows; ++row) {
      if (!s.active(row)) continue;
      T* fresh = s.gates + row * n;
      spec_.clip_values(fresh, n);
      activate(spec_.activations[static_cast<size_t>(s.direction)][0], fresh, n);
      std::copy_n(fresh, n, s.h + row * n);
    }
  }

 private:
  const RecurrentSpec& spec_;
};

}  // namespace

CellRule rnn_cell(const RnnForm&) {
  return [](CellExprs& s) { s.h = s.activated(0, s.x[0] + s.recurred(s.h, 0, 1)[0]); };
}

void define_rnn(OpList& ops) {
  const auto differentiate = [](GradientContext& c) {
    const RnnForm form(c);
    differentiate_recurrent(c, form, rnn_cell(form), {{Activation::kTanh, Activation::kRelu, Activation::kSigmoid}});
  };
  add_recurrent<RnnCell, RnnForm>(ops, "RNN", differentiate, [](OpDef&) {});
}

}  // namespace sx
