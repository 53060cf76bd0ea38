// What RNN, GRU and LSTM share, everything but their cells: attributes, shapes, weights, biases, the kernel, and the
// walk over directions, batch rows and time.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/scratch.h"
#include "kernels/epilogue.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {

// An activation of a cell: y = out_scale * kind(in_scale * x).
struct CellActivation {
  Activation kind = Activation::kNone;
  float alpha = 0.0f, beta = 0.0f;
  float in_scale = 1.0f, out_scale = 1.0f;

  bool is(Activation function) const { return kind == function && in_scale == 1.0f && out_scale == 1.0f; }
};
void activate(const CellActivation& activation, float* x, int64_t n);
void activate(const CellActivation& activation, double* x, int64_t n);

// What tells one recurrent operator from another besides its cell. An operator derives a form of its own that adds the
// attributes of its cell and is read from a node by its constructor.
struct RecurrentForm {
  int gates = 1;
  std::vector<std::string> functions;  // the default activations of one direction
  std::vector<int> parts;              // of R, see WeightCache
  int kept = 0;                        // see joined_bias()
  int states = 1;                      // h, or h and c
  bool has_inner = false;              // see KeptOutput
};

// The operator that has the same name in the domain "sardonyx" gives, behind the outputs of this one, what its gradient
// reads: the gates behind their activations [directions, time, batch, gates * hidden], h before each time and what else
// the cell calls inner, both [directions, time, batch, hidden]. The first two go together.
enum KeptOutput : int { kKeptGates, kKeptBefore, kKeptInner, kKeptCount };

struct RecurrentSpec {
  int gates = 1;
  int states = 1;
  int directions = 1;
  bool backward_first = false;  // the only direction runs backwards
  bool batch_first = false;
  float clip = 0.0f;                                     // 0: none
  int64_t hidden = 0;                                    // 0: as the weights say
  std::vector<std::vector<CellActivation>> activations;  // [direction][function]

  RecurrentSpec(const NodeView& node, const RecurrentForm& form);
  bool backward(int direction) const { return backward_first || direction == 1; }
  template <typename T>
  void clip_values(T* x, int64_t n) const {
    if (clip <= 0.0f) return;
    const T limit = clip;
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
  }
};

// `hidden_axis` is the axis of R that measures the hidden state.
void infer_recurrent(InferContext& c, const RecurrentSpec& spec, size_t hidden_axis = 2);
// direction, hidden_size, layout, activations ...
OpDef& add_recurrent_attrs(OpDef& op);
// The same with the inputs X, W, R, B, sequence_lens, initial_h and the outputs Y, Y_h of the ONNX operators.
OpDef& add_recurrent_ports(OpDef& op);

// One step of a cell as expressions within a body, and what it makes of them in place of h and c.
struct CellExprs {
  const NodeView& node;
  Emitter& emitter;
  const RecurrentSpec& spec;
  int direction;
  std::vector<Expr> x;  // x W^T + bias, gate by gate
  Expr h, c;
  Expr weights;    // R^T, [hidden, gates * hidden]
  Expr kept_bias;  // the recurrent bias of the last gate where RecurrentForm::kept is 1, or none
  std::vector<Expr> peepholes;
  Expr inner;  // the cell's, where something but the gradient operator reads it

  // h R^T for the gates [first, last), gate by gate.
  std::vector<Expr> recurred(const Expr& state, int first, int last) const;
  // The activation `function` of x, clipped where the operator clips.
  Expr activated(size_t function, const Expr& x, bool clips = true) const;
};
using CellRule = std::function<void(CellExprs&)>;
// What a cell is applied to in time. States are [directions, batch, hidden]; what is absent is none.
struct RecurrentReads {
  std::vector<Expr> projected;  // x W^T + bias of each direction, [time, batch, gates * hidden]
  // See RecurrentForm::kept; of each direction, [hidden] or [time, batch, hidden], or empty.
  std::vector<Expr> kept_bias;
  Expr r, lengths, initial_h, initial_c, peepholes;

  // Sets the first two, for X of [time, batch, inputs] and the inputs W and B of the node.
  void project(GradientContext& c, const RecurrentSpec& spec, int kept, const Expr& x);
};
// Y [time, directions, batch, hidden], Y_h and, where there is a cell state, Y_c: a Scan of the cell for each direction
// (recurrent_gradient.cpp). Where `keeps`, the kept outputs but the gates follow, none in their place.
std::vector<Expr> scan_recurrent(GradientContext& c, const RecurrentSpec& spec, const RecurrentReads& reads,
                                 const CellRule& cell, bool keeps);
// Activations that a gradient operator knows, function by function.
using KnownActivations = std::vector<std::vector<Activation>>;
// The gradient rule of an operator: its gradient operator (recurrent_backward.h) where that knows the activations and
// nothing is clipped, else scan_recurrent(), which also gives gradients of gradients. There is no gradient operator
// where `known` is empty.
void differentiate_recurrent(GradientContext& c, const RecurrentForm& form, const CellRule& cell,
                             const KnownActivations& known);

