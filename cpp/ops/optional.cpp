// Values that may be absent: wrapping one, asking for it, taking it out.
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

void infer_optional(InferContext& c) {
  if (c.has(0) && c.type(0).kind != Type::Kind::kUnknown) return c.out(0, Type::optional(c.type(0)));
  if (c.has_attr("type")) return c.out(0, Type::optional(c.attr<Type>("type")));
  SX_CHECK(c, c.has(0), "has neither an input nor the attribute 'type'; one of them expected");
}

void infer_get_element(InferContext& c) {
  const Type& type = c.type(0);
  c.out(0, type.kind == Type::Kind::kOptional ? *type.element : type);
}

}  // namespace

void define_optional(OpList& ops) {
  using Presence = PortSpec::Presence;
  ops.add(
      OpDef("Optional")
          .since(28, 15)
          .optional_attr("type", AttrKind::kType)
          .any_in("input", Presence::kOptional)
          .any_out("output")
          .retains()
          .infer(infer_optional)
          .kernel([](Prepare&) -> Kernel { return [](Run& run) { run.set(0, run.has(0) ? run.datum(0) : Datum()); }; })
          .gradient([](GradientContext& c) { c.give(0, c.grad()); }));
  ops.add(
      OpDef("OptionalHasElement")
          .since(28, 15)
          .any_in("input", Presence::kOptional)
          .out("output", "", DType::kBool)
          .infer([](InferContext& c) { c.out(0, DType::kBool, SymShape{}); })
          .kernel([](Prepare&) -> Kernel { return [](Run& run) { *run.out(0, Shape{}).data<bool>() = run.has(0); }; }));
  ops.add(OpDef("OptionalGetElement")
              .since(28, 15)
              .any_in("input")
              .any_out("output")
              .retains()
              .infer(infer_get_element)
              .kernel([](Prepare&) -> Kernel {
                return [](Run& run) {
                  SX_CHECK(run, run.has(0), "the optional has no element; ask OptionalHasElement first");
                  run.set(0, run.datum(0));
                };
              })
              .gradient([](GradientContext& c) { c.give(0, c.grad()); }));
}

}  // namespace sx
