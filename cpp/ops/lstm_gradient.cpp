// The gradient of an LSTM of the usual activations, without peepholes and clipping (lstm.cpp), by time from the last to
// the first: with the gates i, o, f, g and dh, dc what comes from y and from later times,
//   dc += dh o (1 - tanh(c)^2),
//   dP = (dc g i (1 - i), dh tanh(c) o (1 - o), dc c_before f (1 - f), dc i (1 - g^2)),
//   dh_before = dP R, dc_before = dc f.
#include <algorithm>

#include "base/scratch.h"
#include "kernels/gemm/gemm.h"
#include "ops/lstm.h"
#include "ops/matmul.h"

namespace sx {
namespace {

// Inputs of LSTM by place; LSTMGradient has X with time first, and in the place of initial_h what follows from it and
// the others: h before each time, [directions, time, batch, hidden]. Gradients are laid out as the outputs of an LSTM
// of layout 0.
enum : int { kX, kW, kR, kB, kLengths, kInitialH, kInitialC, kPeepholes };
enum : int { kBefore = kInitialH, kDY = 7, kDYh, kDYc };

// Sequences that one task takes through time together.
constexpr int64_t kBlockRows = 16;

const LstmForm& usual_form() {
  static const LstmForm form;
  return form;
}

// dh[rows, hidden] = dP[rows, 4 * hidden] R, with dh added where `adds`.
class RecurrentBackward {
 public:
  RecurrentBackward(const RecurrentSizes& s, const Tensor& r, Precision allowed)
      : hidden_(s.hidden),
        width_(s.width()),
        floats_(r.dtype() == DType::kFloat32 ? r.data<float>() : nullptr),
        doubles_(r.dtype() == DType::kFloat64 ? r.data<double>() : nullptr),
        precision_(changing_precision(allowed)) {
    if (floats_ == nullptr) return;
    step_ = (packed_b_size(width_, hidden_, active_isa(), precision_) + 15) / 16 * 16;
    packed_ = static_cast<float*>(thread_scratch(
        ScratchSlot::kOperator3,
        static_cast<size_t>(checked_mul(checked_mul(step_, s.directions), static_cast<int64_t>(sizeof(float))))));
    for (int d = 0; d < s.directions; ++d)
      pack_b(width_, hidden_, floats_ + d * width_ * hidden_, hidden_, false, packed_ + d * step_, active_isa(),
             precision_);
  }

  // Called for one time after the other, it goes through R to and fro.
  void multiply(int direction, int64_t t, int64_t rows, const float* dp, bool adds, float* dh) const {
    Gemm g;
    g.m = rows, g.n = hidden_, g.k = width_;
    g.a = dp, g.lda = width_;
    g.packed_b = packed_ + direction * step_;
    g.c = dh, g.ldc = hidden_;
    g.precision = precision_;
    g.last_columns_first = t % 2 != 0;
    if (adds) {
      g.epilogue.residual = dh;
      g.epilogue.residual_stride = hidden_;
    }
    gemm(g);
  }
  void multiply(int direction, int64_t, int64_t rows, const double* dp, bool adds, double* dh) const {
    const double* r = doubles_ + direction * width_ * hidden_;
    for (int64_t row = 0; row < rows; ++row, dh += hidden_) {
      if (!adds) std::fill_n(dh, hidden_, 0.0);
      for (int64_t k = 0; k < width_; ++k)
        for (int64_t j = 0; j < hidden_; ++j) dh[j] += dp[row * width_ + k] * r[k * hidden_ + j];
    }
  }

 private:
  const int64_t hidden_, width_;
  const float* floats_;
  const double* doubles_;
  const Precision precision_;
  int64_t step_ = 0;
  float* packed_ = nullptr;
};

template <typename T>
struct LstmBackward {
  const RecurrentSpec& spec;
  const RecurrentSizes& sizes;
  const RecurrentBackward& back;
  const int32_t* lengths;
  const T* initial_c;
  const T *dy, *dy_h, *dy_c;
  T* dp;  // holds P + h_before R^T: what the gates were before their activations
  T *dh0, *dc0;

