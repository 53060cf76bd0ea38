// The registry as data: what each operator takes, gives and can do.
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "ops/registry.h"

namespace sx {

namespace py = pybind11;

namespace {

const char* presence_name(PortSpec::Presence presence) {
  switch (presence) {
    case PortSpec::Presence::kRequired: return "required";
    case PortSpec::Presence::kOptional: return "optional";
    default: return "variadic";
  }
}

py::list rows_of(const std::vector<PortSpec>& ports) {
  py::list rows;
  for (const PortSpec& port : ports) {
    py::list types;
    for (int i = 1; i < kDTypeCount; ++i)
      if (port.types.has(static_cast<DType>(i))) types.append(name_of(static_cast<DType>(i)));
    py::dict row;
    row["name"] = port.name;
    row["variable"] = port.variable;
    row["types"] = types;
    row["presence"] = presence_name(port.presence);
    row["any_kind"] = port.any_kind;
    rows.append(row);
  }
  return rows;
}

// Whether some output can hold floating-point numbers.
bool gives_floats(const OpDef& op) {
  for (const PortSpec& output : op.outputs()) {
    DTypeSet types = output.types;
    for (const PortSpec& input : op.inputs())
      if (!output.variable.empty() && input.variable == output.variable) types = input.types;
    for (int i = 1; i < kDTypeCount; ++i)
      if (is_float(static_cast<DType>(i)) && types.has(static_cast<DType>(i))) return true;
  }
  return false;
}

const char* gradient_of(const OpDef& op) {
  if (op.gradient_function()) return "rule";
  // Becomes other operators when a model is read.
  if (!op.kernel_factory()) return "imported";
  return op.has_zero_gradient() || !gives_floats(op) ? "zero" : "none";
}

py::list operators() {
  py::list rows;
  for (const OpDef* op : all_ops()) {
    py::list attributes;
    for (const AttrSpec& attr : op->attrs()) attributes.append(attr.name);
    py::dict row;
    row["name"] = op->name();
    row["domain"] = op->domain();
    row["first_version"] = op->first_version();
    row["since_version"] = op->since_version();
    row["attributes"] = attributes;
    row["inputs"] = rows_of(op->inputs());
    row["outputs"] = rows_of(op->outputs());
    row["gradient"] = gradient_of(*op);
    row["gradient_note"] = op->no_gradient_reason() ? py::cast(op->no_gradient_reason()) : py::none();
    rows.append(row);
  }
  return rows;
}

}  // namespace

void bind_operators(py::module_& module) {
  module.def("operators", &operators, "Every operator of the registry, ordered by domain and name.");
}

}  // namespace sx
