// Reads a model, runs the builder over it and turns what was found wrong into one error.
#include "onnx/importer.h"

#include <algorithm>

#include "onnx/functions.h"
#include "onnx/graph_builder.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr size_t kShownLines = 60;
constexpr size_t kShownNodes = 20;  // of one operator

// What some other file begins with, to say so instead of "damaged".
const char* known_format(std::string_view bytes) {
  static const std::pair<std::string_view, const char*> kFormats[] = {
      {"version https://git-lfs", "a Git LFS pointer, not the model itself: fetch it with 'git lfs pull'"},
      {"PK\x03\x04", "a ZIP archive (perhaps a PyTorch file or a packed model)"},
      {"\x89PNG", "a PNG picture"},
      {"\x89HDF", "an HDF5 file (perhaps of Keras)"},
      {"\x1f\x8b", "a gzip archive"},
      {"<", "an HTML or XML page"},
      {"{", "JSON text"},
      {"%PDF", "a PDF document"},
      {"\x7f"
       "ELF",
       "a program or library"},
      {"ORTM", "in ONNX Runtime's own format"},
  };
  for (const auto& [magic, name] : kFormats)
    if (bytes.substr(0, magic.size()) == magic) return name;
  if (bytes.size() >= 8 && bytes.substr(4, 4) == "ORTM") return "in ONNX Runtime's own format";
  if (bytes.size() >= 8 && bytes.substr(4, 4) == "TFL3") return "a TensorFlow Lite model";
  return nullptr;
}

proto::Model decode(std::string_view bytes) {
  SX_REQUIRE(!bytes.empty(), kInvalidProtobuf, "it is empty");
  // '<' and '{' could begin a message, but not one that has a model's fields.
  const char* format = known_format(bytes);
  SX_REQUIRE(format == nullptr, kInvalidProtobuf, "it is ", format);
  proto::Model model = proto::decode_model(bytes);
  SX_REQUIRE(model.has_graph || model.ir_version != 0, kInvalidProtobuf,
             "it is no ONNX model: it has neither a graph nor an IR version");
  SX_REQUIRE(model.has_graph, kInvalidGraph, "it has no graph");
  return model;
}

void check_versions(const proto::Model& model, std::vector<Problem>& problems) {
  auto problem = [&](ErrorKind kind, const std::string& text) { problems.push_back({kind, "", text}); };
  if (model.ir_version < 1)
    problem(ErrorKind::kInvalidGraph, join("the model has the IR version ", model.ir_version, "; 1 or more expected"));
  if (model.ir_version > kNewestIrVersion)
    problem(ErrorKind::kNotImplemented,
            join("the model has the IR version ", model.ir_version, "; this release reads up to ", kNewestIrVersion,
                 ": save the model for an older one, or update this package"));
  const std::map<std::string, int64_t> newest = {{"", kNewestOpset},
                                                 {"ai.onnx.ml", kNewestMlOpset},
                                                 {"ai.onnx.training", 1},
                                                 {"ai.onnx.preview", 1},
                                                 {"ai.onnx.preview.training", 1}};
  for (const auto& [domain, version] : model.opsets) {
    const std::string shown = domain.empty() ? "ai.onnx" : domain;
    auto limit = newest.find(domain);
    if (limit != newest.end() && version > limit->second)
      problem(ErrorKind::kNotImplemented,
              join("the model uses opset ", version, " of ", shown, "; this release knows up to ", limit->second,
                   ": convert the model to that opset, or update this package"));
    if (limit != newest.end() && version < 1)
      problem(ErrorKind::kInvalidGraph,
              join("the model imports opset ", version, " of ", shown, "; 1 or more expected"));
  }
}

// Extents by symbol: those given, and those that a denotation of an input gives to its symbol.
DimOverrides all_overrides(const proto::Graph& graph, const DimOverrides& given, std::vector<std::string>& warnings) {
  DimOverrides all = given;
  std::map<std::string, bool> seen_names, seen_denotations;
  for (const auto& input : graph.inputs) {
    for (const auto& dim : input.type.shape) {
      seen_names[dim.param] = seen_denotations[dim.denotation] = true;
      auto meant = given.by_denotation.find(dim.denotation);
      if (!dim.denotation.empty() && meant != given.by_denotation.end() && !dim.param.empty())
        all.by_name.emplace(dim.param, meant->second);
    }
  }
  for (const auto& entry : given.by_name)
    if (seen_names.count(entry.first) == 0)
      warnings.push_back("the model's inputs have no dimension '" + entry.first +
                         "' to give a free dimension override to");
  for (const auto& entry : given.by_denotation)
    if (seen_denotations.count(entry.first) == 0)
      warnings.push_back("the model's inputs have no dimension of denotation '" + entry.first + "'");
  return all;
}

