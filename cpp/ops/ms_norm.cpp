// SkipLayerNormalization, SkipSimplifiedLayerNormalization, EmbedLayerNormalization, GroupNorm and
// SimplifiedLayerNormalization in terms of standard operators.
#include "ops/ms_composites.h"

namespace sx {
namespace {

// The output that the draft's standard operator does not have is given by `value`.
void give_output(UpgradeContext& c, size_t index, ValueId value) {
  std::vector<ValueId>& outputs = c.draft().outputs;
  if (index >= outputs.size() || outputs[index] == kNone) return;
  c.emit_after(outputs[index], "Identity", {value});
  outputs[index] = kNone;
}

// Absent outputs at the end are dropped.
void trim_outputs(UpgradeContext& c, size_t keep) {
  std::vector<ValueId>& outputs = c.draft().outputs;
  for (size_t i = keep; i < outputs.size(); ++i)
    c.view().require(outputs[i] == kNone, "its output ", i, " is not supported; remove its use");
  if (outputs.size() > keep) outputs.resize(keep);
  while (outputs.size() > 1 && outputs.back() == kNone) outputs.pop_back();
}

// norm(input + skip + bias); output 3 is the sum.
void skip_norm(UpgradeContext& c, size_t bias, const char* op, std::vector<ValueId> parameters, size_t outputs) {
  const float epsilon = c.take<float>("epsilon", 1e-12f);
  const ValueId sum = ms_sum(c, c.emit("Add", {ms_input(c, 0), ms_input(c, 1)}), ms_input(c, bias));
  give_output(c, 3, sum);
  trim_outputs(c, outputs);
  parameters.insert(parameters.begin(), sum);
  ms_become(c, op, std::move(parameters));
  c.set("axis", int64_t{-1});
  c.set("epsilon", epsilon);
}

void skip_layer_norm(UpgradeContext& c) { skip_norm(c, 4, "LayerNormalization", {ms_input(c, 2), ms_input(c, 3)}, 3); }
void skip_simplified(UpgradeContext& c) { skip_norm(c, 3, "RMSNormalization", {ms_input(c, 2)}, 1); }

void simplified(UpgradeContext& c) {
  trim_outputs(c, 1);
  c.become("RMSNormalization");
}

void embed_layer_norm(UpgradeContext& c) {
  enum : size_t { kIds, kSegments, kWords, kPositions, kSegmentTable, kGamma, kBeta, kMask, kPositionIds };
  const float epsilon = c.take<float>("epsilon", 1e-12f);
  c.take<int64_t>("mask_index_type", 0);
  const ValueId ids = ms_input(c, kIds);
  ValueId positions = ms_input(c, kPositionIds);
  if (positions == kNone) {
    const ValueId length = c.emit("Shape", {ids}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
    const ValueId limit = c.emit("Squeeze", {length});
    positions =
        c.emit("Range", {c.constant(Tensor::scalar<int64_t>(0)), limit, c.constant(Tensor::scalar<int64_t>(1))});
  }
  ValueId sum = c.emit(
      "Add", {c.emit("Gather", {ms_input(c, kWords), ids}), c.emit("Gather", {ms_input(c, kPositions), positions})});
  if (c.has_input(kSegments) && c.has_input(kSegmentTable))
    sum = c.emit("Add", {sum, c.emit("Gather", {ms_input(c, kSegmentTable), ms_input(c, kSegments)})});
  if (c.draft().outputs.size() > 1 && c.draft().outputs[1] != kNone) {
    const ValueId mask = c.has_input(kMask) ? ms_input(c, kMask) : c.emit("Sub", {ids, ids});
    const ValueId numbers = c.emit("Cast", {mask}, {{"to", int64_t{6}}});
    give_output(c, 1, c.emit("ReduceSum", {numbers, c.constant(Tensor::vector({1}))}, {{"keepdims", int64_t{0}}}));
  }
  give_output(c, 2, sum);
  trim_outputs(c, 1);
  ms_become(c, "LayerNormalization", {sum, ms_input(c, kGamma), ms_input(c, kBeta)});
  c.set("axis", int64_t{-1});
  c.set("epsilon", epsilon);
}

// Groups of channels, which stand last in this operator; a Swish may follow.
void group_norm(UpgradeContext& c) {
  const float epsilon = c.take<float>("epsilon", 1e-5f);
  const auto groups = c.take<int64_t>("groups", 0);
  const bool last = c.take<int64_t>("channels_last", 1) != 0;
  const bool swish = c.take<int64_t>("activation", 0) != 0;
  const DType dtype = c.input(0).type.dtype;
  auto parameter = [&](size_t i) {
    if (c.input(i).type.dtype == dtype) return ms_input(c, i);
    return c.emit("Cast", {ms_input(c, i)}, {{"to", static_cast<int64_t>(dtype)}});
  };
  ValueId y = ms_input(c, 0);
  if (last) y = c.emit("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 3, 1, 2}}});
  y = c.emit("GroupNormalization", {y, parameter(1), parameter(2)}, {{"epsilon", epsilon}, {"num_groups", groups}});
  if (last) y = c.emit("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 3, 1}}});
  ms_become(c, swish ? "Swish" : "Identity", {y});
}

}  // namespace

void define_ms_norm(OpList& ops) {
  constexpr DTypeSet kInts = DType::kInt32 | DType::kInt64;
  ops.add(ms_composite("SkipLayerNormalization", skip_layer_norm)
              .attr("epsilon", 1e-12f)
              .in("input", "T", kFloats)
              .in("skip", "T", kFloats)
              .in("gamma", "T", kFloats)
              .optional_in("beta", "T", kFloats)
              .optional_in("bias", "T", kFloats)
              .out("output", "T")
              .optional_out("mean", "U")
              .optional_out("inv_std_var", "U")
              .optional_out("input_skip_bias_sum", "T"));
  ops.add(ms_composite("SkipSimplifiedLayerNormalization", skip_simplified)
              .attr("epsilon", 1e-12f)
              .in("input", "T", kFloats)
              .in("skip", "T", kFloats)
              .in("gamma", "T", kFloats)
              .optional_in("bias", "T", kFloats)
              .out("output", "T")
              .optional_out("mean", "U")
              .optional_out("inv_std_var", "U")
              .optional_out("input_skip_bias_sum", "T"));
  ops.add(ms_composite("EmbedLayerNormalization", embed_layer_norm)
              .attr("epsilon", 1e-12f)
              .attr("mask_index_type", 0)
              .in("input_ids", "", kInts)
              .optional_in("segment_ids", "", kInts)
              .in("word_embedding", "T", kFloats)
              .in("position_embedding", "T", kFloats)
              .optional_in("segment_embedding", "T", kFloats)
              .in("gamma", "T", kFloats)
              .in("beta", "T", kFloats)
              .optional_in("mask", "", kInts)
              .optional_in("position_ids", "", kInts)
              .out("output", "T")
              .optional_out("mask_index", "", DType::kInt32)
              .optional_out("embedding_sum", "T"));
  ops.add(ms_composite("GroupNorm", group_norm)
              .attr("epsilon", 1e-5f)
              .required_attr("groups", AttrKind::kInt)
              .required_attr("activation", AttrKind::kInt)
              .attr("channels_last", 1)
              .in("X", "T", kFloats)
              .in("gamma", "M", kFloats)
              .in("beta", "M", kFloats)
              .out("Y", "T"));
  // ONNX Runtime keeps this one in the standard domain, where no version of ONNX has it.
  ops.add(OpDef("SimplifiedLayerNormalization")
              .since(kNewestOpset + 1)
              .attr("axis", -1)
              .attr("epsilon", 1e-5f)
              .attr("stash_type", 1)
              .in("X", "T", kFloats)
              .in("scale", "V", kFloats)
              .out("Y", "V")
              .optional_out("inv_std_var", "U")
              .upgrade(kNewestOpset + 1, simplified));
}

}  // namespace sx
