// What an operator's gradient rule sees, and expressions that add nodes to the graph.
#pragma once

#include <string>
#include <vector>

#include "ops/op_def.h"

namespace sx {

class Emitter;

// A value of a graph under construction, or none. Arithmetic adds the node that computes it; a number becomes a
// constant of the other operand's element type.
class Expr {
 public:
  Expr() = default;
  Expr(Emitter& emitter, ValueId id) : emitter_(&emitter), id_(id) {}
  explicit operator bool() const { return id_ != kNone; }
  ValueId id() const { return id_; }
  Emitter& emitter() const { return *emitter_; }
  const Facts& facts() const;
  const Type& type() const { return facts().type; }
  DType dtype() const { return type().dtype; }
  int rank() const { return type().rank(); }  // -1: unknown

 private:
  Emitter* emitter_ = nullptr;
  ValueId id_ = kNone;
};

Expr operator-(const Expr& a);
Expr operator+(const Expr& a, const Expr& b);
Expr operator-(const Expr& a, const Expr& b);
Expr operator*(const Expr& a, const Expr& b);
Expr operator/(const Expr& a, const Expr& b);
Expr operator+(const Expr& a, double b);
Expr operator-(const Expr& a, double b);
Expr operator*(const Expr& a, double b);
Expr operator/(const Expr& a, double b);
Expr operator+(double a, const Expr& b);
Expr operator-(double a, const Expr& b);
Expr operator*(double a, const Expr& b);
Expr operator/(double a, const Expr& b);

// Appends nodes to a graph, with facts inferred as they are added.
class Emitter {
 public:
  // New nodes carry `name`, and say in messages that they come of `origin`.
  Emitter(Graph& graph, std::string name, std::string origin)
      : graph_(graph), name_(std::move(name)), origin_(std::move(origin)) {}

  Graph& graph() const { return graph_; }
  Expr expr(ValueId id) { return Expr(*this, id); }
  // A node of `op`; its first output. An empty Expr is an absent input.
  Expr op(const std::string& op, const std::vector<Expr>& inputs, Attributes attributes = {},
          const std::string& domain = "");
  // The same with several outputs.
  std::vector<Expr> ops(size_t outputs, const std::string& op, const std::vector<Expr>& inputs,
                        Attributes attributes = {}, const std::string& domain = "");
  Expr constant(const Tensor& tensor);
  Expr scalar(double value, DType dtype);  // of rank 0
  Expr ints(const std::vector<int64_t>& values);

  // --- common expressions
  // The shape of x as i64[rank]; a constant where it is known.
  Expr shape(const Expr& x);
  Expr zeros_like(const Expr& x);
  Expr ones_like(const Expr& x);
  Expr cast(const Expr& x, DType dtype);  // x itself where it has the dtype
  Expr reshape_like(const Expr& x, const Expr& like);
  Expr expand_like(const Expr& x, const Expr& like);
  // condition ? a : b
  Expr where(const Expr& condition, const Expr& a, const Expr& b);
  Expr transpose(const Expr& x, const std::vector<int64_t>& perm);
  Expr swap_last(const Expr& x);  // of known rank >= 2
  Expr reduce_sum(const Expr& x, const std::vector<int64_t>& axes, bool keepdims);
  Expr unsqueeze(const Expr& x, const std::vector<int64_t>& axes);
  // x summed over the dimensions along which `like` was broadcast to the shape of x.
  Expr sum_like(const Expr& x, const Expr& like);

 private:
  Graph& graph_;
  std::string name_;
  std::string origin_;
};

// One node in the walk backwards. A rule reads the gradients of the node's outputs with grad() and hands over those of
// its inputs with give().
class GradientContext : public NodeView, public Emitter {
 public:
  // `grads` are the gradients of the node's outputs, kNone where nothing depends on one; `wanted` says which inputs
  // want theirs.
  GradientContext(Graph& graph, NodeId node, std::vector<ValueId> grads, std::vector<bool> wanted);

  NodeId id() const { return id_; }
  size_t inputs() const { return node().inputs.size(); }
  Expr in(size_t i);  // none where the input is absent
  // Output i of the node, which gets that output if it did not have it.
  Expr out(size_t i = 0);
  // The gradient of output i. None where the result does not depend on it: there is always one for some output.
  Expr grad(size_t i = 0);
  // The same as zeros in place of none.
  Expr grad_or_zeros(size_t i);
  bool wants(size_t i) const { return i < wanted_.size() && wanted_[i]; }
  // Hands over the gradient of input i, of that input's shape; may be called several times, which adds up. Nothing
  // happens where it is not wanted.
  void give(size_t i, const Expr& gradient);
  // The same for a gradient of the shape to which the input was broadcast.
  void give_sum(size_t i, const Expr& gradient);

  // The gradients given; kNone where there is none.
  const std::vector<ValueId>& given() const { return given_; }

 private:
  NodeId id_;
  std::vector<ValueId> grads_;
  std::vector<bool> wanted_;
  std::vector<ValueId> given_;
};

}  // namespace sx
