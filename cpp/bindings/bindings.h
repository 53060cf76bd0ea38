// One function per exposed class; module.cpp calls them in order.
#pragma once

#include <pybind11/pybind11.h>

namespace sx {

void bind_errors(pybind11::module_& module);
void bind_value(pybind11::module_& module);
void bind_session(pybind11::module_& module);

}  // namespace sx
