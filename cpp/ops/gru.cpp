// z, r = f(x W + h R + b), n = g(x W + (r h) R + b), h' = (1 - z) n + z h: the gated recurrent unit.
#include "ops/gru.h"

#include <algorithm>

#include "kernels/recurrent_gates.h"

namespace sx {

GruForm::GruForm(const NodeView& node) : reset_behind(node.attr_int("linear_before_reset") != 0) {
  gates = 3;
  functions = {"Sigmoid", "Tanh"};
  parts = reset_behind ? std::vector<int>{3} : std::vector<int>{2, 1};
  kept = reset_behind ? 1 : 0;
  has_inner = true;
}

CellRule gru_cell(const GruForm& form) {
  return [reset_behind = form.reset_behind](CellExprs& s) {
    const std::vector<Expr> from = s.recurred(s.h, 0, reset_behind ? 3 : 2);
    const Expr update = s.activated(0, s.x[0] + from[0]);
    const Expr reset = s.activated(0, s.x[1] + from[1]);
    Expr fresh;
    if (reset_behind) {
      fresh = reset * (s.kept_bias ? from[2] + s.kept_bias : from[2]);
    } else {
      s.inner = reset * s.h;
      fresh = s.recurred(s.inner, 2, 3)[0];
    }
    s.h = (1.0 - update) * s.activated(1, s.x[2] + fresh) + update * s.h;
  };
}

namespace {

// Its inner vector is what the reset gate acts on, h R + b_R, where it acts behind the product, else r h.
template <typename T>
class GruCell : public RecurrentCell<T> {
 public:
  GruCell(const RecurrentSpec& spec, const GruForm& form, RecurrentIo<T>& io)
      : spec_(spec), reset_behind_(form.reset_behind), plain_(spec.clip <= 0.0f) {
    for (const auto& functions : spec.activations)
      plain_ = plain_ && functions[0].is(Activation::kSigmoid) && functions[1].is(Activation::kTanh);
    const T* biases = form.reset_behind ? io.input(3) : nullptr;
    if (biases == nullptr) return;
    const RecurrentSizes& sizes = io.sizes();
    for (int d = 0; d < sizes.directions; ++d) {
      const T* from = biases + d * 2 * sizes.width() + 5 * sizes.hidden;
      reset_bias_.insert(reset_bias_.end(), from, from + sizes.hidden);
    }
  }

  void step(const RecurrentStep<T>& s) const override {
    if (reset_behind_) step_reset_behind(s);
    else step_reset_before(s);
  }

 private:
  void step_reset_before(const RecurrentStep<T>& s) const {
    const int64_t n = s.sizes.hidden;
    const int64_t width = s.sizes.width();
    T* reset_h = s.inner;
    s.products.recur(s.direction, 0, s.t, s.rows, s.h, s.projected, s.projected_stride, s.gates, width);
    for (int64_t row = 0; row < s.rows; ++row) {
      T* update = s.gates + row * width;
      gate(s.direction, update, n);
      for (int64_t j = 0; j < n; ++j) reset_h[row * n + j] = update[n + j] * s.h[row * n + j];
    }
    s.products.recur(s.direction, 1, s.t, s.rows, reset_h, s.projected + 2 * n, s.projected_stride, s.gates + 2 * n,
                     width);
    for (int64_t row = 0; row < s.rows; ++row)
      if (s.active(row)) finish(s, row);
  }

  void step_reset_behind(const RecurrentStep<T>& s) const {
    const int64_t n = s.sizes.hidden;
    const int64_t width = s.sizes.width();
    const T* bias = reset_bias_.empty() ? nullptr : reset_bias_.data() + s.direction * n;
    s.products.recur(s.direction, 0, s.t, s.rows, s.h, nullptr, 0, s.gates, width);
    for (int64_t row = 0; row < s.rows; ++row) {
      if (!s.active(row)) continue;
      T* update = s.gates + row * width;
      T* fresh = update + 2 * n;
      const T* x = s.projected + row * s.projected_stride;
      if constexpr (std::is_same_v<T, float>) {
        if (plain_) {
          gru_gates(x, update, bias, n, s.h + row * n, s.keeps ? s.inner + row * n : nullptr);
          continue;
        }
      }
      for (int64_t j = 0; j < 2 * n; ++j) update[j] += x[j];
      gate(s.direction, update, n);
      const T* reset = update + n;
      if (bias != nullptr)
        for (int64_t j = 0; j < n; ++j) fresh[j] += bias[j];
      if (s.keeps) std::copy_n(fresh, n, s.inner + row * n);
      for (int64_t j = 0; j < n; ++j) fresh[j] = x[2 * n + j] + reset[j] * fresh[j];
      finish(s, row);
    }
  }

  void gate(int direction, T* update, int64_t n) const {
    spec_.clip_values(update, 2 * n);
    activate(spec_.activations[static_cast<size_t>(direction)][0], update, 2 * n);
  }

  void finish(const RecurrentStep<T>& s, int64_t row) const {
    const int64_t n = s.sizes.hidden;
    const T* update = s.gates + row * s.sizes.width();
    T* fresh = s.gates + row * s.sizes.width() + 2 * n;
    spec_.clip_values(fresh, n);
    activate(spec_.activations[static_cast<size_t>(s.direction)][1], fresh, n);
    T* h = s.h + row * n;
    for (int64_t j = 0; j < n; ++j) h[j] = (T{1} - update[j]) * fresh[j] + update[j] * h[j];
  }

  const RecurrentSpec& spec_;
  bool reset_behind_;
  bool plain_;                 // gru_gates() is the whole cell where the reset gate acts behind the product
  std::vector<T> reset_bias_;  // [directions, hidden]: the recurrent bias of the hidden gate, or empty
};

}  // namespace

void define_gru(OpList& ops) {
  const auto differentiate = [](GradientContext& c) {
    const GruForm form(c);
    differentiate_recurrent(c, form, gru_cell(form), {{Activation::kSigmoid}, {Activation::kTanh}});
  };
  add_recurrent<GruCell, GruForm>(ops, "GRU", differentiate, [](OpDef& op) { op.attr("linear_before_reset", 0); });
}

}  // namespace sx
