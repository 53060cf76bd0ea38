// Writes graphs as models: opsets, names of bodies and their captures, weights inside or beside the model.
#include "onnx/exporter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "onnx/lowering.h"
#include "onnx/message_writer.h"
#include "ops/registry.h"
#include "ops/schema_history.h"

namespace sx {
namespace {

constexpr size_t kMessageLimit = size_t{2000} << 20;
constexpr size_t kInsideLimit = size_t{1500} << 20;
constexpr size_t kAlignment = 4096;  // of weights in their file, so that a mapped tensor starts on a page
constexpr int kMinIrVersion = 8;
const char* const kMlDomain = "ai.onnx.ml";

using Names = std::unordered_map<ValueId, std::string>;
using Opsets = std::map<std::string, int64_t>;

// The first version in which the node is written as it is here.
int version_of(const Node& node) {
  const OpDef& op = *node.op;
  return op.upgrades().empty() ? op.first_version() : std::max(op.first_version(), op.upgrades().rbegin()->first);
}

void collect_opsets(const Graph& graph, const Opsets& asked, Opsets& opsets) {
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    auto wanted = asked.find(node.op->domain());
    const int64_t version =
        wanted != asked.end() ? std::max<int64_t>(wanted->second, version_of(node)) : node.op->since_version();
    int64_t& opset = opsets[node.op->domain()];
    opset = std::max<int64_t>(opset, std::max<int64_t>(version, 1));
    if (has_schemas(node.op->domain())) opset = std::max(opset, lowest_opset(graph, node, opset));
    for (const Body& body : node.bodies) collect_opsets(*body.graph, asked, opsets);
  }
}

// The lowest IR version that goes with an opset of ai.onnx. Weights need not be inputs from version 4 on.
int64_t ir_version_of(int64_t opset) {
  if (opset >= 28) return 14;
  if (opset >= 25) return 13;
  if (opset >= 24) return 12;
  if (opset >= 23) return 11;
  if (opset >= 21) return 10;
  if (opset >= 19) return 9;
  if (opset >= 15) return 8;
  if (opset >= 12) return 7;
  if (opset >= 11) return 6;
  return opset >= 10 ? 5 : 4;
}

int64_t ir_version_of_ml(int64_t opset) {
  if (opset >= 5) return 10;
  if (opset >= 4) return 9;
  return opset >= 3 ? 8 : 4;
}

void collect_domains(const Graph& graph, std::set<std::string>& domains) {
  for (NodeId id : graph.order()) {
    domains.insert(graph.node(id).op->domain());
    for (const Body& body : graph.node(id).bodies) collect_domains(*body.graph, domains);
  }
}

// Lowers the graph to the opset asked for and says which opsets it then imports.
Opsets lower_for_export(Graph& graph, const Opsets& own, int64_t opset) {
  SX_REQUIRE(opset >= kOldestExportOpset && opset <= kNewestOpset, kInvalidArgument, "opset ", opset,
             " cannot be written; one from ", kOldestExportOpset, " to ", kNewestOpset, " expected");
  const auto ml = own.find(kMlDomain);
  const int64_t newest_ml = ml == own.end() || ml->second == 0 ? kNewestMlOpset : ml->second;
  const Opsets asked{{"", opset}, {kMlDomain, std::min(newest_ml, ml_opset_of(opset))}};
  const std::vector<Blocker> blockers = lower_to(graph, asked);
  if (!blockers.empty()) {
    std::string list;
    for (const Blocker& blocker : blockers) {
      list += "\n  " + blocker.node + " " + blocker.reason;
      if (blocker.needs > opset) list += join(" (from opset ", blocker.needs, " on)");
    }
    fail(ErrorKind::kNotImplemented, "opset ", opset, " cannot hold this model; ", blockers.size(),
         blockers.size() == 1 ? " node stands" : " nodes stand", " in the way:", list);
  }
  Opsets opsets;
  collect_opsets(graph, asked, opsets);
  std::set<std::string> domains;
  collect_domains(graph, domains);
  opsets[""] = opset;
  if (domains.count(kMlDomain) != 0) opsets[kMlDomain] = asked.at(kMlDomain);
  return opsets;
}

size_t weight_bytes(const Graph& graph) {
  size_t bytes = 0;
  for (ValueId id = 0; id < static_cast<ValueId>(graph.value_limit()); ++id)
    if (graph.has_value(id) && graph.is_constant(id)) bytes += graph.value(id).facts.constant.bytes();
  for (NodeId id : graph.order())
    for (const Body& body : graph.node(id).bodies) bytes += weight_bytes(*body.graph);
  return bytes;
}

class GraphWriter {
 public:
  explicit GraphWriter(WeightFile* weights) : weights_(weights) {}

