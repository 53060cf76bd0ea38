// Gives convolutions and what lies between them data in blocks of channels, which stays so from one to the next.
#include <algorithm>
#include <cmath>

#include "ops/blocked.h"
#include "ops/conv.h"
#include "ops/registry.h"
#include "passes/match.h"
#include "passes/pass.h"
#include "passes/relaid_values.h"

namespace sx {
namespace {

// Convolutions of fewer channels read plain data: blocks would be mostly empty.
constexpr int64_t kFewChannels = 8;
// Convolutions of at most so many filters, and of at most so many where Winograd's algorithm would serve, stay plain if
// their rows are long enough.
constexpr int64_t kFewFilters = 8, kFewestFilters = 4, kLeastColumns = 16;
// Inputs of BlockedQLinearConv.
constexpr size_t kConvResidual = 9, kConvTable = 14;
constexpr double kMostSteps = 1 << 30;  // that a quantized sum may lie from its zero point
constexpr DTypeSet kBytes = DTypeSet(DType::kUInt8) | DType::kInt8;
constexpr DTypeSet kBlockable = kBytes | DType::kFloat32;

class Blocking {
 public:
  Blocking(Graph& graph, bool winograd, Precision precision)
      : graph_(graph),
        block_(block_of_channels()),
        winograd_(winograd),
        bf16_(precision == Precision::kBf16 && bf16_in_blocks()),
        values_(
            graph, [this](ValueId value, NodeId at) { return block(value, at); },
            [this](ValueId value) { return unblock(value); }) {}

  bool run(PassLog& log) {
    const std::vector<NodeId> order = graph_.order();
    for (NodeId id : order) {
      const Outcome outcome = convert(id);
      if (outcome.kind == Outcome::Kind::kNoMatch || outcome.kind == Outcome::Kind::kMissed) {
        if (outcome.kind == Outcome::Kind::kMissed) log.add(kName, graph_.node(id), outcome);
        for (ValueId read : graph_.reads(id)) values_.need_plain(read, id);
      }
    }
    values_.finish();
    return converted_;
  }

 private:
  static constexpr const char* kName = "block_channels";

  const Type& type(ValueId value) const { return graph_.type(value); }
  static bool has(const Node& node, size_t i) { return i < node.inputs.size() && node.inputs[i] != kNone; }

  // Of a value that can be blocked; else 0.
  int64_t channels(ValueId value) const {
    const Type& t = type(value);
    if (!t.is_tensor() || !kBlockable.has(t.dtype) || t.rank() != 4 || !(*t.shape)[1].known()) return 0;
    return (*t.shape)[1].value();
  }
  bool is_float(ValueId value) const { return type(value).dtype == DType::kFloat32; }
  bool is_blocked(ValueId value) const { return values_.has(value); }
  ValueId blocked(ValueId value, NodeId at) { return values_.get(value, at); }

  ValueId block(ValueId value, NodeId at) {
    return emit_before(graph_, at, "Block", {value}, with_bf16({}, is_float(value)), "sardonyx");
  }
  Node unblock(ValueId value) const {
    Node node;
    node.op = &get_op("Unblock", "sardonyx");
    node.attributes = {{"channels", channels(value)}};
    if (type(value).dtype == DType::kInt8) node.attributes["signed_bytes"] = int64_t{1};
    return node;
  }

  // Attributes of a node that makes blocks of floats.
  Attributes with_bf16(Attributes attributes, bool floats = true) const {
    if (bf16_ && floats) attributes["bf16"] = int64_t{1};
    return attributes;
  }

  // Replaces node `id`, whose only wanted output is the first, by `op` on blocks.
  Outcome replace_by(NodeId id, const std::string& op, std::vector<ValueId> inputs, Attributes attributes,
                     const std::string& domain) {
    values_.replace(id, op, std::move(inputs), std::move(attributes), domain);
    converted_ = true;
    return Outcome::fired();
  }

