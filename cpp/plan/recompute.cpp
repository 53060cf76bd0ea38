// Chooses what a training step keeps for its backward half, and adds the nodes that compute the rest again.
#include "plan/recompute.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "base/error.h"
#include "ops/registry.h"
#include "plan/bound_facts.h"
#include "plan/schedule.h"

namespace sx {
namespace {

// Cuts into more segments than these are not tried.
constexpr size_t kMaxSegments = 24;
// How far to follow a value that passes may have merged into its only reader.
constexpr size_t kMaxMerged = 8;

bool is_dropout(const Node& node) { return node.op->full_name() == "Dropout"; }

// The forward half of a graph, and the sizes of values.
struct Forward {
  std::vector<NodeId> nodes;    // in order
  std::vector<size_t> place;    // per node, in `nodes`; npos: not in the forward half
  std::vector<ValueId> holder;  // per value, what it is a view of
  std::vector<size_t> bytes;    // per value; 0 for views and where the size is unknown
  static constexpr size_t npos = static_cast<size_t>(-1);

  Forward(const Graph& graph, const std::vector<Type>& input_types, const std::vector<std::string>& results) {
    std::vector<bool> inside(graph.node_limit(), false);
    std::vector<ValueId> waiting;
    for (const std::string& name : results) {
      const ValueId value = graph.find_value(name);
      SX_ASSERT(value != kNone);
      waiting.push_back(value);
    }
    while (!waiting.empty()) {
      const NodeId producer = graph.value(waiting.back()).producer;
      waiting.pop_back();
      if (producer == kNone || inside[static_cast<size_t>(producer)]) continue;
      inside[static_cast<size_t>(producer)] = true;
      for (ValueId read : graph.reads(producer))
        if (read != kNone) waiting.push_back(read);
    }
    place.assign(graph.node_limit(), npos);
    const FactTable facts = bound_facts(graph, input_types);
    bytes.assign(graph.value_limit(), 0);
    holder.resize(graph.value_limit());
    for (size_t i = 0; i < holder.size(); ++i) holder[i] = static_cast<ValueId>(i);
    for (NodeId id : graph.order()) {
      const Node& node = graph.node(id);
      if (inside[static_cast<size_t>(id)]) {
        place[static_cast<size_t>(id)] = nodes.size();
        nodes.push_back(id);
      }
      for (ValueId output : node.outputs)
        if (output != kNone && !facts[static_cast<size_t>(output)].constant.defined())
          bytes[static_cast<size_t>(output)] = bytes_of(facts[static_cast<size_t>(output)].type).value_or(0);
      const int viewed = node.op->aliased_input();
      if (viewed == kNone || node.outputs[0] == kNone) continue;
      const auto view = static_cast<size_t>(node.outputs[0]);
      holder[view] = holder[static_cast<size_t>(node.inputs[static_cast<size_t>(viewed)])];
      bytes[view] = 0;
    }
  }

  bool has(NodeId id) const { return id != kNone && place[static_cast<size_t>(id)] != npos; }
  // The forward node that computes the memory of `value`, as a place in `nodes`; npos for inputs and constants.
  size_t origin(const Graph& graph, ValueId value) const {
    const NodeId producer = graph.value(holder[static_cast<size_t>(value)]).producer;
    return producer == kNone ? npos : place[static_cast<size_t>(producer)];
  }
};

// Values of the forward half that may be computed again, without regard to whether that is of use.
std::vector<bool> repeatable(const Graph& graph, const Forward& forward) {
  std::vector<bool> found(graph.value_limit(), false);
  for (NodeId id : forward.nodes) {
    const Node& node = graph.node(id);
    const bool fit = (node.op->deterministic() || is_dropout(node)) && node.bodies.empty() &&
                     (!node.op->retains_inputs() || node.op->aliased_input() != kNone);
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const ValueId output = node.outputs[i];
      if (output == kNone || !fit || (is_dropout(node) && i == 1) || graph.is_output(output)) continue;
      const ValueId held = forward.holder[static_cast<size_t>(output)];
      const bool view = held != output;
      found[static_cast<size_t>(output)] =
          view ? found[static_cast<size_t>(held)] : forward.bytes[static_cast<size_t>(output)] > 0;
    }
  }
  return found;
}

bool reads_elements(const Node& node, size_t index) {
  const std::vector<int>& shape_only = node.op->shape_only_inputs();
  return std::find(shape_only.begin(), shape_only.end(), static_cast<int>(index)) == shape_only.end();
}

// Adds the copies of nodes.
class Copier {
 public:
  Copier(Graph& graph, const Forward& forward, std::vector<bool> again)
      : graph_(graph), forward_(forward), again_(std::move(again)), copy_of_(again_.size(), kNone) {}