  // Rows [first, first + rows) of direction d; `scratch` holds (2 * steps + 1) * rows * hidden.
  void run(int d, int64_t first, int64_t rows, T* scratch) const {
    const int64_t n = sizes.hidden, state = rows * n, width = sizes.width();
    const auto gates_at = [&](int64_t t) { return dp + ((d * sizes.steps + t) * sizes.batch + first) * width; };
    const auto time = [&](int64_t i) { return spec.backward(d) ? sizes.steps - 1 - i : i; };
    const auto active = [&](int64_t t, int64_t row) { return lengths == nullptr || t < lengths[first + row]; };
    T* const cells = scratch + state;  // after step i at cells + i * state, the initial ones before them
    T* const tangents = cells + sizes.steps * state;
    const int64_t at = (d * sizes.batch + first) * n;
    if (initial_c != nullptr) std::copy_n(initial_c + at, state, scratch);
    else std::fill_n(scratch, state, T{0});
    const auto& functions = spec.activations[static_cast<size_t>(d)];
    for (int64_t i = 0; i < sizes.steps; ++i) {
      for (int64_t row = 0; row < rows; ++row) {
        T* gates = gates_at(time(i)) + row * width;
        const T* before = cells + (i - 1) * state + row * n;
        T* c = cells + i * state + row * n;
        if (!active(time(i), row)) {
          std::copy_n(before, n, c);
          continue;
        }
        activate(functions[0], gates, 3 * n);
        activate(functions[1], gates + 3 * n, n);
        for (int64_t j = 0; j < n; ++j) c[j] = gates[2 * n + j] * before[j] + gates[j] * gates[3 * n + j];
        T* tangent = tangents + i * state + row * n;
        std::copy_n(c, n, tangent);
        activate(functions[2], tangent, n);
      }
    }
    T* const dh = dh0 + at;
    T* const dc = dc0 + at;
    const auto load = [&](const T* from, T* to) {
      if (from != nullptr) std::copy_n(from + at, state, to);
      else std::fill_n(to, state, T{0});
    };
    load(dy_h, dh);
    load(dy_c, dc);
    for (int64_t i = sizes.steps - 1; i >= 0; --i) {
      const int64_t t = time(i);
      for (int64_t row = 0; row < rows; ++row) {
        T* gates = gates_at(t) + row * width;
        if (!active(t, row)) {
          std::fill_n(gates, width, T{0});
          continue;
        }
        if (dy != nullptr) {
          const T* from = dy + ((t * sizes.directions + d) * sizes.batch + first + row) * n;
          for (int64_t j = 0; j < n; ++j) dh[row * n + j] += from[j];
        }
        differentiate_gates(n, cells + (i - 1) * state + row * n, tangents + i * state + row * n, dh + row * n,
                            dc + row * n, gates);
        // What a finished sequence has in dh goes on to the time before.
        if (lengths != nullptr) std::fill_n(dh + row * n, n, T{0});
      }
      back.multiply(d, t, rows, gates_at(t), lengths != nullptr, dh);
    }
  }

