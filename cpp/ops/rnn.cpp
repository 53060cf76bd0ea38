// h' = f(x W + h R + b): the simple recurrent network.
#include <algorithm>

#include "ops/recurrent.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

template <typename T>
class RnnCell : public RecurrentCell<T> {
 public:
  explicit RnnCell(const RecurrentSpec& spec) : spec_(spec) {}

  void step(const RecurrentStep<T>& s) const override {
    const int64_t n = s.sizes.hidden;
    s.products.recur(s.direction, 0, s.rows, s.h, s.projected, s.projected_stride, s.gates, n);
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

class Rnn {
 public:
  explicit Rnn(Prepare& p) : spec_(p, 1, {"Tanh"}), weights_(p, {1}), bias_(p, spec_, 0) {}

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
    const RnnCell<T> cell(spec_);
    run_recurrent<T>(spec_, sizes, products, cell, io.data(static_cast<const T*>(bias.raw())));
    io.store();
  }

  RecurrentSpec spec_;
  WeightCache weights_;
  BiasCache bias_;
};

}  // namespace

void define_rnn(OpList& ops) {
  add_recurrent_attrs(ops.add(OpDef("RNN")
                                  .since(22)
                                  .in("X", "T", kFloats)
                                  .in("W", "T", kFloats)
                                  .in("R", "T", kFloats)
                                  .optional_in("B", "T", kFloats)
                                  .optional_in("sequence_lens", "T1", DType::kInt32)
                                  .optional_in("initial_h", "T", kFloats)
                                  .optional_out("Y", "T")
                                  .optional_out("Y_h", "T")
                                  .infer([](InferContext& c) { infer_recurrent(c, RecurrentSpec(c, 1, {"Tanh"})); })
                                  .kernel([](Prepare& p) -> Kernel { return Rnn(p); })
                                  .upgrade(7, [](UpgradeContext& c) { c.take<int64_t>("output_sequence", 0); })));
}

}  // namespace sx
