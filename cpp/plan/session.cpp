// Loads, optimises and runs models.
#include "plan/session.h"

#include <algorithm>

#include "base/suggest.h"
#include "passes/pipeline.h"
#include "plan/feeds.h"

namespace sx {
namespace {

constexpr size_t kVariantLimit = 8;

std::vector<std::string> names_of(const std::vector<PortInfo>& ports) {
  std::vector<std::string> names;
  for (const PortInfo& port : ports) names.push_back(port.name);
  return names;
}

}  // namespace

std::shared_ptr<Session> Session::from_file(const std::string& path, const SessionConfig& config) {
  return std::shared_ptr<Session>(new Session(import_file(path, config.import), config));
}

std::shared_ptr<Session> Session::from_bytes(std::string_view bytes, const SessionConfig& config) {
  return std::shared_ptr<Session>(new Session(import_bytes(bytes, config.import), config));
}

Session::Session(ImportedModel model, const SessionConfig& config)
    : model_(std::move(model)), config_(config), profiling_(config.profile) {
  const Graph& graph = *model_.graph;
  for (size_t i = 0; i < graph.inputs.size(); ++i)
    inputs_.push_back({graph.value(graph.inputs[i]).name, model_.input_types[i]});
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    outputs_.push_back({graph.value(graph.outputs[i]).name, model_.output_types[i]});
  for (const OverridableInitializer& entry : model_.overridable) overridable_.push_back({entry.name, entry.type});
  default_ = make_variant(names_of(outputs_), {}, log_);
}

std::shared_ptr<Session::Variant> Session::make_variant(std::vector<std::string> fetches,
                                                        std::vector<std::string> overridden, PassLog& log) const {
  auto variant = std::make_shared<Variant>();
  variant->graph = model_.graph->clone();
  Graph& graph = *variant->graph;
  graph.outputs.clear();
  for (const std::string& name : fetches) graph.outputs.push_back(graph.find_value(name));
  for (const std::string& name : overridden) {
    const ValueId value = graph.find_value(name);
    const auto entry =
        std::find_if(overridable_.begin(), overridable_.end(), [&](const PortInfo& port) { return port.name == name; });
    graph.value(value).facts = {entry->type, Tensor(), std::nullopt};
    graph.inputs.push_back(value);
  }
  for (ValueId input : graph.inputs) variant->input_names.push_back(graph.value(input).name);
  if (config_.optimization != Optimization::kNone) simplify(graph, log);
  if (config_.optimization == Optimization::kLower) lower(graph, log, config_.lower);
  variant->fetches = std::move(fetches);
  variant->overridden = std::move(overridden);
  variant->executable = std::make_unique<Executable>(graph, config_.plan_limit, config_.lower.precision);
  return variant;
}

std::shared_ptr<Session::Variant> Session::variant_for(const std::vector<std::string>& fetches,
                                                       const std::vector<std::string>& overridden) {
  auto same = [&](const std::shared_ptr<Variant>& variant) {
    return variant->fetches == fetches && variant->overridden == overridden;
  };
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = std::find_if(variants_.begin(), variants_.end(), same);
    if (found != variants_.end()) {
      variants_.splice(variants_.begin(), variants_, found);
      return variants_.front();
    }
  }
  for (const std::string& name : fetches) {
    const ValueId value = model_.graph->find_value(name);
    if (value != kNone) continue;
    std::vector<std::string> known;
    for (ValueId id = 0; id < static_cast<ValueId>(model_.graph->value_limit()); ++id)
      if (model_.graph->has_value(id)) known.push_back(model_.graph->value(id).name);
    fail(ErrorKind::kInvalidArgument, "Invalid output name: '", name, "' names no value of the model; its outputs are ",
         quoted(names_of(outputs_)), suggestion(name, known));
  }
  PassLog log;
  auto variant = make_variant(fetches, overridden, log);
  std::lock_guard<std::mutex> lock(mutex_);
  variants_.push_front(variant);
  if (variants_.size() > kVariantLimit) variants_.pop_back();
  return variant;
}

