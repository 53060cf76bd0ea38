// Walks over the nodes in order: first what fixes the batch is repaired, then types are inferred with the symbol.
#include "passes/dynamic_batch.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "ops/infer.h"
#include "passes/match.h"

namespace sx {
namespace {

const std::set<std::string> kBroadcasting = {
    "Add",   "And",         "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual",
    "Less",  "LessOrEqual", "MatMul",     "Max",       "Mean",       "Min", "Mod",   "Mul",     "Or",
    "PRelu", "Pow",         "Sub",        "Sum",       "Where",      "Xor"};

// Whether the symbol stands somewhere in the extent.
bool mentions(const Dim& dim, const std::string& symbol) {
  if (!dim.symbolic()) return false;
  const std::string text = dim.str();
  for (size_t at = text.find(symbol); at != std::string::npos; at = text.find(symbol, at + 1)) {
    const auto part = [&](size_t i) {
      return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_');
    };
    if (!(at > 0 && part(at - 1)) && !part(at + symbol.size())) return true;
  }
  return false;
}

class BatchMaker {
 public:
  BatchMaker(Graph& graph, const std::string& symbol) : graph_(graph) {
    for (ValueId id : graph.inputs) {
      const Type& type = graph.type(id);
      if (type.is_tensor() && type.shape && !type.shape->empty()) batched_.push_back(id);
    }
    SX_REQUIRE(!batched_.empty(), kInvalidArgument, "no input of the model has an axis that could be the batch");
    choose_symbol(symbol);
    result_.was = old_batch();
  }

  DynamicBatch run() {
    for (ValueId id = 0; id < static_cast<ValueId>(graph_.value_limit()); ++id)
      if (graph_.has_value(id)) was_.emplace(id, graph_.type(id));
    for (NodeId id : graph_.order()) {
      for (ValueId output : graph_.node(id).outputs)
        if (output != kNone) forget_shape(graph_.value(output).facts);
      for (Body& body : graph_.node(id).bodies) forget_shapes(*body.graph);
    }
    for (ValueId id : batched_) {
      const Dim old = (*graph_.type(id).shape)[0];
      (*graph_.value(id).facts.type.shape)[0] = batch_;
      if (old.symbolic() && old != batch_) unify(old);
    }
    const std::vector<NodeId> order = graph_.order();
    for (NodeId id : order) {
      repair(id);
      try {
        infer_node(graph_, id);
      } catch (const Error& error) {
        fail(ErrorKind::kInvalidGraph,
             result_.was > 0 ? join("the model holds on to a batch of ", result_.was)
                             : std::string("the model does not take any batch"),
             ": ", error.what());
      }
    }
    for (ValueId id : graph_.outputs) check_output(id);
    return std::move(result_);
  }

 private:
  static void forget_shape(Facts& facts) {
    facts.type.shape.reset();
    facts.constant = Tensor();
    facts.elements.reset();
  }
  static void forget_shapes(Graph& graph) {
    for (ValueId id = 0; id < static_cast<ValueId>(graph.value_limit()); ++id)
      if (graph.has_value(id) && !graph.is_constant(id)) forget_shape(graph.value(id).facts);
    for (NodeId id : graph.order())
      for (Body& body : graph.node(id).bodies) forget_shapes(*body.graph);
  }

  void choose_symbol(const std::string& asked) {
    const auto used = [&](const std::string& name) {
      for (ValueId id : graph_.inputs) {
        const auto& shape = graph_.type(id).shape;
        const bool batched = std::find(batched_.begin(), batched_.end(), id) != batched_.end();
        for (size_t i = batched ? 1 : 0; shape && i < shape->size(); ++i)
          if (mentions((*shape)[i], name)) return true;
      }
      return false;
    };
    SX_REQUIRE(asked.empty() || !used(asked), kInvalidArgument, "the symbol '", asked,
               "' is the extent of another axis of the model's inputs; choose another one for the batch");
    result_.symbol = asked.empty() ? "N" : asked;
    for (int i = 0; asked.empty() && used(result_.symbol); ++i)
      result_.symbol = i == 0 ? "batch" : "batch_" + std::to_string(i);
    batch_ = Dim::symbol(result_.symbol);
  }

