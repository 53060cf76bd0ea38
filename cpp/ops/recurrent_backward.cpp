// The walk back in time of the gradients of RNN, GRU and LSTM.
#include "ops/recurrent_backward.h"

#include <algorithm>

#include "base/scratch.h"
#include "kernels/gemm/gemm.h"
#include "ops/matmul.h"

namespace sx {

template <typename T>
BackwardProducts<T>::BackwardProducts(const RecurrentSizes& s, const std::vector<int>& parts, const T* r,
                                      Precision allowed)
    : sizes_(s), parts_(parts), r_(r), precision_(changing_precision(allowed)) {
  if constexpr (std::is_same_v<T, float>) {
    for (int part : parts) {
      offsets_.push_back(step_);
      step_ += (packed_b_size(part * s.hidden, s.hidden, active_isa(), precision_) + 15) / 16 * 16;
    }
    packed_ = static_cast<float*>(thread_scratch(
        ScratchSlot::kOperator3,
        static_cast<size_t>(checked_mul(checked_mul(step_, s.directions), static_cast<int64_t>(sizeof(float))))));
    for (int d = 0; d < s.directions; ++d)
      for (size_t i = 0; i < parts.size(); ++i)
        pack_b(parts[i] * s.hidden, s.hidden, r + (d * s.width() + first_row(static_cast<int>(i))) * s.hidden, s.hidden,
               false, packed_ + d * step_ + offsets_[i], active_isa(), precision_);
  }
}

template <typename T>
int64_t BackwardProducts<T>::first_row(int part) const {
  int64_t gates = 0;
  for (int i = 0; i < part; ++i) gates += parts_[static_cast<size_t>(i)];
  return gates * sizes_.hidden;
}

template <typename T>
void BackwardProducts<T>::multiply(int direction, int part, int64_t t, int64_t rows, const T* dp, bool adds,
                                   T* dh) const {
  const int64_t n = sizes_.hidden, width = sizes_.width(), k = parts_[static_cast<size_t>(part)] * n;
  dp += first_row(part);
  if constexpr (std::is_same_v<T, float>) {
    Gemm g;
    g.m = rows, g.n = n, g.k = k;
    g.a = dp, g.lda = width;
    g.packed_b = packed_ + direction * step_ + offsets_[static_cast<size_t>(part)];
    g.c = dh, g.ldc = n;
    g.precision = precision_;
    g.last_columns_first = t % 2 != 0;
    if (adds) {
      g.epilogue.residual = dh;
      g.epilogue.residual_stride = n;
    }
    gemm(g);
  } else {
    const T* r = r_ + (direction * width + first_row(part)) * n;
    for (int64_t row = 0; row < rows; ++row, dh += n) {
      if (!adds) std::fill_n(dh, n, T{0});
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < n; ++j) dh[j] += dp[row * width + i] * r[i * n + j];
    }
  }
}
template class BackwardProducts<float>;
template class BackwardProducts<double>;

void check_backward_inputs(const Run& run, const RecurrentForm& form, const RecurrentSizes& s) {
  const auto check = [&](int i, const char* what, const Shape& expected) {
    if (run.has(i))
      SX_CHECK(run, run.in(i).shape() == expected, what, " is ", run.in(i).shape().str(), "; ", expected.str(),
               " expected");
  };
  check(kR, "R", Shape{s.directions, s.width(), s.hidden});
  check(kLengths, "sequence_lens", Shape{s.batch});
  check(kInitialC, "initial_c", s.state_shape());
  check(kGates, "gates", s.kept_shape(kKeptGates));
  check(kBefore, "before", s.kept_shape(kKeptBefore));
  check(kInner, "inner", s.kept_shape(kKeptInner));
  check(kDY, "dY", s.y_shape());
  check(kDYh, "dY_h", s.state_shape());
  check(kDYc, "dY_c", s.state_shape());
  SX_CHECK(run, run.has(kInner) || !form.has_inner, "has no input 'inner'");
}