  Outcome convert(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.outputs.empty() || node.outputs[0] == kNone || !node.bodies.empty()) return Outcome::no_match();
    for (size_t i = 1; i < node.outputs.size(); ++i)
      if (node.outputs[i] != kNone) return Outcome::no_match();
    const std::string op = node.op->full_name();
    if (op == "Conv" || op == "sardonyx::Conv") return convolution(id);
    if (op == "Transpose") return transpose(id);
    if (op == "QLinearConv") return quantized_convolution(id);
    if (node.inputs.empty() || !has(node, 0) || channels(node.outputs[0]) == 0) return Outcome::no_match();
    if (op == "Concat") return concat(id);
    if (!is_float(node.inputs[0]) || !is_float(node.outputs[0])) return quantized(id, op);
    if (op == "ConvTranspose") return upsample(id);
    if (op == "Add" || op == "Mul") return binary(id, op);
    if (!is_blocked(node.inputs[0])) return Outcome::no_match();
    if (op == "MaxPool" || op == "AveragePool") return pool(id, op == "MaxPool" ? "max" : "mean");
    if (op == "GlobalAveragePool") return global_mean(id);
    if (op == "BatchNormalization") return batch_normalization(id);
    if (op == "GroupNormalization") return group_normalization(id);
    for (const char* unary : {"Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "LeakyRelu", "Elu", "Gelu",
                              "Tanh", "Clip", "Mish", "Softplus"})
      if (op == unary) return elementwise(id);
    return Outcome::no_match();
  }

  Outcome convolution(NodeId id) {
    const Node& node = graph_.node(id);
    const Tensor* w = constant(graph_, node.inputs[1]);
    const int64_t in = is_float(node.inputs[0]) ? channels(node.inputs[0]) : 0;
    if (in == 0) return Outcome::missed("its input is not f32 of four dimensions with a known number of channels");
    if (w == nullptr || w->rank() != 4 || w->dtype() != DType::kFloat32 ||
        (has(node, 2) && constant(graph_, node.inputs[2]) == nullptr))
      return Outcome::missed("its weights are not constant");
    if (has(node, 2) && constant(graph_, node.inputs[2])->size() != w->dim(0))
      return Outcome::missed("its bias does not have one value for each filter");
    // Where padding meets such a weight, a direct sum gives NaN; in blocks padding is left out.
    const Tensor held = w->borrow();
    if (!std::all_of(held.data<float>(), held.data<float>() + w->size(), [](float x) { return std::isfinite(x); }))
      return Outcome::missed("some of its weights are not finite");
    const auto groups = attribute<int64_t>(graph_, id, "group");
    const bool depthwise = groups > 1 && groups == in && w->dim(0) == in;
    if (groups != 1 && !depthwise) return Outcome::missed("it has groups of several channels");
    if (depthwise && bf16_ && !is_compact(id, *w)) return Outcome::missed("its windows lie far apart");
    if (w->size() == 0 || w->dim(1) * groups != in) return Outcome::missed("its weights do not fit its input");
    if (groups == 1 && has_few_filters(id, *w)) return Outcome::missed("it has few filters");
    const bool plain = groups == 1 && in < kFewChannels && !is_blocked(node.inputs[0]) && is_compact(id, *w);
    Attributes attributes = node.attributes;
    if (plain) attributes["plain_input"] = int64_t{1};
    if (!winograd_) attributes["allow_winograd"] = int64_t{0};
    const std::vector<ValueId> old = node.inputs;
    std::vector<ValueId> inputs = {plain ? old[0] : blocked(old[0], id), old[1]};
    if (old.size() > 2) inputs.push_back(old[2]);
    if (old.size() > 3) inputs.push_back(old[3] == kNone ? kNone : blocked(old[3], id));
    if (plain) values_.need_plain(old[0], id);
    return replace_by(id, "BlockedConv", inputs, with_bf16(attributes), "sardonyx");
  }

  bool is_compact(NodeId id, const Tensor& w) const {
    const WindowSpec window{NodeView(graph_.node(id))};
    return window.is_compact(0, w.dim(2)) && window.is_compact(1, w.dim(3));
  }
  // Whether a vector of positions serves a convolution better than one of filters, most of whose lanes would be empty.
  bool has_few_filters(NodeId id, const Tensor& w) const {
    const Dim& columns = (*type(graph_.node(id).outputs[0]).shape)[3];
    const bool pointwise = w.dim(2) == 1 && w.dim(3) == 1, square = w.dim(2) == 3 && w.dim(3) == 3;
    return is_compact(id, w) && !pointwise && w.dim(0) <= (square ? kFewestFilters : kFewFilters) &&
           (!columns.known() || columns.value() >= kLeastColumns);
  }

