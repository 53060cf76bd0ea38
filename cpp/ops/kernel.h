// What kernels see: Prepare while a plan is made, Run while it runs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/precision.h"
#include "base/thread_pool.h"
#include "ops/op_def.h"

namespace sx {

// Runs a body of a control-flow node. Made by the executor; thread-safe.
class BodyRunner {
 public:
  virtual ~BodyRunner() = default;
  // The body's outputs for its formal inputs; captured values are taken from `run`, the run of the enclosing node.
  virtual std::vector<Datum> run(const Run& run, std::vector<Datum> inputs) const = 0;
};

// What the executor provides while it prepares kernels.
class PrepareHost {
 public:
  virtual ~PrepareHost() = default;
  // The value made by `make` for this key, kept for the life of the session and shared by its plans.
  virtual Tensor shared(const std::string& key, FunctionRef<Tensor()> make) = 0;
  virtual std::shared_ptr<const BodyRunner> body(const Node& node, size_t index) = 0;
  // The value is the same in every plan: an initializer, not something computed from this plan's shapes.
  virtual bool lasting(ValueId value) const = 0;
  // What the user allows products of f32 to be computed in.
  virtual Precision precision() const { return Precision::kF32; }
};

class Prepare : public NodeView {
 public:
  Prepare(const Node& node, NodeId id, std::vector<const Facts*> inputs, std::vector<const Facts*> outputs,
          PrepareHost* host)
      : NodeView(node), id_(id), inputs_(std::move(inputs)), outputs_(std::move(outputs)), host_(host) {}

  int inputs() const { return static_cast<int>(inputs_.size()); }
  bool has(int i) const { return i < inputs() && inputs_[static_cast<size_t>(i)] != nullptr; }
  DType dtype(int i) const { return inputs_[static_cast<size_t>(i)]->type.dtype; }
  const Type& type(int i) const { return inputs_[static_cast<size_t>(i)]->type; }
  // The shape in this plan; absent where it depends on data.
  std::optional<Shape> shape(int i) const { return has(i) ? type(i).concrete_shape() : std::nullopt; }
  // The tensor when it never changes in this plan, else nullptr.
  const Tensor* constant(int i) const {
    return has(i) && inputs_[static_cast<size_t>(i)]->constant.defined() ? &inputs_[static_cast<size_t>(i)]->constant
                                                                         : nullptr;
  }
  Precision precision() const { return host_->precision(); }
  bool wants(int output) const {
    return static_cast<size_t>(output) < node().outputs.size() && node().outputs[static_cast<size_t>(output)] != kNone;
  }
  const Type& output_type(int output) const {
    return outputs_[static_cast<size_t>(output)]->type;
  }  // only where wants()
  // A tensor derived from constant inputs only (packed weights): made once for this node and `tag` and shared by all
  // plans, or for this plan alone where a constant of the node follows from the plan's shapes.
  Tensor shared(const std::string& tag, FunctionRef<Tensor()> make) const;
  std::shared_ptr<const BodyRunner> body_runner(const std::string& attribute) const;
  // Says in a few words which variant was chosen and why ("implicit gemm, packed weights"); shown by explain and
  // profile.
  void describe(const std::string& choice) { choice_ = choice; }
  const std::string& choice() const { return choice_; }

 private:
  NodeId id_;
  std::vector<const Facts*> inputs_;
  std::vector<const Facts*> outputs_;
  PrepareHost* host_;
  std::string choice_;
};

// Where an output goes; filled by the executor.
struct OutputSlot {
  Datum* datum = nullptr;  // nullptr: not wanted
  DType dtype = DType::kUndefined;
  const std::shared_ptr<Buffer>* arena = nullptr;  // set where the memory planner gave the output a place
  size_t offset = 0;
  size_t capacity = 0;           // bytes
  const Datum* donor = nullptr;  // an input of the run whose memory this output may take where dtype and shape agree
};

class Run {
 public:
  Run(const Node& node, std::vector<const Datum*>& inputs, std::vector<OutputSlot>& outputs, const void* state)
      : node_(&node), inputs_(inputs), outputs_(outputs), state_(state) {}

  const Node& node() const { return *node_; }
  // Inputs, then captures of the bodies.
  int inputs() const { return static_cast<int>(node_->inputs.size()); }
  bool has(int i) const {
    return i < inputs() && inputs_[static_cast<size_t>(i)] != nullptr &&
           inputs_[static_cast<size_t>(i)]->kind != Datum::Kind::kNone;
  }
  const Tensor& in(int i) const { return inputs_[static_cast<size_t>(i)]->tensor; }
  const Datum& datum(int i) const { return *inputs_[static_cast<size_t>(i)]; }
  // The k-th captured value, counted over all bodies in turn.
  const Datum& capture(size_t k) const { return *inputs_[node_->inputs.size() + k]; }

  int outputs() const { return static_cast<int>(outputs_.size()); }
  bool wants(int i) const { return i < outputs() && outputs_[static_cast<size_t>(i)].datum != nullptr; }
  // Memory for output `i`, uninitialised; its dtype is the inferred one. In a steady run nothing is allocated. The
  // memory may be that of an input that OpDef::in_place allows.
  Tensor& out(int i, const Shape& shape);
  // The same with a dtype that only the kernel knows.
  Tensor& out(int i, DType dtype, const Shape& shape);
  // Changes the dtype that out(i, shape) gives, where a plan could not tell it.
  void expect(int i, DType dtype) { outputs_[static_cast<size_t>(i)].dtype = dtype; }
  // Makes output `i` an existing value. Only for operators that declare aliases() or retains(), and new memory.
  void set(int i, Datum value);

  // Fails in the node's name, with kind InvalidArgument: the data, not the graph, is at fault.
  template <typename... Parts>
  [[noreturn]] void error(const Parts&... parts) const {
    fail(ErrorKind::kInvalidArgument, label(*node_), " ", parts...);
  }

  // The executor's state of this run (cancellation, profile), handed on to bodies.
  const void* state() const { return state_; }

 private:
  const Node* node_;
  std::vector<const Datum*>& inputs_;
  std::vector<OutputSlot>& outputs_;
  const void* state_;
};

}  // namespace sx
