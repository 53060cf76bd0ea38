// Gradients of RNN, GRU and LSTM, through the same computation as a Scan of the cell for each direction.
#include "ops/fused_activation.h"
#include "ops/recurrent.h"

namespace sx {
namespace {

// Inputs by place.
enum : int { kX, kW, kR, kB, kLengths, kInitialH, kInitialC, kPeepholes };

std::vector<Expr> split(const Expr& x, int64_t axis, size_t parts) {
  if (parts == 1) return {x};
  return x.emitter().ops(parts, "Split", {x}, {{"axis", axis}, {"num_outputs", static_cast<int64_t>(parts)}});
}

class RecurrentExprs {
 public:
  RecurrentExprs(GradientContext& c, const RecurrentForm& form, const CellRule& cell)
      : c_(c), form_(form), spec_(c, form), cell_(cell) {
    x_ = spec_.batch_first ? c.transpose(c.in(kX), {1, 0, 2}) : c.in(kX);
    has_cell_ = c.node().op->output(2) != nullptr;
  }

  void run() {
    std::vector<Expr> all[3];
    for (int d = 0; d < spec_.directions; ++d) {
      const std::vector<Expr> found = direction(d);
      for (size_t i = 0; i < found.size(); ++i) all[i].push_back(c_.unsqueeze(found[i], {i == 0 ? 1 : 0}));
    }
    std::vector<Expr> outputs;
    for (size_t i = 0; i < 3 && !all[i].empty(); ++i) {
      const Expr y = c_.concat(all[i], i == 0 ? 1 : 0);
      const std::vector<int64_t> order = i == 0 ? std::vector<int64_t>{2, 0, 1, 3} : std::vector<int64_t>{1, 0, 2};
      outputs.push_back(spec_.batch_first ? c_.transpose(y, order) : y);
    }
    c_.give_through(outputs);
  }

 private:
  Expr of_direction(const Expr& x, int d) {
    return c_.op("Gather", {x, c_.constant(Tensor::scalar<int64_t>(d))}, {{"axis", int64_t{0}}});
  }

  Expr initial(size_t i, int d) {
    if (c_.in(i)) return of_direction(spec_.batch_first ? c_.transpose(c_.in(i), {1, 0, 2}) : c_.in(i), d);
    return c_.op("Expand", {c_.scalar(0, x_.dtype()), c_.concat({c_.extent(x_, 1), c_.extent(c_.in(kR), 2)}, 0)});
  }