  int64_t old_batch() const {
    std::map<int64_t, std::string> extents;
    for (ValueId id : batched_) {
      const Dim& dim = (*graph_.type(id).shape)[0];
      if (dim.known()) extents.emplace(dim.value(), graph_.value(id).name);
    }
    if (extents.empty()) return 0;
    std::string list;
    for (const auto& [extent, name] : extents) list += join(list.empty() ? "" : ", ", extent, " for '", name, "'");
    SX_REQUIRE(extents.size() == 1, kInvalidArgument, "the inputs have different first extents, ", list,
               "; a batch of any size needs one for all");
    SX_REQUIRE(extents.begin()->first > 0, kInvalidArgument, "the inputs are empty: their first extent is ",
               extents.begin()->first);
    return extents.begin()->first;
  }

  // Another symbol that some input had for its first axis is the same extent now.
  void unify(const Dim& old) {
    for (ValueId id : graph_.inputs) {
      Type& type = graph_.value(id).facts.type;
      if (!type.shape) continue;
      for (Dim& dim : *type.shape)
        if (dim == old) dim = batch_;
    }
  }

  bool varies(const Dim& dim) const { return mentions(dim, result_.symbol); }
  bool varies(ValueId id) const {
    const auto& shape = graph_.type(id).shape;
    return shape && std::any_of(shape->begin(), shape->end(), [&](const Dim& dim) { return varies(dim); });
  }
  // The extent of an axis while the batch was fixed; unknown where it was none.
  Dim was(ValueId id, size_t axis) const {
    const auto found = was_.find(id);
    if (found == was_.end() || !found->second.shape || axis >= found->second.shape->size()) return {};
    return (*found->second.shape)[axis];
  }
  void note(NodeId id) {
    const std::string& origin = graph_.node(id).origin;
    if (result_.repaired.empty() || result_.repaired.back() != origin) result_.repaired.push_back(origin);
  }

  ValueId ints(const std::vector<int64_t>& values) {
    return add_constant(graph_, "batch.shape", Tensor::vector(values));
  }
  ValueId emit(NodeId at, const char* op, std::vector<ValueId> inputs, Attributes attributes = {}) {
    return emit_before(graph_, at, op, std::move(inputs), std::move(attributes));
  }
  // The batch as i64[1], read from an input that has it.
  ValueId batch_before(NodeId at) {
    return emit(at, "Shape", {batched_[0]}, {{"start", int64_t{0}}, {"end", int64_t{1}}});
  }

  void repair(NodeId id) {
    const std::string op = graph_.node(id).op->full_name();
    if (op == "Reshape") return repair_reshape(id);
    if (op == "Expand") return repair_expand(id);
    if (op == "Resize") return repair_resize(id);
    if (op == "Concat") return repair_concat(id);
    if (op == "LSTM" || op == "GRU" || op == "RNN") return repair_states(id);
    if (kBroadcasting.count(op) != 0) return repair_broadcast(id);
  }

  // The elements of the shape that a node's input gives, with the old numbers where they are known.
  std::vector<Dim> elements_of(ValueId id) const {
    const Facts& facts = graph_.value(id).facts;
    if (facts.elements) return *facts.elements;
    std::vector<Dim> dims;
    if (facts.constant.defined())
      for (int64_t x : facts.constant.integers()) dims.emplace_back(x);
    return dims;
  }