  // Returns how many nodes were added.
  size_t run() {
    const std::vector<NodeId> order = graph_.order();
    for (NodeId id : order) {
      if (forward_.has(id)) continue;
      const std::vector<ValueId> reads = graph_.reads(id);
      for (size_t i = 0; i < reads.size(); ++i) {
        if (!computed_again(reads[i]) || !reads_elements(graph_.node(id), i)) continue;
        copy(reads[i], id);
        graph_.set_input(id, static_cast<int>(i), copy_of_[static_cast<size_t>(reads[i])]);
      }
    }
    return added_;
  }

 private:
  bool computed_again(ValueId value) const {
    return value != kNone && static_cast<size_t>(value) < again_.size() && again_[static_cast<size_t>(value)];
  }

  // Adds what computes `value` once more in front of node `before`.
  void copy(ValueId value, NodeId before) {
    std::set<std::pair<size_t, NodeId>> missing;  // by place in the forward half
    std::vector<ValueId> waiting = {value};
    while (!waiting.empty()) {
      const ValueId next = waiting.back();
      waiting.pop_back();
      if (!computed_again(next) || copy_of_[static_cast<size_t>(next)] != kNone) continue;
      const NodeId producer = graph_.value(next).producer;
      if (!missing.emplace(forward_.place[static_cast<size_t>(producer)], producer).second) continue;
      for (ValueId read : graph_.reads(producer)) waiting.push_back(read);
    }
    for (const auto& [place, id] : missing) copy_node(id, before);
  }

  void copy_node(NodeId id, NodeId before) {
    const bool dropout = is_dropout(graph_.node(id));
    const ValueId mask = dropout ? mask_of(id) : kNone;
    const Node& node = graph_.node(id);
    Node twin;
    twin.op = dropout ? &get_op("DropoutAgain", "sardonyx") : node.op;
    twin.name = node.name;
    twin.attributes = dropout ? Attributes() : node.attributes;
    twin.origin = node.origin;
    for (ValueId input : node.inputs)
      twin.inputs.push_back(computed_again(input) ? copy_of_[static_cast<size_t>(input)] : input);
    if (dropout) {
      twin.inputs.resize(3, kNone);
      twin.inputs.push_back(mask);
    }
    const std::vector<ValueId> outputs = node.outputs;
    for (size_t i = 0; i < (dropout ? 1 : outputs.size()); ++i) {
      twin.outputs.push_back(kNone);
      if (outputs[i] == kNone) continue;
      const Type type = graph_.type(outputs[i]);
      const ValueId copy = graph_.add_value(graph_.fresh_name(graph_.value(outputs[i]).name + "_again"), type);
      twin.outputs.back() = copy;
      if (computed_again(outputs[i])) copy_of_[static_cast<size_t>(outputs[i])] = copy;
    }
    graph_.add_node(std::move(twin), before);
    ++added_;
  }

  ValueId mask_of(NodeId id) {
    if (graph_.node(id).outputs.size() > 1 && graph_.node(id).outputs[1] != kNone) return graph_.node(id).outputs[1];
    const Type type = Type::tensor(DType::kBool, graph_.type(graph_.node(id).outputs[0]).shape);
    const ValueId mask =
        graph_.add_value(graph_.fresh_name(graph_.value(graph_.node(id).outputs[0]).name + "_mask"), type);
    graph_.add_output(id, 1, mask);
    return mask;
  }

