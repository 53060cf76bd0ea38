// Looks plans up by input shapes and runs bodies of control flow.
#include "plan/executable.h"

namespace sx {
namespace {

// After this many plans with fewer than one reuse each, planning by shape is given up.
constexpr size_t kPlansBeforeGivingUp = 64;

// Element type and rank, which a plan for any shape is made for; {kUndefined, 0} for what is no tensor.
std::pair<DType, int> kind_of(const Datum& input) {
  if (input.kind != Datum::Kind::kTensor) return {DType::kUndefined, 0};
  return {input.tensor.dtype(), input.tensor.rank()};
}

bool same_kinds(const std::vector<std::pair<DType, int>>& kinds, const std::vector<Datum>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i)
    if (kinds[i] != kind_of(inputs[i])) return false;
  return true;
}

class BodyExecutable : public BodyRunner {
 public:
  BodyExecutable(const Body& body, size_t first_capture, size_t plan_limit, Precision precision)
      : executable_(*body.graph, plan_limit, precision),
        first_capture_(first_capture),
        captures_(body.captures.size()) {}

  std::vector<Datum> run(const Run& run, std::vector<Datum> inputs) const override {
    inputs.reserve(inputs.size() + captures_);
    for (size_t k = 0; k < captures_; ++k) inputs.push_back(run.capture(first_capture_ + k));
    return executable_.run(std::move(inputs), *static_cast<const RunState*>(run.state()), false);
  }

 private:
  mutable Executable executable_;  // its caches are guarded by locks of their own
  size_t first_capture_;
  size_t captures_;
};

}  // namespace

bool Executable::matches(const Entry& entry, const std::vector<Datum>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Key& key = entry.keys[i];
    if (inputs[i].kind != Datum::Kind::kTensor) {
      if (key.dtype != DType::kUndefined) return false;
    } else if (key.dtype != inputs[i].tensor.dtype() || key.shape != inputs[i].tensor.shape()) {
      return false;
    }
  }
  return true;
}

std::shared_ptr<Plan> Executable::make_plan(const std::vector<Datum>& inputs, bool any_shape) {
  std::vector<Type> types;
  for (const Datum& input : inputs) {
    const bool tensor = input.kind == Datum::Kind::kTensor;
    types.push_back(!tensor     ? Type()
                    : any_shape ? Type::tensor(input.tensor.dtype(), SymShape(static_cast<size_t>(input.tensor.rank())))
                                : Type::tensor(input.tensor.dtype(), input.tensor.shape()));
  }
  auto plan = std::make_shared<Plan>(graph_, types, donated_, *this);
  // What weights were read into for packing is of sizes that runs do not ask for.
  if (packed_.exchange(false)) trim_buffer_cache();
  return plan;
}

std::shared_ptr<Plan> Executable::plan_for(const std::vector<Datum>& inputs) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto entry = plans_.begin(); entry != plans_.end(); ++entry) {
      if (!matches(*entry, inputs)) continue;
      ++found_;
      if (entry != plans_.begin()) plans_.splice(plans_.begin(), plans_, entry);
      return plans_.front().plan;
    }
    if (any_shape_plan_ && same_kinds(any_shape_kinds_, inputs)) return any_shape_plan_;
  }
  // Made outside of the lock, so that runs with known shapes go on; two threads may make the same plan once.
  std::shared_ptr<Plan> plan = make_plan(inputs, false);
  Entry entry;
  for (const Datum& input : inputs)
    entry.keys.push_back(input.kind == Datum::Kind::kTensor ? Key{input.tensor.dtype(), input.tensor.shape()} : Key());
  {
    std::lock_guard<std::mutex> lock(mutex_);
    entry.plan = plan;
    plans_.push_front(std::move(entry));
    if (plans_.size() > plan_limit_) plans_.pop_back();
    if (++made_ < kPlansBeforeGivingUp || found_ >= made_) return plan;
  }
  const std::shared_ptr<Plan> any_shape = make_plan(inputs, true);
  std::lock_guard<std::mutex> lock(mutex_);
  any_shape_plan_ = any_shape;
  any_shape_kinds_.clear();
  for (const Datum& input : inputs) any_shape_kinds_.push_back(kind_of(input));
  return plan;
}

std::shared_ptr<Plan> Executable::newest_plan() {
  std::lock_guard<std::mutex> lock(mutex_);
  return plans_.empty() ? nullptr : plans_.front().plan;
}

std::vector<Datum> Executable::run(std::vector<Datum> inputs, const RunState& state, bool exclusive) {
  const std::shared_ptr<Plan> plan = plan_for(inputs);
  return plan->run(std::move(inputs), state, exclusive);
}

Tensor Executable::shared(const std::string& key, FunctionRef<Tensor()> make) {
  std::lock_guard<std::mutex> lock(shared_mutex_);
  auto found = shared_.find(key);
  if (found == shared_.end()) {
    found = shared_.emplace(key, make()).first;
    packed_ = true;
  }
  return found->second;
}

std::shared_ptr<const BodyRunner> Executable::body(const Node& node, size_t index) {
  size_t first_capture = 0;
  for (size_t i = 0; i < index; ++i) first_capture += node.bodies[i].captures.size();
  const Body& body = node.bodies[index];
  std::lock_guard<std::mutex> lock(shared_mutex_);
  auto& runner = bodies_[body.graph.get()];
  if (!runner) runner = std::make_shared<BodyExecutable>(body, first_capture, plan_limit_, precision_);
  return runner;
}

}  // namespace sx
