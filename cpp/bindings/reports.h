// What sessions and programs share at the border to Python: options in, descriptions and reports out.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "plan/session.h"

namespace sx {

namespace py = pybind11;

SessionConfig config_from(const py::dict& options);
// (name, type, shape) each.
py::list ports_to_python(const std::vector<PortInfo>& ports);
py::list explain_to_python(const std::vector<PassEvent>& events);
py::list profile_to_python(const std::vector<ProfileEvent>& events);

}  // namespace sx
