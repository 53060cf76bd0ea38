// Gradients of If, Loop, Scan and SequenceMap: nodes of control flow whose bodies go through an iteration and back.
#include <algorithm>
#include <set>

#include "ops/control_flow.h"
#include "ops/gradient.h"

namespace sx {
namespace {

// A value that bodies of the node capture and whose gradient is wanted, with the first read that it is.
struct Captured {
  size_t read;
  Expr value;
};

std::vector<Captured> wanted_captures(GradientContext& c) {
  std::vector<Captured> found;
  std::set<ValueId> seen;
  for (size_t i = c.inputs(); i < c.reads(); ++i)
    if (c.wants(i) && seen.insert(c.in(i).id()).second) found.push_back({i, c.in(i)});
  return found;
}

// What goes backwards through a body.
struct BodyRequest {
  std::vector<Expr> ys, seeds, xs;
};

// The gradient by each x, zeros where nothing depends on it.
std::vector<Expr> gradients_in(GradientContext& c, BodyBuilder& body, const BodyRequest& wanted) {
  GradientRequest request;
  for (const Expr& y : wanted.ys) request.ys.push_back(y.id());
  for (const Expr& seed : wanted.seeds) request.seeds.push_back(seed.id());
  for (const Expr& x : wanted.xs) request.xs.push_back(x.id());
  const std::vector<ValueId> found = c.differentiate(body.graph(), request);
  std::vector<Expr> gradients;
  for (size_t i = 0; i < found.size(); ++i)
    gradients.push_back(found[i] == kNone ? body.emitter().zeros_like(wanted.xs[i]) : body.emitter().expr(found[i]));
  return gradients;
}

Type without_axis(const GradientContext& c, Type type, int64_t axis) {
  if (type.shape) type.shape->erase(type.shape->begin() + c.axis(axis, type.rank()));
  return type;
}

// Makes the body's inputs [first, first + count) more of its outputs.
void save_inputs(GradientContext& c, size_t first, size_t count) {
  Graph& body = *c.graph().node(c.id()).bodies[0].graph;
  Emitter emitter = c.inside(body);
  for (size_t i = first; i < first + count; ++i)
    body.outputs.push_back(emitter.op("Identity", {emitter.expr(body.inputs[i])}).id());
}

// A Scan from the last iteration to the first. Its states are the gradients of what the iterations carry and the sums
// of those of captured values.
class BackwardScan {
 public:
  BackwardScan(GradientContext& c) : c_(c), body_(c, c.node().bodies[0]), captured_(wanted_captures(c)) {}

  BodyBuilder& body() { return body_; }

  // The copied body's input `i` takes the items of `stack` along `axis`, last first unless `forwards`.
  void scan(size_t i, const Expr& stack, int64_t axis, bool forwards) {
    body_.use(i, without_axis(c_, stack.type(), axis));
    add_stack(stack, axis, forwards);
  }

  // The value that iterations carry from the body's output `output` to its input `input`; `read` is the node's input
  // that it begins with, and output `result` of the node is how it ends.
  struct Carried {
    size_t read, input, output, result;
  };
  // What the node collects as output `result` from the body's output `output`; `forwards` is the way back.
  struct Collected {
    size_t output, result;
    int64_t axis;
    bool forwards;
  };
  // An input of the body whose items the node takes from its input `read`; `forwards` is the way forward.
  struct Scanned {
    size_t read, input;
    int64_t axis;
    bool forwards;
  };

