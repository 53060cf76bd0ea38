// (states, scanned[i]) = body(states, inputs[i]) for i over the scan axes, forwards or backwards
#include <algorithm>

#include "ops/control_flow.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

// Scan-8 works on a batch: inputs and outputs have it as axis 0 and the sequence as axis 1.
constexpr const char* kBatchScan = "BatchScan";
constexpr const char* kOwnDomain = "ai.sardonyx";

struct ScanLayout {
  size_t states = 0;
  size_t scans = 0;    // scan inputs
  size_t outputs = 0;  // scan outputs
  std::vector<int64_t> input_axes, input_directions, output_axes, output_directions;
};

// `skip` inputs stand before the states.
ScanLayout layout_of(const NodeView& node, size_t skip) {
  const Graph& body = *node.body("body");
  ScanLayout layout;
  const int64_t scans = node.attr_int("num_scan_inputs");
  const auto inputs = static_cast<int64_t>(node.node().inputs.size()) - static_cast<int64_t>(skip);
  SX_CHECK(node, scans >= 1 && scans <= inputs, "num_scan_inputs is ", scans, "; it has ", inputs, " inputs");
  layout.scans = static_cast<size_t>(scans);
  layout.states = static_cast<size_t>(inputs - scans);
  SX_CHECK(node, body.outputs.size() >= layout.states, "its body gives ", body.outputs.size(), " outputs; at least ",
           layout.states, " expected");
  layout.outputs = body.outputs.size() - layout.states;
  SX_CHECK(node, node.node().outputs.size() <= body.outputs.size(), "its body gives ", body.outputs.size(),
           " outputs; the node has ", node.node().outputs.size());
  auto list = [&](const char* name, size_t count) {
    std::vector<int64_t> values = node.attr_or(name, std::vector<int64_t>(count, 0));
    SX_CHECK(node, values.size() == count, "attribute '", name, "' has ", values.size(), " entries; ", count,
             " expected");
    return values;
  };
  layout.input_directions = list(skip ? "directions" : "scan_input_directions", layout.scans);
  layout.input_axes = skip ? std::vector<int64_t>(layout.scans, 0) : list("scan_input_axes", layout.scans);
  layout.output_axes = skip ? std::vector<int64_t>(layout.outputs, 0) : list("scan_output_axes", layout.outputs);
  layout.output_directions =
      skip ? std::vector<int64_t>(layout.outputs, 0) : list("scan_output_directions", layout.outputs);
  for (const auto* directions : {&layout.input_directions, &layout.output_directions})
    for (int64_t direction : *directions)
      SX_CHECK(node, direction == 0 || direction == 1, "a direction is ", direction, "; 0 or 1 expected");
  return layout;
}

// The type without its first `count` axes.
Type without_leading(const NodeView& node, Type type, size_t count) {
  if (!type.is_tensor() || !type.shape) return type;
  SX_CHECK(node, type.shape->size() >= count, "an input is ", type.str(), "; at least ", count, " axes expected");
  type.shape->erase(type.shape->begin(), type.shape->begin() + static_cast<int64_t>(count));
  return type;
}

void merge_length(const NodeView& node, Dim& length, const Dim& other) {
  SX_CHECK(node, !length.known() || !other.known() || length == other, "its scan inputs have lengths ", length.str(),
           " and ", other.str());
  if (!length.known()) length = other;
}

void infer_scan(InferContext& c) {
  const ScanLayout layout = layout_of(c, 0);
  std::vector<Facts> inputs(layout.states + layout.scans);
  Dim length;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!c.has(static_cast<int>(i))) continue;
    Type type = c.type(static_cast<int>(i));
    if (i >= layout.states && type.shape) {
      const int axis = c.axis(layout.input_axes[i - layout.states], type.rank());
      merge_length(c, length, (*type.shape)[static_cast<size_t>(axis)]);
      type.shape->erase(type.shape->begin() + axis);
    }
    inputs[i].type = std::move(type);
  }
  const std::vector<Facts> results = infer_iterated(c, "body", inputs, 0, 0, layout.states);
  for (int i = 0; i < c.outputs(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (at < layout.states) {
      c.out(i, inputs[at].type);
      continue;
    }
    Type item = results[at].type;
    if (item.shape) {
      const int axis = c.axis(layout.output_axes[at - layout.states], item.rank() + 1);
      item.shape->insert(item.shape->begin() + axis, length);
    }
    c.out(i, item);
  }
}