  Outcome quantized_convolution(NodeId id) {
    const Node& node = graph_.node(id);
    const int64_t in = channels(node.inputs[0]);
    if (in == 0) return Outcome::missed("its input does not have four dimensions with a known number of channels");
    for (size_t i = 1; i < node.inputs.size(); ++i)
      if (has(node, i) && constant(graph_, node.inputs[i]) == nullptr)
        return Outcome::missed("its weights, scales and zero points are not constant");
    const auto of = [&](size_t i) -> const Tensor& { return *constant(graph_, node.inputs[i]); };
    const Tensor& w = of(3);
    const int64_t filters = w.rank() == 4 ? w.dim(0) : 0;
    const auto per_filter = [&](size_t i) { return of(i).size() == 1 || of(i).size() == filters; };
    const auto groups = attribute<int64_t>(graph_, id, "group");
    if (filters == 0 || w.size() == 0 || w.dim(1) * groups != in || !per_filter(4) || !per_filter(5) ||
        (has(node, 8) && of(8).size() != filters))
      return Outcome::missed("its weights do not fit its input");
    for (size_t i : {1, 2, 6, 7})
      if (of(i).size() != 1) return Outcome::missed("its input or output has several scales or zero points");
    if (!sums_fit(node)) return Outcome::missed("its scales are too large");
    if (groups != 1 && (groups != in || filters != in)) return Outcome::missed("it has groups of several channels");
    if (!is_compact(id, w)) return Outcome::missed("its windows lie far apart");
    const auto dilations = node.attributes.find("dilations");
    const bool dilated =
        dilations != node.attributes.end() && !same(dilations->second, Attribute(std::vector<int64_t>{1, 1}));
    const bool plain = groups == 1 && in < kFewChannels && !dilated && !is_blocked(node.inputs[0]);
    Attributes attributes = node.attributes;
    if (plain) attributes["plain_input"] = int64_t{1};
    std::vector<ValueId> inputs = node.inputs;
    if (plain) values_.need_plain(inputs[0], id);
    else inputs[0] = blocked(inputs[0], id);
    return replace_by(id, "BlockedQLinearConv", inputs, attributes, "sardonyx");
  }

  // Whether the sums of a QLinearConv, in steps of the output, fit 32 bits whatever the data.
  bool sums_fit(const Node& node) const {
    const auto of = [&](size_t i) -> const Tensor& { return *constant(graph_, node.inputs[i]); };
    const Tensor &w = of(3), &scales = of(4), &zeros = of(5);
    const int64_t depth = w.size() / w.dim(0);
    const auto fits = [&](int64_t filter, double most) {
      if (has(node, 8)) most += std::abs(static_cast<double>(of(8).data<int32_t>()[filter]));
      const float scale = of(1).data<float>()[0] * scales.data<float>()[scales.size() == 1 ? 0 : filter];
      return most * std::abs(scale / of(6).data<float>()[0]) < kMostSteps;
    };
    const auto element = [](const Tensor& t, int64_t i) {
      return t.dtype() == DType::kInt8 ? int64_t{t.data<int8_t>()[i]} : int64_t{t.data<uint8_t>()[i]};
    };
    Tensor held;
    for (int64_t filter = 0; filter < w.dim(0); ++filter) {
      if (fits(filter, 255.0 * 255.0 * static_cast<double>(depth))) continue;
      // Filters of zeros come with any scale.
      if (!held.defined()) held = w.borrow();
      const int64_t zero = element(zeros, zeros.size() == 1 ? 0 : filter);
      int64_t most = 0;
      for (int64_t i = filter * depth; i < (filter + 1) * depth; ++i) most += 255 * std::abs(element(held, i) - zero);
      if (!fits(filter, static_cast<double>(most))) return false;
    }
    return true;
  }

