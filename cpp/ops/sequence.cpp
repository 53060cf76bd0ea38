// Sequences of tensors: making, reading, changing, joining and splitting them.
#include <algorithm>

#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"

namespace sx {
namespace {

// The type of the elements of a sequence; unknown where it is not known to be one.
Type element_of(const InferContext& c, int i) {
  const Type& type = c.type(i);
  if (type.kind == Type::Kind::kUnknown) return Type();
  SX_CHECK(c, type.kind == Type::Kind::kSequence, "input ", i, " is ", type.str(), "; a sequence expected");
  return *type.element;
}

// A type that covers tensors of both types.
Type merged(const InferContext& c, const Type& a, const Type& b) {
  if (a.kind == Type::Kind::kUnknown) return b;
  if (b.kind == Type::Kind::kUnknown) return a;
  SX_CHECK(c, a.kind == b.kind && a.dtype == b.dtype, "puts ", a.str(), " and ", b.str(), " into one sequence");
  if (!a.is_tensor()) return a;
  if (!a.shape || !b.shape || a.shape->size() != b.shape->size()) return Type::tensor(a.dtype);
  SymShape shape;
  for (size_t i = 0; i < a.shape->size(); ++i) shape.push_back((*a.shape)[i] == (*b.shape)[i] ? (*a.shape)[i] : Dim());
  return Type::tensor(a.dtype, shape);
}

const std::vector<Datum>& items(const Run& run, int i) {
  const Datum& datum = run.datum(i);
  SX_CHECK(run, datum.kind == Datum::Kind::kSequence && datum.sequence != nullptr, "input ", i, " is not a sequence");
  return *datum.sequence;
}

// The position in input `i`, counted from the front; `slots` are the positions there are.
int64_t position(const Run& run, int i, int64_t slots, int64_t count) {
  const int64_t given = run.in(i).scalar_as_int();
  SX_CHECK(run, given >= -count && given < slots, "position ", given, " is out of range for a sequence of ", count);
  return given < 0 ? given + count : given;
}

// --- making and changing

void infer_construct(InferContext& c) {
  Type element;
  for (int i = 0; i < c.inputs(); ++i) element = merged(c, element, c.type(i));
  if (element.kind != Type::Kind::kUnknown) c.out(0, Type::sequence(element));
}

Kernel make_construct(Prepare&) {
  return [](Run& run) {
    std::vector<Datum> made;
    for (int i = 0; i < run.inputs(); ++i) made.push_back(run.datum(i));
    run.set(0, Datum::of_sequence(std::move(made)));
  };
}

void infer_empty(InferContext& c) {
  c.out(0, Type::sequence(Type::tensor(dtype_from_onnx(static_cast<int>(c.attr_int("dtype"))))));
}

Kernel make_empty(Prepare&) {
  return [](Run& run) { run.set(0, Datum::of_sequence({})); };
}

void infer_insert(InferContext& c) {
  const Type element = merged(c, element_of(c, 0), c.type(1));
  if (element.kind != Type::Kind::kUnknown) c.out(0, Type::sequence(element));
}

// A sequence to be changed into output 0. Where the plan puts the output in the place of input 0 and nobody else holds
// the items, they move, so that a loop that appends copies none.
std::vector<Datum> take_items(Run& run) {
  const std::shared_ptr<std::vector<Datum>> sequence = run.datum(0).sequence;
  run.set(0, Datum());
  return sequence.use_count() == 1 ? std::move(*sequence) : *sequence;
}

Kernel make_insert(Prepare&) {
  return [](Run& run) {
    const auto count = static_cast<int64_t>(items(run, 0).size());
    const int64_t at = run.has(2) ? position(run, 2, count + 1, count) : count;
    std::vector<Datum> changed = take_items(run);
    changed.insert(changed.begin() + at, run.datum(1));
    run.set(0, Datum::of_sequence(std::move(changed)));
  };
}

Kernel make_erase(Prepare&) {
  return [](Run& run) {
    const auto count = static_cast<int64_t>(items(run, 0).size());
    SX_CHECK(run, count > 0, "erases from an empty sequence");
    const int64_t at = run.has(1) ? position(run, 1, count, count) : count - 1;
    std::vector<Datum> changed = take_items(run);
    changed.erase(changed.begin() + at);
    run.set(0, Datum::of_sequence(std::move(changed)));
  };
}

// --- reading

Kernel make_at(Prepare&) {
  return [](Run& run) {
    const std::vector<Datum>& sequence = items(run, 0);
    const auto count = static_cast<int64_t>(sequence.size());
    run.set(0, sequence[static_cast<size_t>(position(run, 1, count, count))]);
  };
}

Kernel make_length(Prepare&) {
  return [](Run& run) { *run.out(0, Shape{}).data<int64_t>() = static_cast<int64_t>(items(run, 0).size()); };
}

// --- ConcatFromSequence

void infer_concat(InferContext& c) {
  const Type element = element_of(c, 0);
  if (!element.is_tensor()) return;
  if (!element.shape) return c.out(0, element.dtype, std::nullopt);
  SymShape shape = *element.shape;
  const bool stack = c.attr_int("new_axis") != 0;
  const int axis = c.axis(c.attr_int("axis"), static_cast<int>(shape.size()) + (stack ? 1 : 0));
  if (stack) shape.insert(shape.begin() + axis, Dim());
  else shape[static_cast<size_t>(axis)] = Dim();
  c.out(0, element.dtype, shape);
}

Kernel make_concat(Prepare& p) {
  const NodeView node(p.node());
  const int64_t given_axis = node.attr_int("axis");
  const int64_t new_axis = node.attr_int("new_axis");
  SX_CHECK(node, new_axis == 0 || new_axis == 1, "new_axis is ", new_axis, "; 0 or 1 expected");
  return [node, given_axis, new_axis](Run& run) {
    const std::vector<Datum>& sequence = items(run, 0);
    SX_CHECK(run, !sequence.empty(), "joins an empty sequence");
    const Tensor& first = sequence[0].tensor;
    const int axis = node.axis(given_axis, first.rank() + (new_axis != 0 ? 1 : 0));
    Shape shape = first.shape();
    if (new_axis != 0) shape.insert(axis, 1);
    const Shape expected = shape;
    shape[axis] = 0;
    for (const Datum& item : sequence) {
      Shape part = item.tensor.shape();
      if (new_axis != 0 && part.rank() + 1 == expected.rank()) part.insert(axis, 1);
      bool fits = part.rank() == expected.rank() && item.tensor.dtype() == first.dtype();
      for (int i = 0; fits && i < part.rank(); ++i) fits = (i == axis && new_axis == 0) || part[i] == expected[i];
      SX_CHECK(run, fits, "cannot join ", first.shape().str(), " and ", item.tensor.shape().str(), " along axis ",
               axis);
      shape[axis] = checked_add(shape[axis], part[axis]);
    }
    Tensor& y = run.out(0, first.dtype(), shape);
    const int64_t rows = shape.size(0, axis);
    const int64_t width = shape.size(axis, shape.rank());
    char* to = static_cast<char*>(y.raw());
    for (const Datum& item : sequence) {
      const int64_t part = rows > 0 ? item.tensor.size() / rows : 0;
      CopyNest nest;
      nest.add(rows, width, part);
      nest.add(part, 1, 1);
      nest.run(y.dtype(), to, item.tensor.raw());
      to += part * static_cast<int64_t>(size_of(y.dtype()));
    }
  };
}

// --- SplitToSequence

void infer_split(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, Type::sequence(Type::tensor(c.dtype(0))));
  SymShape shape = c.shape(0);
  const auto axis = static_cast<size_t>(c.axis(c.attr_int("axis"), c.rank(0)));
  if (c.has(1)) {
    const auto split = c.rank(1) == 0 ? c.integers(1) : std::nullopt;
    const bool even = split && shape[axis].known() && (*split)[0] > 0 && shape[axis].value() % (*split)[0] == 0;
    shape[axis] = even ? Dim((*split)[0]) : Dim();
  } else if (c.attr_int("keepdims") != 0) {
    shape[axis] = Dim(1);
  } else {
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  c.out(0, Type::sequence(Type::tensor(c.dtype(0), shape)));
}

Kernel make_split(Prepare& p) {
  const NodeView node(p.node());
  const int64_t given_axis = node.attr_int("axis");
  const bool keep = node.attr_int("keepdims") != 0;
  return [node, given_axis, keep](Run& run) {
    const Tensor& x = run.in(0);
    const int axis = node.axis(given_axis, x.rank());
    const int64_t extent = x.dim(axis);
    std::vector<int64_t> lengths;
    if (!run.has(1)) {
      lengths.assign(static_cast<size_t>(extent), 1);
    } else if (run.in(1).rank() == 0) {
      const int64_t length = run.in(1).scalar_as_int();
      SX_CHECK(run, length > 0, "split is ", length, "; a positive length expected");
      for (int64_t at = 0; at < extent; at += lengths.back()) lengths.push_back(std::min(length, extent - at));
    } else {
      lengths = run.in(1).integers();
      int64_t rest = extent;
      for (int64_t length : lengths) {
        SX_CHECK(run, length >= 0 && length <= rest, "the lengths ", to_string(Attribute(lengths)), " do not cut axis ",
                 axis, " of ", x.shape().str());
        rest -= length;
      }
      SX_CHECK(run, rest == 0, "the lengths ", to_string(Attribute(lengths)), " do not sum to ", extent, ", axis ",
               axis, " of ", x.shape().str());
    }
    const int64_t rows = x.shape().size(0, axis);
    const int64_t unit = x.shape().size(axis + 1, x.rank());
    const char* from = static_cast<const char*>(x.raw());
    std::vector<Datum> parts;
    for (int64_t length : lengths) {
      Shape shape = x.shape();
      shape[axis] = length;
      if (!run.has(1) && !keep) shape.erase(axis);
      Tensor part(x.dtype(), shape);
      CopyNest nest;
      nest.add(rows, length * unit, extent * unit);
      nest.add(length * unit, 1, 1);
      nest.run(x.dtype(), part.raw(), from);
      from += length * unit * static_cast<int64_t>(size_of(x.dtype()));
      parts.emplace_back(std::move(part));
    }
    run.set(0, Datum::of_sequence(std::move(parts)));
  };
}

// --- gradients: that of a sequence is the sequence of its items' gradients

// The position in a sequence of `count` items, counted from the front.
Expr from_front(GradientContext& c, const Expr& position, const Expr& count) {
  const Expr at = c.op("Reshape", {c.cast(position, DType::kInt64), c.ints({})});
  const Expr zero = c.constant(Tensor::scalar<int64_t>(0));
  return c.where(c.op("Less", {at, zero}), at + count, at);
}

void differentiate_construct(GradientContext& c) {
  for (size_t i = 0; i < c.inputs(); ++i)
    if (c.wants(i)) c.give(i, c.op("SequenceAt", {c.grad(), c.constant(Tensor::scalar(static_cast<int64_t>(i)))}));
}

void differentiate_insert(GradientContext& c) {
  const Expr last = c.constant(Tensor::scalar<int64_t>(-1));
  const Expr at = c.in(2) ? from_front(c, c.in(2), c.op("SequenceLength", {c.in(0)})) : last;
  if (c.wants(0)) c.give(0, c.op("SequenceErase", {c.grad(), at}));
  if (c.wants(1)) c.give(1, c.op("SequenceAt", {c.grad(), at}));
}

void differentiate_erase(GradientContext& c) {
  const Expr last = c.constant(Tensor::scalar<int64_t>(-1));
  const Expr zeros = c.zeros_like(c.op("SequenceAt", {c.in(0), c.in(1) ? c.in(1) : last}));
  std::vector<Expr> inputs = {c.grad(), zeros};
  if (c.in(1)) inputs.push_back(from_front(c, c.in(1), c.op("SequenceLength", {c.in(0)})));
  c.give(0, c.op("SequenceInsert", inputs));
}

void differentiate_at(GradientContext& c) {
  const Expr at = from_front(c, c.in(1), c.op("SequenceLength", {c.in(0)}));
  const Expr others = c.op("SequenceErase", {c.zeros_like(c.in(0)), at});
  c.give(0, c.op("SequenceInsert", {others, c.grad(), at}));
}

void differentiate_concat(GradientContext& c) {
  const int64_t axis = c.attr_int("axis");
  Attributes attributes = {{"axis", axis}};
  if (c.attr_int("new_axis") != 0) {
    attributes["keepdims"] = int64_t{0};
    return c.give(0, c.op("SplitToSequence", {c.grad()}, attributes));
  }
  Attributes along = {{"start", axis}};
  if (axis != -1) along["end"] = axis + 1;
  BodyBuilder body(c);
  const Expr extent = body.emitter().op("Shape", {body.input("item", *c.in(0).type().element)}, along);
  std::vector<Body> bodies;
  bodies.push_back(body.finish("body", {extent}));
  const Expr extents = c.ops(1, "SequenceMap", {c.in(0)}, {}, "", std::move(bodies))[0];
  const Expr lengths = c.op("ConcatFromSequence", {extents}, {{"axis", int64_t{0}}});
  c.give(0, c.op("SplitToSequence", {c.grad(), lengths}, attributes));
}

void differentiate_split(GradientContext& c) {
  const bool drops = !c.in(1) && c.attr_int("keepdims") == 0;
  c.give(0, c.op("ConcatFromSequence", {c.grad()},
                 {{"axis", c.attr_int("axis")}, {"new_axis", static_cast<int64_t>(drops)}}));
}

}  // namespace

void define_sequence(OpList& ops) {
  using Presence = PortSpec::Presence;
  const DTypeSet index = DType::kInt32 | DType::kInt64;
  ops.add(OpDef("SequenceConstruct")
              .since(11, 11)
              .any_in("inputs", Presence::kVariadic)
              .any_out("output_sequence")
              .retains()
              .infer(infer_construct)
              .kernel(make_construct)
              .gradient(differentiate_construct));
  ops.add(OpDef("SequenceEmpty")
              .since(11, 11)
              .attr("dtype", 1)
              .any_out("output")
              .infer(infer_empty)
              .kernel(make_empty)
              .zero_gradient());
  ops.add(OpDef("SequenceInsert")
              .since(11, 11)
              .any_in("input_sequence")
              .any_in("tensor")
              .optional_in("position", "I", index)
              .any_out("output_sequence")
              .retains()
              .in_place({0})
              .infer(infer_insert)
              .kernel(make_insert)
              .gradient(differentiate_insert));
  ops.add(OpDef("SequenceErase")
              .since(11, 11)
              .any_in("input_sequence")
              .optional_in("position", "I", index)
              .any_out("output_sequence")
              .retains()
              .in_place({0})
              .infer([](InferContext& c) { c.out(0, c.type(0)); })
              .kernel(make_erase)
              .gradient(differentiate_erase));
  ops.add(OpDef("SequenceAt")
              .since(11, 11)
              .any_in("input_sequence")
              .in("position", "I", index)
              .any_out("tensor")
              .retains()
              .infer([](InferContext& c) { c.out(0, element_of(c, 0)); })
              .kernel(make_at)
              .gradient(differentiate_at));
  ops.add(OpDef("SequenceLength")
              .since(11, 11)
              .any_in("input_sequence")
              .out("length", "", DType::kInt64)
              .infer([](InferContext& c) { c.out(0, DType::kInt64, SymShape{}); })
              .kernel(make_length));
  ops.add(OpDef("ConcatFromSequence")
              .since(11, 11)
              .required_attr("axis", AttrKind::kInt)
              .attr("new_axis", 0)
              .any_in("input_sequence")
              .out("concat_result")
              .infer(infer_concat)
              .kernel(make_concat)
              .gradient(differentiate_concat));
  ops.add(OpDef("SplitToSequence")
              .since(24, 11)
              .attr("axis", 0)
              .attr("keepdims", 1)
              .in("input", "T", kAllTypes)
              .optional_in("split", "I", index)
              .any_out("output_sequence")
              .infer(infer_split)
              .kernel(make_split)
              .gradient(differentiate_split));
}

}  // namespace sx
