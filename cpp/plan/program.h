// Program: a graph of which some inputs are variables, which keep their values between runs.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "onnx/importer.h"
#include "passes/pass.h"
#include "plan/recompute.h"
#include "plan/session.h"

namespace sx {

// A tensor that programs share and change. Thread-safe; the elements belong to the variable alone.
class Variable {
 public:
  explicit Variable(const Tensor& value) : value_(value.clone()) {}

  Tensor copy() const;
  // Throws InvalidArgument where type or shape differ from those of the present value.
  void assign(const Tensor& value);
  DType dtype() const { return shared().dtype(); }
  Shape shape() const { return shared().shape(); }

 private:
  friend class Program;
  Tensor shared() const;
  void become(Tensor value);

  mutable std::mutex mutex_;
  Tensor value_;
};

// An input of a program that reads a variable, and the output, if any, that gives its next value.
struct Binding {
  std::string input;
  std::shared_ptr<Variable> variable;
  std::string update;  // empty: the program only reads the variable
};

class Program {
 public:
  // Takes the graph of `model`; its inputs but those of `bindings` are fed in each run. With `recompute`, what is kept
  // is chosen for the shapes of the first run, and holds for all.
  Program(ImportedModel model, std::vector<Binding> bindings, const SessionConfig& config,
          std::optional<Recompute> recompute = std::nullopt);

  const std::vector<PortInfo>& inputs() const { return inputs_; }    // that a run must be fed
  const std::vector<PortInfo>& outputs() const { return outputs_; }  // that a run returns: those that update nothing

  // Runs the graph once and then gives the variables their next values, in the memory of the old ones where the graph
  // allows it. Where a run fails, variables are unchanged unless it failed in the midst of their updates, which begin
  // as soon as the first gradients are there. One run at a time; a variable must not be read by another program
  // meanwhile.
  std::vector<Datum> run(const std::vector<std::pair<std::string, Datum>>& feeds, const RunConfig& config);

  // Plan::planned_bytes() of the newest plan; 0 before the first run.
  size_t planned_bytes();
  const std::vector<PassEvent>& explain() const { return log_.events(); }
  std::vector<ProfileEvent> take_profile() { return profile_.take(); }
  void set_profiling(bool on) { profiling_ = on; }

 private:
  void make_executable(const std::vector<Datum>& inputs);

  static constexpr size_t kFed = static_cast<size_t>(-1);
  static constexpr size_t kReturned = kFed;

  ImportedModel model_;
  std::vector<Binding> bindings_;
  SessionConfig config_;
  std::vector<PortInfo> inputs_, outputs_;
  std::vector<size_t> reads_;    // for each input of the graph its binding, or kFed
  std::vector<size_t> updates_;  // for each output of the graph the binding it updates, or kReturned
  std::vector<bool> donated_;    // for each input of the graph
  std::optional<Recompute> recompute_;
  KeptValues kept_;
  PassLog log_;
  std::unique_ptr<Executable> executable_;  // from the first run on
  std::mutex mutex_;
  std::atomic<bool> profiling_{false};
  Profile profile_;
};

}  // namespace sx
