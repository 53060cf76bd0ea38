// Moves updates of variables to where their gradients are ready.
#include "plan/schedule.h"

#include <algorithm>
#include <cstdint>
#include <queue>

#include "ops/op_def.h"

namespace sx {
namespace {

// An update of more nodes than these is left where it is.
constexpr size_t kMaxNodes = 64;

// Moves nodes to just before the first reader of their results, where those are larger than what would live longer for
// it: values that nothing reads later.
std::vector<NodeId> compute_late(const Graph& graph, const std::vector<NodeId>& order,
                                 const std::vector<size_t>& bytes) {
  std::vector<int> unread(graph.value_limit(), 0);  // readers that are not placed yet
  for (NodeId id : order)
    for (ValueId read : graph.reads(id))
      if (read != kNone) ++unread[static_cast<size_t>(read)];
  const std::vector<int> readers = unread;
  // Placed from the last to the first: each node puts those in front of itself that only waited for it.
  std::vector<bool> placed(graph.node_limit(), false);
  std::vector<size_t> place(graph.node_limit(), order.size());
  for (size_t i = 0; i < order.size(); ++i) place[static_cast<size_t>(order[i])] = i;
  const auto waits = [&](NodeId id) {
    const Node& node = graph.node(id);
    if (!node.op->deterministic() || !node.bodies.empty()) return false;
    size_t made = 0;
    size_t freed = 0;
    for (ValueId output : node.outputs) {
      if (output == kNone) continue;
      if (unread[static_cast<size_t>(output)] != 0 || graph.is_output(output)) return false;
      made += bytes[static_cast<size_t>(output)];
    }
    for (ValueId read : node.inputs)
      if (read != kNone && graph.value(read).producer != kNone &&
          unread[static_cast<size_t>(read)] == readers[static_cast<size_t>(read)])
        freed += bytes[static_cast<size_t>(read)];
    return made > freed;
  };
  std::vector<NodeId> result;
  std::priority_queue<std::pair<size_t, NodeId>> waiting;  // by place in `order`
  for (size_t next = order.size(); next-- > 0;) {
    if (placed[static_cast<size_t>(order[next])]) continue;
    waiting.emplace(next, order[next]);
    while (!waiting.empty()) {
      const NodeId id = waiting.top().second;
      waiting.pop();
      placed[static_cast<size_t>(id)] = true;
      result.push_back(id);
      for (ValueId read : graph.reads(id)) {
        if (read == kNone) continue;
        --unread[static_cast<size_t>(read)];
        const NodeId producer = graph.value(read).producer;
        if (producer != kNone && place[static_cast<size_t>(producer)] < order.size() &&
            !placed[static_cast<size_t>(producer)] && unread[static_cast<size_t>(read)] == 0 && waits(producer))
          waiting.emplace(place[static_cast<size_t>(producer)], producer);
      }
    }
  }
  std::reverse(result.begin(), result.end());
  return result;
}

class Scheduler {
 public:
  Scheduler(const Graph& graph, std::vector<NodeId> order, const std::vector<size_t>& bytes,
            const std::vector<bool>& donated)
      : graph_(graph), order_(std::move(order)), bytes_(bytes) {
    place_.assign(graph.node_limit(), order_.size());
    for (size_t i = 0; i < order_.size(); ++i) place_[static_cast<size_t>(order_[i])] = i;
    done_.assign(graph.node_limit(), false);
    holder_.resize(graph.value_limit());
    for (size_t i = 0; i < holder_.size(); ++i) holder_[i] = static_cast<ValueId>(i);
    readers_.resize(graph.value_limit());
    donated_.assign(graph.value_limit(), false);
    for (size_t i = 0; i < donated.size(); ++i) donated_[static_cast<size_t>(graph.inputs[i])] = donated[i];
    for (NodeId id : order_) {
      const Node& node = graph.node(id);
      const int viewed = node.op->aliased_input();
      if (viewed != kNone && node.outputs[0] != kNone)
        holder_[static_cast<size_t>(node.outputs[0])] = holder(node.inputs[static_cast<size_t>(viewed)]);
      for (ValueId read : graph.reads(id))
        if (read != kNone) readers_[static_cast<size_t>(holder(read))].push_back(id);
    }
    for (ValueId output : graph.outputs) add_goal(output);
    find_ancestors();
  }

  std::vector<NodeId> run() {
    for (NodeId id : order_) {
      if (done_[static_cast<size_t>(id)]) continue;
      emit(id);
      for (bool moved = true; moved;) {
        moved = false;
        for (Goal& goal : goals_) moved = (goal.changed && attempt(goal)) || moved;
      }
    }
    return std::move(result_);
  }

 private:
  struct Goal {
    NodeId producer = kNone;
    ValueId overwrites = kNone;  // the donated input whose memory it will take
    size_t missing = 0;          // nodes it still waits for
    bool changed = false;        // since it was last tried
  };