// The extents of one run and where things stand in memory.
struct RecurrentSizes {
  int64_t steps, batch, inputs, hidden;
  int directions, gates, states;
  bool batch_first;

  RecurrentSizes(const Run& run, const RecurrentSpec& spec, int64_t hidden);
  int64_t width() const { return gates * hidden; }
  int64_t x_row(int64_t t, int64_t b) const { return batch_first ? b * steps + t : t * batch + b; }
  int64_t y_row(int64_t t, int d, int64_t b) const {
    return batch_first ? (b * steps + t) * directions + d : (t * directions + d) * batch + b;
  }
  int64_t state_row(int d, int64_t b) const { return batch_first ? b * directions + d : d * batch + b; }
  // The row of `batch` rows of one time in what is kept.
  int64_t kept_row(int64_t t, int d, int64_t b) const { return (d * steps + t) * batch + b; }
  Shape y_shape() const;
  Shape state_shape() const;
  Shape kept_shape(int output) const;  // of a KeptOutput
  // Sequences that one task takes through time together.
  int64_t block() const;
};

// Rows of X: `runs` runs of `length` rows that begin `stride` rows apart, from row `first` on.
struct RecurrentRows {
  int64_t first, runs, length, stride;

  int64_t count() const { return runs * length; }
  // The rows one after the other: where they stand in x[:, inputs], or copied to scratch memory (kOperator3).
  template <typename E>
  const E* of(const E* x, int64_t inputs) const {
    x += first * inputs;
    if (runs <= 1 || stride == length) return x;
    const size_t bytes = sizeof(E) * static_cast<size_t>(length * inputs);
    auto* copy = static_cast<char*>(thread_scratch(ScratchSlot::kOperator3, bytes * static_cast<size_t>(runs)));
    for (int64_t i = 0; i < runs; ++i)
      std::memcpy(copy + static_cast<size_t>(i) * bytes, x + i * stride * inputs, bytes);
    return reinterpret_cast<const E*>(copy);
  }
};

// The weights of all directions, ready to multiply.
template <typename T>
class RecurrentProducts {
 public:
  virtual ~RecurrentProducts() = default;
  // y[rows.count(), gates * hidden] = those rows of x W^T + bias, where x is the whole of X.
  virtual void project(int direction, const RecurrentRows& rows, const T* x, const T* bias, T* y) const = 0;
  // y[rows, :] = h[rows, hidden] R^T + addend for the gates of one part of R; the strides are between rows. Called for
  // one time t after the other, it may go through R to and fro.
  virtual void recur(int direction, int part, int64_t t, int64_t rows, const T* h, const T* addend,
                     int64_t addend_stride, T* y, int64_t y_stride) const = 0;
};

// Weights W [directions, gates * hidden, inputs] and R [directions, gates * hidden, hidden]. R is cut into parts of
// `parts[i]` gates that are multiplied one at a time. Constant weights are packed once.
class WeightCache {
 public:
  WeightCache(Prepare& p, std::vector<int> parts);
  // For f32; constant weights in the precision that they are kept in, else those of this run.
  std::unique_ptr<RecurrentProducts<float>> floats(const Run& run, const RecurrentSizes& sizes) const;
  std::unique_ptr<RecurrentProducts<double>> doubles(const Run& run, const RecurrentSizes& sizes) const;

 private:
  std::vector<int> parts_;
  const Precision allowed_;
  Tensor w_, r_;
};

// The state of `rows` sequences of one direction at one time.
template <typename T>
struct RecurrentStep {
  const RecurrentSizes& sizes;
  const RecurrentProducts<T>& products;
  int direction;
  int64_t rows;
  const T* projected;  // x W^T + bias of the first row
  int64_t projected_stride;
  T* h;                    // [rows, hidden]
  T* c;                    // [rows, hidden]
  T* gates;                // [rows, gates * hidden] and
  T* inner;                // [rows, hidden] for the cell to work with
  const int32_t* lengths;  // of the rows' sequences, or null
  int64_t t;
  bool keeps;  // both are read by the gradient: the gates behind their activations, and what the cell says
  // A finished sequence keeps its state.
  bool active(int64_t row) const { return lengths == nullptr || t < lengths[row]; }
};

template <typename T>
class RecurrentCell {
 public:
  virtual ~RecurrentCell() = default;
  // Brings h and c of the active rows from time t - 1 to t.
  virtual void step(const RecurrentStep<T>& s) const = 0;
};

template <typename T>
struct RecurrentData {
  const T* x;
  const T* bias;           // [directions, gates * hidden], or null
  const int32_t* lengths;  // [batch] or null
  const T* initial_h;      // or null
  const T* initial_c;      // or null
  T* y;                    // any of these may be null
  T* last_h;
  T* last_c;
  T* kept[kKeptCount];
};