  Graph& graph_;
  const Forward& forward_;
  const std::vector<bool> again_;  // per value
  std::vector<ValueId> copy_of_;   // per value
  size_t added_ = 0;
};

// The most memory that is in use at a time, but for what nodes may write in place.
size_t peak(const Graph& graph, const std::vector<Type>& input_types, const std::vector<bool>& donated) {
  const Forward all(graph, input_types, {});
  const std::vector<NodeId> order = update_early(graph, graph.order(), all.bytes, donated);
  std::vector<int> readers(graph.value_limit(), 0);
  const auto for_read = [&](NodeId id, auto visit) {
    const std::vector<ValueId> reads = graph.reads(id);
    for (size_t i = 0; i < reads.size(); ++i)
      if (reads[i] != kNone && reads_elements(graph.node(id), i))
        visit(static_cast<size_t>(all.holder[static_cast<size_t>(reads[i])]));
  };
  for (NodeId id : order) for_read(id, [&](size_t held) { ++readers[held]; });
  size_t used = 0;
  size_t most = 0;
  for (NodeId id : order) {
    size_t unread = 0;
    for (ValueId output : graph.node(id).outputs) {
      if (output == kNone || graph.is_output(output)) continue;
      used += all.bytes[static_cast<size_t>(output)];
      if (readers[static_cast<size_t>(output)] == 0) unread += all.bytes[static_cast<size_t>(output)];
    }
    most = std::max(most, used);
    used -= unread;
    for_read(id, [&](size_t held) {
      if (--readers[held] == 0 && graph.value(static_cast<ValueId>(held)).producer != kNone &&
          !graph.is_output(static_cast<ValueId>(held)))
        used -= all.bytes[held];
    });
  }
  return most;
}

// Sizes along the forward half, for the choice of cuts. Cut i lies behind node i.
struct Profile {
  std::vector<size_t> saved;     // bytes computed by nodes 0..i - 1 that the backward half reads; one more than nodes
  std::vector<size_t> crossing;  // per cut: bytes that nodes behind it read of those before it

  Profile(const Graph& graph, const Forward& forward, const std::vector<bool>& again)
      : saved(forward.nodes.size() + 1, 0), crossing(forward.nodes.size(), 0) {
    const size_t count = forward.nodes.size();
    std::vector<size_t> last(graph.value_limit(), 0);
    std::vector<bool> late(graph.value_limit(), false);
    for (NodeId id : graph.order()) {
      const std::vector<ValueId> reads = graph.reads(id);
      for (size_t i = 0; i < reads.size(); ++i) {
        if (reads[i] == kNone) continue;
        const auto held = static_cast<size_t>(forward.holder[static_cast<size_t>(reads[i])]);
        if (forward.has(id)) last[held] = std::max(last[held], forward.place[static_cast<size_t>(id)]);
        else if (reads_elements(graph.node(id), i)) late[held] = true;
      }
    }
    std::vector<int64_t> change(count + 1, 0);
    for (size_t i = 0; i < count; ++i) {
      size_t here = 0;
      for (ValueId output : graph.node(forward.nodes[i]).outputs) {
        if (output == kNone) continue;
        const auto at = static_cast<size_t>(output);
        if (late[at] && again[at]) here += forward.bytes[at];
        if (last[at] <= i) continue;
        change[i] += static_cast<int64_t>(forward.bytes[at]);
        change[last[at]] -= static_cast<int64_t>(forward.bytes[at]);
      }
      saved[i + 1] = saved[i] + here;
    }
    int64_t alive = 0;
    for (size_t i = 0; i < count; ++i) crossing[i] = static_cast<size_t>(alive += change[i]);
  }