  // `around` is the graph of the node whose body this is, with the names its values were given.
  struct Scope {
    const Graph& graph;
    const Names& names;
    const std::set<std::string>& taken;  // all names in the graph
    const Scope* around;
  };

  WireWriter write(const Graph& graph, const std::string& doc, const Scope* around,
                   const std::vector<ValueId>& captures) {
    Names names;
    std::set<std::string> taken;
    for (ValueId id = 0; id < static_cast<ValueId>(graph.value_limit()); ++id)
      if (graph.has_value(id)) taken.insert(graph.value(id).name);
    const size_t formal = graph.inputs.size() - captures.size();
    for (size_t k = 0; k < captures.size(); ++k) names[graph.inputs[formal + k]] = around->names.at(captures[k]);
    for (ValueId id = 0; id < static_cast<ValueId>(graph.value_limit()); ++id)
      if (graph.has_value(id) && names.count(id) == 0) names[id] = name_for(graph, id, around, taken);

    WireWriter message;
    const Scope scope{graph, names, taken, around};
    std::vector<std::string> outputs;
    std::vector<std::pair<std::string, std::string>> copies;
    std::set<std::string> listed;
    for (ValueId id : graph.outputs) {
      // An output of a body has to come from one of its nodes, and no value may be listed twice.
      std::string name = names.at(id);
      if (!listed.insert(name).second || (around != nullptr && graph.value(id).producer == kNone)) {
        const std::string copy = unused(name, around, taken);
        copies.emplace_back(name, copy);
        name = copy;
      }
      outputs.push_back(name);
    }
    // Nodes that came of one node carry its name; readers want each name once.
    std::set<std::string> node_names;
    for (NodeId id : graph.order()) {
      std::string name = graph.node(id).name;
      const std::string stem = name + "." + graph.node(id).op->name();
      for (int i = 0; !name.empty() && !node_names.insert(name).second; ++i)
        name = i == 0 ? stem : stem + "_" + std::to_string(i);
      message.message(1, node_message(scope, graph.node(id), name));
    }
    for (const auto& [from, to] : copies) {
      WireWriter node;
      node.bytes(1, from);
      node.bytes(2, to);
      node.bytes(4, "Identity");
      message.message(1, node);
    }
    message.bytes(2, graph.name.empty() ? "graph" : graph.name);
    for (ValueId id = 0; id < static_cast<ValueId>(graph.value_limit()); ++id)
      if (graph.has_value(id) && graph.is_constant(id) && !is_outer_constant(graph, id, around))
        message.message(5, tensor_message(names.at(id), graph.value(id).facts.constant, weights_));
    message.name(10, doc);
    for (size_t i = 0; i < formal; ++i)
      message.message(11, value_info_message(names.at(graph.inputs[i]), graph.type(graph.inputs[i])));
    for (size_t i = 0; i < outputs.size(); ++i)
      message.message(12, value_info_message(outputs[i], graph.type(graph.outputs[i])));
    for (NodeId id : graph.order()) {
      for (ValueId output : graph.node(id).outputs) {
        if (output == kNone || graph.type(output).kind == Type::Kind::kUnknown || listed.count(names.at(output)) != 0)
          continue;
        message.message(13, value_info_message(names.at(output), graph.type(output)));
      }
    }
    return message;
  }