  void repair_reshape(NodeId id) {
    const ValueId x = graph_.node(id).inputs[0], target = graph_.node(id).inputs[1];
    const ValueId y = graph_.node(id).outputs[0];
    if (!varies(x)) return;
    std::vector<Dim> wanted = elements_of(target);
    if (wanted.empty() || std::any_of(wanted.begin(), wanted.end(), [&](const Dim& d) { return varies(d); })) return;
    const bool copies = attribute<int64_t>(graph_, id, "allowzero") == 0;
    // Where the batch stands in x, and how many elements one step along it skips over in front.
    const SymShape& shape = *graph_.type(x).shape;
    size_t from = 0;
    while (!varies(shape[from])) ++from;
    Dim in_front = 1, reached = 1;
    for (size_t i = 0; i < from; ++i) in_front = in_front * was(x, i);
    size_t to = 0;
    for (; to < wanted.size() && !(reached == in_front); ++to) reached = reached * was(y, to);
    // Extents of 1 in front of the one that the batch goes into.
    const Dim extent = was(x, from);
    const auto holds = [&](size_t i) {
      const Dim d = was(y, i);
      return d == extent || (d.known() && result_.was > 0 && d.value() % result_.was == 0);
    };
    while (to + 1 < wanted.size() && was(y, to) == Dim(1) && !holds(to)) ++to;
    if (to >= wanted.size() || !(reached == in_front) || !holds(to)) return;
    if (wanted[to] == Dim(-1) || (copies && wanted[to] == Dim(0))) return;
    const auto rest = std::find(wanted.begin(), wanted.end(), Dim(-1));
    if (rest != wanted.end()) {
      const auto at = static_cast<size_t>(rest - wanted.begin());
      const Dim known = was(y, at);
      if (known.known() && !(copies && known == Dim(0))) {
        *rest = known;
      } else {
        // The rest stays open, so the batch must be said; it must stand alone.
        if (!(was(y, to) == extent)) return;
        const ValueId own =
            emit(id, "Shape", {x}, {{"start", static_cast<int64_t>(from)}, {"end", static_cast<int64_t>(from) + 1}});
        return replace_element(id, target, wanted.size(), to, own);
      }
    }
    note(id);
    std::vector<int64_t> numbers;
    for (const Dim& dim : wanted) numbers.push_back(dim.known() ? dim.value() : -2);
    numbers[to] = -1;
    if (std::find(numbers.begin(), numbers.end(), -2) == numbers.end())
      return graph_.set_input(id, 1, ints(numbers)), erase_if_dead(graph_, target);
    replace_element(id, target, wanted.size(), to, ints({-1}));
  }

  // Input 1 of the node with another element `at`.
  void replace_element(NodeId id, ValueId target, size_t count, size_t at, ValueId by) {
    note(id);
    std::vector<ValueId> parts;
    const auto slice = [&](size_t from, size_t to) {
      if (from < to)
        parts.push_back(
            emit(id, "Slice", {target, ints({static_cast<int64_t>(from)}), ints({static_cast<int64_t>(to)})}));
    };
    slice(0, at);
    parts.push_back(by);
    slice(at + 1, count);
    graph_.set_input(id, 1, emit(id, "Concat", parts, {{"axis", int64_t{0}}}));
  }

  // Data that has the batch already is expanded along its other axes only.
  void repair_expand(NodeId id) {
    const ValueId x = graph_.node(id).inputs[0], target = graph_.node(id).inputs[1];
    if (!varies(x) || result_.was <= 1) return;
    const std::vector<Dim> wanted = elements_of(target);
    const SymShape shape = *graph_.type(x).shape;
    for (size_t i = 0; i < shape.size() && i < wanted.size(); ++i) {
      const size_t at = wanted.size() - 1 - i;
      if (varies(shape[shape.size() - 1 - i]) && wanted[at] == Dim(result_.was))
        replace_element(id, graph_.node(id).inputs[1], wanted.size(), at, ints({1}));
    }
  }

  void repair_resize(NodeId id) {
    const Node& node = graph_.node(id);
    const ValueId x = node.inputs[0];
    if (node.inputs.size() < 4 || node.inputs[3] == kNone || node.attributes.count("axes") != 0 || !varies(x)) return;
    const ValueId sizes = node.inputs[3];
    const std::vector<Dim> wanted = elements_of(sizes);
    if (wanted.size() < 2 || !wanted[0].known()) return;
    std::vector<int64_t> axes;
    for (size_t i = 1; i < wanted.size(); ++i) axes.push_back(static_cast<int64_t>(i));
    graph_.node(id).attributes["axes"] = axes;
    graph_.set_input(id, 3, emit(id, "Slice", {sizes, ints({1}), ints({static_cast<int64_t>(wanted.size())})}));
    note(id);
  }

