// Gradients of RNN, GRU and LSTM: by their gradient operators over what the forward pass keeps, or through the same
// computation as a Scan of the cell for each direction.
#include "ops/fused_activation.h"
#include "ops/recurrent_backward.h"

namespace sx {
namespace {

constexpr int kPeepholes = 7;  // an input of LSTM; the ones before it are those of its gradient operator

std::vector<Expr> split(const Expr& x, int64_t axis, size_t parts) {
  if (parts == 1) return {x};
  return x.emitter().ops(parts, "Split", {x}, {{"axis", axis}, {"num_outputs", static_cast<int64_t>(parts)}});
}

Expr of_direction(GradientContext& c, const Expr& x, int d) {
  return c.op("Gather", {x, c.constant(Tensor::scalar<int64_t>(d))}, {{"axis", int64_t{0}}});
}

Dim dim(const Expr& x, size_t axis) { return x.type().shape ? (*x.type().shape)[axis] : Dim(); }

// The Scan of one direction: Y [time, batch, hidden], the last h and, where the cell has one, the last c. Where
// `keeps`, h before each time and, where the cell gives one, its inner vector follow.
std::vector<Expr> scan_direction(GradientContext& c, const RecurrentSpec& spec, const RecurrentReads& reads, int d,
                                 const CellRule& cell, bool keeps) {
  const auto gates = static_cast<size_t>(spec.gates), at = static_cast<size_t>(d);
  const bool has_cell = spec.states == 2;
  const Expr& x = reads.projected[at];
  const auto initial = [&](const Expr& state) {
    if (state) return of_direction(c, state, d);
    return c.op("Expand", {c.scalar(0, x.dtype()), c.concat({c.extent(x, 1), c.extent(reads.r, 2)}, 0)});
  };
  const Expr weights = c.transpose(of_direction(c, reads.r, d), {1, 0});
  std::vector<Expr> inputs = {initial(reads.initial_h)};
  if (has_cell) inputs.push_back(initial(reads.initial_c));

  BodyBuilder body(c);
  Emitter& e = body.emitter();
  const Type state = Type::tensor(x.dtype(), SymShape{dim(x, 1), dim(reads.r, 2)});
  CellExprs step{c, e, spec, d, {}, body.input("h", state), {}, {}, {}, {}, {}};
  if (has_cell) step.c = body.input("c", state);
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
  int64_t scans = active ? 2 : 1;
  if (!reads.kept_bias.empty()) {
    const Expr& bias = reads.kept_bias[at];
    if (bias.rank() == 3) {
      step.kept_bias = body.input("bias", Type::tensor(x.dtype(), SymShape{dim(bias, 1), dim(bias, 2)}));
      inputs.push_back(bias);
      ++scans;
    } else {
      step.kept_bias = body.capture(bias);
    }
  }
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
    if (has_cell) step.c = e.where(active, step.c, before[1]);
  }
  std::vector<Expr> results = {step.h};
  if (has_cell) results.push_back(step.c);
  const size_t states = results.size();
  results.push_back(y);
  if (keeps) {
    results.push_back(before[0]);
    if (step.inner) results.push_back(step.inner);
  }
  std::vector<Body> bodies;
  bodies.push_back(body.finish("body", results));
  const int64_t backward = spec.backward(d) ? 1 : 0;
  const std::vector<Expr> found =
      c.ops(results.size(), "Scan", inputs,
            {{"num_scan_inputs", scans},
             {"scan_input_directions", std::vector<int64_t>(static_cast<size_t>(scans), backward)},
             {"scan_output_directions", std::vector<int64_t>(results.size() - states, backward)}},
            "", std::move(bodies));
  std::vector<Expr> outputs = {found[states]};
  outputs.insert(outputs.end(), found.begin(), found.begin() + static_cast<std::ptrdiff_t>(states));
  outputs.insert(outputs.end(), found.begin() + static_cast<std::ptrdiff_t>(states) + 1, found.end());
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
                                 const CellRule& cell, bool keeps) {
  std::vector<std::vector<Expr>> all;
  for (int d = 0; d < spec.directions; ++d) {
    const std::vector<Expr> found = scan_direction(c, spec, reads, d, cell, keeps);
    all.resize(found.size());
    for (size_t i = 0; i < found.size(); ++i) all[i].push_back(c.unsqueeze(found[i], {i == 0 ? 1 : 0}));
  }
  std::vector<Expr> outputs;
  const size_t own = 1 + static_cast<size_t>(spec.states);
  for (size_t i = 0; i < all.size(); ++i) {
    if (i == own) outputs.push_back({});  // the gates
    outputs.push_back(c.concat(all[i], i == 0 ? 1 : 0));
  }
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

namespace {

// Whether the gradient operator computes the gradient of this node.
bool is_known(GradientContext& c, const RecurrentSpec& spec, const KnownActivations& known) {
  const DType dtype = c.in(kX).dtype();
  if (known.empty() || spec.clip > 0.0f || (dtype != DType::kFloat32 && dtype != DType::kFloat64)) return false;
  for (const auto& functions : spec.activations)
    for (size_t i = 0; i < functions.size(); ++i)
      if (std::none_of(known[i].begin(), known[i].end(), [&](Activation kind) { return functions[i].is(kind); }))
        return false;
  // Gradients of gradients depend on what is kept.
  for (int i = 0; i < kKeptCount; ++i)
    if (c.grad(static_cast<size_t>(1 + spec.states + i))) return false;
  return true;
}

// Axes 0 and 1 the other way round where batches come first.
Expr time_first(GradientContext& c, const RecurrentSpec& spec, const Expr& x) {
  return x && spec.batch_first ? c.transpose(x, {1, 0, 2}) : x;
}

void differentiate_by_operator(GradientContext& c, const RecurrentForm& form, const RecurrentSpec& spec) {
  const auto turned = [&](const Expr& x) { return time_first(c, spec, x); };
  c.graph().node(c.id()).op = &get_op(c.node().op->name(), "sardonyx");
  const auto kept = [&](int i) { return c.out(static_cast<size_t>(1 + form.states + i)); };
  const Expr x = turned(c.in(kX)), gates = kept(kKeptGates), before = kept(kKeptBefore);
  const Expr inner = form.has_inner ? kept(kKeptInner) : Expr();
  Expr dy = c.grad(0);
  if (dy && spec.batch_first) dy = c.transpose(dy, {1, 2, 0, 3});
  Attributes attributes = c.node().attributes;
  attributes.erase("layout");
  const bool has_cell = form.states == 2;
  const std::vector<Expr> found = c.ops(kRecurrentGradients, c.node().op->name() + "Gradient",
                                        {x, c.in(kW), c.in(kR), c.in(kB), c.in(kLengths), turned(c.in(kInitialH)),
                                         has_cell ? turned(c.in(kInitialC)) : Expr(), gates, before, inner, dy,
                                         turned(c.grad(1)), has_cell ? turned(c.grad(2)) : Expr()},
                                        std::move(attributes), "sardonyx");
  const Expr& projected = found[kDProjected];
  const Expr& recurred = form.kept > 0 ? found[kDRecurred] : projected;
  if (c.wants(kX)) {
    const Expr dx = c.op("MatMul", {projected, c.in(kW)});
    c.give(kX, turned(c.reshape_like(spec.directions == 1 ? dx : c.reduce_sum(dx, {0}, false), x)));
  }
  if (c.wants(kW)) c.give(kW, c.op("MatMul", {c.swap_last(projected), c.op("Flatten", {x}, {{"axis", int64_t{2}}})}));
  if (c.wants(kR)) {
    // Each part of R met a vector of its own.
    const auto rows = [&](const Expr& state) {
      return c.reshape_to(state, {c.extent(state, 0), c.ints({-1}), c.extent(state, 3)});
    };
    if (form.parts.size() == 1) {
      c.give(kR, c.op("MatMul", {c.swap_last(recurred), rows(before)}));
    } else {
      const std::vector<Expr> gate = split(recurred, 2, static_cast<size_t>(spec.gates));
      std::vector<Expr> products;
      for (size_t i = 0; i < gate.size(); ++i)
        products.push_back(
            c.op("MatMul", {c.swap_last(gate[i]), rows(static_cast<int>(i) < form.parts[0] ? before : inner)}));
      c.give(kR, c.concat(products, 1));
    }
  }
  if (c.wants(kB)) {
    const Expr sums = c.reduce_sum(projected, {1}, false);
    c.give(kB, c.concat({sums, form.kept > 0 ? c.reduce_sum(recurred, {1}, false) : sums}, 1));
  }
  if (c.wants(kInitialH)) c.give(kInitialH, turned(found[kDInitialH]));
  if (has_cell && c.wants(kInitialC)) c.give(kInitialC, turned(found[kDInitialC]));
}

}  // namespace

void differentiate_recurrent(GradientContext& c, const RecurrentForm& form, const CellRule& cell,
                             const KnownActivations& known) {
  SX_CHECK(c, c.in(kX).rank() == 3 && c.in(kR).rank() == 3,
           "has no gradient where the ranks of its inputs are unknown");
  const RecurrentSpec spec(c, form);
  if (is_known(c, spec, known)) {
    differentiate_by_operator(c, form, spec);
    return;
  }
  RecurrentReads reads;
  reads.project(c, spec, form.kept, time_first(c, spec, c.in(kX)));
  reads.r = c.in(kR);
  reads.lengths = c.in(kLengths);
  reads.initial_h = time_first(c, spec, c.in(kInitialH));
  if (form.states == 2) {
    reads.initial_c = time_first(c, spec, c.in(kInitialC));
    reads.peepholes = c.in(kPeepholes);
  }
  const size_t own = 1 + static_cast<size_t>(form.states);
  std::vector<Expr> outputs = scan_recurrent(c, spec, reads, cell, c.node().outputs.size() > own);
  for (size_t i = 0; i < own && spec.batch_first; ++i)
    outputs[i] = c.transpose(outputs[i], i == 0 ? std::vector<int64_t>{2, 0, 1, 3} : std::vector<int64_t>{1, 0, 2});
  c.give_through(outputs);
}

void differentiate_twice(GradientContext& c, const RecurrentForm& form, const CellRule& cell) {
  const RecurrentSpec spec(c, form);
  const Expr x = c.in(kX), r = c.in(kR);
  const auto zeros = [&](const std::vector<Expr>& shape) {
    return c.op("Expand", {c.scalar(0, x.dtype()), c.concat(shape, 0)});
  };
  const auto state = [&](const Expr& initial) {
    return initial ? initial : zeros({c.ints({spec.directions}), c.extent(x, 1), c.extent(r, 2)});
  };
  RecurrentReads reads;
  reads.project(c, spec, form.kept, x);
  reads.r = r;
  reads.lengths = c.in(kLengths);
  reads.initial_h = state(c.in(kInitialH));
  if (form.states == 2) reads.initial_c = state(c.in(kInitialC));
  if (form.kept > 0) {
    // A bias for every time and sequence, so that each has a gradient.
    const Expr spread = zeros({c.extents(x, 0, 2), c.extent(r, 2)});
    if (reads.kept_bias.empty()) reads.kept_bias.resize(reads.projected.size());
    for (Expr& bias : reads.kept_bias) bias = bias ? spread + bias : spread;
  }
  const std::vector<Expr> outputs = scan_recurrent(c, spec, reads, cell, false);
  GradientRequest request;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Expr seed = c.in(kDY + i);
    if (!seed) continue;
    request.ys.push_back(outputs[i].id());
    request.seeds.push_back(seed.id());
  }
  for (const Expr& of : reads.projected) request.xs.push_back(of.id());
  for (const Expr& of : reads.kept_bias) request.xs.push_back(of.id());
  request.xs.push_back(reads.initial_h.id());
  if (reads.initial_c) request.xs.push_back(reads.initial_c.id());
  // What was kept follows from the other inputs: gradients must not go on from it.
  request.independent.insert(request.xs.begin(), request.xs.end());
  const std::vector<ValueId> found = c.differentiate(c.graph(), request);
  const auto gradient = [&](size_t i) {
    return found[i] == kNone ? c.zeros_like(c.expr(request.xs[i])) : c.expr(found[i]);
  };
  const auto rows = [&](const Expr& of) { return c.unsqueeze(c.op("Flatten", {of}, {{"axis", int64_t{2}}}), {0}); };
  const size_t directions = reads.projected.size();
  std::vector<Expr> projected, recurred;
  for (size_t d = 0; d < directions; ++d) {
    projected.push_back(rows(gradient(d)));
    if (form.kept == 0) continue;
    std::vector<Expr> gates = split(projected.back(), 2, static_cast<size_t>(spec.gates));
    gates.back() = rows(gradient(directions + d));
    recurred.push_back(c.concat(gates, 2));
  }
  const size_t states = directions + reads.kept_bias.size();
  c.give_through({c.concat(projected, 0), form.kept > 0 ? c.concat(recurred, 0) : Expr(), gradient(states),
                  form.states == 2 ? gradient(states + 1) : Expr()});
}

}  // namespace sx