 private:
  static bool visible(const std::string& name, const Scope* around) {
    for (; around != nullptr; around = around->around)
      if (around->taken.count(name) != 0) return true;
    return false;
  }

  static std::string unused(const std::string& stem, const Scope* around, std::set<std::string>& taken) {
    std::string name = stem;
    for (size_t i = 1; visible(name, around) || !taken.insert(name).second; ++i) name = stem + "_" + std::to_string(i);
    return name;
  }

  // A constant that a graph around holds under the same name.
  static bool is_outer_constant(const Graph& graph, ValueId id, const Scope* around) {
    const Value& value = graph.value(id);
    for (; around != nullptr; around = around->around) {
      const ValueId outer = around->graph.find_value(value.name);
      if (outer == kNone || !around->graph.is_constant(outer)) continue;
      const Tensor& same = around->graph.value(outer).facts.constant;
      const Tensor& tensor = value.facts.constant;
      if (same.raw() == tensor.raw() && same.dtype() == tensor.dtype() && same.shape() == tensor.shape() &&
          around->names.at(outer) == value.name)
        return true;
    }
    return false;
  }

  static std::string name_for(const Graph& graph, ValueId id, const Scope* around, std::set<std::string>& taken) {
    const std::string& name = graph.value(id).name;
    if (around == nullptr || !visible(name, around)) return name;
    if (graph.is_constant(id) && is_outer_constant(graph, id, around)) return name;
    return unused(name, around, taken);
  }

  WireWriter node_message(const Scope& scope, const Node& node, const std::string& name) {
    WireWriter message;
    auto name_of_value = [&](ValueId id) { return id == kNone ? std::string() : scope.names.at(id); };
    for (ValueId input : node.inputs) message.bytes(1, name_of_value(input));
    for (ValueId output : node.outputs) message.bytes(2, name_of_value(output));
    message.name(3, name);
    message.bytes(4, node.op->name());
    message.name(7, node.op->domain());
    for (const auto& [key, value] : node.attributes) message.message(5, attribute_message(key, value));
    for (const Body& body : node.bodies) {
      WireWriter attribute;
      attribute.bytes(1, body.attribute);
      attribute.message(6, write(*body.graph, "", &scope, body.captures));
      attribute.number(20, 5);
      message.message(5, attribute);
    }
    return message;
  }

  WeightFile* weights_;
};

// What is written: the graph itself, or a lowered copy.
struct Written {
  Written(const Graph& graph, const ModelInfo& info, const ExportOptions& options) : graph(&graph) {
    const auto own = info.opset_imports.find("");
    if (options.opset) {
      lowered = graph.clone();
      opsets = lower_for_export(*lowered, info.opset_imports, *options.opset);
      this->graph = lowered.get();
      ir_version = ir_version_of(*options.opset);
      if (opsets.count(kMlDomain) != 0) ir_version = std::max(ir_version, ir_version_of_ml(opsets.at(kMlDomain)));
    } else {
      collect_opsets(graph, info.opset_imports, opsets);
      int64_t& opset = opsets[""];
      opset = std::max<int64_t>({opset, own == info.opset_imports.end() ? 0 : own->second, kOldestExportOpset});
      ir_version = std::max<int64_t>(
          {ir_version_of(opset), kMinIrVersion, std::min<int64_t>(info.ir_version, kNewestIrVersion)});
    }
  }