  void repair_concat(NodeId id) {
    const std::vector<ValueId> inputs = graph_.node(id).inputs;
    const int rank = graph_.type(inputs[0]).rank();
    int64_t joined = attribute<int64_t>(graph_, id, "axis");
    joined += joined < 0 ? rank : 0;
    for (int axis = 0; axis < rank; ++axis) {
      if (axis == joined) continue;
      const bool any = std::any_of(inputs.begin(), inputs.end(), [&](ValueId x) {
        const auto& shape = graph_.type(x).shape;
        return shape && static_cast<int>(shape->size()) == rank && (*shape)[static_cast<size_t>(axis)] == batch_;
      });
      for (size_t k = 0; any && k < inputs.size(); ++k) fit(id, static_cast<int>(k), axis, false);
    }
  }

  void repair_states(NodeId id) {
    const int axis = attribute<int64_t>(graph_, id, "layout") == 0 ? 1 : 0;
    const ValueId x = graph_.node(id).inputs[0];
    const auto& shape = graph_.type(x).shape;
    if (!shape || shape->size() != 3 || !((*shape)[static_cast<size_t>(axis)] == batch_)) return;
    fit(id, 4, 0, false);
    fit(id, 5, axis, false);
    fit(id, 6, axis, false);
  }

  void repair_broadcast(NodeId id) {
    const std::vector<ValueId> inputs = graph_.node(id).inputs;
    if (result_.was <= 1) return;
    const bool product = graph_.node(id).op->name() == "MatMul";
    // Axes counted from the back.
    std::set<size_t> axes;
    for (ValueId x : inputs) {
      const auto& shape = graph_.type(x).shape;
      for (size_t i = product ? 2 : 0; shape && i < shape->size(); ++i)
        if ((*shape)[shape->size() - 1 - i] == batch_) axes.insert(i);
    }
    for (size_t axis : axes)
      for (size_t k = 0; k < inputs.size(); ++k) {
        const int rank = graph_.type(inputs[k]).rank();
        if (rank > static_cast<int>(axis)) fit(id, static_cast<int>(k), rank - 1 - static_cast<int>(axis), true);
      }
  }

  // Input `k`, which has the old batch along `axis` where others have the symbol, gets the batch too, or an extent of 1
  // where that will do.
  void fit(NodeId id, int k, int axis, bool one_will_do) {
    if (k >= static_cast<int>(graph_.node(id).inputs.size())) return;
    const ValueId x = graph_.node(id).inputs[static_cast<size_t>(k)];
    if (x == kNone || !graph_.type(x).shape || axis >= graph_.type(x).rank()) return;
    const SymShape shape = *graph_.type(x).shape;
    const Dim& extent = shape[static_cast<size_t>(axis)];
    if (!extent.known() || extent.value() != std::max<int64_t>(result_.was, 1)) return;
    if (extent.value() == 1 && one_will_do) return;
    ValueId one = x;
    if (extent.value() != 1) {
      if (!repeats(x, axis))
        fail(ErrorKind::kInvalidGraph, graph_.node(id).origin, " reads '", graph_.value(x).name, "', ",
             graph_.type(x).str(), ", which has other elements for each item of a batch of ", result_.was, origin_of(x),
             ": the model works for that batch only");
      one = emit(id, "Slice", {x, ints({0}), ints({1}), ints({axis})});
    }
    note(id);
    if (!one_will_do) {
      std::vector<ValueId> parts;
      const std::vector<int64_t> front(static_cast<size_t>(axis), 1);
      const std::vector<int64_t> behind(shape.size() - static_cast<size_t>(axis) - 1, 1);
      if (!front.empty()) parts.push_back(ints(front));
      parts.push_back(batch_before(id));
      if (!behind.empty()) parts.push_back(ints(behind));
      const ValueId target = parts.size() == 1 ? parts[0] : emit(id, "Concat", parts, {{"axis", int64_t{0}}});
      one = emit(id, "Expand", {one, target});
    }
    graph_.set_input(id, k, one);
  }

