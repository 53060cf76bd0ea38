// z, r = f(x W + h R + b), n = g(x W + (r h) R + b), h' = (1 - z) n + z h: the gated recurrent unit.
#include "ops/recurrent.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

// Where the reset gate acts behind the product, n = g(x W + r (h R + b_R) + b_W).
template <typename T>
class GruCell : public RecurrentCell<T> {
 public:
  // `reset_bias` is [directions, hidden]: the recurrent bias of the hidden gate where the reset gate acts behind the
  // product, or null.
  GruCell(const RecurrentSpec& spec, bool reset_behind, const T* reset_bias)
      : spec_(spec), reset_behind_(reset_behind), reset_bias_(reset_bias) {}

  void step(const RecurrentStep<T>& s) const override {
    if (reset_behind_) step_reset_behind(s);
    else step_reset_before(s);
  }

 private:
  void step_reset_before(const RecurrentStep<T>& s) const {
    const int64_t n = s.sizes.hidden;
    const int64_t width = s.sizes.width();
    T* reset_h = s.gates + s.rows * width;
    s.products.recur(s.direction, 0, s.rows, s.h, s.projected, s.projected_stride, s.gates, width);
    for (int64_t row = 0; row < s.rows; ++row) {
      T* update = s.gates + row * width;
      gate(s.direction, update, n);
      for (int64_t j = 0; j < n; ++j) reset_h[row * n + j] = update[n + j] * s.h[row * n + j];
    }
    s.products.recur(s.direction, 1, s.rows, reset_h, s.projected + 2 * n, s.projected_stride, s.gates + 2 * n, width);
    for (int64_t row = 0; row < s.rows; ++row)
      if (s.active(row)) finish(s, row);
  }

  void step_reset_behind(const RecurrentStep<T>& s) const {
    const int64_t n = s.sizes.hidden;
    const int64_t width = s.sizes.width();
    const T* bias = reset_bias_ == nullptr ? nullptr : reset_bias_ + s.direction * n;
    s.products.recur(s.direction, 0, s.rows, s.h, nullptr, 0, s.gates, width);
    for (int64_t row = 0; row < s.rows; ++row) {
      if (!s.active(row)) continue;
      T* update = s.gates + row * width;
      T* fresh = update + 2 * n;
      const T* x = s.projected + row * s.projected_stride;
      for (int64_t j = 0; j < 2 * n; ++j) update[j] += x[j];
      gate(s.direction, update, n);
      const T* reset = update + n;
      if (bias != nullptr)
        for (int64_t j = 0; j < n; ++j) fresh[j] += bias[j];
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
  const T* reset_bias_;
};

class Gru {
 public:
  explicit Gru(Prepare& p)
      : spec_(p, 3, {"Sigmoid", "Tanh"}),
        reset_behind_(p.attr_int("linear_before_reset") != 0),
        weights_(p, reset_behind_ ? std::vector<int>{3} : std::vector<int>{2, 1}),
        bias_(p, spec_, reset_behind_ ? 1 : 0) {}

  void operator()(Run& run) const {
    const Shape& r = run.in(2).shape();
    SX_CHECK(run, r.rank() == 3, "R is ", r.str(), "; three axes expected");
    const RecurrentSizes sizes(run, spec_, r[2]);
    check_recurrent_inputs(run, sizes);
    if (run.in(0).dtype() == DType::kFloat64) compute<double>(run, sizes, *weights_.doubles(run, sizes));
    else compute<float>(run, sizes, *weights_.floats(run, sizes));
  }

 private:
  template <typename T>
  void compute(Run& run, const RecurrentSizes& sizes, const RecurrentProducts<T>& products) const {
    RecurrentIo<T> io(run, sizes, kNone);
    const Tensor bias = bias_.get(run);
    std::vector<T> reset_bias;
    if (reset_behind_ && run.has(3)) {
      const T* b = io.input(3);
      for (int d = 0; d < sizes.directions; ++d) {
        const T* from = b + d * 2 * sizes.width() + 5 * sizes.hidden;
        reset_bias.insert(reset_bias.end(), from, from + sizes.hidden);
      }
    }
    const GruCell<T> cell(spec_, reset_behind_, reset_bias.empty() ? nullptr : reset_bias.data());
    run_recurrent<T>(spec_, sizes, products, cell, io.data(static_cast<const T*>(bias.raw())));
    io.store();
  }

  RecurrentSpec spec_;
  bool reset_behind_;
  WeightCache weights_;
  BiasCache bias_;
};

}  // namespace

void define_gru(OpList& ops) {
  add_recurrent_attrs(
      ops.add(OpDef("GRU")
                  .since(22)
                  .attr("linear_before_reset", 0)
                  .in("X", "T", kFloats)
                  .in("W", "T", kFloats)
                  .in("R", "T", kFloats)
                  .optional_in("B", "T", kFloats)
                  .optional_in("sequence_lens", "T1", DType::kInt32)
                  .optional_in("initial_h", "T", kFloats)
                  .optional_out("Y", "T")
                  .optional_out("Y_h", "T")
                  .infer([](InferContext& c) { infer_recurrent(c, RecurrentSpec(c, 3, {"Sigmoid", "Tanh"})); })
                  .kernel([](Prepare& p) -> Kernel { return Gru(p); })
                  .upgrade(7, [](UpgradeContext& c) { c.take<int64_t>("output_sequence", 0); })));
}

}  // namespace sx
