// The core of InferenceSession: loading, checked feeds, runs without the GIL, reports and profiles.
#include "plan/session.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "base/suggest.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/reports.h"
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
    for (const PortInfo& port : inputs) input_names_.push_back(str_from(port.name));
    for (const PortInfo& port : outputs) output_names_.push_back(str_from(port.name));
  }
  BoundSession(const BoundSession&) = delete;
  BoundSession& operator=(const BoundSession&) = delete;

  using Feeds = std::vector<std::pair<std::string, Datum>>;

  // What a run must be told to fetch: nothing where `names` is None, or all outputs in their order.
  std::vector<std::string> fetches_of(const py::object& names) const {
    if (names.is_none()) return {};
    SX_REQUIRE(!PyUnicode_Check(names.ptr()), kInvalidArgument,
               "output_names is a list of names, got a string; write ['", names.cast<std::string>(), "']");
    const py::tuple given(names);
    bool all = given.size() == outputs.size();
    for (size_t k = 0; all && k < outputs.size(); ++k) all = py::handle(output_names_[k]).equal(given[k]);
    std::vector<std::string> fetches;
    if (all) return fetches;
    for (const py::handle name : given) {
      if (!PyUnicode_Check(name.ptr()))
        throw py::type_error(join("output_names holds names, got a ", Py_TYPE(name.ptr())->tp_name));
      fetches.push_back(name.cast<std::string>());
    }
    return fetches;
  }

  // Fills `values` with the inputs in their order where `feeds` is a dict of them and of nothing else.
  bool inputs_of(const py::object& feeds, std::vector<Datum>& values) const {
    if (!PyDict_Check(feeds.ptr()) || static_cast<size_t>(PyDict_Size(feeds.ptr())) != inputs.size()) return false;
    values.reserve(inputs.size());
    for (size_t k = 0; k < inputs.size(); ++k) {
      PyObject* value = PyDict_GetItemWithError(feeds.ptr(), input_names_[k].ptr());
      if (value == nullptr) {
        if (PyErr_Occurred() != nullptr) throw py::error_already_set();
        return false;
      }
      values.push_back(datum_from_object(inputs[k].name, inputs[k].type, value));
    }
    return true;
  }

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

  std::vector<Datum> run(const py::object& names, const py::object& feeds, CancelFlag* cancel, double timeout_s) {
    const std::vector<std::string> fetches = fetches_of(names);
    std::vector<Datum> values;  // kept to the end: feeds must be let go while the GIL is held
    if (fetches.empty() && inputs_of(feeds, values)) return run(values, cancel, timeout_s);
    return run(fetches, feeds_of(feeds), cancel, timeout_s);
  }

  // All outputs for all inputs in their order.
  std::vector<Datum> run(const std::vector<Datum>& values, CancelFlag* cancel, double timeout_s) {
    const py::gil_scoped_release release;
    return session->run_inputs(values, config_of(cancel, timeout_s));
  }

  std::vector<Datum> run(const std::vector<std::string>& names, const Feeds& feeds, CancelFlag* cancel,
                         double timeout_s) {
    const py::gil_scoped_release release;
    return session->run(names, feeds, config_of(cancel, timeout_s));
  }

  void add_absent_optionals(Feeds& feeds) const {
    for (const PortInfo& port : inputs) {
      if (port.type.kind != Type::Kind::kOptional) continue;
      bool given = false;
      for (const auto& feed : feeds) given = given || feed.first == port.name;
      if (!given) feeds.emplace_back(port.name, Datum());
    }
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

  static RunConfig config_of(CancelFlag* cancel, double timeout_s) {
    RunConfig config;
    if (cancel != nullptr) config.terminate = &cancel->set;
    config.timeout_seconds = timeout_s;
    return config;
  }

  std::unordered_map<std::string, const PortInfo*> by_name_;
  std::vector<py::object> input_names_, output_names_;
};

// The core of IOBinding: values by the names of a session's inputs and outputs.
class Binding {
 public:
  explicit Binding(BoundSession& session) : session_(session) {}

  void bind_input(const std::string& name, const HostValue& value) {
    const auto same = [&](const auto& feed) { return feed.first == name; };
    const auto found = std::find_if(feeds_.begin(), feeds_.end(), same);
    if (found == feeds_.end()) feeds_.emplace_back(name, value.datum);
    else found->second = value.datum;
    in_order_.clear();
  }

  // A target is a tensor that the output is written to, or none.
  void bind_output(const std::string& name, const HostValue* target) {
    const size_t at = static_cast<size_t>(std::find(names_.begin(), names_.end(), name) - names_.begin());
    if (at == names_.size()) {
      names_.push_back(name);
      targets_.emplace_back();
    }
    targets_[at] = target == nullptr ? Datum() : target->datum;
    all_outputs_ = names_.size() == session_.outputs.size();
    for (size_t k = 0; all_outputs_ && k < names_.size(); ++k) all_outputs_ = names_[k] == session_.outputs[k].name;
  }

  void clear_inputs() {
    feeds_.clear();
    in_order_.clear();
  }

  void clear_outputs() {
    names_.clear();
    targets_.clear();
    results_.clear();
  }