  std::string origin_of(ValueId x) const {
    const NodeId producer = graph_.value(x).producer;
    return producer == kNone ? "" : " (made by " + graph_.node(producer).origin + ")";
  }

  // Whether all slices along the axis are the same: in the data, or because it was expanded or filled.
  bool repeats(ValueId x, int axis) const {
    const NodeId producer = graph_.value(x).producer;
    if (producer != kNone) {
      const Node& node = graph_.node(producer);
      const std::string& op = node.op->name();
      if (op == "ConstantOfShape") return true;
      if (op != "Expand") return false;
      const auto& shape = graph_.type(node.inputs[0]).shape;
      if (!shape) return false;
      const int own = axis - (graph_.type(x).rank() - static_cast<int>(shape->size()));
      return own < 0 || (*shape)[static_cast<size_t>(own)] == Dim(1);
    }
    const Tensor& all = graph_.value(x).facts.constant;
    if (!all.defined() || all.dtype() == DType::kString) return false;
    const Tensor held = all.borrow();
    size_t slice = size_of(all.dtype());
    int64_t outer = 1;
    for (int i = 0; i < axis; ++i) outer *= all.dim(i);
    for (int i = axis + 1; i < all.rank(); ++i) slice *= static_cast<size_t>(all.dim(i));
    const auto* bytes = static_cast<const char*>(held.raw());
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 1; i < all.dim(axis); ++i) {
        const char* first = bytes + static_cast<size_t>(o * all.dim(axis)) * slice;
        if (std::memcmp(first, first + static_cast<size_t>(i) * slice, slice) != 0) return false;
      }
    return true;
  }

  void check_output(ValueId id) const {
    const Type& type = graph_.type(id);
    // What is not known now shows when the model is run.
    if (!type.is_tensor() || !type.shape || (!type.shape->empty() && (*type.shape)[0].unknown())) return;
    if (!type.shape->empty() && (*type.shape)[0] == batch_) return;
    const NodeId at = last_with_batch(id);
    std::string where = at == kNone ? "it depends on no input" : graph_.node(at).origin + " makes ";
    if (at != kNone) {
      const Node& node = graph_.node(at);
      for (ValueId output : node.outputs)
        if (output != kNone) where += graph_.type(output).str() + " ";
      where += "of ";
      for (ValueId input : node.inputs)
        if (input != kNone && varies(input)) where += graph_.type(input).str() + " ";
      where.pop_back();
    }
    fail(ErrorKind::kInvalidGraph, "output '", graph_.value(id).name, "' is ", type.str(),
         ", whose first axis is not the batch: ", where);
  }

  // The node on the way to `id` behind which nothing has the batch, or else behind which it is not the first axis.
  NodeId last_with_batch(ValueId id) const {
    std::set<ValueId> seen;
    const bool lost = !varies(id);
    std::vector<ValueId> todo{id};
    while (!todo.empty()) {
      const ValueId value = todo.back();
      todo.pop_back();
      if (!seen.insert(value).second) continue;
      const NodeId producer = graph_.value(value).producer;
      if (producer == kNone) continue;
      for (ValueId read : graph_.reads(producer)) {
        if (read == kNone) continue;
        const auto& shape = graph_.type(read).shape;
        if (lost ? varies(read) : shape && !shape->empty() && (*shape)[0] == batch_) return producer;
        todo.push_back(read);
      }
    }
    return kNone;
  }

  Graph& graph_;
  std::vector<ValueId> batched_;
  Dim batch_;
  std::map<ValueId, Type> was_;
  DynamicBatch result_;
};

}  // namespace

DynamicBatch make_batch_dynamic(Graph& graph, const std::string& symbol) { return BatchMaker(graph, symbol).run(); }

}  // namespace sx
