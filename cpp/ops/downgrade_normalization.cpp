// Steps down for normalization, softmax and losses.
#include <algorithm>
#include <numeric>

#include "ops/downgrade.h"

namespace sx {
namespace {

Expr mean(DowngradeContext& c, const Expr& x, const std::vector<int64_t>& axes, bool keepdims = true) {
  return c.op("ReduceMean", {x, c.ints(axes)}, {{"keepdims", static_cast<int64_t>(keepdims)}});
}

std::vector<int64_t> axes_from(int64_t first, int rank) {
  std::vector<int64_t> axes(static_cast<size_t>(rank - first));
  std::iota(axes.begin(), axes.end(), first);
  return axes;
}

// The type in which statistics are taken: at least stash_type says.
DType stash_of(const DowngradeContext& c, DType dtype) {
  const auto stash = static_cast<DType>(c.attr_int("stash_type"));
  return dtype == DType::kFloat64 ? dtype : stash == DType::kFloat64 ? stash : DType::kFloat32;
}

std::vector<int64_t> last_axes(DowngradeContext& c) {
  const int64_t axis = c.attr_int("axis");
  if (axis == -1) return {-1};
  const int rank = c.rank_in(0, "it normalizes over all axes from one on");
  return axes_from(axis < 0 ? axis + rank : axis, rank);
}

void layer_norm(DowngradeContext& c) {
  const DType dtype = c.in(0).dtype();
  const std::vector<int64_t> axes = last_axes(c);
  const Expr x = c.cast(c.in(0), stash_of(c, dtype));
  const Expr centre = mean(c, x, axes);
  const Expr centred = x - centre;
  const Expr deviation =
      c.op("Sqrt", {mean(c, centred * centred, axes) + static_cast<double>(c.attr_float("epsilon"))});
  Expr y = c.cast(centred / deviation, dtype) * c.in(1);
  if (c.has_in(2)) y = y + c.in(2);
  std::vector<Expr> outputs{y, centre, c.wants(2) ? c.op("Reciprocal", {deviation}) : Expr()};
  for (size_t i = 1; i < 3; ++i)
    if (c.wants(i)) outputs[i] = c.cast(outputs[i], c.out_type(i).dtype);
  c.replace(outputs);
}

void rms_norm(DowngradeContext& c) {
  const DType dtype = c.in(0).dtype();
  const std::vector<int64_t> axes = last_axes(c);
  const Expr x = c.cast(c.in(0), stash_of(c, dtype));
  const Expr size = c.op("Sqrt", {mean(c, x * x, axes) + static_cast<double>(c.attr_float("epsilon"))});
  c.replace({c.cast(x / size, c.in(1).dtype()) * c.in(1)});
}

// Each group as one channel of an InstanceNormalization; scale and bias follow by channel.
void group_norm(DowngradeContext& c) {
  const int rank = c.rank_in(0, "its scale has one number for each channel, which began with opset 21");
  const int64_t groups = c.attr_int("num_groups");
  const DType dtype = c.in(0).dtype(), inner = stash_of(c, dtype);
  const Expr x = c.in(0);
  const Expr grouped = c.op("Reshape", {c.cast(x, inner), c.ints({0, groups, -1})});
  const auto fill = [&](double value) {
    return c.constant(inner == DType::kFloat64
                          ? Tensor::of<double>(Shape{groups}, std::vector<double>(static_cast<size_t>(groups), value))
                          : Tensor::of<float>(Shape{groups}, std::vector<float>(static_cast<size_t>(groups),
                                                                                static_cast<float>(value))));
  };
  const Expr normal =
      c.op("InstanceNormalization", {grouped, fill(1), fill(0)}, {{"epsilon", c.attr_float("epsilon")}});
  const Expr shaped = c.op("Reshape", {c.cast(normal, dtype), c.shape(x)});
  const std::vector<int64_t> behind = axes_from(1, rank - 1);
  c.replace({shaped * c.unsqueeze(c.in(1), behind) + c.unsqueeze(c.in(2), behind)});
}

void mean_variance_norm(DowngradeContext& c) {
  const std::vector<int64_t> axes = c.has("axes") ? c.attr_ints("axes") : std::vector<int64_t>{0, 2, 3};
  const Expr centred = c.in(0) - mean(c, c.in(0), axes);
  c.replace({centred / (c.op("Sqrt", {mean(c, centred * centred, axes)}) + 1e-9)});
}

// Scale and statistics may have types of their own from 14 and 15 on.
void batch_norm_of_one_type(DowngradeContext& c) {
  DType wide = c.in(0).dtype();
  bool mixed = false;
  for (size_t i = 1; i < 5; ++i) {
    const DType dtype = c.in(i).dtype();
    mixed = mixed || dtype != wide;
    if (size_of(dtype) > size_of(wide)) wide = dtype;
    else if (dtype != wide && size_of(dtype) == size_of(wide)) wide = DType::kFloat32;
  }
  if (!mixed) return;
  std::vector<Expr> inputs;
  for (size_t i = 0; i < 5; ++i) inputs.push_back(c.cast(c.in(i), wide));
  std::vector<Expr> outputs =
      c.ops(c.node().outputs.size(), "BatchNormalization", inputs, Attributes(c.node().attributes));
  for (size_t i = 0; i < outputs.size(); ++i)
    if (c.wants(i)) outputs[i] = c.cast(outputs[i], c.out_type(i).dtype);
  c.replace(outputs);
}

// Training: statistics of the batch, and running ones that follow.
void batch_norm_in_training(DowngradeContext& c) {
  if (c.attr_int("training_mode") == 0) return c.drop("training_mode"), batch_norm_of_one_type(c);
  const int rank = c.rank_in(0, "it takes statistics of the batch (training_mode)");
  SX_CHECK(c, rank >= 2, "normalizes a tensor without channels");
  std::vector<int64_t> axes = axes_from(2, rank);
  axes.insert(axes.begin(), 0);
  const std::vector<int64_t> behind = axes_from(1, rank - 1);
  const DType dtype = c.in(0).dtype();
  const DType inner = dtype == DType::kFloat64 ? dtype : DType::kFloat32;
  const Expr x = c.cast(c.in(0), inner);
  const Expr centre = mean(c, x, axes);
  const Expr centred = x - centre;
  const Expr variance = mean(c, centred * centred, axes);
  const Expr normal = centred / c.op("Sqrt", {variance + static_cast<double>(c.attr_float("epsilon"))});
  const auto channels = [&](size_t i) { return c.unsqueeze(c.cast(c.in(i), inner), behind); };
  std::vector<Expr> outputs{c.cast(normal * channels(1) + channels(2), dtype), Expr(), Expr()};
  const double momentum = c.attr_float("momentum");
  for (size_t i = 1; i < 3; ++i) {
    if (!c.wants(i)) continue;
    const Expr flat = c.op("Reshape", {i == 1 ? centre : variance, c.ints({-1})});
    const Expr running = c.cast(c.in(i + 2), inner) * momentum + flat * (1 - momentum);
    outputs[i] = c.cast(running, c.out_type(i).dtype);
  }
  c.replace(outputs);
}

// Before 13 the axes from `axis` on were taken together: the same where there is one, else the axis moves to the end.
void softmax_of_flattened(DowngradeContext& c) {
  const int64_t given = c.attr_int("axis");
  const int rank = c.in(0).rank();
  if (rank < 0) {
    SX_CHECK(c, given == -1 && c.target() >= 11, "normalizes along an axis of a tensor of unknown rank");
    return c.set("axis", given);
  }
  if (rank == 0)
    return c.replace(
        {c.op("Reshape", {c.op(c.node().op->name(), {c.op("Reshape", {c.in(0), c.ints({1})})}), c.ints({})})});
  const int64_t axis = given < 0 ? given + rank : given;
  if (axis == rank - 1) return c.set("axis", axis);
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[static_cast<size_t>(axis)], perm.back());
  const Expr turned = c.op(c.node().op->name(), {c.transpose(c.in(0), perm)}, {{"axis", int64_t{rank - 1}}});
  c.replace({c.transpose(turned, perm)});
}

// -w[t] x[t] at each position, by GatherElements along the classes; targets to ignore weigh nothing.
Expr negative_log_likelihood(DowngradeContext& c, const Expr& x) {
  Expr target = c.in(1);
  Expr weight;
  if (c.has_attr("ignore_index")) {
    const Expr ignored =
        c.op("Equal", {target, c.scalar(static_cast<double>(c.attr_int("ignore_index")), target.dtype())});
    target = c.where(ignored, c.scalar(0, target.dtype()), target);
    weight = c.cast(c.op("Not", {ignored}), x.dtype());
  }
  if (c.has_in(2)) {
    const Expr own = c.op("Gather", {c.in(2), target});
    weight = weight ? weight * own : own;
  }
  const Expr at = c.op("GatherElements", {x, c.unsqueeze(target, {1})}, {{"axis", int64_t{1}}});
  Expr loss = -c.op("Squeeze", {at, c.ints({1})});
  if (weight) loss = loss * weight;
  const std::string reduction = c.attr_string("reduction");
  if (reduction == "none") return loss;
  const Attributes flat{{"keepdims", int64_t{0}}};
  if (reduction == "mean" && !weight) return c.op("ReduceMean", {loss}, flat);
  const Expr sum = c.op("ReduceSum", {loss}, flat);
  return reduction == "sum" ? sum : sum / c.op("ReduceSum", {weight}, flat);
}

void nll_loss(DowngradeContext& c) { c.replace({negative_log_likelihood(c, c.in(0))}); }

void cross_entropy(DowngradeContext& c) {
  const Expr logs = c.op("LogSoftmax", {c.in(0)}, {{"axis", int64_t{1}}});
  c.replace({negative_log_likelihood(c, logs), logs});
}

}  // namespace

void add_normalization_downgrades(Downgrades& all) {
  all.add("LayerNormalization", 17, layer_norm);
  all.add("RMSNormalization", 23, rms_norm);
  all.add("GroupNormalization", 21, group_norm);
  all.add("MeanVarianceNormalization", 9, mean_variance_norm);
  all.add("BatchNormalization", 15, batch_norm_of_one_type);
  all.add("BatchNormalization", 14, batch_norm_in_training);
  all.add_each({"Softmax", "LogSoftmax", "Hardmax"}, 13, softmax_of_flattened);
  all.add_each({"NegativeLogLikelihoodLoss"}, 12, nll_loss);
  all.add_each({"SoftmaxCrossEntropyLoss"}, 12, cross_entropy);
}

}  // namespace sx
