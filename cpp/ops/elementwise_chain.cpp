// sardonyx::ElementwiseChain: a graph of elementwise f32 operators with broadcasting, in one pass over memory.
//
// Step s is functions[s] of the values operands[3 s ...] (-1: none), where inputs are numbered first and then the
// results of steps; numbers[2 s ...] are alpha and beta of an activation. Output k is the result of step results[k].
// All have the broadcast shape of the inputs.
//
// sardonyx::ElementwiseChainOfRows: the same, but the first input x, of the shape of the result, is given by rows: row
// r of it is sums[places[r]]. The values are x, then the inputs behind places.
#include "ops/elementwise_chain.h"

#include <algorithm>

#include "kernels/chain.h"
#include "ops/fused_activation.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

static_assert(kMostChainInputs == Chain::kMaxInputs && kMostChainFunctions == Chain::kMaxSteps);

struct Named {
  const char* name;
  ChainStep step;
};

ChainStep binary(Binary op) {
  ChainStep step;
  step.binary = op;
  return step;
}
ChainStep comparison(Comparison op) {
  ChainStep step;
  step.kind = ChainStep::Kind::kCompare;
  step.comparison = op;
  return step;
}
ChainStep logic(Logic op) {
  ChainStep step;
  step.kind = ChainStep::Kind::kLogic;
  step.logic = op;
  return step;
}
ChainStep of_kind(ChainStep::Kind kind) {
  ChainStep step;
  step.kind = kind;
  return step;
}

ChainStep step_named(const NodeView& node, const std::string& name) {
  static const Named kNamed[] = {{"Add", binary(Binary::kAdd)},
                                 {"Sub", binary(Binary::kSub)},
                                 {"Mul", binary(Binary::kMul)},
                                 {"Div", binary(Binary::kDiv)},
                                 {"Max", binary(Binary::kMax)},
                                 {"Min", binary(Binary::kMin)},
                                 {"Equal", comparison(Comparison::kEqual)},
                                 {"Less", comparison(Comparison::kLess)},
                                 {"LessOrEqual", comparison(Comparison::kLessOrEqual)},
                                 {"Greater", comparison(Comparison::kGreater)},
                                 {"GreaterOrEqual", comparison(Comparison::kGreaterOrEqual)},
                                 {"And", logic(Logic::kAnd)},
                                 {"Or", logic(Logic::kOr)},
                                 {"Xor", logic(Logic::kXor)},
                                 {"Not", of_kind(ChainStep::Kind::kNot)},
                                 {"Where", of_kind(ChainStep::Kind::kSelect)},
                                 {"Cast", of_kind(ChainStep::Kind::kNumber)}};
  for (const Named& named : kNamed)
    if (name == named.name) return named.step;
  ChainStep step;
  step.kind = ChainStep::Kind::kActivation;
  step.activation = activation_named(node, name);
  return step;
}

// The steps, checked: `masks` says which inputs are masks.
std::vector<ChainStep> read_steps(const NodeView& node, const std::vector<bool>& masks) {
  const auto& names = node.attr<std::vector<std::string>>("functions");
  const auto& operands = node.attr_ints("operands");
  const auto& numbers = node.attr<std::vector<float>>("numbers");
  SX_CHECK(node, !names.empty() && names.size() <= Chain::kMaxSteps, "has ", names.size(), " functions; 1 to ",
           Chain::kMaxSteps, " expected");
  SX_CHECK(node, !masks.empty() && masks.size() <= Chain::kMaxInputs, "has ", masks.size(), " inputs; 1 to ",
           Chain::kMaxInputs, " expected");
  SX_CHECK(node, operands.size() == 3 * names.size() && numbers.size() == 2 * names.size(), "has ", operands.size(),
           " operands and ", numbers.size(), " numbers for ", names.size(), " functions; 3 and 2 for each expected");
  std::vector<ChainStep> steps;
  std::vector<bool> is_mask = masks;
  for (size_t s = 0; s < names.size(); ++s) {
    ChainStep step = step_named(node, names[s]);
    step.alpha = numbers[2 * s];
    step.beta = numbers[2 * s + 1];
    for (int i = 0; i < step.arity(); ++i) {
      const int64_t value = operands[3 * s + static_cast<size_t>(i)];
      SX_CHECK(node, value >= 0 && value < static_cast<int64_t>(is_mask.size()), "operand ", i, " of function ", s,
               " is value ", value, "; 0 to ", is_mask.size() - 1, " expected");
      SX_CHECK(node, is_mask[static_cast<size_t>(value)] == step.takes_mask(i), "operand ", i, " of function ", s, " (",
               names[s], ") is a ", step.takes_mask(i) ? "number; a boolean" : "boolean; a number", " expected");
      step.operands[i] = static_cast<int>(value);
    }
    is_mask.push_back(step.gives_mask());
    steps.push_back(step);
  }
  return steps;
}