 private:
  static void differentiate_gates(int64_t n, const T* before, const T* tangents, const T* dh, T* dc, T* gates) {
    for (int64_t j = 0; j < n; ++j) {
      const T i = gates[j], o = gates[n + j], f = gates[2 * n + j], g = gates[3 * n + j], tangent = tangents[j];
      const T d = dc[j] + dh[j] * o * (1 - tangent * tangent);
      gates[j] = d * g * i * (1 - i);
      gates[n + j] = dh[j] * tangent * o * (1 - o);
      gates[2 * n + j] = d * before[j] * f * (1 - f);
      gates[3 * n + j] = d * i * (1 - g * g);
      dc[j] = d * f;
    }
  }
};

void check_inputs(const Run& run, const RecurrentSizes& s) {
  const auto check = [&](int i, const char* what, const Shape& expected) {
    if (run.has(i))
      SX_CHECK(run, run.in(i).shape() == expected, what, " is ", run.in(i).shape().str(), "; ", expected.str(),
               " expected");
  };
  check(kB, "B", Shape{s.directions, 2 * s.width()});
  check(kLengths, "sequence_lens", Shape{s.batch});
  check(kBefore, "H", Shape{s.directions, s.steps, s.batch, s.hidden});
  check(kInitialC, "initial_c", s.state_shape());
  check(kDY, "dY", s.y_shape());
  check(kDYh, "dY_h", s.state_shape());
  check(kDYc, "dY_c", s.state_shape());
}

template <typename T>
void differentiate(Run& run, const RecurrentSpec& spec, const RecurrentSizes& s, const RecurrentProducts<T>& products,
                   const BiasCache& biases, Precision allowed) {
  const auto input = [&](int i) { return run.has(i) ? run.in(i).template data<T>() : nullptr; };
  const int64_t all = s.steps * s.batch, width = s.width(), block = std::min(kBlockRows, s.batch);
  T* dp = run.out(0, Shape{s.directions, all, width}).template data<T>();
  T* dh0 = run.out(1, s.state_shape()).template data<T>();
  T* dc0 = run.out(2, s.state_shape()).template data<T>();
  if (s.batch == 0) return;
  const Tensor bias = biases.get(run);
  if (all > 0) {
    T* projected = static_cast<T*>(thread_scratch(
        ScratchSlot::kOperator, static_cast<size_t>(checked_mul(checked_mul(all, width), int64_t{sizeof(T)}))));
    for (int d = 0; d < s.directions; ++d) {
      const T* b = bias.defined() ? bias.template data<T>() + d * width : nullptr;
      products.project(d, {0, 1, all, all}, input(kX), b, projected);
      products.recur(d, 0, 0, all, input(kBefore) + d * all * s.hidden, projected, width, dp + d * all * width, width);
    }
  }
  const RecurrentBackward back(s, run.in(kR), allowed);
  const LstmBackward<T> work{spec,
                             s,
                             back,
                             run.has(kLengths) ? run.in(kLengths).template data<int32_t>() : nullptr,
                             input(kInitialC),
                             input(kDY),
                             input(kDYh),
                             input(kDYc),
                             dp,
                             dh0,
                             dc0};
  const int64_t blocks = (s.batch + block - 1) / block;
  parallel_for(s.directions * blocks, 1, [&](int64_t from, int64_t to) {
    const int64_t floats = checked_mul(2 * s.steps + 1, block * s.hidden);
    T* scratch = static_cast<T*>(
        thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(checked_mul(floats, int64_t{sizeof(T)}))));
    for (int64_t task = from; task < to; ++task) {
      const int64_t first = task % blocks * block;
      work.run(static_cast<int>(task / blocks), first, std::min(block, s.batch - first), scratch);
    }
  });
}

Kernel make_lstm_gradient(Prepare& p) {
  return [spec = RecurrentSpec(p, usual_form()), weights = WeightCache(p, usual_form().parts),
          biases = BiasCache(p, RecurrentSpec(p, usual_form()), 0), allowed = p.precision()](Run& run) {
    const Shape& r = run.in(kR).shape();
    SX_CHECK(run, r.rank() == 3, "R is ", r.str(), "; three axes expected");
    const RecurrentSizes sizes(run, spec, r[2]);
    check_inputs(run, sizes);
    if (run.in(kX).dtype() == DType::kFloat64)
      differentiate<double>(run, spec, sizes, *weights.doubles(run, sizes), biases, allowed);
    else differentiate<float>(run, spec, sizes, *weights.floats(run, sizes), biases, allowed);
  };
}

void infer_lstm_gradient(InferContext& c) {
  SX_CHECK(c, !c.has_shape(kR) || c.rank(kR) == 3, "R is ", c.type(kR).str(), "; three axes expected");
  SX_CHECK(c, !c.has_shape(kBefore) || c.rank(kBefore) == 4, "H is ", c.type(kBefore).str(), "; four axes expected");
  const SymShape before = c.has_shape(kBefore) ? c.shape(kBefore) : SymShape(4);
  const Dim rows = before[1].known() && before[2].known() ? Dim(before[1].value() * before[2].value()) : Dim();
  c.out(0, c.dtype(kX), SymShape{before[0], rows, c.has_shape(kR) ? c.shape(kR)[1] : Dim()});
  for (int i = 1; i <= 2; ++i) c.out(i, c.dtype(kX), SymShape{before[0], before[2], before[3]});
}

// Through the same LSTM as a Scan, and its gradient.
void differentiate_twice(GradientContext& c) {
  const RecurrentSpec spec(c, usual_form());
  RecurrentReads reads;
  reads.project(c, spec, 0, c.in(kX));
  reads.has_cell = true;
  reads.r = c.in(kR);
  reads.lengths = c.in(kLengths);
  // The initial state is what was before the first time.
  const Expr before = c.in(kBefore);
  std::vector<Expr> first;
  for (int d = 0; d < spec.directions; ++d) {
    const Expr own = c.op("Gather", {before, c.ints({d})}, {{"axis", int64_t{0}}});
    const Expr at = c.constant(Tensor::scalar<int64_t>(spec.backward(d) ? -1 : 0));
    first.push_back(c.op("Gather", {own, at}, {{"axis", int64_t{1}}}));
  }
  reads.initial_h = c.concat(first, 0);
  reads.initial_c = c.in(kInitialC) ? c.in(kInitialC) : c.zeros_like(reads.initial_h);
  const std::vector<Expr> outputs = scan_recurrent(c, spec, reads, lstm_cell(usual_form()));
  GradientRequest request;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Expr seed = c.in(kDY + i);
    if (!seed) continue;
    request.ys.push_back(outputs[i].id());
    request.seeds.push_back(seed.id());
  }
  for (const Expr& x : reads.projected) request.xs.push_back(x.id());
  request.xs.push_back(reads.initial_h.id());
  request.xs.push_back(reads.initial_c.id());
  // The states before follow from the outputs of the LSTM: gradients must not go on from them.
  request.independent.insert(request.xs.begin(), request.xs.end());
  const std::vector<ValueId> found = c.differentiate(c.graph(), request);
  const auto gradient = [&](size_t i) {
    return found[i] == kNone ? c.zeros_like(c.expr(request.xs[i])) : c.expr(found[i]);
  };
  std::vector<Expr> dp;
  for (size_t d = 0; d < reads.projected.size(); ++d)
    dp.push_back(c.unsqueeze(c.op("Flatten", {gradient(d)}, {{"axis", int64_t{2}}}), {0}));
  c.give_through({c.concat(dp, 0), gradient(dp.size()), gradient(dp.size() + 1)});
}

