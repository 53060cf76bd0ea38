// i, o, f = f(x W + h R + P c + b), c' = f c + i g(x W + h R + b), h' = o h(c'): long short-term memory.
#include "ops/lstm.h"

#include <algorithm>

#include "kernels/recurrent_gates.h"

namespace sx {

LstmForm::LstmForm() : RecurrentForm{4, {"Sigmoid", "Tanh", "Tanh"}, {4}, 0, 2, true}, input_forget(false) {}
LstmForm::LstmForm(const NodeView& node) : LstmForm() { input_forget = node.attr_int("input_forget") != 0; }

template <typename T>
LstmCell<T>::LstmCell(const RecurrentSpec& spec, const LstmForm& form, RecurrentIo<T>& io)
    : spec_(spec), input_forget_(form.input_forget), peepholes_(io.input(7)) {
  plain_ = spec.clip <= 0.0f && !input_forget_ && peepholes_ == nullptr;
  for (const auto& functions : spec.activations)
    plain_ = plain_ && functions[0].is(Activation::kSigmoid) && functions[1].is(Activation::kTanh) &&
             functions[2].is(Activation::kTanh);
}

template <typename T>
void LstmCell<T>::step(const RecurrentStep<T>& s) const {
  const int64_t n = s.sizes.hidden;
  const int64_t width = s.sizes.width();
  const auto& functions = spec_.activations[static_cast<size_t>(s.direction)];
  const T* peephole = peepholes_ == nullptr ? nullptr : peepholes_ + 3 * n * s.direction;
  s.products.recur(s.direction, 0, s.t, s.rows, s.h, s.projected, s.projected_stride, s.gates, width);
  for (int64_t row = 0; row < s.rows; ++row) {
    if (!s.active(row)) continue;
    if constexpr (std::is_same_v<T, float>) {
      if (plain_) {
        lstm_gates(s.gates + row * width, n, s.c + row * n, s.h + row * n, s.keeps);
        continue;
      }
    }
    T* input = s.gates + row * width;
    T* output = input + n;
    T* forget = input + 2 * n;
    T* cell = input + 3 * n;
    T* c = s.c + row * n;
    T* h = s.h + row * n;
    if (peephole == nullptr) {
      spec_.clip_values(input, 4 * n);
      activate(functions[0], input, 3 * n);
    } else {
      for (int64_t j = 0; j < n; ++j) {
        input[j] += peephole[j] * c[j];
        forget[j] += peephole[2 * n + j] * c[j];
      }
      spec_.clip_values(input, n);
      spec_.clip_values(forget, 2 * n);
      activate(functions[0], input, n);
      activate(functions[0], forget, n);
    }
    activate(functions[1], cell, n);
    if (input_forget_)
      for (int64_t j = 0; j < n; ++j) forget[j] = T{1} - input[j];
    for (int64_t j = 0; j < n; ++j) c[j] = forget[j] * c[j] + input[j] * cell[j];
    if (peephole != nullptr) {
      for (int64_t j = 0; j < n; ++j) output[j] += peephole[n + j] * c[j];
      spec_.clip_values(output, n);
      activate(functions[0], output, n);
    }
    std::copy_n(c, n, h);
    activate(functions[2], h, n);
    for (int64_t j = 0; j < n; ++j) h[j] *= output[j];
  }
  if (s.keeps) std::copy_n(s.c, s.rows * n, s.inner);
}
template class LstmCell<float>;
template class LstmCell<double>;

CellRule lstm_cell(const LstmForm& form) {
  return [coupled = form.input_forget](CellExprs& s) {
    std::vector<Expr> gates = s.recurred(s.h, 0, 4);
    for (size_t i = 0; i < 4; ++i) gates[i] = s.x[i] + gates[i];
    const auto peep = [&](size_t gate) {
      if (!s.peepholes.empty()) gates[gate] = gates[gate] + s.peepholes[gate] * s.c;
    };
    peep(0);
    peep(2);
    const Expr input = s.activated(0, gates[0]);
    const Expr forget = coupled ? 1.0 - input : s.activated(0, gates[2]);
    s.c = forget * s.c + input * s.activated(1, gates[3]);
    peep(1);
    s.h = s.activated(0, gates[1]) * s.activated(2, s.c, false);
  };
}

void define_lstm(OpList& ops) {
  const auto differentiate = [](GradientContext& c) {
    const LstmForm form(c);
    KnownActivations known;
    if (!form.input_forget && !c.in(7)) known = {{Activation::kSigmoid}, {Activation::kTanh}, {Activation::kTanh}};
    differentiate_recurrent(c, form, lstm_cell(form), known);
  };
  add_recurrent<LstmCell, LstmForm>(ops, "LSTM", differentiate, [](OpDef& op) {
    op.attr("input_forget", 0)
        .optional_in("initial_c", "T", kFloats)
        .optional_in("P", "T", kFloats)
        .optional_out("Y_c", "T");
  });
}

}  // namespace sx
