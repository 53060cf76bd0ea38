// Makes plans: known values, needed steps, kernels, lifetimes and places.
#include "plan/plan.h"

#include <algorithm>

#include "ops/named_error.h"
#include "plan/bound_facts.h"
#include "plan/late_kernel.h"
#include "plan/memory_planner.h"
#include "plan/schedule.h"

namespace sx {

struct Plan::Planner {
  const Graph& graph;
  Plan& plan;
  FactTable facts;
  std::vector<int> slot_of;         // per ValueId
  std::vector<NodeId> last_reader;  // per ValueId; kNone for outputs of the graph
  // Values that share memory form a block: views of one another, or written in place.
  std::vector<int> block_of;  // per slot; kNone: not planned
  std::vector<Lifetime> blocks;
  std::vector<int> last_use;   // per slot
  std::vector<int> last_read;  // per slot: the same, where more than the shape is read
  std::vector<bool> lasting;   // per slot: input, constant or output of the graph, or a view of one
  std::vector<bool> donated;   // per slot: an input whose memory may be taken

  Planner(const Graph& g, Plan& p, const std::vector<Type>& input_types)
      : graph(g), plan(p), facts(bound_facts(g, input_types)), slot_of(g.value_limit(), kNone) {}

  bool known(ValueId id) const { return facts[static_cast<size_t>(id)].constant.defined(); }

  int slot(ValueId id) {
    int& found = slot_of[static_cast<size_t>(id)];
    if (found == kNone) {
      found = static_cast<int>(plan.slots_++);
      if (known(id)) plan.constants_.emplace_back(found, facts[static_cast<size_t>(id)].constant);
    }
    return found;
  }

  // In the order of their steps; notes who reads a value last.
  std::vector<NodeId> needed_nodes(const std::vector<bool>& given_up) {
    std::vector<bool> wanted(graph.value_limit(), false);
    for (ValueId output : graph.outputs) wanted[static_cast<size_t>(output)] = true;
    std::vector<NodeId> needed;
    for (auto it = graph.order().rbegin(); it != graph.order().rend(); ++it) {
      const Node& node = graph.node(*it);
      bool need = false;
      for (ValueId output : node.outputs)
        need = need || (output != kNone && wanted[static_cast<size_t>(output)] && !known(output));
      if (!need) continue;
      needed.push_back(*it);
      for (ValueId read : graph.reads(*it))
        if (read != kNone) wanted[static_cast<size_t>(read)] = true;
    }
    std::reverse(needed.begin(), needed.end());
    if (std::find(given_up.begin(), given_up.end(), true) != given_up.end())
      needed = update_early(graph, needed, value_bytes(), given_up);
    last_reader.assign(graph.value_limit(), kNone);
    for (NodeId id : needed)
      for (ValueId read : graph.reads(id))
        if (read != kNone) last_reader[static_cast<size_t>(read)] = id;
    for (ValueId output : graph.outputs) last_reader[static_cast<size_t>(output)] = kNone;
    return needed;
  }

  std::vector<size_t> value_bytes() const {
    std::vector<size_t> bytes(graph.value_limit(), 0);
    for (size_t id = 0; id < bytes.size(); ++id)
      if (graph.has_value(static_cast<ValueId>(id)) && !known(static_cast<ValueId>(id)))
        bytes[id] = planned_bytes(static_cast<ValueId>(id)).value_or(0);
    return bytes;
  }

  // The sequence that output 0 of the node may take the place of, or kNone.
  ValueId replaced_sequence(NodeId id) const {
    const Node& node = graph.node(id);
    for (int i : node.op->in_place_inputs()) {
      if (static_cast<size_t>(i) >= node.inputs.size() || node.inputs[static_cast<size_t>(i)] == kNone) continue;
      const ValueId read = node.inputs[static_cast<size_t>(i)];
      const auto at = static_cast<size_t>(read);
      const std::vector<ValueId> reads = graph.reads(id);
      if (facts[at].type.kind == Type::Kind::kSequence && last_reader[at] == id &&
          std::count(reads.begin(), reads.end(), read) == 1)
        return read;
    }
    return kNone;
  }

