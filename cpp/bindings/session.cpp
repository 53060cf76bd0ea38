// The core of InferenceSession: loading, checked feeds, runs without the GIL, reports and profiles.
#include "plan/session.h"

#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "base/suggest.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/user_op.h"
#include "bindings/value.h"
#include "onnx/exporter.h"

namespace sx {
namespace {

// The flag behind RunOptions.terminate; may be set from any thread while runs are under way.
struct CancelFlag {
  std::atomic<bool> set{false};
};

// A loaded model with its ports by name, so that feeds are checked without asking the session again.
class BoundSession {
 public:
  explicit BoundSession(std::shared_ptr<Session> session)
      : session(std::move(session)),
        inputs(this->session->inputs()),
        outputs(this->session->outputs()),
        overridable(this->session->overridable()) {
    for (const auto* ports : {&inputs, &overridable}) {
      for (const PortInfo& port : *ports) by_name_.emplace(port.name, &port);
    }
  }
  BoundSession(const BoundSession&) = delete;
  BoundSession& operator=(const BoundSession&) = delete;

  using Feeds = std::vector<std::pair<std::string, Datum>>;

  // `feeds` is a dict of name to value, a list in the order of inputs(), or a single value for the only input.
  Feeds feeds_of(const py::object& feeds) const {
    Feeds result;
    if (PyDict_Check(feeds.ptr())) {
      for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(feeds)) add_named(result, key, value);
    } else if (py::isinstance<py::list>(feeds) || py::isinstance<py::tuple>(feeds)) {
      const auto list = py::reinterpret_borrow<py::sequence>(feeds);
      SX_REQUIRE(list.size() <= inputs.size(), kInvalidArgument, "got ", list.size(), " values for ", inputs.size(),
                 " inputs: ", names_of(inputs));
      for (size_t k = 0; k < list.size(); ++k) {
        const py::object value = list[k];
        result.emplace_back(inputs[k].name, datum_from_object(inputs[k].name, inputs[k].type, value));
      }
    } else if (py::hasattr(feeds, "items")) {
      for (const py::handle item : feeds.attr("items")()) {
        const auto pair = py::reinterpret_borrow<py::sequence>(item);
        add_named(result, pair[0], pair[1]);
      }
    } else {
      SX_REQUIRE(!inputs.empty(), kInvalidArgument, "the model has no inputs, got a ", Py_TYPE(feeds.ptr())->tp_name);
      SX_REQUIRE(!feeds.is_none(), kInvalidArgument, "no feeds given; the model needs ", names_of(inputs));
      result.emplace_back(inputs[0].name, datum_from_object(inputs[0].name, inputs[0].type, feeds));
    }
    add_absent_optionals(result);
    return result;
  }

  std::vector<Datum> run(const std::vector<std::string>& names, const Feeds& feeds, CancelFlag* cancel,
                         double timeout_s) {
    RunConfig config;
    if (cancel != nullptr) config.terminate = &cancel->set;
    config.timeout_seconds = timeout_s;
    const py::gil_scoped_release release;
    return session->run(names, feeds, config);
  }

  const std::shared_ptr<Session> session;
  const std::vector<PortInfo> inputs, outputs, overridable;

 private:
  static std::string names_of(const std::vector<PortInfo>& ports) {
    std::string text;
    for (const PortInfo& port : ports) text += (text.empty() ? "'" : ", '") + port.name + "'";
    return text.empty() ? "none" : text;
  }

  void add_named(Feeds& feeds, const py::handle& key, const py::handle& value) const {
    SX_REQUIRE(PyUnicode_Check(key.ptr()), kInvalidArgument, "feeds go by input name, got a key of type ",
               Py_TYPE(key.ptr())->tp_name, "; the inputs are ", names_of(inputs));
    const auto name = key.cast<std::string>();
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      std::vector<std::string> known;
      for (const auto& [known_name, port] : by_name_) known.push_back(known_name);
      fail(ErrorKind::kInvalidArgument, "Invalid input name: '", name, "'; the inputs are ", names_of(inputs),
           suggestion(name, known));
    }
    feeds.emplace_back(name, datum_from_object(name, found->second->type, value));
  }