std::vector<int> read_results(const NodeView& node, size_t steps) {
  const auto& results = node.attr_ints("results");
  SX_CHECK(node, results.size() == node.node().outputs.size(), "has ", results.size(), " results for ",
           node.node().outputs.size(), " outputs");
  std::vector<int> read;
  for (int64_t result : results) {
    SX_CHECK(node, result >= 0 && result < static_cast<int64_t>(steps), "result ", result, " is not one of the ", steps,
             " functions");
    SX_CHECK(node, std::find(read.begin(), read.end(), result) == read.end(), "function ", result, " is two outputs");
    read.push_back(static_cast<int>(result));
  }
  return read;
}

// Inputs of a chain of rows in front of those that are values as they are.
constexpr int kSums = 0, kPlaces = 1, kRowInputs = 2;

void infer_chain(InferContext& c, bool rows) {
  std::vector<bool> masks;
  if (rows) masks.push_back(false);
  std::optional<SymShape> shape = SymShape();
  for (int i = rows ? kRowInputs : 0; i < c.inputs(); ++i) {
    masks.push_back(c.dtype(i) == DType::kBool);
    if (!c.has_shape(i)) shape.reset();
    else if (shape) shape = broadcast(c, *shape, c.shape(i));
  }
  const std::vector<ChainStep> steps = read_steps(c, masks);
  const std::vector<int> results = read_results(c, steps.size());
  for (int k = 0; k < c.outputs(); ++k) {
    const bool mask = steps[static_cast<size_t>(results[static_cast<size_t>(k)])].gives_mask();
    c.out(k, mask ? DType::kBool : DType::kFloat32, shape);
  }
}

// Of several shapes the one of the highest rank, and the largest of these.
const Shape& widest(const Shape* const* shapes, int count) {
  const Shape* found = shapes[0];
  for (int i = 1; i < count; ++i)
    if (shapes[i]->rank() > found->rank() || (shapes[i]->rank() == found->rank() && shapes[i]->size() > found->size()))
      found = shapes[i];
  return *found;
}

// The space of the inputs' broadcast; axes that every input walks alike are merged.
Shape plan_space(const Run& run, const Shape* const* shapes, int inputs, Chain::Space& space) {
  Shape shape = widest(shapes, inputs);
  bool alike = true;
  for (int i = 0; i < inputs; ++i) alike = alike && (*shapes[i] == shape || shapes[i]->size() == 1);
  if (alike) {
    space.size = shape.size();
    space.rank = 1;
    space.extent[0] = space.size;
    for (int i = 0; i < inputs; ++i) space.stride[i][0] = *shapes[i] == shape || space.size == 1 ? 1 : 0;
    return shape;
  }
  const int rank = shape.rank();
  for (int i = 0; i < inputs; ++i) {
    const Shape& other = *shapes[i];
    const int lead = rank - other.rank();
    for (int axis = 0; axis < other.rank(); ++axis) {
      int64_t& to = shape[lead + axis];
      if (other[axis] == to || other[axis] == 1) continue;
      SX_CHECK(run, to == 1, "the shapes ", shape.str(), " and ", other.str(), " do not broadcast: ", to, " against ",
               other[axis]);
      to = other[axis];
    }
  }
  int64_t strides[Chain::kMaxInputs][kMaxRank] = {};
  for (int i = 0; i < inputs; ++i) {
    const Shape& other = *shapes[i];
    int64_t stride = 1;
    for (int axis = other.rank() - 1; axis >= 0; --axis) {
      strides[i][rank - other.rank() + axis] = other[axis] == 1 ? 0 : stride;
      stride *= other[axis];
    }
  }
  space.size = shape.size();
  for (int axis = 0; axis < rank; ++axis) {
    const int64_t extent = shape[axis];
    if (extent == 1) continue;
    const int last = space.rank - 1;
    bool merge = space.rank > 0;
    for (int i = 0; i < inputs && merge; ++i) merge = space.stride[i][last] == strides[i][axis] * extent;
    const int to = merge ? last : space.rank++;
    space.extent[to] = merge ? space.extent[to] * extent : extent;
    for (int i = 0; i < inputs; ++i) space.stride[i][to] = strides[i][axis];
  }
  return shape;
}