  // All types must be set. Gives the node's inputs their gradients.
  void run(const std::vector<Carried>& carried, const std::vector<Collected>& collected,
           const std::vector<Scanned>& scanned) {
    body_.infer();
    BodyRequest request;
    for (const Collected& y : collected) {
      const Expr dy = c_.grad(y.result);
      if (!dy) continue;
      request.ys.push_back(body_.copied_output(y.output));
      request.seeds.push_back(body_.input("gradient", without_axis(c_, dy.type(), y.axis)));
      add_stack(dy, y.axis, y.forwards);
    }
    const size_t stacks = body_.formals();
    std::vector<Expr> states;  // as they begin
    const std::vector<bool> moves = dependent(carried, scanned);
    std::vector<const Carried*> followed;
    for (size_t k = 0; k < carried.size(); ++k) {
      if (!moves[k]) continue;
      followed.push_back(&carried[k]);
      states.push_back(c_.grad_or_zeros(carried[k].result));
      request.ys.push_back(body_.copied_output(carried[k].output));
      request.seeds.push_back(body_.input("state_gradient", body_.copied(carried[k].input).type()));
      request.xs.push_back(body_.copied(carried[k].input));
    }
    std::vector<Expr> sums;
    for (const Captured& captured : captured_) {
      states.push_back(c_.zeros_like(captured.value));
      sums.push_back(body_.input("sum", captured.value.type()));
      request.xs.push_back(body_.capture(captured.value));
    }
    std::vector<int64_t> axes, directions;
    for (const Scanned& x : scanned) {
      if (!c_.wants(x.read)) continue;
      request.xs.push_back(body_.copied(x.input));
      axes.push_back(x.axis);
      directions.push_back(x.forwards ? 1 : 0);
    }
    body_.move_front(stacks);
    std::vector<Expr> results = gradients_in(c_, body_, request);
    for (size_t k = 0; k < sums.size(); ++k) {
      Expr& result = results[followed.size() + k];
      result = body_.emitter().sum(sums[k], result);
    }
    Attributes attributes = {{"num_scan_inputs", static_cast<int64_t>(stacks_.size())},
                             {"scan_input_axes", stack_axes_},
                             {"scan_input_directions", stack_directions_}};
    if (!axes.empty()) {
      attributes["scan_output_axes"] = axes;
      attributes["scan_output_directions"] = directions;
    }
    std::vector<Expr> inputs = states;
    inputs.insert(inputs.end(), stacks_.begin(), stacks_.end());
    std::vector<Body> bodies;
    bodies.push_back(body_.finish("body", results));
    const std::vector<Expr> found = c_.ops(results.size(), "Scan", inputs, attributes, "", std::move(bodies));
    size_t next = 0;
    for (const Carried* state : followed) c_.give(state->read, found[next++]);
    for (const Captured& captured : captured_) c_.give(captured.read, found[next++]);
    for (const Scanned& x : scanned)
      if (c_.wants(x.read)) c_.give(x.read, found[next++]);
  }

 private:
  void add_stack(const Expr& stack, int64_t axis, bool forwards) {
    stacks_.push_back(stack);
    stack_axes_.push_back(axis);
    stack_directions_.push_back(forwards ? 0 : 1);
  }

  // Which carried values depend on anything whose gradient is wanted, in some iteration.
  std::vector<bool> dependent(const std::vector<Carried>& carried, const std::vector<Scanned>& scanned) {
    std::vector<ValueId> roots;
    for (const Captured& captured : captured_) roots.push_back(body_.capture(captured.value).id());
    for (const Scanned& x : scanned)
      if (c_.wants(x.read)) roots.push_back(body_.copied(x.input).id());
    std::vector<bool> moves(carried.size());
    for (size_t k = 0; k < carried.size(); ++k) moves[k] = c_.wants(carried[k].read);
    for (bool stable = false; !stable;) {
      stable = true;
      std::vector<ValueId> from = roots;
      for (size_t k = 0; k < carried.size(); ++k)
        if (moves[k]) from.push_back(body_.copied(carried[k].input).id());
      const std::vector<bool> depends = dependents(body_.graph(), from);
      for (size_t k = 0; k < carried.size(); ++k) {
        if (moves[k] || !depends[static_cast<size_t>(body_.copied_output(carried[k].output).id())]) continue;
        moves[k] = true;
        stable = false;
      }
    }
    return moves;
  }