  void add_absent_optionals(Feeds& feeds) const {
    for (const PortInfo& port : inputs) {
      if (port.type.kind != Type::Kind::kOptional) continue;
      bool given = false;
      for (const auto& feed : feeds) given = given || feed.first == port.name;
      if (!given) feeds.emplace_back(port.name, Datum());
    }
  }

  std::unordered_map<std::string, const PortInfo*> by_name_;
};

py::list ports_to_python(const std::vector<PortInfo>& ports) {
  py::list list;
  for (const PortInfo& port : ports)
    list.append(py::make_tuple(port.name, session_type_name(port.type),
                               port.type.shape ? dims_to_python(*port.type.shape) : py::list()));
  return list;
}

SessionConfig config_from(const py::dict& options) {
  SessionConfig config;
  const int level = options["optimization_level"].cast<int>();
  constexpr int kLayout = 3;  // GraphOptimizationLevel.ORT_ENABLE_LAYOUT
  config.optimization = level == 0        ? Optimization::kNone
                        : level < kLayout ? Optimization::kSimplify
                                          : Optimization::kLower;
  config.threads = options["threads"].cast<int>();
  config.profile = options["profiling"].cast<bool>();
  config.precision = options["precision"].cast<std::string>() == "bf16" ? Precision::kBf16 : Precision::kF32;
  config.lower.winograd = options["winograd"].cast<bool>();
  config.import.dims.by_name = options["free_dims"].cast<std::map<std::string, int64_t>>();
  config.import.dims.by_denotation = options["free_denotations"].cast<std::map<std::string, int64_t>>();
  const auto folder = options["external_folder"];
  if (!folder.is_none()) config.import.external_folder = folder.cast<std::string>();
  for (const auto& [name, value] : options["initializers"].cast<py::dict>()) {
    const auto key = name.cast<std::string>();
    config.import.initializers.emplace(key, datum_from_object(key, Type::tensor(DType::kUndefined), value).tensor);
  }
  const auto operators = options["operators"].cast<std::vector<std::shared_ptr<UserOp>>>();
  if (!operators.empty()) {
    auto own = std::make_shared<UserOps>();
    for (const auto& op : operators) own->add(op->def);
    config.import.operators = own;
  }
  return config;
}

std::unique_ptr<BoundSession> load_file(const std::string& path, const py::dict& options) {
  const SessionConfig config = config_from(options);
  const py::gil_scoped_release release;
  return std::make_unique<BoundSession>(Session::from_file(path, config));
}

std::unique_ptr<BoundSession> load_bytes(const py::bytes& model, const py::dict& options) {
  const SessionConfig config = config_from(options);
  const auto view = static_cast<std::string_view>(model);
  const py::gil_scoped_release release;
  return std::make_unique<BoundSession>(Session::from_bytes(view, config));
}

py::list problems_to_python(const std::vector<Problem>& problems) {
  py::list list;
  for (const Problem& problem : problems)
    list.append(py::make_tuple(error_class_name(problem.kind), problem.where, problem.message));
  return list;
}

py::list check_file(const std::string& path) {
  std::vector<Problem> problems;
  {
    const py::gil_scoped_release release;
    problems = check_model_problems(path);
  }
  return problems_to_python(problems);
}

py::list check_bytes(const py::bytes& model) {
  const auto view = static_cast<std::string_view>(model);
  std::vector<Problem> problems;
  {
    const py::gil_scoped_release release;
    problems = check_model_bytes_problems(view);
  }
  return problems_to_python(problems);
}

py::list run_to_arrays(BoundSession& self, const std::vector<std::string>& outputs, const py::object& feeds,
                       CancelFlag* cancel, double timeout_s) {
  const BoundSession::Feeds given = self.feeds_of(feeds);
  std::vector<Datum> results = self.run(outputs, given, cancel, timeout_s);
  py::list list(results.size());
  for (size_t k = 0; k < results.size(); ++k) list[k] = object_from_result(std::move(results[k]));
  return list;
}