template <typename T>
void run_backward(Run& run, const RecurrentForm& form, const RecurrentSpec& spec, const RecurrentSizes& s,
                  const BackwardCell<T>& cell, Precision allowed) {
  const auto input = [&](int i) { return run.has(i) ? run.in(i).template data<T>() : nullptr; };
  const auto output = [&](int i, const Shape& shape) {
    return run.wants(i) ? run.out(i, shape).template data<T>() : nullptr;
  };
  const int64_t n = s.hidden, width = s.width(), block = s.block();
  const Shape gates_shape{s.directions, s.steps * s.batch, width};
  const T* gates = input(kGates);
  T* projected = run.out(kDProjected, gates_shape).template data<T>();
  T* recurred = form.kept > 0 ? run.out(kDRecurred, gates_shape).template data<T>() : nullptr;
  T* dh0 = output(kDInitialH, s.state_shape());
  T* dc0 = output(kDInitialC, s.state_shape());
  if (s.batch == 0) return;
  const BackwardProducts<T> products(s, form.parts, input(kR), allowed);
  const int64_t blocks = (s.batch + block - 1) / block;
  parallel_for(s.directions * blocks, 1, [&](int64_t from, int64_t to) {
    const int64_t state = block * n;
    T* const scratch = static_cast<T*>(thread_scratch(
        ScratchSlot::kOperator2, static_cast<size_t>(checked_mul(checked_mul(4, state), int64_t{sizeof(T)}))));
    T* const zeros = scratch + 3 * state;
    std::fill_n(zeros, state, T{0});
    for (int64_t task = from; task < to; ++task) {
      const int d = static_cast<int>(task / blocks);
      const int64_t first = task % blocks * block, rows = std::min(block, s.batch - first), at = s.state_row(d, first);
      const auto load = [&](int i, T* state_of) {
        if (run.has(i)) std::copy_n(input(i) + at * n, rows * n, state_of);
        else std::fill_n(state_of, rows * n, T{0});
        return state_of;
      };
      const auto time = [&](int64_t i) { return spec.backward(d) ? s.steps - 1 - i : i; };
      const auto kept = [&](int i, int64_t t) { return input(i) + s.kept_row(t, d, first) * n; };
      BackwardStep<T> step{s,       products, d,       rows,    nullptr, scratch, 0,
                           nullptr, nullptr,  nullptr, nullptr, nullptr, nullptr, nullptr};
      if (run.has(kLengths)) step.lengths = run.in(kLengths).template data<int32_t>() + first;
      step.dh = load(kDYh, scratch + state);
      step.dc = load(kDYc, scratch + 2 * state);
      for (int64_t i = s.steps - 1; i >= 0; --i) {
        step.t = time(i);
        const int64_t row = s.kept_row(step.t, d, first);
        step.before = kept(kBefore, step.t);
        if (run.has(kInner)) {
          step.inner = kept(kInner, step.t);
          step.inner_before = i > 0                ? kept(kInner, time(i - 1))
                              : run.has(kInitialC) ? input(kInitialC) + at * n
                                                   : zeros;
        }
        step.projected = projected + row * width;
        if (projected != gates) std::copy_n(gates + row * width, rows * width, step.projected);
        if (recurred != nullptr) step.recurred = recurred + row * width;
        if (run.has(kDY)) {
          const T* dy = input(kDY) + s.y_row(step.t, d, first) * n;
          for (int64_t r = 0; r < rows; ++r)
            if (step.active(r))
              for (int64_t j = r * n; j < (r + 1) * n; ++j) step.dh[j] += dy[j];
        }
        cell.step(step);
      }
      if (dh0 != nullptr) std::copy_n(step.dh, rows * n, dh0 + at * n);
      if (dc0 != nullptr) std::copy_n(step.dc, rows * n, dc0 + at * n);
    }
  });
}
template void run_backward(Run&, const RecurrentForm&, const RecurrentSpec&, const RecurrentSizes&,
                           const BackwardCell<float>&, Precision);
template void run_backward(Run&, const RecurrentForm&, const RecurrentSpec&, const RecurrentSizes&,
                           const BackwardCell<double>&, Precision);

static void infer_backward(InferContext& c) {
  SX_CHECK(c, !c.has_shape(kR) || c.rank(kR) == 3, "R is ", c.type(kR).str(), "; three axes expected");
  SX_CHECK(c, !c.has_shape(kGates) || c.rank(kGates) == 4, "gates is ", c.type(kGates).str(), "; four axes expected");
  const SymShape gates = c.has_shape(kGates) ? c.shape(kGates) : SymShape(4);
  const Dim rows = gates[1].known() && gates[2].known() ? Dim(gates[1].value() * gates[2].value()) : Dim();
  const Dim hidden = c.has_shape(kR) ? c.shape(kR)[2] : Dim();
  for (int i : {kDProjected, kDRecurred}) c.out(i, c.dtype(kGates), SymShape{gates[0], rows, gates[3]});
  for (int i : {kDInitialH, kDInitialC}) c.out(i, c.dtype(kGates), SymShape{gates[0], gates[2], hidden});
}

OpDef& add_backward_ports(OpDef& op) {
  constexpr DTypeSet kTypes = DTypeSet(DType::kFloat32) | DType::kFloat64;
  return add_recurrent_attrs(op)
      .in("X", "T", kTypes)
      .in("W", "T", kTypes)
      .in("R", "T", kTypes)
      .optional_in("B", "T", kTypes)
      .optional_in("sequence_lens", "", DType::kInt32)
      .optional_in("initial_h", "T", kTypes)
      .optional_in("initial_c", "T", kTypes)
      .in("gates", "T", kTypes)
      .in("before", "T", kTypes)
      .optional_in("inner", "T", kTypes)
      .optional_in("dY", "T", kTypes)
      .optional_in("dY_h", "T", kTypes)
      .optional_in("dY_c", "T", kTypes)
      .out("d_projected", "T")
      .optional_out("d_recurred", "T")
      .optional_out("d_initial_h", "T")
      .optional_out("d_initial_c", "T")
      .shape_only({kX, kW, kB, kInitialH})
      .in_place({kGates})
      .infer(infer_backward);
}

}  // namespace sx