  // Cuts that keep the least, of those that leave no more than `most` saved bytes in a segment, or one node.
  std::vector<size_t> cuts(size_t most) const {
    const size_t count = crossing.size();
    std::vector<size_t> cost(count + 1, SIZE_MAX);  // of cutting before node i, with the best cuts before that
    std::vector<size_t> from(count + 1, 0);
    cost[0] = 0;
    for (size_t end = 1; end <= count; ++end) {
      const size_t kept = end == count ? 0 : crossing[end - 1];
      for (size_t begin = end; begin-- > 0;) {
        if (saved[end] - saved[begin] > most && begin + 1 < end) break;
        if (cost[begin] == SIZE_MAX || cost[begin] + kept >= cost[end]) continue;
        cost[end] = cost[begin] + kept;
        from[end] = begin;
      }
    }
    std::vector<size_t> found;
    for (size_t end = from[count]; end > 0; end = from[end]) found.push_back(end - 1);
    std::reverse(found.begin(), found.end());
    return found;
  }
};

// Takes from `again` what crosses a cut, and all that is computed behind the last one.
std::vector<bool> keep_cuts(const Graph& graph, const Forward& forward, std::vector<bool> again,
                            const std::vector<size_t>& cuts) {
  std::vector<bool> stays(graph.value_limit(), false);
  for (size_t i = 0; i < forward.nodes.size(); ++i)
    for (ValueId read : graph.reads(forward.nodes[i])) {
      const size_t made = read == kNone ? Forward::npos : forward.origin(graph, read);
      if (made == Forward::npos) continue;
      const auto cut = std::lower_bound(cuts.begin(), cuts.end(), made);
      if (cut != cuts.end() && *cut < i) stays[static_cast<size_t>(forward.holder[static_cast<size_t>(read)])] = true;
    }
  for (size_t value = 0; value < again.size(); ++value) {
    if (!again[value]) continue;
    const size_t made = forward.origin(graph, static_cast<ValueId>(value));
    if (stays[static_cast<size_t>(forward.holder[value])] || made > cuts.back()) again[value] = false;
  }
  return again;
}

std::vector<bool> keep_named(const Graph& graph, const Forward& forward, std::vector<bool> again,
                             const KeptValues& kept) {
  std::vector<bool> stays(graph.value_limit(), false);
  size_t last = 0;
  for (const std::vector<ValueId>& candidates : kept) {
    const auto found = std::find_if(candidates.begin(), candidates.end(), [&](ValueId value) {
      return graph.has_value(value) && forward.origin(graph, value) != Forward::npos;
    });
    if (found == candidates.end()) continue;
    stays[static_cast<size_t>(forward.holder[static_cast<size_t>(*found)])] = true;
    last = std::max(last, forward.origin(graph, *found));
  }
  for (size_t value = 0; value < again.size(); ++value)
    if (again[value] && (stays[static_cast<size_t>(forward.holder[value])] ||
                         (last > 0 && forward.origin(graph, static_cast<ValueId>(value)) > last)))
      again[value] = false;
  return again;
}

}  // namespace

KeptValues find_kept(const Graph& graph, const Recompute& request) {
  KeptValues kept;
  for (const std::string& name : request.kept) {
    ValueId value = graph.find_value(name);
    SX_REQUIRE(value != kNone, kInvalidArgument, "cannot keep '", name, "': no tensor of the graph has that name");
    kept.emplace_back();
    for (size_t i = 0; i < kMaxMerged && value != kNone; ++i) {
      kept.back().push_back(value);
      const std::vector<Graph::Use> uses = graph.uses(value);
      const NodeId reader = uses.empty() ? kNone : uses.front().node;  // those of the backward half come later
      value = reader == kNone ? kNone : graph.node(reader).outputs[0];
    }
  }
  return kept;
}

size_t recompute_backward(Graph& graph, const std::vector<Type>& input_types, const std::vector<bool>& donated,
                          const Recompute& request, const KeptValues& kept) {
  const Forward forward(graph, input_types, request.results);
  const std::vector<bool> again = repeatable(graph, forward);
  if (!request.automatic) return Copier(graph, forward, keep_named(graph, forward, again, kept)).run();
  const Profile profile(graph, forward, again);
  size_t least = peak(graph, input_types, donated);
  std::vector<bool> best;
  std::set<std::vector<size_t>> tried;
  for (size_t segments = 2; segments <= kMaxSegments; ++segments) {
    const std::vector<size_t> cuts = profile.cuts(profile.saved.back() / segments);
    if (cuts.empty() || !tried.insert(cuts).second) continue;
    std::vector<bool> attempt = keep_cuts(graph, forward, again, cuts);
    const std::unique_ptr<Graph> trial = graph.clone();
    Copier(*trial, forward, attempt).run();
    const size_t found = peak(*trial, input_types, donated);
    if (found >= least) continue;
    least = found;
    best = std::move(attempt);
  }
  return best.empty() ? 0 : Copier(graph, forward, std::move(best)).run();
}

}  // namespace sx
