// Operators of users: made of Python functions, registered, listed.
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/user_op.h"
#include "ops/operator_library.h"

namespace sx {

namespace py = pybind11;

namespace {

using Ops = std::vector<std::shared_ptr<const OpDef>>;

// Loading runs code of the library, which may want the GIL on another thread.
Ops library_at(const std::string& path) {
  const py::gil_scoped_release release;
  return operators_of_library(path);
}

py::list rows_of(const Ops& ops) {
  py::list rows;
  for (const auto& op : ops) rows.append(py::make_tuple(op->domain(), op->name(), op->since_version()));
  return rows;
}

}  // namespace

void bind_user_ops(py::module_& module) {
  py::class_<UserOp, std::shared_ptr<UserOp>>(module, "Operator")
      .def(py::init([](const std::string& domain, const std::string& name, int version, const py::object& function,
                       const py::object& check, const py::object& infer, bool pure) {
             return std::make_shared<UserOp>(UserOp{python_op(domain, name, version, function, check, infer, pure)});
           }),
           py::arg("domain"), py::arg("name"), py::arg("version"), py::arg("function"), py::arg("check"),
           py::arg("infer"), py::arg("pure"))
      .def_property_readonly("domain", [](const UserOp& self) { return self.def->domain(); })
      .def_property_readonly("name", [](const UserOp& self) { return self.def->name(); })
      .def_property_readonly("version", [](const UserOp& self) { return self.def->since_version(); });
  module.def(
      "register_operator", [](const UserOp& op, bool replace) { process_ops().add(op.def, replace); },
      py::arg("operator"), py::arg("replace"));
  module.def(
      "unregister_operator",
      [](const std::string& domain, const std::string& name, int version) {
        return process_ops().remove(name, domain, version);
      },
      py::arg("domain"), py::arg("name"), py::arg("version"));
  module.def("registered_operators", [] { return rows_of(process_ops().all()); });
  module.def(
      "load_operators",
      [](const std::string& path) {
        const auto ops = library_at(path);
        process_ops().add(ops);
        return rows_of(ops);
      },
      py::arg("path"));
  module.def(
      "library_operators",
      [](const std::string& path) {
        std::vector<std::shared_ptr<UserOp>> ops;
        for (const auto& def : library_at(path)) ops.push_back(std::make_shared<UserOp>(UserOp{def}));
        return ops;
      },
      py::arg("path"));
}

}  // namespace sx