  void make_step(NodeId id, PrepareHost& host) {
    const Node& node = graph.node(id);
    Step step;
    step.id = id;
    step.node = &node;
    std::vector<const Facts*> inputs;
    std::vector<const Facts*> outputs;
    for (ValueId input : node.inputs) inputs.push_back(input == kNone ? nullptr : &facts[static_cast<size_t>(input)]);
    for (ValueId output : node.outputs)
      outputs.push_back(output == kNone ? nullptr : &facts[static_cast<size_t>(output)]);
    SX_REQUIRE(node.op->kernel_factory(), kNotImplemented, label(node), " has no kernel");
    if (has_unknown_input(node, facts)) {
      step.kernel = make_late_kernel(graph, id, facts, host);
      step.choice = "prepared when a run tells the types of its inputs";
    } else {
      Prepare prepare(node, id, std::move(inputs), std::move(outputs), &host);
      naming(node, [&] { step.kernel = node.op->kernel_factory()(prepare); });
      step.choice = prepare.choice();
    }
    for (ValueId read : graph.reads(id)) step.inputs.push_back(read == kNone ? kNone : slot(read));
    const ValueId replaced = replaced_sequence(id);
    if (replaced != kNone && node.outputs[0] != kNone)
      slot_of[static_cast<size_t>(node.outputs[0])] = slot_of[static_cast<size_t>(replaced)];
    for (ValueId output : node.outputs) {
      Step::Output place;
      if (output != kNone) {
        // A known output of a node that runs for another one's sake must not overwrite the constant.
        place.slot = known(output) ? static_cast<int>(plan.slots_++) : slot(output);
        place.dtype = facts[static_cast<size_t>(output)].type.dtype;
      }
      step.outputs.push_back(place);
    }
    plan.steps_.push_back(std::move(step));
  }

  void find_lifetimes() {
    last_use.assign(plan.slots_, -1);
    last_read.assign(plan.slots_, -1);
    for (size_t i = 0; i < plan.steps_.size(); ++i) {
      const Step& step = plan.steps_[i];
      const std::vector<int>& shape_only = step.node->op->shape_only_inputs();
      for (size_t k = 0; k < step.inputs.size(); ++k) {
        if (step.inputs[k] == kNone) continue;
        const auto read = static_cast<size_t>(step.inputs[k]);
        last_use[read] = static_cast<int>(i);
        if (std::find(shape_only.begin(), shape_only.end(), static_cast<int>(k)) == shape_only.end())
          last_read[read] = static_cast<int>(i);
      }
      for (const Step::Output& output : step.outputs)
        if (output.slot != kNone)
          last_use[static_cast<size_t>(output.slot)] = last_read[static_cast<size_t>(output.slot)] =
              static_cast<int>(i);
    }
    lasting.assign(plan.slots_, false);
    for (const auto& constant : plan.constants_) lasting[static_cast<size_t>(constant.first)] = true;
    for (int input : plan.input_slots_)
      if (input != kNone) lasting[static_cast<size_t>(input)] = true;
    for (int output : plan.output_slots_) lasting[static_cast<size_t>(output)] = true;
    // A value that some output views must survive the run as well.
    for_views_backwards([&](size_t viewed, size_t view) { lasting[viewed] = lasting[viewed] || lasting[view]; });
  }

  // Calls visit(slot that is viewed, slot of the view) for every view, users before producers.
  void for_views_backwards(FunctionRef<void(size_t, size_t)> visit) const {
    for (size_t i = plan.steps_.size(); i-- > 0;) {
      const Step& step = plan.steps_[i];
      const int view = step.node->op->aliased_input();
      if (view != kNone && step.outputs[0].slot != kNone)
        visit(static_cast<size_t>(step.inputs[static_cast<size_t>(view)]), static_cast<size_t>(step.outputs[0].slot));
    }
  }

  std::optional<size_t> planned_bytes(ValueId value) const { return bytes_of(facts[static_cast<size_t>(value)].type); }

  void place() {
    find_lifetimes();
    std::vector<bool> held(plan.slots_, false);  // read by an operator that may keep the memory
    for (const Step& step : plan.steps_)
      if (step.node->op->retains_inputs() && !(step.node->op->aliased_input() != kNone && is_tensor(step)))
        for (int read : step.inputs)
          if (read != kNone) held[static_cast<size_t>(read)] = true;
    for_views_backwards([&](size_t viewed, size_t view) { held[viewed] = held[viewed] || held[view]; });
    find_donors(held);
    block_of.assign(plan.slots_, kNone);
    for (size_t i = 0; i < plan.steps_.size(); ++i) {
      Step& step = plan.steps_[i];
      const OpDef& op = *step.node->op;
      const int at = static_cast<int>(i);
      for (size_t k = 0; k < step.outputs.size(); ++k) {
        Step::Output& output = step.outputs[k];
        if (output.slot == kNone) continue;
        const auto to = static_cast<size_t>(output.slot);
        if (k == 0 && op.aliased_input() != kNone) {
          const int from = step.inputs[static_cast<size_t>(op.aliased_input())];
          const int block = block_of[static_cast<size_t>(from)];
          block_of[to] = block;
          if (block != kNone)
            blocks[static_cast<size_t>(block)].last = std::max(blocks[static_cast<size_t>(block)].last, last_read[to]);
          continue;
        }
        const auto bytes = planned_bytes(step.node->outputs[k]);
        const bool in_arena = !lasting[to] && !held[to] && !op.retains_inputs() && bytes && output.donor == kNone;
        if (!in_arena) {
          if (output.donor == kNone) plan.fresh_bytes_ += bytes.value_or(0);
          continue;
        }
        const bool may_overwrite = k == 0 || writes_all_in_place(op);
        output.planned = true;
        output.capacity = *bytes;
        const int shared = may_overwrite ? in_place_block(step, k, at, *bytes) : kNone;
        if (shared != kNone) {
          block_of[to] = shared;
          blocks[static_cast<size_t>(shared)].last = std::max(at, last_read[to]);
        } else {
          block_of[to] = static_cast<int>(blocks.size());
          blocks.push_back({at, std::max(at, last_read[to]), *bytes});
        }
      }
    }
    const MemoryPlan memory = plan_memory(blocks);
    plan.arena_bytes_ = memory.arena_bytes;
    for (Step& step : plan.steps_)
      for (Step::Output& output : step.outputs)
        if (output.planned)
          output.offset = memory.offsets[static_cast<size_t>(block_of[static_cast<size_t>(output.slot)])];
    note_transients();
  }

