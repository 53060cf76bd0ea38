// Executable: an optimised graph with its plans, one for each set of input shapes, and what the plans share.
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "plan/plan.h"

namespace sx {

class Executable : public PrepareHost {
 public:
  // `graph` must outlive the executable. At most `plan_limit` plans are kept, the least recently used goes first. See
  // Plan for `donated`.
  Executable(const Graph& graph, size_t plan_limit, Precision precision, std::vector<bool> donated = {})
      : graph_(graph), plan_limit_(plan_limit), precision_(precision), donated_(std::move(donated)) {}

  // Runs the plan for the shapes of `inputs` (in the order of graph.inputs), making it where there is none.
  // Thread-safe.
  std::vector<Datum> run(std::vector<Datum> inputs, const RunState& state, bool exclusive);
  // The plan for inputs like these.
  std::shared_ptr<Plan> plan_for(const std::vector<Datum>& inputs);
  // The plan that ran last, or nullptr before the first run.
  std::shared_ptr<Plan> newest_plan();
  const Graph& graph() const { return graph_; }

  Tensor shared(const std::string& key, FunctionRef<Tensor()> make) override;
  bool lasting(ValueId value) const override { return graph_.is_constant(value); }
  std::shared_ptr<const BodyRunner> body(const Node& node, size_t index) override;
  Precision precision() const override { return precision_; }

 private:
  struct Key {
    DType dtype = DType::kUndefined;  // kUndefined: not a tensor
    Shape shape;
    bool operator==(const Key& other) const { return dtype == other.dtype && shape == other.shape; }
  };
  struct Entry {
    std::vector<Key> keys;
    std::shared_ptr<Plan> plan;
  };
  static bool matches(const Entry& entry, const std::vector<Datum>& inputs);
  std::shared_ptr<Plan> make_plan(const std::vector<Datum>& inputs, bool any_shape);

  const Graph& graph_;
  const size_t plan_limit_;
  const Precision precision_;
  const std::vector<bool> donated_;
  std::mutex mutex_;
  std::list<Entry> plans_;  // most recently used first
  // Where shapes hardly ever come back, one plan that binds none serves them all.
  size_t made_ = 0;
  size_t found_ = 0;
  std::shared_ptr<Plan> any_shape_plan_;
  std::vector<std::pair<DType, int>> any_shape_kinds_;  // element types and ranks that it is for

  std::mutex shared_mutex_;
  std::map<std::string, Tensor> shared_;
  std::atomic<bool> packed_{false};  // shared_ grew since the last plan was made
  std::map<const Graph*, std::shared_ptr<const BodyRunner>> bodies_;
};

}  // namespace sx