  // Inputs of `id`, with zero point `i` as that of blocks: unsigned, and in place of an absent one where bytes of
  // `like` are signed.
  void shift_zero(std::vector<ValueId>& inputs, size_t i, ValueId like) {
    if (type(like).dtype != DType::kInt8) return;
    if (inputs.size() <= i) inputs.resize(i + 1, kNone);
    const int64_t zero = inputs[i] == kNone ? 0 : constant(graph_, inputs[i])->scalar_as_int();
    inputs[i] = add_constant(graph_, "zero", Tensor::scalar<uint8_t>(static_cast<uint8_t>(zero + 128)));
  }
  bool is_constant_scalar(const Node& node, size_t i) const {
    return !has(node, i) ||
           (constant(graph_, node.inputs[i]) != nullptr && constant(graph_, node.inputs[i])->size() == 1);
  }

  // What takes or gives bytes and goes from element to element, and maxima.
  Outcome quantized(NodeId id, const std::string& op) {
    const Node& node = graph_.node(id);
    const ValueId x = node.inputs[0], y = node.outputs[0];
    if (op == "com.microsoft::QLinearAdd" || op == "com.microsoft::QLinearMul") return quantized_binary(id);
    if (!is_blocked(x)) return Outcome::no_match();
    if (op == "MaxPool") return pool(id, "max");
    if (op == "sardonyx::MapBytes") return map(id);
    for (size_t i = 1; i < node.inputs.size(); ++i)
      if (!is_constant_scalar(node, i)) return Outcome::no_match();
    std::vector<ValueId> inputs = node.inputs;
    if (op == "com.microsoft::QLinearSigmoid" || op == "com.microsoft::QLinearLeakyRelu") {
      shift_zero(inputs, 2, x);
      shift_zero(inputs, 4, y);
    } else if (op == "sardonyx::QLinearGlobalMean") {
      shift_zero(inputs, 2, x);
      shift_zero(inputs, 4, y);
      inputs[0] = blocked(x, id);
      return replace_by(id, "QLinearGlobalMean", inputs, {{"blocked", int64_t{1}}}, "sardonyx");
    } else if (op == "QuantizeLinear" && is_float(x)) {
      shift_zero(inputs, 2, y);
    } else if (op == "DequantizeLinear" && is_float(y) && read_in_blocks(y)) {
      shift_zero(inputs, 2, x);
    } else {
      return Outcome::no_match();
    }
    inputs[0] = blocked(x, id);
    // Scales are f32, and so is what they meet.
    if (bf16_ && is_float(x)) inputs[0] = cast(inputs[0], DType::kFloat32, id);
    Attributes attributes;
    if (node.attributes.count("alpha") != 0) attributes["alpha"] = node.attributes.at("alpha");
    if (!bf16_ || !is_float(y)) return replace_by(id, node.op->name(), inputs, attributes, node.op->domain());
    const ValueId wide = emit_before(graph_, id, node.op->name(), inputs, attributes, node.op->domain());
    return replace_by(id, "Cast", {wide}, {{"to", static_cast<int64_t>(DType::kBFloat16)}}, "");
  }

  // Whether something that reads `value` may do so in blocks.
  bool read_in_blocks(ValueId value) const {
    for (const Graph::Use& use : graph_.uses(value))
      for (const char* op : {"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Relu", "Sigmoid",
                             "HardSigmoid", "HardSwish", "Swish", "LeakyRelu", "Clip"})
        if (is(graph_, use.node, op)) return true;
    return false;
  }

  // A table for the bytes of blocks, which are moved by 128 where plain ones are signed.
  Outcome map(NodeId id) {
    const std::vector<ValueId> old = graph_.node(id).inputs;
    const Tensor& plain = *constant(graph_, old[1]);
    const int flip_x = type(old[0]).dtype == DType::kInt8 ? 0x80 : 0, flip_y = plain.dtype() == DType::kInt8 ? 0x80 : 0;
    Tensor shifted(DType::kUInt8, Shape{256});
    for (int i = 0; i < 256; ++i)
      shifted.data<uint8_t>()[i] = static_cast<uint8_t>(static_cast<const uint8_t*>(plain.raw())[i ^ flip_x] ^ flip_y);
    const ValueId table = add_constant(graph_, "table", shifted);
    const NodeId conv = open_convolution(old[0], id);
    if (conv == kNone) return replace_by(id, "MapBytes", {blocked(old[0], id), table}, {}, "sardonyx");
    std::vector<ValueId> inputs = graph_.node(conv).inputs;
    inputs.resize(kConvTable, kNone);
    inputs.push_back(table);
    return extend_convolution(conv, old[0], id, inputs);
  }