py::list run_to_values(BoundSession& self, const std::vector<std::string>& outputs, const py::object& feeds,
                       CancelFlag* cancel, double timeout_s) {
  const BoundSession::Feeds given = self.feeds_of(feeds);
  py::list list;
  for (Datum& result : self.run(outputs, given, cancel, timeout_s)) list.append(HostValue{std::move(result)});
  return list;
}

py::dict info_of(const BoundSession& self) {
  const ImportedModel& model = self.session->model();
  py::dict result;
  result["producer_name"] = model.producer_name;
  result["producer_version"] = model.producer_version;
  result["domain"] = model.domain;
  result["description"] = model.doc;
  result["graph_name"] = model.graph->name;
  result["graph_description"] = model.graph_doc;
  result["version"] = model.model_version;
  result["ir_version"] = model.ir_version;
  result["metadata"] = model.metadata;
  result["opsets"] = model.opset_imports;
  result["warnings"] = model.warnings;
  return result;
}

py::list report_of(const BoundSession& self) {
  std::vector<NodeReport> report;
  {
    // The session's locks may be held by a run that waits for the GIL.
    const py::gil_scoped_release release;
    report = self.session->report();
  }
  py::list list;
  for (const NodeReport& node : report) {
    py::dict row;
    row["name"] = node.node;
    row["op"] = node.op;
    row["kernel"] = node.choice;
    list.append(row);
  }
  return list;
}

py::list explain(const BoundSession& self) {
  py::list list;
  for (const PassEvent& event : self.session->explain()) {
    py::dict row;
    row["name"] = event.pass;
    row["node"] = event.node;
    row["fired"] = event.outcome.kind == Outcome::Kind::kFired;
    row["reason"] = event.outcome.reason;
    list.append(row);
  }
  return list;
}

py::list profile_of(BoundSession& self) {
  py::list list;
  for (const ProfileEvent& event : self.session->take_profile()) {
    py::dict row;
    row["name"] = event.node;
    row["op"] = event.op;
    row["kernel"] = event.choice;
    row["start_us"] = event.start_us;
    row["duration_us"] = event.duration_us;
    row["bytes_read"] = event.bytes_read;
    row["bytes_written"] = event.bytes_written;
    row["input_types"] = event.input_types;
    row["output_types"] = event.output_types;
    list.append(row);
  }
  return list;
}

}  // namespace

void bind_session(py::module_& module) {
  py::class_<CancelFlag>(module, "CancelFlag")
      .def(py::init<>())
      .def_property(
          "set", [](const CancelFlag& flag) { return flag.set.load(); },
          [](CancelFlag& flag, bool value) { flag.set.store(value); });
  py::class_<BoundSession>(module, "Session")
      .def_static("from_file", &load_file, py::arg("path"), py::arg("options"))
      .def_static("from_bytes", &load_bytes, py::arg("model"), py::arg("options"))
      .def("inputs", [](const BoundSession& self) { return ports_to_python(self.inputs); })
      .def("outputs", [](const BoundSession& self) { return ports_to_python(self.outputs); })
      .def("overridable", [](const BoundSession& self) { return ports_to_python(self.overridable); })
      .def("run", &run_to_arrays, py::arg("outputs"), py::arg("feeds"), py::arg("cancel") = nullptr,
           py::arg("timeout_s") = 0.0)
      .def("run_values", &run_to_values, py::arg("outputs"), py::arg("feeds"), py::arg("cancel") = nullptr,
           py::arg("timeout_s") = 0.0)
      .def("info", &info_of)
      .def("report", &report_of)
      .def("explain", &explain)
      .def(
          "save_optimized",
          [](const BoundSession& self, const std::string& path) {
            const py::gil_scoped_release release;
            export_file(self.session->optimized(), self.session->model(), path);
          },
          py::arg("path"))
      .def(
          "set_profiling", [](BoundSession& self, bool on) { self.session->set_profiling(on); }, py::arg("on"))
      .def("take_profile", &profile_of);
  module.def("set_random_seed", &set_random_seed, py::arg("seed"));
  module.def("check_file", &check_file, py::arg("path"));
  module.def("check_bytes", &check_bytes, py::arg("model"));
}

}  // namespace sx