  // Y, Y_h and Y_c of one direction.
  std::vector<Expr> direction(int d) {
    const auto gates = static_cast<size_t>(spec_.gates);
    Expr x = c_.op("MatMul", {x_, c_.transpose(of_direction(c_.in(kW), d), {1, 0})});
    Expr kept_bias;
    if (c_.in(kB)) {
      std::vector<Expr> biases = split(of_direction(c_.in(kB), d), 0, 2 * gates);
      if (form_.kept > 0) kept_bias = biases.back();
      for (size_t i = 0; i < gates - static_cast<size_t>(form_.kept); ++i) biases[i] = biases[i] + biases[gates + i];
      biases.resize(gates);
      x = x + (gates == 1 ? biases[0] : c_.concat(biases, 0));
    }
    const Expr weights = c_.transpose(of_direction(c_.in(kR), d), {1, 0});
    std::vector<Expr> inputs = {initial(kInitialH, d)};
    if (has_cell_) inputs.push_back(initial(kInitialC, d));

    BodyBuilder body(c_);
    Emitter& e = body.emitter();
    const Type state = Type::tensor(x_.dtype(), SymShape{dim(x_, 1), dim(c_.in(kR), 2)});
    CellExprs step{c_, e, spec_, d, {}, body.input("h", state), {}, {}, {}, {}};
    if (has_cell_) step.c = body.input("c", state);
    const Expr before[] = {step.h, step.c};
    step.x = split(body.input("x", Type::tensor(x_.dtype(), SymShape{dim(x, 1), dim(x, 2)})), 1, gates);
    inputs.push_back(x);
    Expr active;
    if (c_.in(kLengths)) {
      const Expr t = body.input("t", Type::tensor(DType::kInt64, SymShape{}));
      inputs.push_back(c_.iota(c_.extent(x_, 0)));
      const Expr lengths = e.cast(body.capture(c_.in(kLengths)), DType::kInt64);
      active = e.unsqueeze(e.op("Less", {t, lengths}), {1});
    }
    step.weights = body.capture(weights);
    if (kept_bias) step.kept_bias = body.capture(kept_bias);
    if (has_cell_ && c_.in(kPeepholes)) {
      for (const Expr& peephole : split(of_direction(c_.in(kPeepholes), d), 0, 3))
        step.peepholes.push_back(body.capture(peephole));
    }
    cell_(step);
    // A finished sequence keeps its state and gives zeros.
    Expr y = step.h;
    if (active) {
      y = e.where(active, step.h, e.scalar(0, x_.dtype()));
      step.h = e.where(active, step.h, before[0]);
      if (has_cell_) step.c = e.where(active, step.c, before[1]);
    }
    std::vector<Expr> results = {step.h};
    if (has_cell_) results.push_back(step.c);
    results.push_back(y);
    std::vector<Body> bodies;
    bodies.push_back(body.finish("body", results));
    const int64_t backward = spec_.backward(d) ? 1 : 0;
    const int64_t scans = active ? 2 : 1;
    const std::vector<Expr> found =
        c_.ops(results.size(), "Scan", inputs,
               {{"num_scan_inputs", scans},
                {"scan_input_directions", std::vector<int64_t>(static_cast<size_t>(scans), backward)},
                {"scan_output_directions", std::vector<int64_t>{backward}}},
               "", std::move(bodies));
    std::vector<Expr> outputs = {found.back()};
    outputs.insert(outputs.end(), found.begin(), found.end() - 1);
    return outputs;
  }

  static Dim dim(const Expr& x, size_t axis) { return x.type().shape ? (*x.type().shape)[axis] : Dim(); }

  GradientContext& c_;
  const RecurrentForm& form_;
  RecurrentSpec spec_;
  const CellRule& cell_;
  Expr x_;  // [time, batch, inputs]
  bool has_cell_;
};

}  // namespace

std::vector<Expr> CellExprs::recurred(const Expr& state, int first, int last) const {
  const auto gates = static_cast<size_t>(last - first);
  Expr part = weights;
  if (last - first < spec.gates) {
    std::vector<Expr> parts = split(weights, 1, static_cast<size_t>(spec.gates));
    parts.assign(parts.begin() + first, parts.begin() + last);
    part = gates == 1 ? parts[0] : emitter.concat(parts, 1);
  }
  return split(emitter.op("MatMul", {state, part}), 1, gates);
}

Expr CellExprs::activated(size_t function, const Expr& value, bool clips) const {
  const CellActivation& f = spec.activations[static_cast<size_t>(direction)][function];
  Expr v = value;
  if (clips && spec.clip > 0.0f) {
    const Expr limit = emitter.scalar(static_cast<double>(spec.clip), v.dtype());
    v = emitter.op("Clip", {v, emitter.scalar(-static_cast<double>(spec.clip), v.dtype()), limit});
  }
  if (f.in_scale != 1.0f) v = v * static_cast<double>(f.in_scale);
  v = sx::activated(node, {f.kind, f.alpha, f.beta}, v);
  return f.out_scale == 1.0f ? v : v * static_cast<double>(f.out_scale);
}

void differentiate_recurrent(GradientContext& c, const RecurrentForm& form, const CellRule& cell) {
  c.require(c.in(kX).rank() == 3 && c.in(kR).rank() == 3, "has no gradient where the ranks of its inputs are unknown");
  RecurrentExprs(c, form, cell).run();
}

}  // namespace sx