  Outcome quantized_binary(NodeId id) {
    const Node& node = graph_.node(id);
    const ValueId a = node.inputs[0], b = node.inputs[3];
    if (!is_blocked(a) && !is_blocked(b)) return Outcome::no_match();
    if (channels(a) == 0 || channels(a) != channels(b)) return Outcome::no_match();
    for (size_t i : {1, 2, 4, 5, 6, 7})
      if (!is_constant_scalar(node, i)) return Outcome::missed("its scales and zero points are not constant");
    if (type(a).shape != type(b).shape) return quantized_scale(id);
    if (is(graph_, id, "com.microsoft::QLinearAdd"))
      for (const auto& [own, other] : {std::pair<size_t, size_t>{0, 3}, {3, 0}})
        if (takes_residual(node.inputs[own], id)) return quantized_residual(id, own, other);
    std::vector<ValueId> inputs = node.inputs;
    for (size_t i : {2, 5, 7}) shift_zero(inputs, i, a);
    inputs[0] = blocked(a, id);
    inputs[3] = blocked(b, id);
    return replace_by(id, node.op->name(), inputs, {}, node.op->domain());
  }

  // A product with a value for each channel of each image.
  Outcome quantized_scale(NodeId id) {
    const Node& node = graph_.node(id);
    if (!is(graph_, id, "com.microsoft::QLinearMul")) return Outcome::no_match();
    const auto scale = [&](size_t i) { return constant(graph_, node.inputs[i])->data<float>()[0]; };
    if (!(std::abs(scale(1) * scale(4) / scale(6)) < 1e30f)) return Outcome::missed("its scales are too large");
    for (const size_t data : {0, 3}) {
      const size_t factor = 3 - data;
      const SymShape &x = *type(node.inputs[data]).shape, &f = *type(node.inputs[factor]).shape;
      if (!is_blocked(node.inputs[data]) || f[2] != Dim(1) || f[3] != Dim(1) || x[0] != f[0]) continue;
      std::vector<ValueId> inputs = node.inputs;
      for (size_t i : {2, 5, 7}) inputs[i] = zero_of_blocks(inputs, i, node.inputs[0]);
      const std::vector<ValueId> ordered = {
          blocked(inputs[data], id), inputs[data + 1],   inputs[data + 2], blocked(inputs[factor], id),
          inputs[factor + 1],        inputs[factor + 2], inputs[6],        inputs[7]};
      return replace_by(id, "BlockedQLinearScale", ordered, {{"factor_first", int64_t{factor == 0}}}, "sardonyx");
    }
    return Outcome::no_match();
  }
  ValueId zero_of_blocks(std::vector<ValueId> inputs, size_t i, ValueId like) {
    inputs.resize(std::max(inputs.size(), i + 1), kNone);
    shift_zero(inputs, i, like);
    return zero_or_new(inputs, i, kNone);
  }

  // The convolution that computes `value` for node `reader` alone, where no table follows it; else kNone.
  NodeId open_convolution(ValueId value, NodeId reader) const {
    const NodeId conv = values_.open_node(value, reader, "sardonyx::BlockedQLinearConv");
    return conv == kNone || has(graph_.node(conv), kConvTable) ? kNone : conv;
  }
  // Replaces `reader`, which reads what the convolution computes as `value`, by the convolution with more inputs.
  Outcome extend_convolution(NodeId conv, ValueId value, NodeId reader, const std::vector<ValueId>& inputs) {
    values_.extend(conv, value, reader, inputs, graph_.node(conv).attributes);
    return Outcome::fired();
  }

  bool takes_residual(ValueId value, NodeId reader) const {
    const NodeId conv = open_convolution(value, reader);
    if (conv == kNone || has(graph_.node(conv), kConvResidual)) return false;
    const Node& sum = graph_.node(reader);
    double most = 0.0;
    for (size_t i : {1, 4})
      most += 255.0 * std::abs(constant(graph_, sum.inputs[i])->data<float>()[0] /
                               constant(graph_, sum.inputs[6])->data<float>()[0]);
    return most < kMostSteps;
  }

