// outputs = then_branch() if cond else else_branch()
#include "ops/control_flow.h"
#include "ops/registry.h"

namespace sx {
namespace {

const char* const kBranches[] = {"else_branch", "then_branch"};

// The branch that is known to be taken.
std::optional<bool> known_condition(const Tensor* condition) {
  if (condition == nullptr || condition->dtype() != DType::kBool || condition->size() != 1) return std::nullopt;
  return *condition->data<bool>();
}

void infer_if(InferContext& c) {
  for (const char* name : kBranches) {
    const size_t given = c.body(name)->outputs.size();
    SX_CHECK(c, static_cast<size_t>(c.outputs()) <= given, name, " gives ", given, " outputs; the node has ",
             c.outputs());
  }
  // The specification wants one element, whatever the rank.
  if (c.has_shape(0))
    for (const Dim& dim : c.shape(0))
      SX_CHECK(c, !dim.known() || dim == Dim(1), "the condition is ", c.type(0).str(), "; one boolean expected");
  if (const auto taken = known_condition(c.constant(0))) {
    const std::vector<Facts> results = c.infer_body(kBranches[*taken], {});
    for (int i = 0; i < c.outputs(); ++i) {
      const Facts& facts = results[static_cast<size_t>(i)];
      c.out(i, facts.type);
      if (facts.elements) c.out_elements(i, *facts.elements);
    }
    return;
  }
  // A branch may be wrong for the shapes at hand when it is there for others: that is an error only when it is taken.
  std::vector<std::vector<Facts>> branches;
  std::optional<Error> problem;
  for (const char* name : kBranches) {
    try {
      branches.push_back(c.infer_body(name, {}));
    } catch (const Error& error) {
      if (problem) throw;
      problem = error;
    }
  }
  for (int i = 0; i < c.outputs() && !branches.empty(); ++i) {
    const auto at = static_cast<size_t>(i);
    Type type = branches[0][at].type;
    if (branches.size() == 2) type = join_types(c, type, branches[1][at].type, join("output ", i, " of its branches"));
    else if (type.is_tensor()) type.shape = std::nullopt;
    c.out(i, type);
  }
}

Kernel make_if(Prepare& p) {
  std::shared_ptr<const BodyRunner> branches[2];
  const auto known = known_condition(p.constant(0));
  for (int taken : {0, 1})
    if (!known || *known == (taken != 0)) branches[taken] = p.body_runner(kBranches[taken]);
  return [no = branches[0], yes = branches[1]](Run& run) {
    const BodyRunner& branch = condition_of(run, run.datum(0), "the condition") ? *yes : *no;
    std::vector<Datum> results = branch.run(run, {});
    for (int i = 0; i < run.outputs(); ++i) run.set(i, std::move(results[static_cast<size_t>(i)]));
  };
}

}  // namespace

void define_if(OpList& ops) {
  ops.add(OpDef("If")
              .since(25)
              .required_attr("then_branch", AttrKind::kGraph)
              .required_attr("else_branch", AttrKind::kGraph)
              .in("cond", "B", DType::kBool)
              .any_out("outputs", PortSpec::Presence::kVariadic)
              .retains()
              .infer(infer_if)
              .kernel(make_if)
              .gradient(differentiate_if));
}

}  // namespace sx
