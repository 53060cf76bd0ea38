// i, o, f = f(x W + h R + P c + b), c' = f c + i g(x W + h R + b), h' = o h(c'): long short-term memory.
#include <algorithm>

#include "ops/lstm.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {

template <typename T>
void LstmCell<T>::step(const RecurrentStep<T>& s) const {
  const int64_t n = s.sizes.hidden;
  const int64_t width = s.sizes.width();
  const auto& functions = spec_.activations[static_cast<size_t>(s.direction)];
  const T* peephole = peepholes_ == nullptr ? nullptr : peepholes_ + 3 * n * s.direction;
  s.products.recur(s.direction, 0, s.rows, s.h, s.projected, s.projected_stride, s.gates, width);
  for (int64_t row = 0; row < s.rows; ++row) {
    if (!s.active(row)) continue;
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
    std::copy_n(c, n, cell);
    activate(functions[2], cell, n);
    for (int64_t j = 0; j < n; ++j) h[j] = output[j] * cell[j];
  }
}
template class LstmCell<float>;
template class LstmCell<double>;

void check_lstm_inputs(const Run& run, const RecurrentSizes& sizes) {
  check_recurrent_inputs(run, sizes);
  if (run.has(6))
    SX_CHECK(run, run.in(6).shape() == sizes.state_shape(), "initial_c is ", run.in(6).shape().str(), "; ",
             sizes.state_shape().str(), " expected");
  const Shape peepholes{sizes.directions, 3 * sizes.hidden};
  if (run.has(7))
    SX_CHECK(run, run.in(7).shape() == peepholes, "P is ", run.in(7).shape().str(), "; ", peepholes.str(), " expected");
}

namespace {

class Lstm {
 public:
  explicit Lstm(Prepare& p)
      : spec_(p, 4, {"Sigmoid", "Tanh", "Tanh"}),
        input_forget_(p.attr_int("input_forget") != 0),
        weights_(p, {4}),
        bias_(p, spec_, 0) {}

  void operator()(Run& run) const {
    const Shape& r = run.in(2).shape();
    SX_CHECK(run, r.rank() == 3, "R is ", r.str(), "; three axes expected");
    const RecurrentSizes sizes(run, spec_, r[2]);
    check_lstm_inputs(run, sizes);
    if (run.in(0).dtype() == DType::kFloat64) compute<double>(run, sizes, *weights_.doubles(run, sizes));
    else compute<float>(run, sizes, *weights_.floats(run, sizes));
  }

 private:
  template <typename T>
  void compute(Run& run, const RecurrentSizes& sizes, const RecurrentProducts<T>& products) const {
    RecurrentIo<T> io(run, sizes, 6);
    const Tensor bias = bias_.get(run);
    const LstmCell<T> cell(spec_, input_forget_, io.input(7));
    run_recurrent<T>(spec_, sizes, products, cell, io.data(static_cast<const T*>(bias.raw())));
    io.store();
  }

  RecurrentSpec spec_;
  bool input_forget_;
  WeightCache weights_;
  BiasCache bias_;
};

}  // namespace

void define_lstm(OpList& ops) {
  add_recurrent_attrs(
      ops.add(OpDef("LSTM")
                  .since(22)
                  .attr("input_forget", 0)
                  .in("X", "T", kFloats)
                  .in("W", "T", kFloats)
                  .in("R", "T", kFloats)
                  .optional_in("B", "T", kFloats)
                  .optional_in("sequence_lens", "T1", DType::kInt32)
                  .optional_in("initial_h", "T", kFloats)
                  .optional_in("initial_c", "T", kFloats)
                  .optional_in("P", "T", kFloats)
                  .optional_out("Y", "T")
                  .optional_out("Y_h", "T")
                  .optional_out("Y_c", "T")
                  .infer([](InferContext& c) { infer_recurrent(c, RecurrentSpec(c, 4, {"Sigmoid", "Tanh", "Tanh"})); })
                  .kernel([](Prepare& p) -> Kernel { return Lstm(p); })
                  .upgrade(7, [](UpgradeContext& c) { c.take<int64_t>("output_sequence", 0); })));
}

}  // namespace sx
