// The table of all operators, filled from ops.def.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/op_def.h"

namespace sx {

constexpr int kNewestOpset = 28;   // of ai.onnx
constexpr int kNewestMlOpset = 5;  // of ai.onnx.ml
constexpr int kNewestIrVersion = 14;

// Collects the OpDefs that the files under ops/ define.
class OpList {
 public:
  OpDef& add(OpDef op) {
    ops_.push_back(std::make_unique<OpDef>(std::move(op)));
    return *ops_.back();
  }
  std::vector<std::unique_ptr<OpDef>>& all() { return ops_; }

 private:
  std::vector<std::unique_ptr<OpDef>> ops_;
};

// The operator, or nullptr. The domain "ai.onnx" is the default domain "".
const OpDef* find_op(const std::string& name, const std::string& domain = "");
// find_op that throws NotImplemented.
const OpDef& get_op(const std::string& name, const std::string& domain = "");
// All operators, ordered by domain and name.
std::vector<const OpDef*> all_ops();

}  // namespace sx