  // A sum whose operand `own` is a convolution, which adds the other one itself.
  Outcome quantized_residual(NodeId id, size_t own, size_t other) {
    const std::vector<ValueId> sum = graph_.node(id).inputs;
    const NodeId conv = open_convolution(sum[own], id);
    std::vector<ValueId> inputs = graph_.node(conv).inputs;
    inputs.resize(kConvResidual, kNone);
    inputs.push_back(blocked(sum[other], id));
    inputs.push_back(sum[other + 1]);
    inputs.push_back(zero_or_new(sum, other + 2, sum[other]));
    inputs.push_back(sum[6]);
    inputs.push_back(zero_or_new(sum, 7, sum[other]));
    return extend_convolution(conv, sum[own], id, inputs);
  }
  // The zero point `i`, made where it is absent.
  ValueId zero_or_new(const std::vector<ValueId>& inputs, size_t i, ValueId like) {
    if (inputs.size() > i && inputs[i] != kNone) return inputs[i];
    if (like != kNone && type(like).dtype == DType::kInt8)
      return add_constant(graph_, "zero", Tensor::scalar<int8_t>(0));
    return add_constant(graph_, "zero", Tensor::scalar<uint8_t>(0));
  }

  // A transposed convolution whose windows lie side by side.
  Outcome upsample(NodeId id) {
    const Node& node = graph_.node(id);
    const Tensor* w = constant(graph_, node.inputs[1]);
    if (w == nullptr || w->rank() != 4 || w->dtype() != DType::kFloat32 || w->size() == 0 ||
        (has(node, 2) && constant(graph_, node.inputs[2]) == nullptr))
      return Outcome::missed("its weights are not constant f32");
    if (channels(node.inputs[0]) != w->dim(0) ||
        (has(node, 2) && constant(graph_, node.inputs[2])->size() != w->dim(1)))
      return Outcome::missed("its weights do not fit its input");
    const WindowSpec window{NodeView(node)};
    const auto same_extents = [&](size_t axis) {
      const Dim &in = (*type(node.inputs[0]).shape)[axis], &out = (*type(node.outputs[0]).shape)[axis];
      return out == in * Dim(w->dim(static_cast<int>(axis)));
    };
    bool side_by_side =
        attribute<int64_t>(graph_, id, "group") == 1 && !window.same() && same_extents(2) && same_extents(3);
    for (int axis = 0; axis < 2; ++axis)
      side_by_side = side_by_side && window.stride(axis) == w->dim(axis + 2) && window.dilation(axis) == 1 &&
                     window.pad_begin(axis) == 0 && window.pad_end(axis) == 0;
    if (!side_by_side) return Outcome::missed("its windows overlap, or it is padded or grouped");
    std::vector<ValueId> inputs = node.inputs;
    inputs[0] = blocked(inputs[0], id);
    return replace_by(id, "BlockedUpsample", inputs, {}, "sardonyx");
  }

  // To and from data with the channels last.
  Outcome transpose(NodeId id) {
    const Node& node = graph_.node(id);
    const ValueId x = node.inputs[0], y = node.outputs[0];
    const auto perm = node.attributes.find("perm");
    if (perm == node.attributes.end() || type(x).rank() != 4 || !is_float(x)) return Outcome::no_match();
    const Attribute to_last = std::vector<int64_t>{0, 2, 3, 1}, from_last = std::vector<int64_t>{0, 3, 1, 2};
    if (same(perm->second, to_last) && is_blocked(x)) {
      replace(graph_, id, "UnblockLast", {blocked(x, id)}, {{"channels", channels(x)}}, "sardonyx");
      converted_ = true;
      return Outcome::fired();
    }
    if (!same(perm->second, from_last) || channels(y) == 0 || graph_.is_output(y)) return Outcome::no_match();
    for (const Graph::Use& use : graph_.uses(y))
      if (!is(graph_, use.node, "Conv") && !is(graph_, use.node, "sardonyx::Conv") && !is(graph_, use.node, "Add") &&
          !scales_channels(use.node, y))
        return Outcome::missed("something beside convolutions, sums and factors of channels reads it");
    return replace_by(id, "BlockLast", {x}, with_bf16({}), "sardonyx");
  }

