// Steps down for operators that move, mask, scan and contract elements.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "ops/convert.h"
#include "ops/downgrade.h"
#include "ops/infer.h"
#include "ops/registry.h"

namespace sx {
namespace {

Expr extent_of(DowngradeContext& c, const Expr& x, int axis) {
  return c.op("Gather", {c.shape(x), c.ints({axis})}, {{"axis", int64_t{0}}});
}

// 0, 1 .. n-1 for the extent of an axis.
Expr positions(DowngradeContext& c, const Expr& x, int axis) {
  const auto& shape = x.type().shape;
  const Dim extent = (*shape)[static_cast<size_t>(axis)];
  if (extent.known()) {
    std::vector<int64_t> all(static_cast<size_t>(extent.value()));
    std::iota(all.begin(), all.end(), 0);
    return c.ints(all);
  }
  const Expr n = c.op("Squeeze", {extent_of(c, x, axis)});
  return c.op("Range", {c.scalar(0, DType::kInt64), n, c.scalar(1, DType::kInt64)});
}

// Positions (row, column) with column <= row + k stay in the lower triangle, those with column >= row + k in the upper.
void trilu(DowngradeContext& c) {
  const Expr x = c.in(0);
  const int rank = c.rank_in(0, "it keeps a triangle of it");
  SX_CHECK(c, rank >= 2, "keeps a triangle of less than a matrix");
  Expr rows = c.unsqueeze(positions(c, x, rank - 2), {1});
  if (c.has_in(1)) rows = rows + c.in(1);
  const Expr columns = c.unsqueeze(positions(c, x, rank - 1), {0});
  const char* outside = c.attr_int("upper") != 0 ? "Less" : "Greater";
  const Expr drop = c.op(outside, {columns, rows});
  Tensor zero(x.dtype(), Shape{});
  const double none = 0;
  convert_elements(DType::kFloat64, zero.dtype(), &none, zero.raw(), 1);
  c.replace({c.where(drop, c.constant(zero), x)});
}

Expr scan(DowngradeContext& c, const Expr& state, const Expr& x, std::unique_ptr<Graph> body, int64_t axis,
          bool backwards) {
  Node node;
  node.op = &get_op("Scan");
  node.name = c.node().name;
  node.origin = c.node().origin;
  node.inputs = {state.id(), x.id()};
  node.attributes = {{"num_scan_inputs", int64_t{1}},
                     {"scan_input_axes", std::vector<int64_t>{axis}},
                     {"scan_output_axes", std::vector<int64_t>{axis}}};
  if (backwards) {
    node.attributes["scan_input_directions"] = std::vector<int64_t>{1};
    node.attributes["scan_output_directions"] = std::vector<int64_t>{1};
  }
  Graph& graph = c.graph();
  for (const char* what : {".last", ".Scan"})
    node.outputs.push_back(graph.add_value(graph.fresh_name(node.name + what)));
  node.bodies.push_back({"body", std::move(body), {}});
  const ValueId result = node.outputs[1];
  check_node(node);
  infer_node(graph, graph.add_node(std::move(node)));
  return c.expr(result);
}

// Running sums and products as a Scan along the axis, which carries what came so far.
void scan_by(DowngradeContext& c, const char* combine, double start) {
  const Expr x = c.in(0);
  const int rank = c.rank_in(0, "it runs along an axis");
  const std::vector<int64_t> given = c.integers_in(1, "axis");
  SX_CHECK(c, given.size() == 1 && rank >= 1, "has several axes, or none");
  const int64_t axis = given[0] < 0 ? given[0] + rank : given[0];
  std::vector<int64_t> others;
  for (int i = 0; i < rank; ++i)
    if (i != axis) others.push_back(i);
  Tensor first(x.dtype(), Shape{1});
  convert_elements(DType::kFloat64, first.dtype(), &start, first.raw(), 1);
  const Expr shape = c.op("Gather", {c.shape(x), c.ints(others)}, {{"axis", int64_t{0}}});
  const Expr begin = c.op("ConstantOfShape", {shape}, {{"value", first}});
  auto body = std::make_unique<Graph>();
  body->name = c.node().op->name();
  const ValueId so_far = body->add_input("so_far", begin.type());
  const ValueId element = body->add_input("element", begin.type());
  Emitter inside(*body, "step", c.node().origin);
  const Expr next = inside.op(combine, {inside.expr(so_far), inside.expr(element)});
  const bool exclusive = c.attr_int("exclusive") != 0;
  const Expr result = inside.op("Identity", {exclusive ? inside.expr(so_far) : next});
  body->outputs = {next.id(), result.id()};
  const int64_t backwards = c.attr_int("reverse");
  c.replace({scan(c, begin, x, std::move(body), axis, backwards != 0)});
}

void running_sum(DowngradeContext& c) { scan_by(c, "Add", 0); }
void running_product(DowngradeContext& c) { scan_by(c, "Mul", 1); }

// Reductions came with 16 and 18.
void scatter_plainly(DowngradeContext& c) {
  const std::string reduction = c.attr_string("reduction");
  SX_CHECK(c, reduction == "none" || (c.version() == 18 && (reduction == "add" || reduction == "mul")),
           join("reduces with '", reduction, "', which began with opset ", c.version()));
  if (reduction == "none") c.drop("reduction");
}

void scatter_by_old_name(DowngradeContext& c) { c.become("Scatter"); }

void crd_space_to_depth(DowngradeContext& c) {
  if (c.attr_string("mode") == "DCR") return c.drop("mode");
  const auto shape = c.in(0).type().shape;
  const int64_t b = c.attr_int("blocksize");
  SX_CHECK(c, shape && shape->size() == 4 && (*shape)[1].known() && (*shape)[2].known() && (*shape)[3].known(),
           "orders columns and rows behind channels (mode CRD) in unknown extents, from opset 28 on");
  const int64_t channels = (*shape)[1].value(), h = (*shape)[2].value() / b, w = (*shape)[3].value() / b;
  const Expr blocks = c.op("Reshape", {c.in(0), c.ints({0, channels, h, b, w, b})});
  const Expr turned = c.transpose(blocks, {0, 1, 3, 5, 2, 4});
  c.replace({c.op("Reshape", {turned, c.ints({0, channels * b * b, h, w})})});
}

void center_crop_pad(DowngradeContext& c) {
  const auto from = c.in(0).type().concrete_shape();
  SX_CHECK(c, from.has_value(), "crops or pads extents that are not known, which began with opset 18");
  std::vector<int64_t> axes, sizes = c.integers_in(1, "shape");
  if (c.has("axes")) axes = c.attr_ints("axes");
  else
    for (int i = 0; i < from->rank(); ++i) axes.push_back(i);
  SX_CHECK(c, axes.size() == sizes.size(), "has a shape that does not fit its axes");
  std::vector<int64_t> starts, ends, cut, pads(static_cast<size_t>(2 * from->rank()), 0);
  for (size_t k = 0; k < axes.size(); ++k) {
    const int64_t axis = axes[k] < 0 ? axes[k] + from->rank() : axes[k];
    const int64_t have = (*from)[static_cast<int>(axis)], want = sizes[k];
    if (want < have) {
      cut.push_back(axis), starts.push_back((have - want) / 2), ends.push_back((have - want) / 2 + want);
    } else {
      pads[static_cast<size_t>(axis)] = (want - have) / 2;
      pads[static_cast<size_t>(axis + from->rank())] = want - have - (want - have) / 2;
    }
  }
  Expr y = c.in(0);
  if (!cut.empty()) y = c.op("Slice", {y, c.ints(starts), c.ints(ends), c.ints(cut)});
  if (std::any_of(pads.begin(), pads.end(), [](int64_t n) { return n != 0; })) y = c.op("Pad", {y, c.ints(pads)});
  c.replace({y});
}

// --- Einsum

struct Equation {
  std::vector<std::string> inputs;
  std::string output;
};

Equation equation_of(const DowngradeContext& c) {
  std::string text = c.attr_string("equation");
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  SX_CHECK(c, text.find('.') == std::string::npos, "has an equation with '...', and Einsum began with opset 12");
  Equation result;
  const size_t arrow = text.find("->");
  std::string left = text.substr(0, arrow);
  for (size_t at = 0; at <= left.size();) {
    const size_t comma = std::min(left.find(',', at), left.size());
    result.inputs.push_back(left.substr(at, comma - at));
    at = comma + 1;
  }
  if (arrow != std::string::npos) {
    result.output = text.substr(arrow + 2);
  } else {
    std::map<char, int> count;
    for (char letter : left)
      if (letter != ',') ++count[letter];
    for (const auto& [letter, times] : count)
      if (times == 1) result.output += letter;
  }
  for (const std::string& input : result.inputs)
    SX_CHECK(c, std::set<char>(input.begin(), input.end()).size() == input.size(),
             "takes a diagonal, and Einsum began with opset 12");
  return result;
}

// All inputs with one axis for each letter, multiplied and summed; two inputs whose letters fit are a MatMul.
void einsum(DowngradeContext& c) {
  if ((DType::kInt8 | DType::kUInt8 | DType::kInt16 | DType::kUInt16).has(c.in(0).dtype())) {
    // Sums of narrow integers wrap around, as casts do.
    std::vector<Expr> wide;
    for (size_t i = 0; i < c.node().inputs.size(); ++i) wide.push_back(c.cast(c.in(i), DType::kInt32));
    return c.replace({c.cast(c.op("Einsum", wide, c.node().attributes), c.in(0).dtype())});
  }
  const Equation e = equation_of(c);
  SX_CHECK(c, e.inputs.size() == c.node().inputs.size(), "has an equation that does not fit its inputs");
  const auto has = [](const std::string& letters, char letter) { return letters.find(letter) != std::string::npos; };
  std::string summed;
  for (const std::string& input : e.inputs)
    for (char letter : input)
      if (!has(e.output, letter) && !has(summed, letter)) summed += letter;
  const auto arranged = [&](const Expr& x, const std::string& from, const std::string& to) {
    std::vector<int64_t> perm, missing;
    for (size_t i = 0; i < to.size(); ++i) {
      const size_t at = from.find(to[i]);
      if (at == std::string::npos) missing.push_back(static_cast<int64_t>(i));
      else perm.push_back(static_cast<int64_t>(at));
    }
    const Expr turned = std::is_sorted(perm.begin(), perm.end()) ? x : c.transpose(x, perm);
    return c.unsqueeze(turned, missing);
  };
  if (e.inputs.size() == 2) {
    const std::string &a = e.inputs[0], &b = e.inputs[1];
    std::string batch, rows, columns;
    for (char letter : e.output) {
      if (has(a, letter) && has(b, letter)) batch += letter;
      else (has(a, letter) ? rows : columns) += letter;
    }
    const bool shared = summed.size() == 1 && has(a, summed[0]) && has(b, summed[0]);
    if (shared && rows.size() == 1 && columns.size() == 1) {
      const Expr product =
          c.op("MatMul", {arranged(c.in(0), a, batch + rows + summed), arranged(c.in(1), b, batch + summed + columns)});
      return c.replace({arranged(product, batch + rows + columns, e.output)});
    }
  }
  const std::string all = e.output + summed;
  Expr product = arranged(c.in(0), e.inputs[0], all);
  for (size_t i = 1; i < e.inputs.size(); ++i) product = product * arranged(c.in(i), e.inputs[i], all);
  std::vector<int64_t> axes(summed.size());
  std::iota(axes.begin(), axes.end(), static_cast<int64_t>(e.output.size()));
  c.replace({c.reduce_sum(product, axes, false)});
}

// --- batch first in recurrent networks

void batch_second(DowngradeContext& c) {
  if (c.attr_int("layout") == 0) return c.drop("layout");
  Attributes attributes = c.node().attributes;
  attributes.erase("layout");
  std::vector<Expr> inputs;
  for (size_t i = 0; i < c.node().inputs.size(); ++i) {
    const bool states = i == 5 || i == 6;
    inputs.push_back(c.has_in(i) && (i == 0 || states) ? c.transpose(c.in(i), {1, 0, 2}) : c.in(i));
  }
  std::vector<Expr> outputs = c.ops(c.node().outputs.size(), c.node().op->name(), inputs, attributes);
  if (c.wants(0)) outputs[0] = c.transpose(outputs[0], {2, 0, 1, 3});
  for (size_t i = 1; i < outputs.size(); ++i)
    if (c.wants(i)) outputs[i] = c.transpose(outputs[i], {1, 0, 2});
  c.replace(outputs);
}

// Batch dimensions are the same as a longer index: the positions along them stand in front of it.
void gather_nd_of_one_batch(DowngradeContext& c) {
  const int64_t batch = c.attr_int("batch_dims");
  if (batch == 0) return c.drop("batch_dims");
  const int rank = c.rank_in(1, "it gathers in batches (batch_dims)");
  const Expr indices = c.in(1);
  std::vector<Expr> parts;
  const Expr prefix = c.op("Concat", {c.op("Slice", {c.shape(indices), c.ints({0}), c.ints({rank - 1})}), c.ints({1})},
                           {{"axis", int64_t{0}}});
  for (int axis = 0; axis < batch; ++axis) {
    std::vector<int64_t> others;
    for (int i = 0; i < rank; ++i)
      if (i != axis) others.push_back(i);
    parts.push_back(c.op("Expand", {c.unsqueeze(positions(c, indices, axis), others), prefix}));
  }
  parts.push_back(indices);
  c.replace({c.op("GatherND", {c.in(0), c.op("Concat", parts, {{"axis", int64_t{rank - 1}}})})});
}

}  // namespace

void add_movement_downgrades(Downgrades& all) {
  all.add("Trilu", 14, trilu);
  all.add("CumSum", 11, running_sum);
  all.add("CumProd", 26, running_product);
  all.add_each({"ScatterElements", "ScatterND"}, 18, scatter_plainly);
  all.add_each({"ScatterElements", "ScatterND"}, 16, scatter_plainly);
  all.add("ScatterElements", 11, scatter_by_old_name);
  all.add("SpaceToDepth", 28, crd_space_to_depth);
  all.add("CenterCropPad", 18, center_crop_pad);
  all.add("Einsum", 12, einsum);
  all.add_each({"GRU", "LSTM", "RNN"}, 14, batch_second);
  all.add("GatherND", 12, gather_nd_of_one_batch);
}

}  // namespace sx