// Checks that places say of each row of the shape where it is among the sums.
void bind_rows(const Run& run, const Shape& shape, Chain::Space& space) {
  const Tensor& sums = run.in(kSums);
  const Tensor& places = run.in(kPlaces);
  SX_CHECK(run,
           shape.rank() > 0 && sums.rank() > 0 && places.size() == shape[0] &&
               sums.shape().size(1, sums.rank()) == shape.size(1, shape.rank()),
           "sums is ", sums.shape().str(), " and places ", places.shape().str(), "; rows of ", shape.str(),
           " expected");
  space.places = places.data<int32_t>();
  space.width = std::max<int64_t>(1, shape.size(1, shape.rank()));
  const int64_t rows = sums.dim(0);
  for (int64_t i = 0; i < places.size(); ++i)
    SX_CHECK(run, space.places[i] >= 0 && space.places[i] < rows, "place ", space.places[i], " of ", rows, " rows");
}

Kernel make_chain(Prepare& p, bool rows) {
  SX_CHECK(p, !rows || p.inputs() > kRowInputs, "has no input behind places");
  std::vector<bool> masks;
  if (rows) masks.push_back(false);
  for (int i = rows ? kRowInputs : 0; i < p.inputs(); ++i) masks.push_back(p.dtype(i) == DType::kBool);
  const std::vector<ChainStep> steps = read_steps(p, masks);
  const Chain chain(masks, steps, read_results(p, steps.size()));
  p.describe(join(steps.size(), " functions"));
  return [chain, rows](Run& run) {
    static_assert(Chain::kMaxAxes >= kMaxRank);
    const void* inputs[Chain::kMaxInputs];
    void* outputs[Chain::kMaxSteps];
    const Shape* shapes[Chain::kMaxInputs];
    int count = 0;
    if (rows) {
      inputs[0] = run.in(kSums).raw();
      count = 1;
    }
    for (int i = rows ? kRowInputs : 0; i < run.inputs(); ++i, ++count) {
      inputs[count] = run.in(i).raw();
      shapes[count] = &run.in(i).shape();
    }
    if (rows) shapes[0] = &widest(shapes + 1, count - 1);
    Chain::Space space;
    const Shape shape = plan_space(run, shapes, count, space);
    if (rows) bind_rows(run, shape, space);
    for (int k = 0; k < run.outputs(); ++k) outputs[k] = run.out(k, shape).raw();
    chain.run(space, inputs, outputs);
  };
}

OpDef& add_chain_attrs(OpDef& op) {
  return op.variadic_out("outputs", "", DTypeSet(DType::kFloat32) | DType::kBool)
      .required_attr("functions", AttrKind::kStrings)
      .required_attr("operands", AttrKind::kInts)
      .required_attr("numbers", AttrKind::kFloats)
      .required_attr("results", AttrKind::kInts);
}

}  // namespace

void define_elementwise_chain(OpList& ops) {
  constexpr DTypeSet kTypes = DTypeSet(DType::kFloat32) | DType::kBool;
  std::vector<int> all;
  for (int i = 0; i < Chain::kMaxInputs; ++i) all.push_back(i);
  add_chain_attrs(ops.add(OpDef("ElementwiseChain", "sardonyx").variadic_in("inputs", "", kTypes)))
      .in_place(all)
      .infer([](InferContext& c) { infer_chain(c, false); })
      .kernel([](Prepare& p) { return make_chain(p, false); });
  add_chain_attrs(ops.add(OpDef("ElementwiseChainOfRows", "sardonyx")
                              .in("sums", "", DType::kFloat32)
                              .in("places", "", DType::kInt32)
                              .variadic_in("inputs", "", kTypes)))
      .in_place({all.begin() + kRowInputs, all.end()})
      .infer([](InferContext& c) { infer_chain(c, true); })
      .kernel([](Prepare& p) { return make_chain(p, true); });
}

}  // namespace sx