  GradientContext& c_;
  BodyBuilder body_;
  std::vector<Captured> captured_;
  std::vector<Expr> stacks_;
  std::vector<int64_t> stack_axes_, stack_directions_;
};

void require_tensor(const GradientContext& c, const Expr& value) {
  SX_CHECK(c, value.type().is_tensor(), "has no gradient where it carries ", value.type().str(),
           " from one iteration to the next: only tensors are kept for the way back");
}

}  // namespace

void differentiate_if(GradientContext& c) {
  const std::vector<Captured> captured = wanted_captures(c);
  std::vector<Body> bodies;
  for (const Body& branch : c.node().bodies) {
    BodyBuilder body(c, branch);
    body.infer();
    BodyRequest request;
    for (size_t i = 0; i < c.node().outputs.size(); ++i) {
      if (!c.grad(i)) continue;
      request.ys.push_back(body.copied_output(i));
      request.seeds.push_back(body.capture(c.grad(i)));
    }
    for (const Captured& value : captured) request.xs.push_back(body.capture(value.value));
    bodies.push_back(body.finish(branch.attribute, gradients_in(c, body, request)));
  }
  const std::vector<Expr> found = c.ops(captured.size(), "If", {c.in(0)}, {}, "", std::move(bodies));
  for (size_t i = 0; i < captured.size(); ++i) c.give(captured[i].read, found[i]);
}

// The loop keeps the number of each iteration and what it began with.
void differentiate_loop(GradientContext& c) {
  const size_t count = c.inputs() - 2;
  const Graph& forward = *c.node().bodies[0].graph;
  const size_t collected_count = forward.outputs.size() - 1 - count;
  BackwardScan back(c);
  back.body().replace(
      1, back.body().emitter().constant(forward.type(forward.inputs[1]).rank() == 1 ? Tensor::of<bool>(Shape{1}, {true})
                                                                                    : Tensor::scalar(true)));
  save_inputs(c, 0, 1);
  save_inputs(c, 2, count);
  const size_t saved = count + collected_count;
  back.scan(0, c.out(saved), 0, false);
  std::vector<BackwardScan::Carried> carried;
  for (size_t k = 0; k < count; ++k) {
    require_tensor(c, c.out(k));
    back.scan(2 + k, c.out(saved + 1 + k), 0, false);
    carried.push_back({2 + k, 2 + k, 1 + k, k});
  }
  std::vector<BackwardScan::Collected> collected;
  for (size_t k = count; k < count + collected_count; ++k) collected.push_back({1 + k, k, 0, false});
  back.run(carried, collected, {});
}

// The scan keeps the states that each step began with.
void differentiate_scan(GradientContext& c) {
  const auto scans = static_cast<size_t>(c.attr_int("num_scan_inputs"));
  const size_t states = c.inputs() - scans;
  const size_t outputs = c.node().bodies[0].graph->outputs.size() - states;
  const auto list = [&](const char* name, size_t size) { return c.attr_or(name, std::vector<int64_t>(size, 0)); };
  const auto input_axes = list("scan_input_axes", scans), input_directions = list("scan_input_directions", scans);
  auto output_axes = list("scan_output_axes", outputs), output_directions = list("scan_output_directions", outputs);
  BackwardScan back(c);
  std::vector<BackwardScan::Collected> collected;
  for (size_t k = 0; k < outputs; ++k)
    collected.push_back({states + k, states + k, output_axes[k], output_directions[k] != 0});
  output_axes.resize(outputs + states, 0);
  output_directions.resize(outputs + states, 0);
  Attributes& attributes = c.graph().node(c.id()).attributes;
  if (outputs + states > 0) {
    attributes["scan_output_axes"] = output_axes;
    attributes["scan_output_directions"] = output_directions;
  }
  save_inputs(c, 0, states);
  std::vector<BackwardScan::Carried> carried;
  for (size_t k = 0; k < states; ++k) {
    require_tensor(c, c.in(k));
    back.scan(k, c.out(states + outputs + k), 0, false);
    carried.push_back({k, k, k, k});
  }
  std::vector<BackwardScan::Scanned> scanned;
  for (size_t k = 0; k < scans; ++k) {
    const bool forwards = input_directions[k] != 0;
    back.scan(states + k, c.in(states + k), input_axes[k], forwards);
    scanned.push_back({states + k, states + k, input_axes[k], !forwards});
  }
  back.run(carried, collected, scanned);
}

// Sequences take sequences of gradients; what all items share takes their sum.
void differentiate_sequence_map(GradientContext& c) {
  BodyBuilder body(c, c.node().bodies[0]);
  std::vector<Expr> inputs;
  const auto is_sequence = [&](size_t i) { return c.in(i).type().kind == Type::Kind::kSequence; };
  for (size_t i = 0; i < c.inputs(); ++i) {
    inputs.push_back(c.in(i));
    body.use(i, is_sequence(i) ? *c.in(i).type().element : c.in(i).type());
  }
  body.infer();
  BodyRequest request;
  for (size_t k = 0; k < c.node().outputs.size(); ++k) {
    if (!c.grad(k)) continue;
    inputs.push_back(c.grad(k));
    request.ys.push_back(body.copied_output(k));
    request.seeds.push_back(body.input("gradient", *c.grad(k).type().element));
  }
  std::vector<Captured> shared = wanted_captures(c), items;
  for (size_t i = 0; i < c.inputs(); ++i) {
    if (!c.wants(i)) continue;
    if (is_sequence(i)) items.push_back({i, body.copied(i)});
    else shared.push_back({i, c.in(i)});
  }
  for (const Captured& item : items) request.xs.push_back(item.value);
  for (const Captured& value : shared) {
    SX_CHECK(c, value.value.type().is_tensor(), "has no gradient by the captured ", value.value.type().str(),
             "; only tensors can be summed over the items");
    request.xs.push_back(value.read < c.inputs() ? body.copied(value.read) : body.capture(value.value));
  }
  std::vector<Body> bodies;
  const std::vector<Expr> gradients = gradients_in(c, body, request);
  bodies.push_back(body.finish("body", gradients));
  const std::vector<Expr> found = c.ops(gradients.size(), "SequenceMap", inputs, {}, "", std::move(bodies));
  for (size_t k = 0; k < items.size(); ++k) c.give(items[k].read, found[k]);
  for (size_t k = 0; k < shared.size(); ++k) {
    // Zeros in front stand in for an empty sequence.
    const Expr zeros = c.zeros_like(shared[k].value);
    const Expr all = c.op("SequenceInsert", {found[items.size() + k], zeros, c.constant(Tensor::scalar<int64_t>(0))});
    const Expr stacked = c.op("ConcatFromSequence", {all}, {{"axis", int64_t{0}}, {"new_axis", int64_t{1}}});
    c.give(shared[k].read, c.reduce_sum(stacked, {0}, false));
  }
}

}  // namespace sx