  ValueId holder(ValueId value) const { return holder_[static_cast<size_t>(value)]; }

  void add_goal(ValueId output) {
    const NodeId producer = graph_.value(output).producer;
    if (producer == kNone || place_[static_cast<size_t>(producer)] == order_.size()) return;
    goals_.push_back({producer, overwritten(output), 0, false});
    if (goals_.back().overwrites == kNone) return;
    if (goals_of_.empty()) goals_of_.resize(graph_.value_limit());
    goals_of_[static_cast<size_t>(goals_.back().overwrites)].push_back(goals_.size() - 1);
  }

  // The donated input whose memory `value` can be written to, in place all along.
  ValueId overwritten(ValueId value) const {
    for (size_t length = 0; length < kMaxNodes; ++length) {
      const NodeId producer = graph_.value(value).producer;
      if (producer == kNone) return donated_[static_cast<size_t>(value)] ? value : kNone;
      ValueId next = kNone;
      const Node& node = graph_.node(producer);
      for (int i : node.op->in_place_inputs()) {
        if (static_cast<size_t>(i) >= node.inputs.size() || node.inputs[static_cast<size_t>(i)] == kNone) continue;
        const ValueId input = node.inputs[static_cast<size_t>(i)];
        const auto at = static_cast<size_t>(input);
        if (bytes_[at] != bytes_[static_cast<size_t>(value)] || bytes_[at] == 0) continue;
        if (donated_[at]) return input;
        if (next == kNone && graph_.value(input).producer != kNone && readers_[at].size() == 1) next = input;
      }
      if (next == kNone) return kNone;
      value = next;
    }
    return kNone;
  }

  // Which goals each node leads to, as sets of bits.
  void find_ancestors() {
    words_ = (goals_.size() + 63) / 64;
    leads_.assign(graph_.node_limit() * words_, 0);
    for (size_t g = 0; g < goals_.size(); ++g) row(goals_[g].producer)[g / 64] |= uint64_t{1} << (g % 64);
    for (auto id = order_.rbegin(); id != order_.rend(); ++id) {
      const uint64_t* from = row(*id);
      for (ValueId read : graph_.reads(*id)) {
        const NodeId producer = read == kNone ? kNone : graph_.value(read).producer;
        if (producer == kNone) continue;
        for (size_t w = 0; w < words_; ++w) row(producer)[w] |= from[w];
      }
    }
    for (NodeId id : order_) for_goals(id, [](Goal& goal) { ++goal.missing; });
  }

  uint64_t* row(NodeId id) { return leads_.data() + static_cast<size_t>(id) * words_; }

  template <typename F>
  void for_goals(NodeId id, F visit) {
    for (size_t w = 0; w < words_; ++w)
      for (uint64_t bits = row(id)[w]; bits != 0; bits &= bits - 1)
        visit(goals_[w * 64 + static_cast<size_t>(__builtin_ctzll(bits))]);
  }

  void emit(NodeId id) {
    done_[static_cast<size_t>(id)] = true;
    result_.push_back(id);
    for_goals(id, [](Goal& goal) {
      --goal.missing;
      goal.changed = goal.missing > 0 && goal.missing <= kMaxNodes;
    });
    if (goals_of_.empty()) return;
    for (ValueId read : graph_.reads(id))
      if (read != kNone)
        for (size_t g : goals_of_[static_cast<size_t>(read)])
          goals_[g].changed = goals_[g].missing > 0 && goals_[g].missing <= kMaxNodes;
  }

  // The nodes that a goal waits for, in order; empty where one of them must keep its place.
  std::vector<NodeId> waiting_for(const Goal& goal) const {
    std::vector<NodeId> nodes = {goal.producer};
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!graph_.node(nodes[i]).op->deterministic()) return {};
      for (ValueId read : graph_.reads(nodes[i])) {
        const NodeId producer = read == kNone ? kNone : graph_.value(read).producer;
        if (producer == kNone || place_[static_cast<size_t>(producer)] == order_.size() ||
            done_[static_cast<size_t>(producer)])
          continue;
        if (std::find(nodes.begin(), nodes.end(), producer) == nodes.end()) nodes.push_back(producer);
      }
    }
    std::sort(nodes.begin(), nodes.end(),
              [&](NodeId a, NodeId b) { return place_[static_cast<size_t>(a)] < place_[static_cast<size_t>(b)]; });
    return nodes;
  }

  bool all_done(const std::vector<NodeId>& readers, const std::vector<NodeId>& soon) const {
    return std::all_of(readers.begin(), readers.end(), [&](NodeId reader) {
      return done_[static_cast<size_t>(reader)] || std::find(soon.begin(), soon.end(), reader) != soon.end();
    });
  }

