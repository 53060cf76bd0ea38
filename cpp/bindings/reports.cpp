// What sessions and programs share at the border to Python: options in, descriptions and reports out.
#include "bindings/reports.h"

#include <pybind11/stl.h>

#include <memory>

#include "bindings/convert.h"
#include "bindings/user_op.h"

namespace sx {

SessionConfig config_from(const py::dict& options) {
  SessionConfig config;
  const int level = options["optimization_level"].cast<int>();
  constexpr int kLayout = 3;  // GraphOptimizationLevel.ORT_ENABLE_LAYOUT
  config.optimization = level == 0        ? Optimization::kNone
                        : level < kLayout ? Optimization::kSimplify
                                          : Optimization::kLower;
  config.threads = options["threads"].cast<int>();
  config.profile = options["profiling"].cast<bool>();
  const auto precision = options["precision"].cast<std::string>();
  config.lower.precision = precision == "bf16"  ? Precision::kBf16
                           : precision == "f16" ? Precision::kF16
                                                : Precision::kF32;
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

py::list ports_to_python(const std::vector<PortInfo>& ports) {
  py::list list;
  for (const PortInfo& port : ports)
    list.append(py::make_tuple(port.name, session_type_name(port.type),
                               port.type.shape ? py::object(dims_to_python(*port.type.shape)) : py::none()));
  return list;
}

py::list explain_to_python(const std::vector<PassEvent>& events) {
  py::list list;
  for (const PassEvent& event : events) {
    py::dict row;
    row["name"] = event.pass;
    row["node"] = event.node;
    row["fired"] = event.outcome.kind == Outcome::Kind::kFired;
    row["reason"] = event.outcome.reason;
    list.append(row);
  }
  return list;
}

py::list profile_to_python(const std::vector<ProfileEvent>& events) {
  py::list list;
  for (const ProfileEvent& event : events) {
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

}  // namespace sx