  Outcome pool(NodeId id, const char* kind) {
    Attributes attributes = graph_.node(id).attributes;
    attributes.erase("storage_order");
    attributes["kind"] = std::string(kind);
    return replace_by(id, "BlockedPool", {blocked(graph_.node(id).inputs[0], id)}, attributes, "sardonyx");
  }

  Outcome global_mean(NodeId id) {
    return replace_by(id, "BlockedMean", {blocked(graph_.node(id).inputs[0], id)}, {}, "sardonyx");
  }

  // One tensor, perhaps with constants of one element (the bounds of Clip).
  Outcome elementwise(NodeId id) {
    const Node& node = graph_.node(id);
    std::vector<ValueId> inputs = node.inputs;
    for (size_t i = 1; i < inputs.size(); ++i)
      if (inputs[i] != kNone && (constant(graph_, inputs[i]) == nullptr || constant(graph_, inputs[i])->size() != 1))
        return Outcome::no_match();
    // Rounding keeps the order of numbers, so that a bound may be rounded before.
    for (size_t i = 1; i < inputs.size() && bf16_; ++i)
      if (inputs[i] != kNone) inputs[i] = cast(inputs[i], DType::kBFloat16, id);
    inputs[0] = blocked(inputs[0], id);
    return replace_by(id, node.op->name(), inputs, node.attributes, node.op->domain());
  }

  // A constant of one value per channel, [C,1,1] or [1,C,1,1]; null where it is something else.
  const Tensor* values_of_channels(ValueId value, int64_t count) const {
    const Tensor* tensor = constant(graph_, value);
    if (tensor == nullptr || tensor->dtype() != DType::kFloat32 || tensor->size() != count) return nullptr;
    const int rank = tensor->rank();
    return rank < 3 || rank > 4 || tensor->dim(rank - 3) != count ? nullptr : tensor;
  }
  // Such a constant in blocks, or kNone.
  ValueId channel_constant(ValueId value, int64_t count) {
    const Tensor* tensor = values_of_channels(value, count);
    return tensor == nullptr ? kNone : add_channels(graph_.value(value).name, tensor->data<float>(), count);
  }
  bool scales_channels(NodeId id, ValueId x) const {
    if (!is(graph_, id, "Mul")) return false;
    const std::vector<ValueId>& inputs = graph_.node(id).inputs;
    return values_of_channels(inputs[inputs[0] == x ? 1 : 0], channels(x)) != nullptr;
  }
  ValueId add_channels(const std::string& stem, const float* values, int64_t count) {
    return add_constant(graph_, stem + ".blocked", pad_channels(values, count));
  }

  Outcome binary(NodeId id, const std::string& op) {
    const Node& node = graph_.node(id);
    const ValueId y = node.outputs[0];
    ValueId a = node.inputs[0], b = node.inputs[1];
    if (!is_blocked(a)) std::swap(a, b);
    if (!is_blocked(a)) return Outcome::no_match();
    const int64_t count = channels(a);
    if (channels(b) == count && type(a).shape == type(b).shape)
      return replace_by(id, op, {blocked(a, id), blocked(b, id)}, {}, "");
    if (!(type(y).shape == type(a).shape)) std::swap(a, b);
    if (!(type(y).shape == type(a).shape) || channels(a) == 0) return Outcome::no_match();
    // b holds a value for each channel, of all images or of each.
    const SymShape& of_b = type(b).rank() == 4 ? *type(b).shape : SymShape();
    const bool per_image = channels(b) == channels(a) && of_b[2] == Dim(1) && of_b[3] == Dim(1) &&
                           (of_b[0] == Dim(1) || of_b[0] == (*type(a).shape)[0]);
    if (op == "Mul" && per_image && constant(graph_, b) == nullptr)
      return replace_by(id, "ScaleChannels", {blocked(a, id), blocked(b, id)}, {}, "sardonyx");
    if (!is_blocked(a)) return Outcome::no_match();
    const ValueId values = channel_constant(b, channels(a));
    if (values == kNone) return Outcome::no_match();
    if (op == "Mul") return replace_by(id, "ScaleChannels", {blocked(a, id), values}, {}, "sardonyx");
    const std::vector<float> ones(static_cast<size_t>(channels(a)), 1.0f);
    const ValueId scale = add_channels("ones", ones.data(), channels(a));
    return replace_by(id, "ScaleChannels", {blocked(a, id), scale, values}, {}, "sardonyx");
  }