  // Emits what the goal waits for where that leaves no more memory in use than before.
  bool attempt(Goal& goal) {
    goal.changed = false;
    if (goal.overwrites != kNone && !ready_to_overwrite(goal)) return false;
    std::vector<NodeId> nodes = waiting_for(goal);
    if (nodes.empty() || (goal.overwrites != kNone && !all_done(readers_[static_cast<size_t>(goal.overwrites)], nodes)))
      return false;
    size_t freed = 0;
    size_t taken = 0;
    std::vector<ValueId> seen;
    const auto first = [&](ValueId value) {
      if (std::find(seen.begin(), seen.end(), value) != seen.end()) return false;
      seen.push_back(value);
      return true;
    };
    for (NodeId id : nodes) {
      for (ValueId read : graph_.reads(id)) {
        if (read == kNone) continue;
        const ValueId held = holder(read);
        const NodeId producer = graph_.value(held).producer;
        if (producer == kNone || !done_[static_cast<size_t>(producer)] || graph_.is_output(held) || !first(held))
          continue;
        if (all_done(readers_[static_cast<size_t>(held)], nodes)) freed += bytes_[static_cast<size_t>(held)];
      }
      for (ValueId output : graph_.node(id).outputs) {
        if (output == kNone || holder(output) != output || graph_.is_output(output) || !first(output)) continue;
        if (!all_done(readers_[static_cast<size_t>(output)], nodes)) taken += bytes_[static_cast<size_t>(output)];
      }
    }
    if (taken > freed) return false;
    emit_thriftily(std::move(nodes));
    return true;
  }

  // Emits nodes that read nothing but one another's results and what is there: in order, but first what costs nothing.
  void emit_thriftily(std::vector<NodeId> nodes) {
    while (!nodes.empty()) {
      auto best = nodes.end();
      for (auto id = nodes.begin(); id != nodes.end(); ++id) {
        if (!can_run(*id)) continue;
        const bool free = growth_by(*id) <= 0;
        if (best == nodes.end() || free) best = id;
        if (free) break;
      }
      const NodeId id = *best;
      nodes.erase(best);
      emit(id);
    }
  }

  bool can_run(NodeId id) const {
    const std::vector<ValueId> reads = graph_.reads(id);
    return std::all_of(reads.begin(), reads.end(), [&](ValueId read) {
      const NodeId producer = read == kNone ? kNone : graph_.value(read).producer;
      return producer == kNone || place_[static_cast<size_t>(producer)] == order_.size() ||
             done_[static_cast<size_t>(producer)];
    });
  }

  // How many bytes more are in use after the node than before it.
  int64_t growth_by(NodeId id) const {
    int64_t growth = 0;
    for (ValueId output : graph_.node(id).outputs)
      if (output != kNone && holder(output) == output)
        growth += static_cast<int64_t>(bytes_[static_cast<size_t>(output)]);
    std::vector<ValueId> seen;
    for (ValueId read : graph_.reads(id)) {
      const ValueId held = read == kNone ? kNone : holder(read);
      if (held == kNone || std::find(seen.begin(), seen.end(), held) != seen.end()) continue;
      seen.push_back(held);
      const bool stays =
          graph_.value(held).producer == kNone ? !donated_[static_cast<size_t>(held)] : graph_.is_output(held);
      if (!stays && all_done(readers_[static_cast<size_t>(held)], {id}))
        growth -= static_cast<int64_t>(bytes_[static_cast<size_t>(held)]);
    }
    return growth;
  }

  // A quick look: no more readers of the variable are left than the goal's own nodes.
  bool ready_to_overwrite(const Goal& goal) const {
    const std::vector<NodeId>& readers = readers_[static_cast<size_t>(goal.overwrites)];
    const auto left = std::count_if(readers.begin(), readers.end(),
                                    [&](NodeId reader) { return !done_[static_cast<size_t>(reader)]; });
    return static_cast<size_t>(left) <= goal.missing;
  }

  const Graph& graph_;
  const std::vector<NodeId> order_;
  const std::vector<size_t>& bytes_;
  std::vector<size_t> place_;                 // per node, in order_
  std::vector<bool> done_;                    // per node
  std::vector<ValueId> holder_;               // per value, the value whose memory it is a view of
  std::vector<std::vector<NodeId>> readers_;  // per holder, readers of it and of its views
  std::vector<bool> donated_;                 // per value
  std::vector<Goal> goals_;
  std::vector<std::vector<size_t>> goals_of_;  // per value, goals that overwrite it
  std::vector<uint64_t> leads_;
  size_t words_ = 0;
  std::vector<NodeId> result_;
};

}  // namespace

std::vector<NodeId> update_early(const Graph& graph, const std::vector<NodeId>& order, const std::vector<size_t>& bytes,
                                 const std::vector<bool>& donated) {
  return Scheduler(graph, compute_late(graph, order, bytes), bytes, donated).run();
}

}  // namespace sx