// h before each time, [directions, time, batch, hidden].
Expr states_before(GradientContext& c, const RecurrentSpec& spec, const Expr& x, const Expr& initial_h) {
  const Expr y =
      c.transpose(c.out(0), spec.batch_first ? std::vector<int64_t>{2, 1, 0, 3} : std::vector<int64_t>{1, 0, 2, 3});
  const Expr initial =
      initial_h
          ? c.unsqueeze(initial_h, {1})
          : c.op("Expand", {c.scalar(0, x.dtype()), c.concat({c.extent(y, 0), c.ints({1}), c.extents(y, 2, 4)}, 0)});
  std::vector<Expr> all;
  for (int d = 0; d < spec.directions; ++d) {
    const auto own = [&](const Expr& of) { return c.op("Gather", {of, c.ints({d})}, {{"axis", int64_t{0}}}); };
    const auto times = [&](const Expr& of, int64_t first, int64_t last) {
      return c.op("Slice", {of, c.ints({first}), c.ints({last}), c.ints({1})});
    };
    if (!spec.backward(d)) {
      all.push_back(c.concat({own(initial), times(own(y), 0, -1)}, 1));
      continue;
    }
    Expr h = c.concat({times(own(y), 1, INT64_MAX), own(initial)}, 1);
    if (c.in(kLengths)) {
      // Behind the last time of a sequence y is zero, but the state is the initial one.
      const Expr next = c.unsqueeze(c.iota(c.extent(x, 0)) + c.scalar(1, DType::kInt64), {1});
      const Expr inside = c.op("Less", {next, c.cast(c.in(kLengths), DType::kInt64)});
      h = c.where(c.unsqueeze(inside, {0, 3}), h, own(initial));
    }
    all.push_back(h);
  }
  return c.concat(all, 0);
}

}  // namespace

