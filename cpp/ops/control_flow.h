// What If, Loop, Scan and SequenceMap share: joining types over branches and iterations, and stacking results.
#pragma once

#include <string>
#include <vector>

#include "ops/infer.h"
#include "ops/kernel.h"

namespace sx {

// The narrowest type that covers both; extents that are not provably equal become unknown, an unknown type gives way.
// Fails in the node's name, saying `what`, when kinds or element types differ.
Type join_types(const NodeView& node, const Type& a, const Type& b, const std::string& what);
// Equal in kind, element types and shape, unknown extents taken as equal.
bool same_type(const Type& a, const Type& b);
// The types of a body's outputs once the facts of its leading (from `first`) inputs cover everything the outputs from
// `first_output` on may feed back: inputs [first, first + count) are widened until nothing changes.
std::vector<Facts> infer_iterated(const InferContext& c, const std::string& attribute, std::vector<Facts>& inputs,
                                  size_t first, size_t first_output, size_t count);

// Tensors of one shape collected along a new first axis, in memory that grows by doubling.
class Stack {
 public:
  // `limit` is the most that will come, `INT64_MAX` where nobody knows; it reserves little in advance.
  explicit Stack(int64_t limit = INT64_MAX) : limit_(limit) {}
  // Appends; fails in the node's name, saying `what` and its number `k`, when dtype or shape differ from the first
  // tensor's.
  void add(const Run& run, const Tensor& item, const char* what, size_t k);
  int64_t count() const { return count_; }
  // All that was added, [count, ...]; at least one tensor must have been added.
  Tensor take() const;

 private:
  int64_t limit_;
  int64_t count_ = 0;
  int64_t capacity_ = 0;
  Shape item_;
  Tensor memory_;
};

// Copies elements, strings too.
void copy_elements(const Tensor& from, int64_t from_index, const Tensor& to, int64_t to_index, int64_t count);
// Item `index` of x along the first axis, sharing its memory.
Tensor item_of(const Tensor& x, int64_t index);
// A copy of x with axis `from` moved to place `to`.
Tensor moved_axis(const Tensor& x, int from, int to);
// The shape with every unknown extent 0, for outputs that no iteration filled.
Shape empty_shape(const Type& type, size_t skip);
// The boolean in a tensor of one element; fails in the node's name otherwise.
bool condition_of(const Run& run, const Datum& value, const char* what);

// The rules of the operators with bodies (control_flow_gradient.cpp).
void differentiate_if(GradientContext& c);
void differentiate_loop(GradientContext& c);
void differentiate_scan(GradientContext& c);
void differentiate_sequence_map(GradientContext& c);

}  // namespace sx