// [directions, gates * hidden]: the sum of the input and recurrent biases of B [directions, 2 * gates * hidden], in the
// dtype of T. The last `kept` gates take the input bias alone.
template <typename T>
Tensor joined_bias(const Tensor& b, int directions, int gates, int kept);
extern template Tensor joined_bias<float>(const Tensor&, int, int, int);
extern template Tensor joined_bias<double>(const Tensor&, int, int, int);
// joined_bias() of input 3: of the initializer when the plan is made, else of each run's tensor.
class BiasCache {
 public:
  BiasCache(Prepare& p, const RecurrentSpec& spec, int kept);
  // Undefined where there is no bias.
  Tensor get(const Run& run) const;

 private:
  int directions_, gates_, kept_;
  Tensor bias_;
};

// Checks inputs 3 (bias), 4 (lengths), 5 (initial h), 6 (initial c) and 7 (peepholes), where there are such, against
// the sizes.
void check_recurrent_inputs(const Run& run, const RecurrentSizes& sizes);
// The sizes of a run whose hidden state is measured by the last axis of R, with its inputs checked.
RecurrentSizes checked_sizes(const Run& run, const RecurrentSpec& spec);
template <typename T>
void run_recurrent(const RecurrentSpec& spec, const RecurrentSizes& sizes, const RecurrentProducts<T>& products,
                   const RecurrentCell<T>& cell, const RecurrentData<T>& data);
extern template void run_recurrent(const RecurrentSpec&, const RecurrentSizes&, const RecurrentProducts<float>&,
                                   const RecurrentCell<float>&, const RecurrentData<float>&);
extern template void run_recurrent(const RecurrentSpec&, const RecurrentSizes&, const RecurrentProducts<double>&,
                                   const RecurrentCell<double>&, const RecurrentData<double>&);

// Inputs and outputs of a run as T: f64 as it is, everything else as f32.
template <typename T>
class RecurrentIo {
 public:
  RecurrentIo(Run& run, const RecurrentSizes& sizes);
  const RecurrentSizes& sizes() const { return sizes_; }
  const T* input(int i);  // null where it is absent
  RecurrentData<T> data(const T* bias);
  void store() const;

 private:
  T* output(int i, const Shape& shape);

  Run& run_;
  const RecurrentSizes& sizes_;
  static constexpr int kOutputs = 3 + kKeptCount;
  std::vector<Tensor> held_;
  Tensor results_[kOutputs];  // f32 results of a half-precision run, and where they go
  const Tensor* targets_[kOutputs] = {};
};
extern template class RecurrentIo<float>;
extern template class RecurrentIo<double>;

// One run of a cell, which is made of the spec, the operator's form and the run's inputs.
template <typename T, template <typename> class Cell, typename Form>
void run_cell(Run& run, const RecurrentSpec& spec, const Form& form, const RecurrentSizes& sizes,
              const RecurrentProducts<T>& products, const BiasCache& biases) {
  RecurrentIo<T> io(run, sizes);
  const Tensor bias = biases.get(run);
  const Cell<T> cell(spec, form, io);
  run_recurrent<T>(spec, sizes, products, cell, io.data(static_cast<const T*>(bias.raw())));
  io.store();
}

// The kernel of an operator whose weights are floating-point numbers.
template <template <typename> class Cell, typename Form>
class RecurrentKernel {
 public:
  explicit RecurrentKernel(Prepare& p)
      : form_(p), spec_(p, form_), weights_(p, form_.parts), biases_(p, spec_, form_.kept) {}

  void operator()(Run& run) const {
    const RecurrentSizes sizes = checked_sizes(run, spec_);
    if (run.in(0).dtype() == DType::kFloat64)
      run_cell<double, Cell>(run, spec_, form_, sizes, *weights_.doubles(run, sizes), biases_);
    else run_cell<float, Cell>(run, spec_, form_, sizes, *weights_.floats(run, sizes), biases_);
  }

 private:
  Form form_;
  RecurrentSpec spec_;
  WeightCache weights_;
  BiasCache biases_;
};

// Defines an ONNX operator by its cell, and the one of the same name that keeps what its gradient reads. `add_ports`
// adds what the operator has beside add_recurrent_ports().
template <template <typename> class Cell, typename Form>
void add_recurrent(OpList& ops, const char* name, GradientFn gradient, void (*add_ports)(OpDef&)) {
  for (const char* domain : {"", "sardonyx"}) {
    OpDef& op = add_recurrent_ports(ops.add(OpDef(name, domain)))
                    .infer([](InferContext& c) { infer_recurrent(c, RecurrentSpec(c, Form(c))); })
                    .kernel([](Prepare& p) -> Kernel { return RecurrentKernel<Cell, Form>(p); })
                    .gradient(gradient);
    add_ports(op);
    if (*domain != 0) op.optional_out("gates", "T").optional_out("before", "T").optional_out("inner", "T");
  }
}

}  // namespace sx
