// Runs graphs that keep variables.
#include "plan/program.h"

#include <algorithm>

#include "base/error.h"
#include "passes/pipeline.h"
#include "plan/feeds.h"

namespace sx {

Tensor Variable::shared() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return value_;
}

Tensor Variable::copy() const { return shared().clone(); }

void Variable::assign(const Tensor& value) {
  const std::lock_guard<std::mutex> lock(mutex_);
  SX_REQUIRE(value.dtype() == value_.dtype() && value.shape() == value_.shape(), kInvalidArgument, "a variable of ",
             name_of(value_.dtype()), value_.shape().str(), " cannot become ", name_of(value.dtype()),
             value.shape().str());
  value_ = value.clone();
}

void Variable::become(Tensor value) {
  const std::lock_guard<std::mutex> lock(mutex_);
  value_ = Tensor();
  value_ = value.buffer().use_count() == 1 ? std::move(value) : value.clone();
}

Program::Program(ImportedModel model, std::vector<Binding> bindings, const SessionConfig& config,
                 std::optional<Recompute> recompute)
    : model_(std::move(model)), bindings_(std::move(bindings)), config_(config), recompute_(std::move(recompute)) {
  Graph& graph = *model_.graph;
  const auto binding_of = [&](const std::string& name, std::string Binding::* part) {
    const auto found =
        std::find_if(bindings_.begin(), bindings_.end(), [&](const Binding& binding) { return binding.*part == name; });
    return found == bindings_.end() ? kFed : static_cast<size_t>(found - bindings_.begin());
  };
  std::vector<std::string> unknown;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const std::string& name = graph.value(graph.inputs[i]).name;
    reads_.push_back(binding_of(name, &Binding::input));
    donated_.push_back(reads_.back() != kFed && !bindings_[reads_.back()].update.empty());
    if (reads_.back() == kFed) inputs_.push_back({name, model_.input_types[i]});
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const std::string& name = graph.value(graph.outputs[i]).name;
    updates_.push_back(binding_of(name, &Binding::update));
    if (updates_.back() == kReturned) outputs_.push_back({name, model_.output_types[i]});
  }
  for (size_t i = 0; i < bindings_.size(); ++i) {
    const bool read = std::count(reads_.begin(), reads_.end(), i) == 1;
    const bool updated = bindings_[i].update.empty() || std::count(updates_.begin(), updates_.end(), i) == 1;
    SX_REQUIRE(read, kInvalidArgument, "no input is named '", bindings_[i].input,
               "', or two variables are bound to it");
    SX_REQUIRE(updated, kInvalidArgument, "no output is named '", bindings_[i].update,
               "', or it updates two variables");
  }
  if (recompute_) kept_ = find_kept(graph, *recompute_);
  if (config_.optimization != Optimization::kNone) simplify(graph, log_);
  if (config_.optimization == Optimization::kLower) lower(graph, log_, config_.lower);
}

void Program::make_executable(const std::vector<Datum>& inputs) {
  if (recompute_) {
    std::vector<Type> types;
    for (const Datum& input : inputs)
      types.push_back(input.kind == Datum::Kind::kTensor ? Type::tensor(input.tensor.dtype(), input.tensor.shape())
                                                         : Type());
    recompute_backward(*model_.graph, types, donated_, *recompute_, kept_);
  }
  executable_ = std::make_unique<Executable>(*model_.graph, config_.plan_limit, config_.lower.precision, donated_);
}

size_t Program::planned_bytes() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::shared_ptr<Plan> plan = executable_ ? executable_->newest_plan() : nullptr;
  return plan ? plan->planned_bytes() : 0;
}

std::vector<Datum> Program::run(const std::vector<std::pair<std::string, Datum>>& feeds, const RunConfig& config) {
  for (const auto& feed : feeds)
    SX_REQUIRE(
        std::any_of(inputs_.begin(), inputs_.end(), [&](const PortInfo& port) { return port.name == feed.first; }),
        kInvalidArgument, "Invalid input name: '", feed.first, "'");
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Datum> inputs;
  std::vector<std::string> missing;
  auto port = inputs_.begin();
  for (const size_t read : reads_) {
    if (read != kFed) {
      inputs.emplace_back(bindings_[read].variable->shared());
      continue;
    }
    const auto fed =
        std::find_if(feeds.begin(), feeds.end(), [&](const auto& feed) { return feed.first == port->name; });
    if (fed == feeds.end()) {
      missing.push_back(port->name);
    } else {
      check_feed(port->name, port->type, fed->second);
      inputs.push_back(fed->second);
    }
    ++port;
  }
  SX_REQUIRE(missing.empty(), kInvalidArgument, "Required inputs (", quoted(missing),
             ") are missing from the input feed");

  const RunState state(config, profiling_ ? &profile_ : nullptr);
  const ThreadLimit limit(config_.threads);
  if (!executable_) make_executable(inputs);
  std::vector<Datum> results = executable_->run(std::move(inputs), state, false);
  std::vector<Datum> returned;
  for (size_t i = 0; i < results.size(); ++i) {
    if (updates_[i] == kReturned) {
      own(results[i]);
      returned.push_back(std::move(results[i]));
    } else {
      bindings_[updates_[i]].variable->become(std::move(results[i].tensor));
    }
  }
  return returned;
}

}  // namespace sx