void infer_batch_scan(InferContext& c) {
  const ScanLayout layout = layout_of(c, 1);
  std::vector<Facts> inputs(layout.states + layout.scans);
  Dim batch, length;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int at = static_cast<int>(i) + 1;
    if (!c.has(at)) continue;
    const bool scanned = i >= layout.states;
    inputs[i].type = without_leading(c, c.type(at), scanned ? 2 : 1);
    if (!c.has_shape(at)) continue;
    merge_length(c, batch, c.shape(at)[0]);
    if (scanned) merge_length(c, length, c.shape(at)[1]);
  }
  const std::vector<Facts> results = infer_iterated(c, "body", inputs, 0, 0, layout.states);
  for (int i = 0; i < c.outputs(); ++i) {
    const auto at = static_cast<size_t>(i);
    Type item = at < layout.states ? inputs[at].type : results[at].type;
    if (item.shape && at >= layout.states) item.shape->insert(item.shape->begin(), length);
    if (item.shape) item.shape->insert(item.shape->begin(), batch);
    c.out(i, item);
  }
}

// Walks the sequences. `states` are updated; `scans` have the sequence as axis 0.
void walk(const Run& run, const BodyRunner& body, const ScanLayout& layout, int64_t length, std::vector<Datum>& states,
          const std::vector<Tensor>& scans, std::vector<Stack>& outputs) {
  for (int64_t t = 0; t < length; ++t) {
    std::vector<Datum> inputs;
    inputs.reserve(states.size() + scans.size() + run.node().bodies[0].captures.size());
    for (Datum& state : states) inputs.push_back(std::move(state));
    for (size_t i = 0; i < scans.size(); ++i)
      inputs.emplace_back(item_of(scans[i], layout.input_directions[i] != 0 ? length - 1 - t : t));
    std::vector<Datum> results = body.run(run, std::move(inputs));
    for (size_t i = 0; i < states.size(); ++i) states[i] = std::move(results[i]);
    for (size_t k = 0; k < outputs.size(); ++k)
      outputs[k].add(run, results[states.size() + k].tensor, "scan output", states.size() + k);
  }
}

Tensor reversed(const Tensor& x) {
  Tensor y(x.dtype(), x.shape());
  const int64_t items = x.dim(0);
  const int64_t width = items == 0 ? 0 : x.size() / items;
  for (int64_t i = 0; i < items; ++i) copy_elements(x, i * width, y, (items - 1 - i) * width, width);
  return y;
}

// What a node's outputs look like where no iteration says it; kept from the plan.
std::vector<Type> output_types(const Prepare& p) {
  std::vector<Type> types;
  for (size_t i = 0; i < p.node().outputs.size(); ++i)
    types.push_back(p.wants(static_cast<int>(i)) ? p.output_type(static_cast<int>(i)) : Type());
  return types;
}

Kernel make_scan(Prepare& p) {
  return [layout = layout_of(p, 0), body = p.body_runner("body"), types = output_types(p)](Run& run) {
    std::vector<Datum> states;
    for (size_t i = 0; i < layout.states; ++i) states.push_back(run.datum(static_cast<int>(i)));
    std::vector<Tensor> scans;
    for (size_t i = 0; i < layout.scans; ++i) {
      const Tensor& x = run.in(static_cast<int>(layout.states + i));
      SX_CHECK(run, x.rank() > 0, "scan input ", i, " is a scalar; a sequence expected");
      const int axis = normalize_axis(layout.input_axes[i], x.rank());
      scans.push_back(axis == 0 ? x : moved_axis(x, axis, 0));
      SX_CHECK(run, scans[i].dim(0) == scans[0].dim(0), "its scan inputs have lengths ", scans[0].dim(0), " and ",
               scans[i].dim(0));
    }
    const int64_t length = scans[0].dim(0);
    std::vector<Stack> stacks(layout.outputs, Stack(std::max<int64_t>(1, length)));
    walk(run, *body, layout, length, states, scans, stacks);
    for (int i = 0; i < run.outputs(); ++i) {
      const auto at = static_cast<size_t>(i);
      if (!run.wants(i)) continue;
      if (at < layout.states) {
        run.set(i, std::move(states[at]));
        continue;
      }
      const size_t k = at - layout.states;
      if (length == 0) {
        run.out(i, types[at].dtype, empty_shape(types[at], 0));
        continue;
      }
      Tensor stacked = stacks[k].take();
      if (layout.output_directions[k] != 0) stacked = reversed(stacked);
      const int axis = normalize_axis(layout.output_axes[k], stacked.rank());
      run.set(i, axis == 0 ? stacked : moved_axis(stacked, 0, axis));
    }
  };
}

void clear(const Tensor& x) {
  if (x.dtype() != DType::kString && x.size() > 0) std::fill_n(static_cast<char*>(x.raw()), x.bytes(), char{0});
}

