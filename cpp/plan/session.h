// Session: a loaded model, ready to run; what the Python package binds.
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/importer.h"
#include "passes/pass.h"
#include "passes/pipeline.h"
#include "plan/executable.h"

namespace sx {

enum class Optimization { kNone, kSimplify, kLower };

struct SessionConfig {
  Optimization optimization = Optimization::kLower;
  int threads = 0;  // at most this many for a run; 0: all CPUs that the process may use
  size_t plan_limit = 16;
  bool profile = false;
  ImportOptions import;
  LowerOptions lower;
};

struct PortInfo {
  std::string name;
  Type type;
};

// Where and how one node of the optimised graph runs.
struct NodeReport {
  std::string node;  // origin
  std::string op;
  std::string choice;  // the kernel's own words; empty before the first run
};

class Session {
 public:
  static std::shared_ptr<Session> from_file(const std::string& path, const SessionConfig& config);
  static std::shared_ptr<Session> from_bytes(std::string_view bytes, const SessionConfig& config);

  const ImportedModel& model() const { return model_; }
  const std::vector<PortInfo>& inputs() const { return inputs_; }  // that a run must be fed
  const std::vector<PortInfo>& outputs() const { return outputs_; }
  const std::vector<PortInfo>& overridable() const { return overridable_; }  // initializers that a run may be fed

  // Runs the model. `fetches` names outputs or any other value of the graph; empty: all outputs. Throws
  // InvalidArgument naming the input, what came and what is wanted. Thread-safe.
  std::vector<Datum> run(const std::vector<std::string>& fetches,
                         const std::vector<std::pair<std::string, Datum>>& feeds, const RunConfig& config);
  // All outputs for all inputs() in their order; the checks are those of run().
  std::vector<Datum> run_inputs(std::vector<Datum> inputs, const RunConfig& config);
  // The type of a value that run() can fetch.
  Type type_of(const std::string& name) const;

  // What passes fired and why others did not.
  const std::vector<PassEvent>& explain() const { return log_.events(); }
  std::vector<NodeReport> report();
  const Graph& optimized() const { return default_->executable->graph(); }
  std::vector<ProfileEvent> take_profile() { return profile_.take(); }
  void set_profiling(bool on) { profiling_ = on; }

 private:
  // The graph optimised for a set of outputs and overridden initializers.
  struct Variant {
    std::vector<std::string> fetches;
    std::vector<std::string> overridden;
    std::unique_ptr<Graph> graph;
    std::unique_ptr<Executable> executable;
    std::vector<std::string> input_names;
  };
  Session(ImportedModel model, const SessionConfig& config);
  std::shared_ptr<Variant> make_variant(std::vector<std::string> fetches, std::vector<std::string> overridden,
                                        PassLog& log) const;
  std::shared_ptr<Variant> variant_for(const std::vector<std::string>& fetches,
                                       const std::vector<std::string>& overridden);
  std::vector<Datum> run_variant(const Variant& variant, std::vector<Datum> inputs, const RunConfig& config);

  ImportedModel model_;
  SessionConfig config_;
  std::vector<PortInfo> inputs_;
  std::vector<PortInfo> outputs_;
  std::vector<PortInfo> overridable_;
  PassLog log_;
  std::shared_ptr<Variant> default_;
  std::mutex mutex_;
  std::list<std::shared_ptr<Variant>> variants_;  // most recently used first
  std::atomic<bool> profiling_{false};
  Profile profile_;
};

}  // namespace sx
