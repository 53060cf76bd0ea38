// com.microsoft operators that are a few standard ones: they are rewritten into those when a model is imported.
#pragma once

#include <string>
#include <vector>

#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {

constexpr const char* kMicrosoft = "com.microsoft";

// An operator of com.microsoft that `rewrite` turns into others. It may rely on the ports and attributes that the OpDef
// demands.
inline OpDef ms_composite(const std::string& name, UpgradeFn rewrite) {
  OpDef op(name, kMicrosoft);
  op.since(2).upgrade(2, [rewrite = std::move(rewrite)](UpgradeContext& c) {
    check_node(c.draft());
    rewrite(c);
  });
  return op;
}

// Input `i` of the draft, or kNone.
inline ValueId ms_input(UpgradeContext& c, size_t i) { return c.has_input(i) ? c.draft().inputs[i] : kNone; }
// a + b where b is given, else a.
inline ValueId ms_sum(UpgradeContext& c, ValueId a, ValueId b) { return b == kNone ? a : c.emit("Add", {a, b}); }
// The draft becomes a standard operator with these inputs.
inline void ms_become(UpgradeContext& c, const std::string& op, std::vector<ValueId> inputs) {
  c.become(op);
  c.draft().inputs = std::move(inputs);
}

}  // namespace sx