  void run(CancelFlag* cancel, double timeout_s) {
    SX_REQUIRE(!names_.empty(), kInvalidArgument, "no output is bound; call bind_output(name) first");
    if (all_outputs_ && in_order()) {
      results_ = session_.run(in_order_, cancel, timeout_s);
    } else {
      BoundSession::Feeds feeds = feeds_;
      session_.add_absent_optionals(feeds);
      results_ = session_.run(names_, feeds, cancel, timeout_s);
    }
    for (size_t k = 0; k < results_.size(); ++k) {
      if (targets_[k].kind == Datum::Kind::kNone) continue;
      copy_into(HostValue{targets_[k]}, HostValue{results_[k]});
      results_[k] = targets_[k];
    }
  }

  py::list results() const {
    py::list list;
    for (const Datum& result : results_) list.append(HostValue{result});
    return list;
  }

 private:
  // Whether every input is bound and nothing else; in_order_ holds them then.
  bool in_order() {
    if (feeds_.size() != session_.inputs.size()) return false;
    if (in_order_.size() == feeds_.size()) return true;
    in_order_.clear();
    for (const PortInfo& port : session_.inputs)
      for (const auto& feed : feeds_)
        if (feed.first == port.name) in_order_.push_back(feed.second);
    return in_order_.size() == feeds_.size();
  }

  BoundSession& session_;
  BoundSession::Feeds feeds_;
  std::vector<Datum> in_order_;
  std::vector<std::string> names_;
  std::vector<Datum> targets_;
  std::vector<Datum> results_;
  bool all_outputs_ = false;
};

std::unique_ptr<BoundSession> load_file(const std::string& path, const py::dict& options) {
  const SessionConfig config = config_from(options);
  std::shared_ptr<Session> session;
  {
    const py::gil_scoped_release release;
    session = Session::from_file(path, config);
  }
  return std::make_unique<BoundSession>(std::move(session));
}

std::unique_ptr<BoundSession> load_bytes(const py::bytes& model, const py::dict& options) {
  const SessionConfig config = config_from(options);
  const auto view = static_cast<std::string_view>(model);
  std::shared_ptr<Session> session;
  {
    const py::gil_scoped_release release;
    session = Session::from_bytes(view, config);
  }
  return std::make_unique<BoundSession>(std::move(session));
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

py::list run_to_arrays(BoundSession& self, const py::object& outputs, const py::object& feeds, CancelFlag* cancel,
                       double timeout_s) {
  std::vector<Datum> results = self.run(outputs, feeds, cancel, timeout_s);
  py::list list(results.size());
  size_t at = 0;
  const auto out_of_memory = [&] {
    const std::vector<std::string> names = self.fetches_of(outputs);
    fail(ErrorKind::kRuntimeException, "output '", names.empty() ? self.outputs[at].name : names[at],
         "' needs more memory as a Python object than there is");
  };
  try {
    for (; at < results.size(); ++at) {
      py::object object = object_from_result(std::move(results[at]));
      PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(at), object.release().ptr());
    }
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_MemoryError)) throw;
    out_of_memory();
  } catch (const std::bad_alloc&) {
    PyErr_Clear();
    out_of_memory();
  }
  return list;
}

py::list run_to_values(BoundSession& self, const py::object& outputs, const py::object& feeds, CancelFlag* cancel,
                       double timeout_s) {
  py::list list;
  for (Datum& result : self.run(outputs, feeds, cancel, timeout_s)) list.append(HostValue{std::move(result)});
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
      .def("explain", [](const BoundSession& self) { return explain_to_python(self.session->explain()); })
      .def(
          "save_optimized",
          [](const BoundSession& self, const std::string& path) {
            const py::gil_scoped_release release;
            export_file(self.session->optimized(), self.session->model(), path);
          },
          py::arg("path"))
      .def(
          "set_profiling", [](BoundSession& self, bool on) { self.session->set_profiling(on); }, py::arg("on"))
      .def("take_profile", [](BoundSession& self) { return profile_to_python(self.session->take_profile()); });
  py::class_<Binding>(module, "Binding")
      .def(py::init<BoundSession&>(), py::arg("session"), py::keep_alive<1, 2>())
      .def("bind_input", &Binding::bind_input, py::arg("name"), py::arg("value"))
      .def("bind_output", &Binding::bind_output, py::arg("name"), py::arg("target") = nullptr)
      .def("clear_inputs", &Binding::clear_inputs)
      .def("clear_outputs", &Binding::clear_outputs)
      .def("run", &Binding::run, py::arg("cancel") = nullptr, py::arg("timeout_s") = 0.0)
      .def("results", &Binding::results);
  module.def("set_random_seed", &set_random_seed, py::arg("seed"));
  module.def("random_state", [] {
    const RandomState state = random_state();
    return std::make_pair(state.seed, state.streams);
  });
  module.def(
      "set_random_state", [](uint64_t seed, uint64_t streams) { set_random_state({seed, streams}); }, py::arg("seed"),
      py::arg("streams"));
  module.def("check_file", &check_file, py::arg("path"));
  module.def("check_bytes", &check_bytes, py::arg("model"));
}

}  // namespace sx