Kernel make_batch_scan(Prepare& p) {
  return [layout = layout_of(p, 1), body = p.body_runner("body"), types = output_types(p)](Run& run) {
    const Tensor& first = run.in(static_cast<int>(1 + layout.states));
    SX_CHECK(run, first.rank() >= 2, "its first scan input is ", first.shape().str(),
             "; [batch, sequence, ...] expected");
    const int64_t batch = first.dim(0);
    const int64_t longest = first.dim(1);
    std::vector<int64_t> lengths(static_cast<size_t>(batch), longest);
    if (run.has(0)) {
      lengths = run.in(0).integers();
      SX_CHECK(run, static_cast<int64_t>(lengths.size()) == batch, "sequence_lens has ", lengths.size(),
               " entries for a batch of ", batch);
      for (int64_t length : lengths)
        SX_CHECK(run, length >= 0 && length <= longest, "sequence_lens has ", length, "; 0 to ", longest, " expected");
    }
    for (size_t i = 0; i < layout.states + layout.scans; ++i) {
      const Tensor& x = run.in(static_cast<int>(1 + i));
      const bool scanned = i >= layout.states;
      SX_CHECK(run, x.rank() >= (scanned ? 2 : 1) && x.dim(0) == batch && (!scanned || x.dim(1) == longest), "input ",
               1 + i, " is ", x.shape().str(), "; batch ", batch,
               scanned ? join(" and sequence ", longest) : std::string(), " expected");
    }
    std::vector<Stack> finals(layout.states, Stack(std::max<int64_t>(1, batch)));
    std::vector<Stack> results(layout.outputs, Stack(std::max<int64_t>(1, batch)));
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t length = lengths[static_cast<size_t>(b)];
      std::vector<Datum> states;
      for (size_t i = 0; i < layout.states; ++i) states.emplace_back(item_of(run.in(static_cast<int>(1 + i)), b));
      std::vector<Tensor> scans;
      for (size_t i = 0; i < layout.scans; ++i)
        scans.push_back(item_of(run.in(static_cast<int>(1 + layout.states + i)), b));
      std::vector<Stack> stacks(layout.outputs, Stack(std::max<int64_t>(1, length)));
      walk(run, *body, layout, length, states, scans, stacks);
      for (size_t i = 0; i < layout.states; ++i) finals[i].add(run, states[i].tensor, "state", i);
      for (size_t k = 0; k < layout.outputs; ++k) {
        // Behind the end of a short sequence stand zeros.
        Shape shape = length > 0 ? stacks[k].take().shape() : empty_shape(types[layout.states + k], 1);
        shape[0] = longest;
        Tensor padded(length > 0 ? stacks[k].take().dtype() : types[layout.states + k].dtype, shape);
        clear(padded);
        if (length > 0) copy_elements(stacks[k].take(), 0, padded, 0, stacks[k].take().size());
        results[k].add(run, padded, "scan output", layout.states + k);
      }
    }
    for (int i = 0; i < run.outputs(); ++i) {
      const auto at = static_cast<size_t>(i);
      if (!run.wants(i)) continue;
      if (batch == 0) run.out(i, types[at].dtype, empty_shape(types[at], 0));
      else run.set(i, at < layout.states ? finals[at].take() : results[at - layout.states].take());
    }
  };
}

void scan_of_batch(UpgradeContext& c) { c.become(kBatchScan, kOwnDomain); }

}  // namespace

void define_scan(OpList& ops) {
  ops.add(OpDef("Scan")
              .since(25, 8)
              .required_attr("body", AttrKind::kGraph)
              .required_attr("num_scan_inputs", AttrKind::kInt)
              .optional_attr("scan_input_axes", AttrKind::kInts)
              .optional_attr("scan_input_directions", AttrKind::kInts)
              .optional_attr("scan_output_axes", AttrKind::kInts)
              .optional_attr("scan_output_directions", AttrKind::kInts)
              .any_in("initial_state_and_scan_inputs", PortSpec::Presence::kVariadic)
              .any_out("final_state_and_scan_outputs", PortSpec::Presence::kVariadic)
              .retains()
              .infer(infer_scan)
              .kernel(make_scan)
              .gradient(differentiate_scan)
              .upgrade(9, scan_of_batch));
  ops.add(OpDef(kBatchScan, kOwnDomain)
              .required_attr("body", AttrKind::kGraph)
              .required_attr("num_scan_inputs", AttrKind::kInt)
              .optional_attr("directions", AttrKind::kInts)
              .optional_in("sequence_lens", "I", DType::kInt64)
              .any_in("initial_state_and_scan_inputs", PortSpec::Presence::kVariadic)
              .any_out("final_state_and_scan_outputs", PortSpec::Presence::kVariadic)
              .retains()
              .infer(infer_batch_scan)
              .kernel(make_batch_scan)
              .no_gradient("the Scan of opset 8 walks over a batch of its own; write the model for opset 9 or newer"));
}

}  // namespace sx