  Outcome batch_normalization(NodeId id) {
    const Node& node = graph_.node(id);
    if (attribute<int64_t>(graph_, id, "training_mode") != 0) return Outcome::no_match();
    const int64_t count = channels(node.inputs[0]);
    const Tensor* parts[4];
    for (size_t i = 0; i < 4; ++i) {
      parts[i] = constant(graph_, node.inputs[i + 1]);
      if (parts[i] == nullptr || parts[i]->dtype() != DType::kFloat32 || parts[i]->size() != count)
        return Outcome::missed("its parameters are not constant f32");
    }
    const double epsilon = attribute<float>(graph_, id, "epsilon");
    std::vector<float> scale(static_cast<size_t>(count)), shift(static_cast<size_t>(count));
    for (int64_t c = 0; c < count; ++c) {
      const double factor = parts[0]->data<float>()[c] / std::sqrt(parts[3]->data<float>()[c] + epsilon);
      scale[static_cast<size_t>(c)] = static_cast<float>(factor);
      shift[static_cast<size_t>(c)] =
          static_cast<float>(parts[1]->data<float>()[c] - parts[2]->data<float>()[c] * factor);
    }
    const std::string stem = graph_.value(node.outputs[0]).name;
    const ValueId by = add_channels(stem + ".scale", scale.data(), count);
    const ValueId plus = add_channels(stem + ".shift", shift.data(), count);
    return replace_by(id, "ScaleChannels", {blocked(graph_.node(id).inputs[0], id), by, plus}, {}, "sardonyx");
  }

  Outcome group_normalization(NodeId id) {
    const Node& node = graph_.node(id);
    const int64_t count = channels(node.inputs[0]);
    for (size_t i = 1; i <= 2; ++i) {
      const Tensor* part = constant(graph_, node.inputs[i]);
      if (part == nullptr || part->dtype() != DType::kFloat32 || part->size() != count)
        return Outcome::missed("its scale and bias are not constant f32");
    }
    const Attributes attributes = {{"epsilon", attribute<float>(graph_, id, "epsilon")},
                                   {"num_groups", attribute<int64_t>(graph_, id, "num_groups")},
                                   {"channels", count}};
    const std::vector<ValueId> inputs = {blocked(node.inputs[0], id), node.inputs[1], node.inputs[2]};
    return replace_by(id, "BlockedGroupNorm", inputs, attributes, "sardonyx");
  }

  Outcome concat(NodeId id) {
    const Node& node = graph_.node(id);
    const auto axis = attribute<int64_t>(graph_, id, "axis");
    if (axis != 1 && axis != -3) return Outcome::no_match();
    bool any = false;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const int64_t count = channels(node.inputs[i]);
      if (count == 0) return Outcome::no_match();
      if (count % block_ != 0 && i + 1 < node.inputs.size())
        return is_blocked(node.inputs[i]) ? Outcome::missed("the channels of an input do not fill whole blocks")
                                          : Outcome::no_match();
      any = any || is_blocked(node.inputs[i]);
    }
    if (!any) return Outcome::no_match();
    std::vector<ValueId> inputs;
    for (ValueId input : std::vector<ValueId>(node.inputs)) inputs.push_back(blocked(input, id));
    return replace_by(id, "Concat", inputs, {{"axis", int64_t{1}}}, "");
  }

  ValueId cast(ValueId value, DType to, NodeId at) {
    return emit_before(graph_, at, "Cast", {value}, {{"to", static_cast<int64_t>(to)}});
  }

  Graph& graph_;
  const int64_t block_;
  const bool winograd_;
  const bool bf16_;  // floats in blocks are bf16
  RelaidValues values_;
  bool converted_ = false;
};

}  // namespace

bool block_channels(Graph& graph, PassLog& log, bool winograd, Precision precision) {
  bool changed = false;
  for_each_graph(graph, [&](Graph& each) { changed = Blocking(each, winograd, precision).run(log) || changed; });
  return changed;
}

}  // namespace sx
