// Steps down for what attributes, inputs and outputs said: axes, bounds, sizes, defaults.
#include <algorithm>
#include <limits>
#include <numeric>

#include "ops/convert.h"
#include "ops/downgrade.h"

namespace sx {
namespace {

double number_in(const DowngradeContext& c, size_t i) {
  const Tensor* known = c.constant_in(i);
  SX_CHECK(c, known != nullptr && known->size() == 1,
           join("computes '", c.node().op->input(i)->name, "', which is an attribute before opset ", c.version(),
                ": make it a constant"));
  return known->scalar_as_double();
}

// An empty list of axes says "all" or, with noop_with_empty_axes, "none", where only the function of each element is
// left.
void reduce_axes(DowngradeContext& c) {
  const bool noop = c.attr_int("noop_with_empty_axes") != 0;
  const bool empty = !c.has_in(1) || (c.constant_in(1) != nullptr && c.constant_in(1)->size() == 0);
  c.drop("noop_with_empty_axes");
  if (empty && noop) {
    const std::string& op = c.node().op->name();
    const Expr x = c.in(0);
    if (op == "ReduceSumSquare") return c.replace({x * x});
    if (op == "ReduceL1" || op == "ReduceL2") return c.replace({c.op("Abs", {x})});
    if (op == "ReduceLogSum") return c.replace({c.op("Log", {x})});
    if (op == "ReduceLogSumExp") return c.replace({c.op("Log", {c.op("Exp", {x})})});
    return c.replace({x});
  }
  if (!empty) c.set("axes", c.integers_in(1, "axes"));
  c.keep_inputs(1);
}

// Before 18, a Split without lengths cut into equal parts.
void split_into_parts(DowngradeContext& c) {
  if (!c.has("num_outputs")) return;
  const int64_t parts = c.attr_int("num_outputs");
  c.drop("num_outputs");
  const Type& type = c.in(0).type();
  const int64_t axis = c.attr_int("axis");
  const int64_t place = axis < 0 ? axis + type.rank() : axis;
  const Dim extent =
      type.shape && place >= 0 && place < type.rank() ? (*type.shape)[static_cast<size_t>(place)] : Dim();
  const Dim share = ceil_div(extent, Dim(parts));
  if (extent == share * Dim(parts)) return;
  SX_CHECK(c, extent.known(),
           join("cuts ", extent.str(), " elements into ", parts,
                " parts that may be unequal, whose lengths older opsets want as numbers"));
  std::vector<int64_t> lengths(static_cast<size_t>(parts), share.value());
  lengths.back() = extent.value() - share.value() * (parts - 1);
  SX_CHECK(c, lengths.back() >= 0, "has more parts than elements");
  c.set_in(1, c.ints(lengths));
}

void pad_all_axes(DowngradeContext& c) {
  if (!c.has_in(3)) return;
  std::vector<int64_t> axes = c.integers_in(3, "axes");
  const std::vector<int64_t> pads = c.integers_in(1, "pads");
  const int rank = c.rank_in(0, "its pads are for some axes only, which began with opset 18");
  SX_CHECK(c, pads.size() == 2 * axes.size(), "has pads that do not fit its axes");
  std::vector<int64_t> all(static_cast<size_t>(2 * rank), 0);
  for (size_t k = 0; k < axes.size(); ++k) {
    const auto axis = static_cast<size_t>(axes[k] < 0 ? axes[k] + rank : axes[k]);
    SX_CHECK(c, axis < static_cast<size_t>(rank), "pads an axis that its data does not have");
    all[axis] = pads[k];
    all[axis + static_cast<size_t>(rank)] = pads[axes.size() + k];
  }
  c.set_in(1, c.ints(all));
  c.keep_inputs(3);
}

void pads_to_attributes(DowngradeContext& c) {
  c.set("pads", c.integers_in(1, "pads"));
  if (c.has_in(2)) c.set("value", static_cast<float>(number_in(c, 2)));
  c.keep_inputs(1);
}

void slice_to_attributes(DowngradeContext& c) {
  if (c.has_in(4)) {
    const std::vector<int64_t> steps = c.integers_in(4, "steps");
    SX_CHECK(c, std::all_of(steps.begin(), steps.end(), [](int64_t step) { return step == 1; }),
             "takes steps other than 1, which began with opset 10");
  }
  c.set("starts", c.integers_in(1, "starts"));
  c.set("ends", c.integers_in(2, "ends"));
  if (c.has_in(3)) c.set("axes", c.integers_in(3, "axes"));
  c.keep_inputs(1);
}

void slice_axes_from_front(DowngradeContext& c) {
  const Tensor* known = c.constant_in(3);
  if (known == nullptr) return;
  std::vector<int64_t> axes = known->integers();
  if (std::none_of(axes.begin(), axes.end(), [](int64_t axis) { return axis < 0; })) return;
  const int rank = c.rank_in(0, "counts its axes from the back, which began with opset 11");
  for (int64_t& axis : axes) axis += axis < 0 ? rank : 0;
  const DType dtype = known->dtype();
  c.set_in(3, dtype == DType::kInt64 ? c.ints(axes)
                                     : c.constant(Tensor::of<int32_t>(Shape{static_cast<int64_t>(axes.size())},
                                                                      {axes.begin(), axes.end()})));
}

void indices_from_front(DowngradeContext& c) {
  count_axes_from_front("axis")(c);
  const Tensor* known = c.constant_in(1);
  if (known == nullptr) return;
  std::vector<int64_t> indices = known->integers();
  if (std::none_of(indices.begin(), indices.end(), [](int64_t i) { return i < 0; })) return;
  const Type& type = c.in(0).type();
  const auto axis = static_cast<size_t>(c.attr_int("axis"));
  const Dim extent = type.shape && axis < type.shape->size() ? (*type.shape)[axis] : Dim();
  SX_CHECK(c, extent.known(), "counts indices from the back of an axis of unknown extent, which began with opset 11");
  for (int64_t& index : indices) index += index < 0 ? extent.value() : 0;
  c.set_in(1, c.cast(c.constant(Tensor::of<int64_t>(known->shape(), indices)), known->dtype()));
}

void clip_to_attributes(DowngradeContext& c) {
  const bool fixed = (!c.has_in(1) || c.constant_in(1) != nullptr) && (!c.has_in(2) || c.constant_in(2) != nullptr);
  if (!fixed) {
    Expr y = c.in(0);
    if (c.has_in(1)) y = c.op("Max", {y, c.in(1)});
    if (c.has_in(2)) y = c.op("Min", {y, c.in(2)});
    return c.replace({y});
  }
  const double most = std::numeric_limits<float>::max();
  const auto bound = [&](size_t i, const char* name) {
    if (c.has_in(i)) c.set(name, static_cast<float>(std::clamp(c.constant_in(i)->scalar_as_double(), -most, most)));
  };
  bound(1, "min");
  bound(2, "max");
  c.keep_inputs(1);
}

void topk_of_largest(DowngradeContext& c) {
  c.drop("sorted");
  if (c.attr_int("largest") != 0) return c.drop("largest");
  SX_CHECK(c, is_float(c.in(0).dtype()), "asks for the smallest of integers, which began with opset 11");
  Attributes attributes{{"axis", c.attr_int("axis")}};
  const std::vector<Expr> found = c.ops(2, "TopK", {-c.in(0), c.in(1)}, attributes);
  c.replace({-found[0], found[1]});
}

// Inference only: before opset 12 nothing said that a node trains.
void dropout_to_attribute(DowngradeContext& c) {
  const Tensor* training = c.constant_in(2);
  SX_CHECK(c, !c.has_in(2) || (training != nullptr && training->size() == 1 && !training->data<bool>()[0]),
           "may drop elements (training_mode), which began with opset 12: export the model for inference");
  if (c.constant_in(1) != nullptr) c.set("ratio", static_cast<float>(number_in(c, 1)));
  c.drop("seed");
  c.keep_inputs(1);
}

void dropout_mask_of_data(DowngradeContext& c) {
  if (!c.wants(1)) return;
  const ValueId mask = c.node().outputs[1];
  const Type type = Type::tensor(c.in(0).dtype(), c.out_type(1).shape);
  c.give(mask, c.cast(c.detach_output(1, type), DType::kBool));
}

void gemm_adds_zero(DowngradeContext& c) {
  if (c.has_in(2)) return;
  Tensor zero(c.in(0).dtype(), Shape{1});
  const double none = 0;
  convert_elements(DType::kFloat64, zero.dtype(), &none, zero.raw(), 1);
  c.set_in(2, c.constant(zero));
}

void shape_of_all(DowngradeContext& c) {
  const int64_t start = c.attr_or<int64_t>("start", 0);
  if (start == 0 && !c.has("end")) return c.drop("start");
  const int64_t end = c.attr_or<int64_t>("end", std::numeric_limits<int64_t>::max());
  c.replace({c.op("Slice", {c.op("Shape", {c.in(0)}), c.ints({start}), c.ints({end})})});
}

// A 0 in the target copies an extent before opset 14, and with allowzero = 0.
void reshape_without_zeros(DowngradeContext& c) {
  if (c.attr_int("allowzero") == 0) return;
  const Facts& target = c.in(1).facts();
  bool known = false, zero = false;
  if (target.constant.defined()) {
    known = true;
    for (int64_t extent : target.constant.integers()) zero = zero || extent == 0;
  } else if (target.elements) {
    known = true;
    for (const Dim& extent : *target.elements) zero = zero || extent == Dim(0), known = known && !extent.unknown();
  }
  SX_CHECK(c, known && !zero, "may reshape to an extent of 0 (allowzero), which began with opset 14");
  c.drop("allowzero");
}

void cast_like(DowngradeContext& c) {
  SX_CHECK(c, c.in(1).dtype() != DType::kUndefined, "casts to a type that is not known");
  Attributes attributes{{"to", static_cast<int64_t>(c.in(1).dtype())}};
  for (const char* name : {"saturate", "round_mode"})
    if (c.has(name)) attributes[name] = c.node().attributes.at(name);
  c.replace({c.op("Cast", {c.in(0)}, attributes)});
}

// These say something about elements of 8-bit floats only.
void cast_of_wide_floats(DowngradeContext& c) {
  const DTypeSet narrow = kFloat8s | DType::kFloat8E8M0;
  if (!narrow.has(c.out_type().dtype)) c.drop("saturate"), c.drop("round_mode");
}

void fill_of_known_type(DowngradeContext& c) {
  const DType dtype = c.out_type().dtype;
  if (!(kHalfFloats | kFloat8s).has(dtype) || dtype == DType::kFloat16) return;
  const Tensor value = c.attr<Tensor>("value");
  Tensor wide(DType::kFloat32, value.shape());
  convert_elements(value.dtype(), DType::kFloat32, value.raw(), wide.raw(), value.size());
  c.replace({c.cast(c.op("ConstantOfShape", {c.in(0)}, {{"value", wide}}), dtype)});
}

void fill_by_expand(DowngradeContext& c) {
  const Tensor value = c.has("value") ? c.attr<Tensor>("value") : Tensor::of<float>(Shape{1}, {0.0f});
  c.replace({c.op("Expand", {c.constant(value.reshaped(Shape{})), c.in(0)})});
}

void roi_from_corner(DowngradeContext& c) {
  SX_CHECK(c, c.attr_string("coordinate_transformation_mode") == "output_half_pixel",
           "shifts its boxes by half a pixel (coordinate_transformation_mode), which began with opset 16");
  c.drop("coordinate_transformation_mode");
}

void grid_modes(DowngradeContext& c) {
  const std::string mode = c.attr_string("mode");
  c.set("mode", mode == "linear" ? std::string("bilinear") : mode == "cubic" ? std::string("bicubic") : mode);
  SX_CHECK(c, c.in(0).rank() == 4, "samples a tensor that has not 4 axes for sure; others began with opset 20");
}

void dft_axis(DowngradeContext& c) {
  SX_CHECK(c, c.attr_int("inverse") == 0 || c.attr_int("onesided") == 0,
           "inverts a one-sided transform, which began with opset 20");
  int64_t axis = -2;
  if (c.has_in(2)) {
    const std::vector<int64_t> given = c.integers_in(2, "axis");
    SX_CHECK(c, given.size() == 1, "has several axes");
    axis = given[0];
  }
  if (axis < 0) axis += c.rank_in(0, "counts its axis from the back");
  c.set("axis", axis);
  c.keep_inputs(2);
}

// Random numbers and such of a type that came later, through f32.
void draw_in_f32(DowngradeContext& c) {
  const DType dtype = c.out_type().dtype;
  if (dtype != DType::kBFloat16) return;
  Attributes attributes = c.node().attributes;
  attributes["dtype"] = static_cast<int64_t>(DType::kFloat32);
  std::vector<Expr> inputs;
  for (size_t i = 0; i < c.node().inputs.size(); ++i)
    inputs.push_back(c.in(i).dtype() == DType::kBFloat16 ? c.cast(c.in(i), DType::kFloat32) : c.in(i));
  c.replace({c.cast(c.op(c.node().op->name(), inputs, attributes), dtype)});
}

// From opset 8 on these broadcast; before, shapes had to agree.
void without_broadcast(DowngradeContext& c) {
  const std::string& op = c.node().op->name();
  const size_t count = c.node().inputs.size();
  const auto shape = c.out_type().concrete_shape();
  bool equal = true;
  for (size_t i = 0; i < count; ++i) {
    const auto& a = c.in(0).type().shape;
    const auto& b = c.in(i).type().shape;
    equal = equal && a && b && (i == 0 || *a == *b);
  }
  if (equal || count == 1) return;
  if (op == "Sum" || op == "Mean") {
    Expr sum = c.in(0);
    for (size_t i = 1; i < count; ++i) sum = sum + c.in(i);
    return c.replace({op == "Mean" ? sum / static_cast<double>(count) : sum});
  }
  SX_CHECK(c, shape.has_value(),
           "broadcasts inputs of shapes that are not known, which " + op + " does from opset 8 on");
  for (size_t i = 0; i < count; ++i) c.set_in(i, c.op("Expand", {c.in(i), c.ints(shape->vector())}));
}

// By copies along each axis; the shapes must be known.
void expand_by_tile(DowngradeContext& c) {
  const auto from = c.in(0).type().concrete_shape();
  const auto to = c.out_type().concrete_shape();
  SX_CHECK(c, from && to, "expands to a shape that is not known, which began with opset 8");
  std::vector<int64_t> aligned(static_cast<size_t>(to->rank() - from->rank()), 1), repeats;
  for (int64_t extent : from->vector()) aligned.push_back(extent);
  for (int i = 0; i < to->rank(); ++i) repeats.push_back(aligned[static_cast<size_t>(i)] == (*to)[i] ? 1 : (*to)[i]);
  const Expr x = aligned.size() == from->vector().size() ? c.in(0) : c.op("Reshape", {c.in(0), c.ints(aligned)});
  c.replace({c.op("Tile", {x, c.ints(repeats)})});
}

// Flatten-1 is for floats; axes in front of the cut must be known to spell it otherwise.
void flatten_by_reshape(DowngradeContext& c) {
  if ((kFloats - DType::kBFloat16).has(c.in(0).dtype())) return;
  int64_t axis = c.attr_int("axis");
  if (axis < 0) axis += c.rank_in(0, "counts its axis from the back");
  if (axis <= 1) return c.replace({c.op("Reshape", {c.in(0), c.ints({axis == 0 ? 1 : 0, -1})})});
  const auto& shape = c.out_type().shape;
  SX_CHECK(c, shape && (*shape)[0].known(), "flattens elements that are no floats into unknown extents");
  c.replace({c.op("Reshape", {c.in(0), c.ints({(*shape)[0].value(), -1})})});
}

}  // namespace

void add_attribute_downgrades(Downgrades& all) {
  const std::vector<std::string> reductions = {"ReduceL1",        "ReduceL2",   "ReduceLogSum",
                                               "ReduceLogSumExp", "ReduceMax",  "ReduceMean",
                                               "ReduceMin",       "ReduceProd", "ReduceSumSquare"};
  all.add_each(reductions, 18, reduce_axes);
  all.add("ReduceSum", 13, reduce_axes);
  all.add_each({"Squeeze", "Unsqueeze"}, 13, input_to_ints("axes", 1));
  all.add_each(reductions, 11, count_axes_from_front("axes"));
  all.add_each({"ReduceSum", "Squeeze", "Unsqueeze"}, 11, count_axes_from_front("axes"));
  all.add_each(
      {"ArgMax", "ArgMin", "Compress", "Concat", "Flatten", "Softmax", "LogSoftmax", "Hardmax", "Split", "Scatter"}, 11,
      count_axes_from_front("axis"));
  all.add("Gather", 11, indices_from_front);
  all.add("MaxPool", 10, drop_ones("dilations"));
  all.add("AveragePool", 19, drop_ones("dilations"));
  all.add("LpPool", 18, drop_ones("dilations"));
  all.add("Split", 18, split_into_parts);
  all.add("Split", 13, input_to_ints("split", 1));
  all.add("Pad", 18, pad_all_axes);
  all.add("Pad", 11, pads_to_attributes);
  all.add("Slice", 11, slice_axes_from_front);
  all.add("Slice", 10, slice_to_attributes);
  all.add("Clip", 11, clip_to_attributes);
  all.add("TopK", 11, topk_of_largest);
  all.add("TopK", 10, input_to_int("k", 1));
  all.add("Dropout", 12, dropout_to_attribute);
  all.add("Dropout", 10, dropout_mask_of_data);
  all.add("Gemm", 11, gemm_adds_zero);
  all.add("Shape", 15, shape_of_all);
  all.add("Reshape", 14, reshape_without_zeros);
  all.add("CastLike", 15, cast_like);
  all.add("Cast", 24, cast_of_wide_floats);
  all.add("ConstantOfShape", 20, fill_of_known_type);
  all.add("ConstantOfShape", 9, fill_by_expand);
  all.add("Expand", 8, expand_by_tile);
  all.add("RoiAlign", 16, roi_from_corner);
  all.add("GridSample", 20, grid_modes);
  all.add("DFT", 20, dft_axis);
  all.add_each({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "EyeLike"}, 22, draw_in_f32);
  all.add_each({"Max", "Min", "Mean", "Sum"}, 8, without_broadcast);
  all.add("Flatten", 9, flatten_by_reshape);
  all.add("Scan", 9, blocked("scans along the first axis; before opset 9 Scan works on batches"));
}

}  // namespace sx
