// SkipLayerNormalization, SkipSimplifiedLayerNormalization, EmbedLayerNormalization, QEmbedLayerNormalization,
// GroupNorm and SimplifiedLayerNormalization in terms of standard operators.
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
    SX_CHECK(c.view(), outputs[i] == kNone, "its output ", i, " is not supported; remove its use");
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

// What EmbedLayerNormalization and its quantized form read; `scales` and `zeros` are inputs in the order words,
// positions, segments, gamma, beta, or empty.
struct Embedding {
  size_t ids, segments, words, positions, segment_table, gamma, beta, mask, position_ids;
  std::vector<size_t> scales, zeros;
};

void embed(UpgradeContext& c, const Embedding& e) {
  const float epsilon = c.take<float>("epsilon", 1e-12f);
  // The float values of `x`, taken from table `k`.
  const auto floats = [&](ValueId x, size_t k) {
    if (e.scales.empty()) return x;
    return c.emit("DequantizeLinear",
                  {x, c.emit("Squeeze", {ms_input(c, e.scales[k])}), c.emit("Squeeze", {ms_input(c, e.zeros[k])})});
  };
  const auto rows = [&](size_t table, ValueId ids, size_t k) {
    return floats(c.emit("Gather", {ms_input(c, table), ids}), k);
  };
  const ValueId ids = ms_input(c, e.ids);
  ValueId positions = ms_input(c, e.position_ids);
  if (positions == kNone) {
    const ValueId length = c.emit("Shape", {ids}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
    const ValueId limit = c.emit("Squeeze", {length});
    positions =
        c.emit("Range", {c.constant(Tensor::scalar<int64_t>(0)), limit, c.constant(Tensor::scalar<int64_t>(1))});
  }
  ValueId sum = c.emit("Add", {rows(e.words, ids, 0), rows(e.positions, positions, 1)});
  if (c.has_input(e.segments) && c.has_input(e.segment_table))
    sum = c.emit("Add", {sum, rows(e.segment_table, ms_input(c, e.segments), 2)});
  if (c.draft().outputs.size() > 1 && c.draft().outputs[1] != kNone) {
    ValueId mask = c.has_input(e.mask) ? ms_input(c, e.mask) : c.emit("Sub", {ids, ids});
    if (!e.scales.empty()) mask = c.emit("Equal", {mask, c.constant(Tensor::scalar<int32_t>(1))});
    const ValueId numbers = c.emit("Cast", {mask}, {{"to", int64_t{6}}});
    give_output(c, 1, c.emit("ReduceSum", {numbers, c.constant(Tensor::vector({1}))}, {{"keepdims", int64_t{0}}}));
  }
  give_output(c, 2, sum);
  trim_outputs(c, 1);
  ms_become(c, "LayerNormalization", {sum, floats(ms_input(c, e.gamma), 3), floats(ms_input(c, e.beta), 4)});
  c.set("axis", int64_t{-1});
  c.set("epsilon", epsilon);
}

void embed_layer_norm(UpgradeContext& c) {
  c.take<int64_t>("mask_index_type", 0);
  embed(c, {0, 1, 2, 3, 4, 5, 6, 7, 8, {}, {}});
}

void quantized_embed_layer_norm(UpgradeContext& c) {
  const bool segments = c.has_input(1);
  for (const size_t i : {4, 10, 15})
    SX_CHECK(c.view(), c.has_input(i) == segments, segments ? "lacks" : "has", " input ", i,
             "; what concerns segments must be given as a whole or not at all");
  constexpr size_t kNoInput = 18;
  embed(c, {0, 1, 2, 3, 4, 5, 6, 7, kNoInput, {8, 9, 10, 11, 12}, {13, 14, 15, 16, 17}});
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
  constexpr DTypeSet kBytes = DType::kInt8 | DType::kUInt8;
  ops.add(ms_composite("QEmbedLayerNormalization", quantized_embed_layer_norm)
              .attr("epsilon", 1e-12f)
              .in("input_ids", "T1", DType::kInt32)
              .optional_in("segment_ids", "T1", DType::kInt32)
              .in("word_embedding_quant", "T2", kBytes)
              .in("position_embedding_quant", "T2", kBytes)
              .optional_in("segment_embedding", "T2", kBytes)
              .in("gamma_quant", "T2", kBytes)
              .in("beta_quant", "T2", kBytes)
              .optional_in("mask", "T1", DType::kInt32)
              .in("word_embedding_scale", "T", DType::kFloat32)
              .in("position_embedding_scale", "T", DType::kFloat32)
              .optional_in("segment_embedding_scale", "T", DType::kFloat32)
              .in("gamma_scale", "T", DType::kFloat32)
              .in("beta_scale", "T", DType::kFloat32)
              .in("word_embedding_zero_point", "T2", kBytes)
              .in("position_embedding_zero_point", "T2", kBytes)
              .optional_in("segment_embedding_zero_point", "T2", kBytes)
              .in("gamma_zero_point", "T2", kBytes)
              .in("beta_zero_point", "T2", kBytes)
              .out("layernorm_out", "T")
              .out("mask_index_out", "T1"));
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
