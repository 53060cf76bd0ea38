// What an operator's gradient rule sees, and expressions that add nodes to the graph.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_set>
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
  // The same with several outputs, and with bodies.
  std::vector<Expr> ops(size_t outputs, const std::string& op, const std::vector<Expr>& inputs,
                        Attributes attributes = {}, const std::string& domain = "", std::vector<Body> bodies = {});
  // For nodes of a body, with the same name and origin.
  Emitter inside(Graph& body) const { return Emitter(body, name_, origin_); }
  Expr constant(const Tensor& tensor);
  Expr scalar(double value, DType dtype);  // of rank 0
  Expr ints(const std::vector<int64_t>& values);

  // --- common expressions
  // The shape of x as i64[rank]; a constant where it is known.
  Expr shape(const Expr& x);
  Expr zeros_like(const Expr& x);  // of a sequence: a sequence of zeros
  Expr ones_like(const Expr& x);
  Expr cast(const Expr& x, DType dtype);  // x itself where it has the dtype
  Expr reshape_like(const Expr& x, const Expr& like);
  Expr expand_like(const Expr& x, const Expr& like);
  // condition ? a : b
  Expr where(const Expr& condition, const Expr& a, const Expr& b);
  Expr transpose(const Expr& x, const std::vector<int64_t>& perm);
  Expr swap_last(const Expr& x);  // of known rank >= 2
  // The extents [first, last) of x as i64[last - first].
  Expr extents(const Expr& x, int64_t first, int64_t last);
  Expr extent(const Expr& x, int64_t axis) { return extents(x, axis, axis + 1); }
  Expr reshape(const Expr& x, const std::vector<int64_t>& shape);   // 0: as in x, -1: the rest
  Expr reshape_to(const Expr& x, const std::vector<Expr>& pieces);  // pieces of a shape, i64[n] each
  Expr concat(const std::vector<Expr>& parts, int64_t axis);
  // The numbers 0 .. count - 1 as i64; count is i64 of one element.
  Expr iota(const Expr& count);
  // a + b, item by item where they are sequences.
  Expr sum(const Expr& a, const Expr& b);
  Expr reduce_mean(const Expr& x, const std::vector<int64_t>& axes);  // the axes stay, with extent 1
  Expr reduce_sum(const Expr& x, const std::vector<int64_t>& axes, bool keepdims);
  Expr unsqueeze(const Expr& x, const std::vector<int64_t>& axes);
  // x summed over the dimensions along which `like` was broadcast to the shape of x.
  Expr sum_like(const Expr& x, const Expr& like);

 private:
  Graph& graph_;
  std::string name_;
  std::string origin_;
};

// A body of control flow under construction, new or made of another body. Its inputs are the formal ones in the order
// in which they were added, then the values of the enclosing graph that it asked for.
class BodyBuilder {
 public:
  explicit BodyBuilder(const Emitter& outer);
  // Begins with a copy of `body`, whose formal inputs become inputs of this one by use(). Captured constants become
  // constants.
  BodyBuilder(const Emitter& outer, const Body& body);

  Emitter& emitter() { return emitter_; }
  Graph& graph() { return *graph_; }
  Expr input(const std::string& name, const Type& type);
  // The copied body's formal input `i` or output `i`.
  Expr copied(size_t i) { return emitter_.expr(copied_[i]); }
  Expr copied_output(size_t i) { return emitter_.expr(copied_outputs_[i]); }
  Expr use(size_t i, const Type& type);
  // How many formal inputs there are, and those from the `first` on put in front of the others.
  size_t formals() const { return formal_.size(); }
  void move_front(size_t first) {
    std::rotate(formal_.begin(), formal_.begin() + static_cast<std::ptrdiff_t>(first), formal_.end());
  }
  // Puts `value` in the place of the copied body's formal input `i`.
  void replace(size_t i, const Expr& value);
  // What stands in the body for a value of the enclosing graph.
  Expr capture(const Expr& value);
  // Infers the types of the copied nodes; to be called when the types of all inputs are set.
  void infer();
  Body finish(const std::string& attribute, const std::vector<Expr>& outputs);

 private:
  void put_in_place(ValueId from, ValueId to);

  std::unique_ptr<Graph> graph_;
  const Graph& enclosing_;
  Emitter emitter_;
  std::vector<ValueId> copied_, copied_outputs_;
  std::vector<ValueId> formal_, captured_, captures_;
};

struct GradientRequest {
  std::vector<ValueId> ys;     // what is differentiated
  std::vector<ValueId> seeds;  // the gradient of each y; kNone for ones: the result is the gradient of sum(y)
  std::vector<ValueId> xs;     // with respect to what; see carries_gradient()
  // Values that count as independent though nodes compute them: nothing flows through to what they are made of.
  std::unordered_set<ValueId> independent;
  size_t first = 0;  // nodes before this place in the order are not on the way
};

// By value, what depends on the roots in a way that has a gradient, nodes before the place `first` in the order left
// out.
std::vector<bool> dependents(const Graph& graph, const std::vector<ValueId>& roots,
                             const std::unordered_set<ValueId>& independent = {}, size_t first = 0);

// Adds nodes and returns the gradients; see add_gradients() in autodiff/differentiate.h, which this is.
using DifferentiateFn = std::vector<ValueId> (*)(Graph&, const GradientRequest&);

// Whether a value of this type has a gradient: floating-point tensors, and sequences and optionals of such. The
// gradient of a sequence is a sequence, that of an optional has the type of its element.
bool carries_gradient(const Type& type);

// One node in the walk backwards. A rule reads the gradients of the node's outputs with grad() and hands over those of
// its inputs with give().
class GradientContext : public NodeView, public Emitter {
 public:
  // `grads` are the gradients of the node's outputs, kNone where nothing depends on one; `wanted` says of all that the
  // node reads, inputs and captures, which want theirs.
  GradientContext(Graph& graph, NodeId node, std::vector<ValueId> grads, std::vector<bool> wanted,
                  DifferentiateFn differentiate);

  // Fails in the node's name where there is no gradient: the model is right, but cannot be differentiated.
  template <typename... Parts>
  [[noreturn]] void error(const Parts&... parts) const {
    fail(ErrorKind::kNotImplemented, label(node()), " ", parts...);
  }

  NodeId id() const { return id_; }
  size_t inputs() const { return node().inputs.size(); }
  size_t reads() const { return wanted_.size(); }
  // Input i, behind the inputs the captures of bodies; none where it is absent.
  Expr in(size_t i);
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
  // Hands over the gradients of all inputs through `outputs`, expressions of in(i) for the outputs of the node; none
  // for an output that matters to no gradient. They must have been added since the rule was called.
  void give_through(const std::vector<Expr>& outputs);
  // The same where y[p] = x[indices[p] - 1], and zero where the index is 0, for input `i` and output 0: `indices` is
  // the operator itself applied to positions().
  void give_moved(size_t i, const Expr& indices);
  // 1, 2, 3 ... in the shape of x, as i64.
  Expr positions(const Expr& x);
  // Gradients in a graph of its own, such as a body.
  std::vector<ValueId> differentiate(Graph& graph, const GradientRequest& request) const {
    return differentiate_(graph, request);
  }

  // The gradients given; kNone where there is none.
  const std::vector<ValueId>& given() const { return given_; }

 private:
  NodeId id_;
  std::vector<ValueId> grads_;
  std::vector<bool> wanted_;
  std::vector<ValueId> given_;
  DifferentiateFn differentiate_;
  size_t first_;  // the order's length when the rule was called
};

}  // namespace sx
