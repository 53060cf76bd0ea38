// for (i = 0; i < M && cond; ++i) (cond, carried, scanned[i]) = body(i, cond, carried)
#include <algorithm>

#include "ops/control_flow.h"
#include "ops/registry.h"

namespace sx {
namespace {

// The body sees the iteration number and the condition as scalars, or as [1] where it declares that.
Shape formal_shape(const Graph& body, size_t input) {
  const Type& type = body.type(body.inputs[input]);
  return type.rank() == 1 ? Shape{1} : Shape{};
}

bool is_true(const Tensor* known) {
  return known != nullptr && known->dtype() == DType::kBool && known->size() == 1 && *known->data<bool>();
}

// Whether the condition stays true, so that the loop makes all its trips.
bool counts_only(const InferContext& c, const Graph& body) {
  if (c.has(1) && !is_true(c.constant(1))) return false;
  ValueId condition = body.outputs[0];
  for (;;) {
    const Value& value = body.value(condition);
    if (value.producer == kNone) return condition == body.inputs[1] || is_true(&value.facts.constant);
    const Node& node = body.node(value.producer);
    if (node.op->full_name() != "Identity") return is_true(&value.facts.constant);
    condition = node.inputs[0];
  }
}

void infer_loop(InferContext& c) {
  const Graph& body = *c.body("body");
  const size_t carried = static_cast<size_t>(std::max(0, c.inputs() - 2));
  SX_CHECK(c, body.inputs.size() >= 2 && !body.outputs.empty(),
           "its body must take an iteration number and a condition and give a condition");
  SX_CHECK(c, static_cast<size_t>(c.outputs()) + 1 <= body.outputs.size(), "its body gives ", body.outputs.size(),
           " outputs; ", c.outputs() + 1, " expected");
  std::vector<Facts> inputs(2 + carried);
  inputs[0].type = Type::tensor(DType::kInt64, formal_shape(body, 0));
  inputs[1].type = Type::tensor(DType::kBool, formal_shape(body, 1));
  for (size_t i = 0; i < carried; ++i)
    if (c.has(static_cast<int>(2 + i))) inputs[2 + i].type = c.type(static_cast<int>(2 + i));
  const std::vector<Facts> results = infer_iterated(c, "body", inputs, 2, 1, carried);

  Dim trips;
  const auto count = c.elements(0);
  if (count && count->size() == 1 && counts_only(c, body)) trips = (*count)[0];
  if (trips.known() && trips.value() < 0) trips = Dim(0);
  for (int i = 0; i < c.outputs(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (at < carried) {
      c.out(i, inputs[2 + at].type);
      continue;
    }
    const Type& item = results[1 + at].type;
    if (item.kind == Type::Kind::kUnknown) continue;
    SX_CHECK(c, item.is_tensor(), "its scan output ", i, " is ", item.str(), "; a tensor expected");
    std::optional<SymShape> shape = item.shape;
    if (shape) shape->insert(shape->begin(), trips);
    c.out(i, item.dtype, shape);
  }
}

// A tensor of one element for each iteration, in the memory of the last one's unless that was kept.
template <typename T>
class Formal {
 public:
  explicit Formal(const Shape& shape) : shape_(shape) {}
  const Tensor& set(T value) {
    if (!tensor_.defined() || tensor_.buffer().use_count() > 1) tensor_ = Tensor(dtype_of<T>, shape_);
    *tensor_.data<T>() = value;
    return tensor_;
  }

 private:
  Shape shape_;
  Tensor tensor_;
};

Kernel make_loop(Prepare& p) {
  const Graph& body = *p.body("body");
  const auto carried = static_cast<size_t>(std::max<int>(0, static_cast<int>(p.node().inputs.size()) - 2));
  const size_t scanned = body.outputs.size() - 1 - carried;
  std::vector<Type> items;  // what a scan output looks like when no iteration fills it
  for (size_t i = 0; i < scanned; ++i) {
    const Type& declared = body.type(body.outputs[1 + carried + i]);
    const int output = static_cast<int>(carried + i);
    Type item = declared;
    if (p.wants(output) && p.output_type(output).is_tensor()) {
      item = p.output_type(output);
      if (item.shape) item.shape->erase(item.shape->begin());
      else item.shape = declared.shape;
    }
    items.push_back(std::move(item));
  }
  return
      [runner = p.body_runner("body"), iteration_shape = formal_shape(body, 0), condition_shape = formal_shape(body, 1),
       carried, captures = p.node().bodies[0].captures.size(), items](Run& run) {
        int64_t trips = INT64_MAX;
        if (run.has(0)) {
          SX_CHECK(run, run.in(0).size() == 1, "the trip count is ", run.in(0).shape().str(), "; one number expected");
          trips = std::max<int64_t>(0, run.in(0).scalar_as_int());
        }
        bool condition = !run.has(1) || condition_of(run, run.datum(1), "the condition");
        std::vector<Datum> state(carried);
        for (size_t i = 0; i < carried; ++i)
          if (run.has(static_cast<int>(2 + i))) state[i] = run.datum(static_cast<int>(2 + i));
        std::vector<Stack> stacks(items.size(), Stack(std::max<int64_t>(1, trips)));
        Formal<int64_t> iteration(iteration_shape);
        Formal<bool> always(condition_shape);
        for (int64_t i = 0; i < trips && condition; ++i) {
          std::vector<Datum> inputs;
          inputs.reserve(2 + carried + captures);
          inputs.emplace_back(iteration.set(i));
          inputs.emplace_back(always.set(true));
          for (Datum& value : state) inputs.push_back(std::move(value));
          std::vector<Datum> results = runner->run(run, std::move(inputs));
          condition = condition_of(run, results[0], "the condition that its body gives");
          for (size_t k = 0; k < carried; ++k) state[k] = std::move(results[1 + k]);
          for (size_t k = 0; k < stacks.size(); ++k) {
            if (run.wants(static_cast<int>(carried + k)))
              stacks[k].add(run, results[1 + carried + k].tensor, "scan output", carried + k);
          }
        }
        for (size_t i = 0; i < carried; ++i) run.set(static_cast<int>(i), std::move(state[i]));
        for (size_t k = 0; k < stacks.size(); ++k) {
          const int output = static_cast<int>(carried + k);
          if (!run.wants(output)) continue;
          if (stacks[k].count() > 0) {
            run.set(output, stacks[k].take());
            continue;
          }
          Shape shape = empty_shape(items[k], 0);
          shape.insert(0, 0);
          run.out(output, items[k].dtype, shape);
        }
      };
}

}  // namespace

void define_loop(OpList& ops) {
  ops.add(OpDef("Loop")
              .since(25)
              .required_attr("body", AttrKind::kGraph)
              .optional_in("M", "I", DType::kInt64)
              .optional_in("cond", "B", DType::kBool)
              .any_in("v_initial", PortSpec::Presence::kVariadic)
              .any_out("v_final_and_scan_outputs", PortSpec::Presence::kVariadic)
              .retains()
              .infer(infer_loop)
              .kernel(make_loop)
              .gradient(differentiate_loop));
}

}  // namespace sx
