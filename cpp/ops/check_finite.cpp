// CheckFinite: y, once it is known that every element of x is finite; an error otherwise.
#include <cmath>

#include "ops/float_io.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

Kernel make_check_finite(Prepare&) {
  return [](Run& run) {
    const FloatIn x(run.in(0));
    for (int64_t i = 0; i < run.in(0).size(); ++i)
      SX_CHECK(run, std::isfinite(x.data()[i]), "found ", x.data()[i], " where a finite number was expected");
    run.set(0, run.in(1));
  };
}

}  // namespace

void define_check_finite(OpList& ops) {
  ops.add(OpDef("CheckFinite", "sardonyx")
              .in("x", "T", kFloats)
              .in("y", "U", kAllTypes)
              .out("z", "U")
              .aliases(1)
              .infer([](InferContext& c) { c.out(0, c.type(1)); })
              .no_gradient("it is for what follows the computation of gradients")
              .kernel(make_check_finite));
}

}  // namespace sx
