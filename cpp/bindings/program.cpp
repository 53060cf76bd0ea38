// Programs and the variables that they keep.
#include "plan/program.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/reports.h"

namespace sx {
namespace {

using Bindings = std::vector<std::tuple<std::string, std::shared_ptr<Variable>, std::string>>;

std::unique_ptr<Program> make_program(const py::bytes& model, const Bindings& bindings, const py::dict& options,
                                      const std::optional<std::vector<std::string>>& differentiated,
                                      const std::optional<std::vector<std::string>>& kept) {
  const SessionConfig config = config_from(options);
  std::optional<Recompute> recompute;
  if (differentiated) recompute = Recompute{*differentiated, !kept, kept.value_or(std::vector<std::string>())};
  std::vector<Binding> bound;
  for (const auto& [input, variable, update] : bindings) bound.push_back({input, variable, update});
  const auto view = static_cast<std::string_view>(model);
  const py::gil_scoped_release release;
  return std::make_unique<Program>(import_bytes(view, config.import), std::move(bound), config, std::move(recompute));
}

// `feeds` are in the order of inputs().
py::list run_program(Program& program, const py::sequence& feeds) {
  const std::vector<PortInfo>& inputs = program.inputs();
  SX_REQUIRE(feeds.size() == inputs.size(), kInvalidArgument, "got ", feeds.size(), " values for ", inputs.size(),
             " inputs");
  std::vector<std::pair<std::string, Datum>> given;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const py::object value = feeds[i];
    given.emplace_back(inputs[i].name, datum_from_object(inputs[i].name, inputs[i].type, value));
  }
  std::vector<Datum> results;
  {
    const py::gil_scoped_release release;
    results = program.run(given, RunConfig());
  }
  py::list list(results.size());
  for (size_t i = 0; i < results.size(); ++i) list[i] = object_from_result(std::move(results[i]));
  return list;
}

}  // namespace

void bind_program(py::module_& module) {
  py::class_<Variable, std::shared_ptr<Variable>>(module, "Variable")
      .def(py::init([](const py::array& value) { return std::make_shared<Variable>(tensor_from_array(value)); }),
           py::arg("value"))
      .def("get", [](const Variable& self) { return array_from_tensor(self.copy()); })
      .def(
          "set", [](Variable& self, const py::array& value) { self.assign(tensor_from_array(value)); },
          py::arg("value"))
      .def_property_readonly("dtype", [](const Variable& self) { return numpy_dtype(self.dtype()); })
      .def_property_readonly("shape", [](const Variable& self) {
        const Shape shape = self.shape();
        py::tuple extents(static_cast<size_t>(shape.rank()));
        for (int axis = 0; axis < shape.rank(); ++axis) extents[static_cast<size_t>(axis)] = shape[axis];
        return extents;
      });
  py::class_<Program>(module, "Program")
      .def(py::init(&make_program), py::arg("model"), py::arg("bindings"), py::arg("options"),
           py::arg("differentiated") = py::none(), py::arg("kept") = py::none())
      .def("inputs", [](const Program& self) { return ports_to_python(self.inputs()); })
      .def("outputs", [](const Program& self) { return ports_to_python(self.outputs()); })
      .def("run", &run_program, py::arg("feeds"))
      .def("planned_bytes", &Program::planned_bytes)
      .def("explain", [](const Program& self) { return explain_to_python(self.explain()); })
      .def(
          "set_profiling", [](Program& self, bool on) { self.set_profiling(on); }, py::arg("on"))
      .def("take_profile", [](Program& self) { return profile_to_python(self.take_profile()); });
}

}  // namespace sx
