// Runs plans: walks the steps over a context of values.
#include <algorithm>

#include "ops/named_error.h"
#include "plan/plan.h"

namespace sx {
namespace {

constexpr size_t kIdleContexts = 4;

int64_t bytes_of(const Datum* datum) {
  return datum != nullptr && datum->kind == Datum::Kind::kTensor ? static_cast<int64_t>(datum->tensor.bytes()) : 0;
}

std::string type_of(const Datum* datum) {
  if (datum == nullptr || datum->kind == Datum::Kind::kNone) return "none";
  if (datum->kind == Datum::Kind::kSequence) return "sequence";
  if (datum->kind == Datum::Kind::kMap) return "map";
  return name_of(datum->tensor.dtype()) + datum->tensor.shape().str();
}

void clear(Datum& datum) {
  if (datum.kind != Datum::Kind::kNone) datum = Datum();
}

}  // namespace

void own(Datum& datum) {
  if (datum.kind == Datum::Kind::kTensor) {
    if (datum.tensor.buffer().use_count() != 1) datum.tensor = datum.tensor.clone();
  } else if (datum.kind == Datum::Kind::kSequence) {
    std::vector<Datum> items = datum.sequence.use_count() == 1 ? std::move(*datum.sequence) : *datum.sequence;
    for (Datum& item : items) own(item);
    datum = Datum::of_sequence(std::move(items));
  }
}

RunState::RunState(const RunConfig& config, Profile* events)
    : terminate(config.terminate), has_deadline(config.timeout_seconds > 0), profile(events) {
  if (has_deadline)
    deadline = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                      std::chrono::duration<double>(config.timeout_seconds));
}

double Profile::now_us() const {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began_).count();
}

void Profile::add(ProfileEvent event) {
  std::lock_guard<std::mutex> lock(mutex_);
  events_.push_back(std::move(event));
}

std::vector<ProfileEvent> Profile::take() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::move(events_);
}

void RunState::check() const {
  SX_REQUIRE(terminate == nullptr || !terminate->load(std::memory_order_relaxed), kTerminated,
             "the run was stopped because RunOptions.terminate was set");
  SX_REQUIRE(!has_deadline || std::chrono::steady_clock::now() < deadline, kDeadlineExceeded,
             "the run was stopped because its deadline passed");
}

std::unique_ptr<RunContext> Plan::make_context() const {
  auto context = std::make_unique<RunContext>();
  context->arena = Buffer::allocate(arena_bytes_);
  context->values.resize(slots_);
  for (const auto& [slot, tensor] : constants_) context->values[static_cast<size_t>(slot)] = tensor;
  context->inputs.reserve(steps_.size());
  context->outputs.reserve(steps_.size());
  for (const Step& step : steps_) {
    auto& inputs = context->inputs.emplace_back();
    for (int slot : step.inputs)
      inputs.push_back(slot == kNone ? nullptr : &context->values[static_cast<size_t>(slot)]);
    auto& outputs = context->outputs.emplace_back();
    for (const Step::Output& output : step.outputs) {
      OutputSlot& to = outputs.emplace_back();
      if (output.slot == kNone) continue;
      to.datum = &context->values[static_cast<size_t>(output.slot)];
      to.dtype = output.dtype;
      to.arena = output.planned ? &context->arena : nullptr;
      to.offset = output.offset;
      to.capacity = output.capacity;
      if (output.donor != kNone) to.donor = &context->values[static_cast<size_t>(output.donor)];
    }
  }
  return context;
}

void Plan::run_steps(RunContext& context, const RunState& state) const {
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    state.check();
    const double began = state.profile != nullptr ? state.profile->now_us() : 0;
    Run run(*step.node, context.inputs[i], context.outputs[i], &state);
    naming(*step.node, [&] { step.kernel(run); });
    if (state.profile != nullptr) {
      ProfileEvent event{step.node->origin,
                         step.node->op->full_name(),
                         step.choice,
                         began,
                         state.profile->now_us() - began,
                         0,
                         0,
                         {},
                         {}};
      for (const Datum* input : context.inputs[i]) {
        event.bytes_read += bytes_of(input);
        event.input_types.push_back(type_of(input));
      }
      for (const OutputSlot& output : context.outputs[i]) {
        event.bytes_written += bytes_of(output.datum);
        event.output_types.push_back(type_of(output.datum));
      }
      state.profile->add(std::move(event));
    }
    for (int slot : step.release) clear(context.values[static_cast<size_t>(slot)]);
  }
}

std::vector<Datum> Plan::run(std::vector<Datum> inputs, const RunState& state, bool exclusive) {
  std::unique_ptr<RunContext> context;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      context = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!context) context = make_context();
  for (size_t i = 0; i < inputs.size(); ++i)
    context->values[static_cast<size_t>(input_slots_[i])] = std::move(inputs[i]);
  // The context goes back clean whether the run ends well or not.
  struct Return {
    Plan& plan;
    std::unique_ptr<RunContext>& context;
    ~Return() {
      for (int slot : plan.transient_) clear(context->values[static_cast<size_t>(slot)]);
      std::lock_guard<std::mutex> lock(plan.mutex_);
      if (plan.idle_.size() < kIdleContexts) plan.idle_.push_back(std::move(context));
    }
  };
  std::vector<Datum> outputs;
  outputs.reserve(output_slots_.size());
  {
    const Return when_done{*this, context};
    run_steps(*context, state);
    for (size_t i = 0; i < output_slots_.size(); ++i) {
      Datum& value = context->values[static_cast<size_t>(output_slots_[i])];
      if (!output_moves_[i]) {
        outputs.push_back(value);
        continue;
      }
      outputs.push_back(std::move(value));
      value.kind = Datum::Kind::kNone;
    }
  }
  if (exclusive)
    for (Datum& output : outputs) own(output);
  return outputs;
}

}  // namespace sx