  bool is_tensor(const Step& step) const {
    const ValueId read = step.node->inputs[static_cast<size_t>(step.node->op->aliased_input())];
    return facts[static_cast<size_t>(read)].type.is_tensor();
  }

  // Whether any output may be written in place: see OpDef::in_place.
  static bool writes_all_in_place(const OpDef& op) {
    return op.outputs().size() == 1 && op.outputs()[0].presence == PortSpec::Presence::kVariadic;
  }
  // Whether output k may take the memory of input i, by their types: those of variadic outputs must be the same.
  bool fits(const Step& step, size_t k, size_t i) const {
    const auto type = [&](ValueId value) -> const Type& { return facts[static_cast<size_t>(value)].type; };
    const Node& node = *step.node;
    return !writes_all_in_place(*node.op) || (type(node.inputs[i]).dtype == type(node.outputs[k]).dtype &&
                                              type(node.inputs[i]).shape == type(node.outputs[k]).shape);
  }

  // The block of an input that output k may overwrite in step `at`, or kNone.
  int in_place_block(const Step& step, size_t k, int at, size_t bytes) const {
    for (int i : step.node->op->in_place_inputs()) {
      if (static_cast<size_t>(i) >= step.node->inputs.size() || step.inputs[static_cast<size_t>(i)] == kNone) continue;
      const int from = step.inputs[static_cast<size_t>(i)];
      const int block = block_of[static_cast<size_t>(from)];
      if (block == kNone || blocks[static_cast<size_t>(block)].last != at ||
          blocks[static_cast<size_t>(block)].bytes != bytes || !fits(step, k, static_cast<size_t>(i)))
        continue;
      int reads = 0;  // of the block by this very step, views included
      for (int read : step.inputs) reads += read != kNone && block_of[static_cast<size_t>(read)] == block;
      for (size_t other = 0; other < k; ++other)
        reads += step.outputs[other].slot != kNone && block_of[static_cast<size_t>(step.outputs[other].slot)] == block;
      if (reads == 1) return block;
    }
    return kNone;
  }

  // Lasting outputs that are computed in place of a donated input, in one step or a chain of them, take its memory.
  void find_donors(const std::vector<bool>& held) {
    std::vector<int> producer(plan.slots_, kNone);  // step that computes the slot as its output 0
    std::vector<bool> viewed(plan.slots_, false);
    for (size_t i = 0; i < plan.steps_.size(); ++i)
      if (plan.steps_[i].outputs[0].slot != kNone)
        producer[static_cast<size_t>(plan.steps_[i].outputs[0].slot)] = static_cast<int>(i);
    for_views_backwards([&](size_t from, size_t) { viewed[from] = true; });
    for (size_t i = 0; i < plan.steps_.size(); ++i) {
      const auto may_take = [&](int to) {
        return to != kNone && lasting[static_cast<size_t>(to)] && !held[static_cast<size_t>(to)];
      };
      std::vector<Step::Output>& outputs = plan.steps_[i].outputs;
      std::vector<std::pair<int, int>> chain;  // step, slot that it overwrites
      int at = may_take(outputs[0].slot) ? static_cast<int>(i) : kNone;
      while (at != kNone) {
        const Step& step = plan.steps_[static_cast<size_t>(at)];
        const int donor = donor_of(step, 0, at);
        if (donor != kNone) {
          chain.emplace_back(at, donor);
          for (const auto& [link, from] : chain) plan.steps_[static_cast<size_t>(link)].outputs[0].donor = from;
          break;
        }
        const int from = link_of(step, at, held, viewed);
        if (from == kNone) break;
        chain.emplace_back(at, from);
        at = producer[static_cast<size_t>(from)];
      }
      for (size_t k = 1; k < outputs.size() && writes_all_in_place(*plan.steps_[i].node->op); ++k)
        if (may_take(outputs[k].slot)) outputs[k].donor = donor_of(plan.steps_[i], k, static_cast<int>(i));
    }
  }

