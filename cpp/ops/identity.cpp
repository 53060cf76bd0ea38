// y = x
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {

void define_identity(OpList& ops) {
  ops.add(OpDef("Identity")
              .since(25)
              .any_in("input")
              .any_out("output")
              .aliases(0)
              .retains()
              .infer([](InferContext& c) {
                c.out(0, c.type(0));
                if (c.facts(0).elements) c.out_elements(0, *c.facts(0).elements);
              })
              .kernel([](Prepare&) -> Kernel { return [](Run& run) { run.set(0, run.datum(0)); }; })
              .gradient([](GradientContext& c) { c.give(0, c.grad()); }));
}

}  // namespace sx
