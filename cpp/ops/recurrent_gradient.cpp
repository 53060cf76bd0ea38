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

Expr of_direction(GradientContext& c, const Expr& x, int d) {
  return c.op("Gather", {x, c.constant(Tensor::scalar<int64_t>(d))}, {{"axis", int64_t{0}}});
}

Dim dim(const Expr& x, size_t axis) { return x.type().shape ? (*x.type().shape)[axis] : Dim(); }

// The Scan of one direction: Y [time, batch, hidden], the last h and, where the cell has one, the last c.
std::vector<Expr> scan_direction(GradientContext& c, const RecurrentSpec& spec, const RecurrentReads& reads, int d,
                                 const CellRule& cell) {
  const auto gates = static_cast<size_t>(spec.gates), at = static_cast<size_t>(d);
  const Expr& x = reads.projected[at];
  const auto initial = [&](const Expr& state) {
    if (state) return of_direction(c, state, d);
    return c.op("Expand", {c.scalar(0, x.dtype()), c.concat({c.extent(x, 1), c.extent(reads.r, 2)}, 0)});
  };
  const Expr weights = c.transpose(of_direction(c, reads.r, d), {1, 0});
  std::vector<Expr> inputs = {initial(reads.initial_h)};
  if (reads.has_cell) inputs.push_back(initial(reads.initial_c));

  BodyBuilder body(c);
  Emitter& e = body.emitter();
  const Type state = Type::tensor(x.dtype(), SymShape{dim(x, 1), dim(reads.r, 2)});
  CellExprs step{c, e, spec, d, {}, body.input("h", state), {}, {}, {}, {}};
  if (reads.has_cell) step.c = body.input("c", state);
  const Expr before[] = {step.h, step.c};
  step.x = split(body.input("x", Type::tensor(x.dtype(), SymShape{dim(x, 1), dim(x, 2)})), 1, gates);
  inputs.push_back(x);
  Expr active;
  if (reads.lengths) {
    const Expr t = body.input("t", Type::tensor(DType::kInt64, SymShape{}));
    inputs.push_back(c.iota(c.extent(x, 0)));
    const Expr lengths = e.cast(body.capture(reads.lengths), DType::kInt64);
    active = e.unsqueeze(e.op("Less", {t, lengths}), {1});
  }
  step.weights = body.capture(weights);
  if (!reads.kept_bias.empty()) step.kept_bias = body.capture(reads.kept_bias[at]);
  if (reads.peepholes) {
    for (const Expr& peephole : split(of_direction(c, reads.peepholes, d), 0, 3))
      step.peepholes.push_back(body.capture(peephole));
  }
  cell(step);
  // A finished sequence keeps its state and gives zeros.
  Expr y = step.h;
  if (active) {
    y = e.where(active, step.h, e.scalar(0, x.dtype()));
    step.h = e.where(active, step.h, before[0]);
    if (reads.has_cell) step.c = e.where(active, step.c, before[1]);
  }
  std::vector<Expr> results = {step.h};
  if (reads.has_cell) results.push_back(step.c);
  results.push_back(y);
  std::vector<Body> bodies;
  bodies.push_back(body.finish("body", results));
  const int64_t backward = spec.backward(d) ? 1 : 0;
  const int64_t scans = active ? 2 : 1;
  const std::vector<Expr> found =
      c.ops(results.size(), "Scan", inputs,
            {{"num_scan_inputs", scans},
             {"scan_input_directions", std::vector<int64_t>(static_cast<size_t>(scans), backward)},
             {"scan_output_directions", std::vector<int64_t>{backward}}},
            "", std::move(bodies));
  std::vector<Expr> outputs = {found.back()};
  outputs.insert(outputs.end(), found.begin(), found.end() - 1);
  return outputs;
}

}  // namespace

void RecurrentReads::project(GradientContext& c, const RecurrentSpec& spec, int kept, const Expr& x) {
  const auto gates = static_cast<size_t>(spec.gates);
  for (int d = 0; d < spec.directions; ++d) {
    Expr made = c.op("MatMul", {x, c.transpose(of_direction(c, c.in(kW), d), {1, 0})});
    if (c.in(kB)) {
      std::vector<Expr> biases = split(of_direction(c, c.in(kB), d), 0, 2 * gates);
      if (kept > 0) kept_bias.push_back(biases.back());
      for (size_t i = 0; i < gates - static_cast<size_t>(kept); ++i) biases[i] = biases[i] + biases[gates + i];
      biases.resize(gates);
      made = made + (gates == 1 ? biases[0] : c.concat(biases, 0));
    }
    projected.push_back(made);
  }
}

std::vector<Expr> scan_recurrent(GradientContext& c, const RecurrentSpec& spec, const RecurrentReads& reads,
                                 const CellRule& cell) {
  std::vector<Expr> all[3];
  for (int d = 0; d < spec.directions; ++d) {
    const std::vector<Expr> found = scan_direction(c, spec, reads, d, cell);
    for (size_t i = 0; i < found.size(); ++i) all[i].push_back(c.unsqueeze(found[i], {i == 0 ? 1 : 0}));
  }
  std::vector<Expr> outputs;
  for (size_t i = 0; i < 3 && !all[i].empty(); ++i) outputs.push_back(c.concat(all[i], i == 0 ? 1 : 0));
  return outputs;
}

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
  SX_CHECK(c, c.in(kX).rank() == 3 && c.in(kR).rank() == 3,
           "has no gradient where the ranks of its inputs are unknown");
  const RecurrentSpec spec(c, form);
  const auto time_first = [&](const Expr& x) { return x && spec.batch_first ? c.transpose(x, {1, 0, 2}) : x; };
  RecurrentReads reads;
  reads.project(c, spec, form.kept, time_first(c.in(kX)));
  reads.has_cell = c.node().op->output(2) != nullptr;
  reads.r = c.in(kR);
  reads.lengths = c.in(kLengths);
  reads.initial_h = time_first(c.in(kInitialH));
  if (reads.has_cell) {
    reads.initial_c = time_first(c.in(kInitialC));
    reads.peepholes = c.in(kPeepholes);
  }
  std::vector<Expr> outputs = scan_recurrent(c, spec, reads, cell);
  for (size_t i = 0; i < outputs.size() && spec.batch_first; ++i)
    outputs[i] = c.transpose(outputs[i], i == 0 ? std::vector<int64_t>{2, 0, 1, 3} : std::vector<int64_t>{1, 0, 2});
  c.give_through(outputs);
}

}  // namespace sx
