// GatherND, GridSample, Pad, Range, Trilu and Unique of com.microsoft: standard operators in an older or narrower form.
#include "ops/ms_composites.h"

namespace sx {
namespace {

constexpr DTypeSet kRangeTypes = DType::kFloat32 | DType::kFloat64 | DType::kInt16 | DType::kInt32 | DType::kInt64;

void grid_sample(UpgradeContext& c) {
  const auto mode = c.take<std::string>("mode", "bilinear");
  c.become("GridSample");
  c.set("mode", std::string(mode == "bilinear" ? "linear" : mode == "bicubic" ? "cubic" : mode));
}

// The pads may be a row of a matrix.
void pad(UpgradeContext& c) {
  c.set_input(1, c.emit("Reshape", {ms_input(c, 1), c.constant(Tensor::vector({-1}))}));
  c.become("Pad");
}

// A step of 1 where none is given.
void range(UpgradeContext& c) {
  if (!c.has_input(2)) {
    const auto dtype = static_cast<int64_t>(c.input(0).type.dtype);
    c.set_input(2, c.emit("Cast", {c.constant(Tensor::scalar<int64_t>(1))}, {{"to", dtype}}));
  }
  c.become("Range");
}

// In order of appearance, without the positions of first appearance.
void unique(UpgradeContext& c) {
  const Type& type = c.input(0).type;
  SX_CHECK(c.view(), type.rank() < 0 || type.rank() == 1, "x is ", type.str(), "; a vector expected");
  std::vector<ValueId>& outputs = c.draft().outputs;
  if (outputs.size() > 1) outputs.insert(outputs.begin() + 1, kNone);
  c.become("Unique");
  c.set("sorted", int64_t{0});
}

}  // namespace

void define_ms_renamed(OpList& ops) {
  ops.add(ms_composite("GatherND", [](UpgradeContext& c) { c.become("GatherND"); })
              .in("data", "T", kAllTypes)
              .in("indices", "", DType::kInt32 | DType::kInt64)
              .out("output", "T"));
  ops.add(ms_composite("GridSample", grid_sample)
              .attr("align_corners", 0)
              .attr("mode", "bilinear")
              .attr("padding_mode", "zeros")
              .in("X", "T1", kAllTypes)
              .in("Grid", "T2", kFloats)
              .out("Y", "T1"));
  ops.add(ms_composite("Pad", pad)
              .attr("mode", "constant")
              .in("data", "T", kFloats)
              .in("pads", "", DType::kInt64)
              .optional_in("value", "T", kFloats)
              .out("output", "T"));
  ops.add(ms_composite("Range", range)
              .in("start", "T", kRangeTypes)
              .in("limit", "T", kRangeTypes)
              .optional_in("delta", "T", kRangeTypes)
              .out("Y", "T"));
  ops.add(ms_composite("Trilu", [](UpgradeContext& c) { c.become("Trilu"); })
              .attr("upper", 1)
              .in("X", "T", kAllTypes)
              .optional_in("k", "", DType::kInt64)
              .out("Y", "T"));
  ops.add(ms_composite("Unique", unique)
              .in("x", "T", kAllTypes)
              .out("y", "T")
              .optional_out("idx", "", DType::kInt64)
              .optional_out("counts", "", DType::kInt64));
}

}  // namespace sx