  // The value that output 0 of step `at` may be written over, and that nothing else has anything to do with, or kNone.
  int link_of(const Step& step, int at, const std::vector<bool>& held, const std::vector<bool>& viewed) const {
    const auto bytes = planned_bytes(step.node->outputs[0]);
    if (!bytes || step.node->op->aliased_input() != kNone) return kNone;
    for (int i : step.node->op->in_place_inputs()) {
      if (static_cast<size_t>(i) >= step.node->inputs.size() || step.inputs[static_cast<size_t>(i)] == kNone) continue;
      const auto from = static_cast<size_t>(step.inputs[static_cast<size_t>(i)]);
      if (!lasting[from] && !held[from] && !viewed[from] && last_use[from] == at &&
          planned_bytes(step.node->inputs[static_cast<size_t>(i)]) == bytes && fits(step, 0, static_cast<size_t>(i)) &&
          std::count(step.inputs.begin(), step.inputs.end(), static_cast<int>(from)) == 1)
        return static_cast<int>(from);
    }
    return kNone;
  }

  // The donated input that output k may overwrite in step `at`, or kNone.
  int donor_of(const Step& step, size_t k, int at) const {
    for (int i : step.node->op->in_place_inputs()) {
      if (static_cast<size_t>(i) >= step.node->inputs.size() || step.inputs[static_cast<size_t>(i)] == kNone) continue;
      const int from = step.inputs[static_cast<size_t>(i)];
      const bool taken = std::any_of(step.outputs.begin(), step.outputs.end(), [&](const Step::Output& other) {
        return &other != &step.outputs[k] && other.donor == from;
      });
      if (donated[static_cast<size_t>(from)] && last_use[static_cast<size_t>(from)] == at && !taken &&
          fits(step, k, static_cast<size_t>(i)) && std::count(step.inputs.begin(), step.inputs.end(), from) == 1)
        return from;
    }
    return kNone;
  }

  // Inputs that are given up, no view of which is around, and that no operator may hold on to.
  void find_donated(const std::vector<bool>& inputs) {
    donated.assign(plan.slots_, false);
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i]) donated[static_cast<size_t>(plan.input_slots_[i])] = true;
    for (int output : plan.output_slots_) donated[static_cast<size_t>(output)] = false;
    for (const Step& step : plan.steps_) {
      const OpDef& op = *step.node->op;
      if (op.aliased_input() == kNone && !op.retains_inputs()) continue;
      for (int read : step.inputs)
        if (read != kNone) donated[static_cast<size_t>(read)] = false;
    }
  }

  void note_transients() {
    std::vector<bool> constant(plan.slots_, false);
    std::vector<bool> placed(plan.slots_, false);
    for (const auto& known : plan.constants_) constant[static_cast<size_t>(known.first)] = true;
    for (const Step& step : plan.steps_)
      for (const Step::Output& output : step.outputs)
        if (output.planned) placed[static_cast<size_t>(output.slot)] = true;
    plan.output_moves_.assign(plan.output_slots_.size(), false);
    std::vector<bool> stays = constant;
    for (size_t i = plan.output_slots_.size(); i-- > 0;) {
      const auto slot = static_cast<size_t>(plan.output_slots_[i]);
      plan.output_moves_[i] = !stays[slot];
      stays[slot] = true;
    }
    for (size_t slot = 0; slot < plan.slots_; ++slot) {
      if (constant[slot] || placed[slot]) continue;
      plan.transient_.push_back(static_cast<int>(slot));
      const bool output = std::find(plan.output_slots_.begin(), plan.output_slots_.end(), static_cast<int>(slot)) !=
                          plan.output_slots_.end();
      if (!output && last_use[slot] >= 0)
        plan.steps_[static_cast<size_t>(last_use[slot])].release.push_back(static_cast<int>(slot));
    }
  }
};

Plan::Plan(const Graph& graph, const std::vector<Type>& input_types, const std::vector<bool>& donated,
           PrepareHost& host) {
  Planner planner(graph, *this, input_types);
  const std::vector<NodeId> needed = planner.needed_nodes(donated);
  for (ValueId input : graph.inputs) input_slots_.push_back(planner.slot(input));
  steps_.reserve(needed.size());
  for (NodeId id : needed) planner.make_step(id, host);
  for (ValueId output : graph.outputs) output_slots_.push_back(planner.slot(output));
  planner.find_donated(donated);
  planner.place();
}

}  // namespace sx