  const Graph* graph;
  std::unique_ptr<Graph> lowered;
  Opsets opsets;
  int64_t ir_version = 0;
};

WireWriter model_message(const Written& model, const ModelInfo& info, WeightFile* weights) {
  WireWriter message;
  message.number(1, model.ir_version);
  message.name(2, info.producer_name.empty() ? "sardonyx" : info.producer_name);
  message.name(3, info.producer_version);
  message.name(4, info.domain);
  if (info.model_version) message.number(5, *info.model_version);
  message.name(6, info.doc);
  message.message(7, GraphWriter(weights).write(*model.graph, info.graph_doc, nullptr, {}));
  for (const auto& [domain, version] : model.opsets) {
    WireWriter entry;
    entry.bytes(1, domain);
    entry.number(2, version);
    message.message(8, entry);
  }
  for (const auto& [key, value] : info.metadata) {
    WireWriter entry;
    entry.bytes(1, key);
    entry.bytes(2, value);
    message.message(14, entry);
  }
  return message;
}

// A file written under another name and given its own once complete; removed when it does not get so far.
class NewFile {
 public:
  explicit NewFile(const std::string& path) : path_(path), draft_(join(path, ".", ::getpid(), ".tmp")) {
    struct stat there{};
    const bool other = ::stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode);
    SX_REQUIRE(!other, kFail, "cannot write '", path, "': it is ", S_ISDIR(there.st_mode) ? "a folder" : "a device",
               "; the path of a file expected");
    file_ = ::open(draft_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    const int reason = errno;
    SX_REQUIRE(file_ >= 0, kFail, "cannot write '", path, "': ", std::strerror(reason));
  }
  ~NewFile() {
    if (file_ >= 0) ::close(file_);
    if (!draft_.empty()) ::unlink(draft_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::string_view bytes) {
    size_ += bytes.size();
    while (!bytes.empty()) {
      const ssize_t written = ::write(file_, bytes.data(), bytes.size());
      const int reason = errno;
      if (written < 0 && reason == EINTR) continue;
      SX_REQUIRE(written > 0, kFail, "cannot write '", path_, "': ", std::strerror(reason));
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }
  size_t size() const { return size_; }
  void finish() {
    const int closed = ::close(file_);
    file_ = -1;
    const bool renamed = closed == 0 && ::rename(draft_.c_str(), path_.c_str()) == 0;
    const int reason = errno;
    SX_REQUIRE(renamed, kFail, "cannot write '", path_, "': ", std::strerror(reason));
    draft_.clear();
  }

 private:
  std::string path_;
  std::string draft_;
  int file_ = -1;
  size_t size_ = 0;
};

class DataFile : public WeightFile {
 public:
  explicit DataFile(const std::string& model_path) : file_(model_path + ".data") {
    const size_t slash = model_path.rfind('/');
    location_ = (slash == std::string::npos ? model_path : model_path.substr(slash + 1)) + ".data";
  }
  size_t add(std::string_view bytes) override {
    const size_t padding = (kAlignment - file_.size() % kAlignment) % kAlignment;
    file_.write(std::string(padding, '\0'));
    const size_t offset = file_.size();
    file_.write(bytes);
    return offset;
  }
  const std::string& location() const override { return location_; }
  void finish() { file_.finish(); }

 private:
  NewFile file_;
  std::string location_;
};

}  // namespace

std::string export_bytes(const Graph& graph, const ModelInfo& info, const ExportOptions& options) {
  const Written written(graph, info, options);
  const WireWriter message = model_message(written, info, nullptr);
  SX_REQUIRE(message.size() < kMessageLimit, kInvalidArgument, "the model has ", message.size() >> 20,
             " MiB; as bytes it may have less than 2 GB: save it to a file, which keeps weights in a second one");
  std::string bytes;
  bytes.reserve(message.size());
  message.write([&](std::string_view part) { bytes.append(part); });
  return bytes;
}

void export_file(const Graph& graph, const ModelInfo& info, const std::string& path, const ExportOptions& options) {
  const Written written(graph, info, options);
  std::unique_ptr<DataFile> weights;
  if (options.external_data || weight_bytes(graph) > kInsideLimit) weights = std::make_unique<DataFile>(path);
  const WireWriter message = model_message(written, info, weights.get());
  NewFile model(path);
  message.write([&](std::string_view part) { model.write(part); });
  if (weights) weights->finish();
  model.finish();
}

}  // namespace sx