// One line for each problem, the nodes of an operator that is not supported in one.
std::vector<std::string> lines_of(const std::vector<Problem>& problems) {
  std::vector<std::string> lines;
  struct Group {
    size_t line;
    size_t nodes;
    std::string advice;
  };
  std::map<std::string, Group> groups;  // by operator
  for (const Problem& problem : problems) {
    if (problem.unsupported.empty()) {
      lines.push_back(problem.message);
      continue;
    }
    auto [group, added] = groups.emplace(problem.unsupported, Group{lines.size(), 0, problem.advice});
    if (added) {
      lines.push_back(problem.message);
    } else if (++group->second.nodes < kShownNodes) {
      lines[group->second.line] += ", also " + problem.where;
    }
  }
  for (const auto& entry : groups) {
    const Group& group = entry.second;
    if (group.nodes >= kShownNodes) lines[group.line] += join(" and ", group.nodes + 1 - kShownNodes, " more");
    lines[group.line] += group.advice;
  }
  return lines;
}

[[noreturn]] void fail_with(const std::vector<Problem>& problems) {
  if (problems.size() == 1) {
    if (problems[0].thrown) std::rethrow_exception(problems[0].thrown);
    fail(problems[0].kind, problems[0].message, problems[0].advice);
  }
  ErrorKind kind = problems[0].kind;
  for (const Problem& problem : problems)
    if (!problem.unsupported.empty()) kind = ErrorKind::kNotImplemented;
  const std::vector<std::string> lines = lines_of(problems);
  std::string text = join("the model has ", problems.size(), " problems:");
  for (size_t i = 0; i < lines.size() && i < kShownLines; ++i) text += "\n  " + lines[i];
  if (lines.size() > kShownLines) text += join("\n  ... and ", lines.size() - kShownLines, " more");
  fail(kind, text);
}

ImportedModel build(std::string_view bytes, ExternalData external, const MappedFile* file, const ImportOptions& options,
                    std::vector<Problem>& problems) {
  proto::Model model = decode(bytes);
  inline_functions(model);
  ImportedModel result;
  TensorReader tensors(std::move(external), file);
  ImportState state{options, model, tensors, all_overrides(model.graph, options.dims, result.warnings), {}, {}, {}, {}};
  check_versions(model, state.problems);
  GraphBuilder builder(state, model.graph, nullptr);
  builder.build();
  for (const auto& entry : options.initializers)
    if (state.replaced.count(entry.first) == 0)
      result.warnings.push_back("the model has no initializer '" + entry.first + "' to replace");
  result.graph = builder.take_graph();
  result.overridable = std::move(builder.overridable);
  result.input_types = std::move(builder.declared_inputs);
  result.output_types = std::move(builder.declared_outputs);
  result.ir_version = model.ir_version;
  result.opset_imports = model.opsets;
  result.producer_name = model.producer_name;
  result.producer_version = model.producer_version;
  result.domain = model.domain;
  result.model_version = model.model_version;
  result.doc = model.doc;
  result.graph_doc = model.graph.doc;
  result.metadata = model.metadata;
  result.user_ops = std::move(state.user_ops);
  problems = std::move(state.problems);
  return result;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

ImportedModel build_file(const std::string& path, const ImportOptions& options, std::vector<Problem>& problems) {
  const MappedFile file(std::make_shared<OpenFile>(path));
  try {
    return build(file.bytes(), ExternalData(options.external_folder.value_or(folder_of(path)), path), &file, options,
                 problems);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInvalidProtobuf) throw;
    fail(error.kind(), "'", path, "' cannot be read as an ONNX model: ", error.what());
  }
}

ImportedModel build_bytes(std::string_view bytes, const ImportOptions& options, std::vector<Problem>& problems) {
  ExternalData external = options.external_folder ? ExternalData(*options.external_folder, "") : ExternalData();
  try {
    return build(bytes, std::move(external), nullptr, options, problems);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInvalidProtobuf) throw;
    fail(error.kind(), "the bytes given cannot be read as an ONNX model: ", error.what());
  }
}

template <typename Build>
ImportedModel import_with(Build&& build) {
  std::vector<Problem> problems;
  ImportedModel model = build(problems);
  if (!problems.empty()) fail_with(problems);
  return model;
}

template <typename Build>
std::vector<Problem> problems_of(Build&& build) {
  std::vector<Problem> problems;
  try {
    build(problems);
  } catch (const Error& error) {
    problems.push_back({error.kind(), "", error.what()});
  }
  return problems;
}

}  // namespace

ImportedModel import_file(const std::string& path, const ImportOptions& options) {
  return import_with([&](std::vector<Problem>& problems) { return build_file(path, options, problems); });
}

ImportedModel import_bytes(std::string_view bytes, const ImportOptions& options) {
  return import_with([&](std::vector<Problem>& problems) { return build_bytes(bytes, options, problems); });
}

std::vector<Problem> check_model_problems(const std::string& path, const ImportOptions& options) {
  return problems_of([&](std::vector<Problem>& problems) { return build_file(path, options, problems); });
}

std::vector<Problem> check_model_bytes_problems(std::string_view bytes, const ImportOptions& options) {
  return problems_of([&](std::vector<Problem>& problems) { return build_bytes(bytes, options, problems); });
}

}  // namespace sx
