// h' = f(x W + h R + b): the simple recurrent network.
#include <algorithm>

#include "ops/recurrent.h"

namespace sx {
namespace {

struct RnnForm : RecurrentForm {
  explicit RnnForm(const NodeView&) : RecurrentForm{1, {"Tanh"}, {1}} {}
};

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

void cell(CellExprs& s) { s.h = s.activated(0, s.x[0] + s.recurred(s.h, 0, 1)[0]); }

}  // namespace

void define_rnn(OpList& ops) {
  add_recurrent<RnnCell, RnnForm>(ops, "RNN").gradient([](GradientContext& c) {
    differentiate_recurrent(c, RnnForm(c), cell);
  });
}

}  // namespace sx
