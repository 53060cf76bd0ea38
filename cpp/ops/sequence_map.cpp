// out[k][i] = body(input[i], additional sequences at i, additional tensors)[k]
#include "ops/control_flow.h"
#include "ops/registry.h"

namespace sx {
namespace {

// What the body sees of an input: the items of a sequence, or the tensor itself.
Facts item_facts(const Facts& facts) {
  if (facts.type.kind != Type::Kind::kSequence) return facts;
  Facts item;
  item.type = *facts.type.element;
  return item;
}

void infer_sequence_map(InferContext& c) {
  const Type& input = c.type(0);
  SX_CHECK(c, input.kind == Type::Kind::kSequence || input.kind == Type::Kind::kUnknown, "its first input is ",
           input.str(), "; a sequence expected");
  std::vector<Facts> inputs;
  for (int i = 0; i < c.inputs(); ++i) inputs.push_back(c.has(i) ? item_facts(c.facts(i)) : Facts());
  const std::vector<Facts> results = c.infer_body("body", inputs);
  SX_CHECK(c, static_cast<size_t>(c.outputs()) <= results.size(), "its body gives ", results.size(),
           " outputs; the node has ", c.outputs());
  for (int i = 0; i < c.outputs(); ++i) {
    const Type& item = results[static_cast<size_t>(i)].type;
    if (item.kind != Type::Kind::kUnknown) c.out(i, Type::sequence(item));
  }
}

Kernel make_sequence_map(Prepare& p) {
  return [runner = p.body_runner("body")](Run& run) {
    SX_CHECK(run, run.datum(0).kind == Datum::Kind::kSequence, "its first input must be a sequence");
    const size_t length = run.datum(0).sequence->size();
    for (int i = 1; i < run.inputs(); ++i) {
      const Datum& input = run.datum(i);
      SX_CHECK(run, input.kind != Datum::Kind::kSequence || input.sequence->size() == length, "input ", i, " has ",
               input.kind == Datum::Kind::kSequence ? input.sequence->size() : 0, " items; ", length,
               " expected, as in the first");
    }
    std::vector<std::vector<Datum>> outputs(static_cast<size_t>(run.outputs()));
    for (size_t at = 0; at < length; ++at) {
      std::vector<Datum> inputs;
      for (int i = 0; i < run.inputs(); ++i) {
        const Datum& input = run.datum(i);
        inputs.push_back(input.kind == Datum::Kind::kSequence ? (*input.sequence)[at] : input);
      }
      std::vector<Datum> results = runner->run(run, std::move(inputs));
      for (size_t k = 0; k < outputs.size(); ++k) outputs[k].push_back(std::move(results[k]));
    }
    for (size_t k = 0; k < outputs.size(); ++k) run.set(static_cast<int>(k), Datum::of_sequence(std::move(outputs[k])));
  };
}

}  // namespace

void define_sequence_map(OpList& ops) {
  ops.add(OpDef("SequenceMap")
              .since(17, 17)
              .required_attr("body", AttrKind::kGraph)
              .any_in("input_sequence")
              .any_in("additional_inputs", PortSpec::Presence::kVariadic)
              .any_out("out_sequence", PortSpec::Presence::kVariadic)
              .retains()
              .infer(infer_sequence_map)
              .kernel(make_sequence_map)
              .gradient(differentiate_sequence_map));
}

}  // namespace sx