std::vector<Datum> Session::run(const std::vector<std::string>& fetches,
                                const std::vector<std::pair<std::string, Datum>>& feeds, const RunConfig& config) {
  std::vector<std::string> overridden;
  for (const auto& [name, value] : feeds) {
    (void)value;
    auto named = [&n = name](const PortInfo& port) { return port.name == n; };
    if (std::any_of(inputs_.begin(), inputs_.end(), named)) continue;
    std::vector<std::string> known = names_of(inputs_);
    for (const PortInfo& port : overridable_) known.push_back(port.name);
    SX_REQUIRE(std::any_of(overridable_.begin(), overridable_.end(), named), kInvalidArgument, "Invalid input name: '",
               name, "'; the model's inputs are ", quoted(names_of(inputs_)), suggestion(name, known));
    overridden.push_back(name);
  }
  std::sort(overridden.begin(), overridden.end());
  const bool declared = std::all_of(fetches.begin(), fetches.end(), [&](const std::string& name) {
    return std::any_of(outputs_.begin(), outputs_.end(), [&](const PortInfo& port) { return port.name == name; });
  });
  const std::shared_ptr<Variant> variant =
      declared && overridden.empty() ? default_ : variant_for(declared ? names_of(outputs_) : fetches, overridden);

  const Graph& graph = variant->executable->graph();
  std::vector<Datum> inputs;
  inputs.reserve(variant->input_names.size());
  std::vector<std::string> missing;
  for (size_t i = 0; i < variant->input_names.size(); ++i) {
    const std::string& name = variant->input_names[i];
    auto fed = std::find_if(feeds.begin(), feeds.end(), [&](const auto& feed) { return feed.first == name; });
    if (fed == feeds.end()) {
      missing.push_back(name);
      continue;
    }
    check_feed(name, graph.type(graph.inputs[i]), fed->second);
    inputs.push_back(fed->second);
  }
  SX_REQUIRE(missing.empty(), kInvalidArgument, "Required inputs (", quoted(missing),
             ") are missing from the input feed");

  std::vector<Datum> outputs = run_variant(*variant, std::move(inputs), config);
  if (fetches.empty() || variant->fetches == fetches) return outputs;
  std::vector<Datum> picked;
  for (const std::string& name : fetches) {
    const auto at = std::find(variant->fetches.begin(), variant->fetches.end(), name) - variant->fetches.begin();
    picked.push_back(outputs[static_cast<size_t>(at)]);
  }
  return picked;
}

std::vector<Datum> Session::run_inputs(std::vector<Datum> inputs, const RunConfig& config) {
  SX_ASSERT(inputs.size() == inputs_.size());
  const Graph& graph = default_->executable->graph();
  for (size_t i = 0; i < inputs.size(); ++i) check_feed(inputs_[i].name, graph.type(graph.inputs[i]), inputs[i]);
  return run_variant(*default_, std::move(inputs), config);
}

std::vector<Datum> Session::run_variant(const Variant& variant, std::vector<Datum> inputs, const RunConfig& config) {
  const RunState state(config, profiling_ ? &profile_ : nullptr);
  const ThreadLimit limit(config_.threads);
  return variant.executable->run(std::move(inputs), state, true);
}

Type Session::type_of(const std::string& name) const {
  const ValueId value = model_.graph->find_value(name);
  SX_REQUIRE(value != kNone, kInvalidArgument, "'", name, "' names no value of the model");
  return model_.graph->type(value);
}

std::vector<NodeReport> Session::report() {
  const std::shared_ptr<Plan> plan = default_->executable->newest_plan();
  std::vector<NodeReport> reports;
  if (plan) {
    for (const Step& step : plan->steps())
      reports.push_back({step.node->origin, step.node->op->full_name(), step.choice});
    return reports;
  }
  const Graph& graph = default_->executable->graph();
  for (NodeId id : graph.order()) reports.push_back({graph.node(id).origin, graph.node(id).op->full_name(), ""});
  return reports;
}

}  // namespace sx
