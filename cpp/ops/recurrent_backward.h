// What the gradients of RNN, GRU and LSTM share, everything but their cells: the operator that walks back in time over
// what the forward pass kept, and gives the gradients of the products with W and R.
#pragma once

#include <memory>
#include <vector>

#include "ops/recurrent.h"

namespace sx {

// Inputs and outputs of a gradient operator by place: those of the operator itself with time first, what it kept, and
// the gradients of its outputs. It gives the gradients of x W^T + b_W and, where they differ, of h R^T + b_R, both
// [directions, time * batch, gates * hidden], and those of the initial states.
enum RecurrentGradientInput : int {
  kX,
  kW,
  kR,
  kB,
  kLengths,
  kInitialH,
  kInitialC,
  kGates,
  kBefore,
  kInner,
  kDY,
  kDYh,
  kDYc,
};
enum RecurrentGradientOutput : int { kDProjected, kDRecurred, kDInitialH, kDInitialC, kRecurrentGradients };

// dh += dP R, or dh = dP R, part by part of R.
template <typename T>
class BackwardProducts {
 public:
  // R as it is in memory, packed for this run where T is float.
  BackwardProducts(const RecurrentSizes& sizes, const std::vector<int>& parts, const T* r, Precision allowed);

  // dp[rows, gates * hidden] is read where the gates of the part stand. Called for one time after the other, it goes
  // through R to and fro.
  void multiply(int direction, int part, int64_t t, int64_t rows, const T* dp, bool adds, T* dh) const;

 private:
  // The rows of R [gates * hidden, hidden] before a part.
  int64_t first_row(int part) const;

  const RecurrentSizes& sizes_;
  const std::vector<int>& parts_;
  const T* r_;
  const Precision precision_;
  std::vector<int64_t> offsets_;  // of the parts' packed matrices
  int64_t step_ = 0;              // from one direction to the next
  T* packed_ = nullptr;
};

// The state of `rows` sequences of one direction on the way back over one time.
template <typename T>
struct BackwardStep {
  const RecurrentSizes& sizes;
  const BackwardProducts<T>& products;
  int direction;
  int64_t rows;
  const int32_t* lengths;  // of the rows' sequences, or null
  T* scratch;              // [rows, hidden]
  int64_t t;
  const T* before;        // h before this time
  const T* inner;         // of this time, or null
  const T* inner_before;  // of the time before; initial_c or zeros where there is none
  T* projected;           // holds the gates; what becomes of it is the gradient of x W^T + b_W
  T* recurred;            // for that of h R^T + b_R where it differs
  T *dh, *dc;             // what comes to the states behind this time, then to those before
  bool active(int64_t row) const { return lengths == nullptr || t < lengths[row]; }
};

template <typename T>
class BackwardCell {
 public:
  virtual ~BackwardCell() = default;
  // Rows that are not active pass dh and dc on, and their gradients are zero.
  virtual void step(const BackwardStep<T>& s) const = 0;
};

// Checks the inputs of a gradient operator against the sizes.
void check_backward_inputs(const Run& run, const RecurrentForm& form, const RecurrentSizes& sizes);
template <typename T>
void run_backward(Run& run, const RecurrentForm& form, const RecurrentSpec& spec, const RecurrentSizes& sizes,
                  const BackwardCell<T>& cell, Precision allowed);
extern template void run_backward(Run&, const RecurrentForm&, const RecurrentSpec&, const RecurrentSizes&,
                                  const BackwardCell<float>&, Precision);
extern template void run_backward(Run&, const RecurrentForm&, const RecurrentSpec&, const RecurrentSizes&,
                                  const BackwardCell<double>&, Precision);
extern template class BackwardProducts<float>;
extern template class BackwardProducts<double>;

// Adds ports, attributes and inference of a gradient operator.
OpDef& add_backward_ports(OpDef& op);
// The gradient rule of a gradient operator: through the same operator as a Scan, and its gradient.
void differentiate_twice(GradientContext& c, const RecurrentForm& form, const CellRule& cell);

// Defines a gradient operator by its cell, which is made of the spec and the operator's form.
template <template <typename> class Cell, typename Form>
OpDef& add_recurrent_gradient(OpList& ops, const char* name, CellRule (*rule)(const Form&)) {
  return add_backward_ports(ops.add(OpDef(name, "sardonyx")))
      .kernel([](Prepare& p) -> Kernel {
        const Form form(p);
        return [form, spec = RecurrentSpec(p, form), allowed = p.precision()](Run& run) {
          const Shape& r = run.in(kR).shape();
          SX_CHECK(run, r.rank() == 3, "R is ", r.str(), "; three axes expected");
          const RecurrentSizes sizes(run, spec, r[2]);
          check_backward_inputs(run, form, sizes);
          if (run.in(kGates).dtype() == DType::kFloat64)
            run_backward<double>(run, form, spec, sizes, Cell<double>(spec, form), allowed);
          else run_backward<float>(run, form, spec, sizes, Cell<float>(spec, form), allowed);
        };
      })
      .gradient([rule](GradientContext& c) {
        const Form form(c);
        differentiate_twice(c, form, rule(form));
      });
}

}  // namespace sx
