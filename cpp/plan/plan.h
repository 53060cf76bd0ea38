// Plan: the immutable recipe for running a graph on inputs of given shapes, and the memory of one run of it.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ops/infer.h"
#include "ops/kernel.h"

namespace sx {

struct ProfileEvent {
  std::string node;     // the node's origin: what the model's author calls it
  std::string op;       // operator, with its domain
  std::string choice;   // what the kernel said of itself
  double start_us = 0;  // since the start of the profile
  double duration_us = 0;
  int64_t bytes_read = 0;
  int64_t bytes_written = 0;
  std::vector<std::string> input_types;  // f32[1,3,224,224]
  std::vector<std::string> output_types;
};

// Collects events of all runs of a session; thread-safe.
class Profile {
 public:
  double now_us() const;
  void add(ProfileEvent event);
  std::vector<ProfileEvent> take();

 private:
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::vector<ProfileEvent> events_;
};

struct RunConfig {
  const std::atomic<bool>* terminate = nullptr;
  double timeout_seconds = 0;  // 0: none
};

// What one call of run() carries through all its plans, bodies included.
struct RunState {
  RunState(const RunConfig& config, Profile* events);

  const std::atomic<bool>* terminate = nullptr;
  bool has_deadline = false;
  std::chrono::steady_clock::time_point deadline{};
  Profile* profile = nullptr;

  // Throws Terminated or DeadlineExceeded.
  void check() const;
};

struct Step {
  NodeId id = kNone;
  const Node* node = nullptr;
  Kernel kernel;
  std::string choice;
  std::vector<int> inputs;  // value slots; kNone where absent; captures follow the inputs
  struct Output {
    int slot = kNone;
    DType dtype = DType::kUndefined;
    bool planned = false;
    size_t offset = 0;
    size_t capacity = 0;
    int donor = kNone;  // slot whose memory this takes: a donated input's, or what was written there in its place
  };
  std::vector<Output> outputs;
  std::vector<int> release;  // unplanned slots that nothing reads after this step
};

// Gives the tensors of `datum` memory that they share with nothing.
void own(Datum& datum);

// The values of one run: reused by the next, so that a steady run allocates nothing but its outputs.
struct RunContext {
  std::shared_ptr<Buffer> arena;
  std::vector<Datum> values;
  std::vector<std::vector<const Datum*>> inputs;  // per step, pointing into values
  std::vector<std::vector<OutputSlot>> outputs;   // per step, pointing into values
};

class Plan {
 public:
  // Plans `graph`, which must outlive the plan, for the given facts of its inputs. Known values are computed now;
  // kernels are chosen and prepared; values of known size get a place in the arena. `donated` says of which inputs
  // (none where it is empty) outputs may take the memory: whoever calls run() gives them up.
  Plan(const Graph& graph, const std::vector<Type>& input_types, const std::vector<bool>& donated, PrepareHost& host);

  // Runs the steps. Thread-safe: each run takes a context of its own. With `exclusive`, outputs share their memory with
  // nothing; otherwise they may share it with inputs and constants.
  std::vector<Datum> run(std::vector<Datum> inputs, const RunState& state, bool exclusive);

  const std::vector<Step>& steps() const { return steps_; }
  size_t arena_bytes() const { return arena_bytes_; }
  // What a run takes beside its inputs, as far as sizes are known: the arena and outputs in memory of their own.
  size_t planned_bytes() const { return arena_bytes_ + fresh_bytes_; }

 private:
  struct Planner;
  std::unique_ptr<RunContext> make_context() const;
  void run_steps(RunContext& context, const RunState& state) const;

  size_t slots_ = 0;
  std::vector<Step> steps_;
  std::vector<std::pair<int, Tensor>> constants_;  // slot, value
  std::vector<int> input_slots_;                   // kNone where nothing reads the input
  std::vector<int> output_slots_;
  std::vector<bool> output_moves_;  // the value leaves the context: no constant, and no later output is the same
  std::vector<int> transient_;      // slots to clear after a run
  size_t arena_bytes_ = 0;
  size_t fresh_bytes_ = 0;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RunContext>> idle_;
};

}  // namespace sx