bool differentiate_usual_lstm(GradientContext& c, const LstmForm& form) {
  const RecurrentSpec spec(c, form);
  const DType dtype = c.in(kX).dtype();
  if ((dtype != DType::kFloat32 && dtype != DType::kFloat64) || c.in(kPeepholes) || spec.clip > 0.0f ||
      form.input_forget || c.in(kX).rank() != 3 || c.in(kR).rank() != 3)
    return false;
  for (const auto& functions : spec.activations)
    for (size_t i = 0; i < functions.size(); ++i)
      if (functions[i].kind != (i == 0 ? Activation::kSigmoid : Activation::kTanh) || functions[i].in_scale != 1.0f ||
          functions[i].out_scale != 1.0f)
        return false;
  const auto turned = [&](const Expr& x, const std::vector<int64_t>& order) {
    return x && spec.batch_first ? c.transpose(x, order) : x;
  };
  const std::vector<int64_t> swapped = {1, 0, 2};
  const Expr x = turned(c.in(kX), swapped);
  const Expr before = states_before(c, spec, x, turned(c.in(kInitialH), swapped));
  const std::vector<Expr> found =
      c.ops(3, "LSTMGradient",
            {x, c.in(kW), c.in(kR), c.in(kB), c.in(kLengths), before, turned(c.in(kInitialC), swapped),
             turned(c.grad(0), {1, 2, 0, 3}), turned(c.grad(1), swapped), turned(c.grad(2), swapped)},
            {{"direction", c.attr_string("direction")}}, "sardonyx");
  const Expr& dp = found[0];
  const Expr turned_dp = c.swap_last(dp);
  if (c.wants(kX)) {
    const Expr dx = c.op("MatMul", {dp, c.in(kW)});
    c.give(kX, turned(c.reshape_like(spec.directions == 1 ? dx : c.reduce_sum(dx, {0}, false), x), swapped));
  }
  if (c.wants(kW)) c.give(kW, c.op("MatMul", {turned_dp, c.op("Flatten", {x}, {{"axis", int64_t{2}}})}));
  if (c.wants(kR)) {
    const Expr rows = c.reshape_to(before, {c.extent(before, 0), c.ints({-1}), c.extent(before, 3)});
    c.give(kR, c.op("MatMul", {turned_dp, rows}));
  }
  if (c.wants(kB)) {
    const Expr sums = c.reduce_sum(dp, {1}, false);
    c.give(kB, c.concat({sums, sums}, 1));
  }
  if (c.wants(kInitialH)) c.give(kInitialH, turned(found[1], swapped));
  if (c.wants(kInitialC)) c.give(kInitialC, turned(found[2], swapped));
  return true;
}

void define_lstm_gradient(OpList& ops) {
  constexpr DTypeSet kTypes = DTypeSet(DType::kFloat32) | DType::kFloat64;
  ops.add(OpDef("LSTMGradient", "sardonyx")
              .attr("direction", "forward")
              .in("X", "T", kTypes)
              .in("W", "T", kTypes)
              .in("R", "T", kTypes)
              .optional_in("B", "T", kTypes)
              .optional_in("sequence_lens", "", DType::kInt32)
              .in("H", "T", kTypes)
              .optional_in("initial_c", "T", kTypes)
              .optional_in("dY", "T", kTypes)
              .optional_in("dY_h", "T", kTypes)
              .optional_in("dY_c", "T", kTypes)
              .out("dP", "T")
              .out("d_initial_h", "T")
              .out("d_initial_c", "T")
              .infer(infer_lstm_gradient)
              .kernel(make_lstm_gradient)
              .gradient(differentiate_twice));
}

}  // namespace sx
