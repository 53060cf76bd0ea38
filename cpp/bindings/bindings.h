// One function per exposed class; module.cpp calls them in order.
#pragma once

#include <pybind11/pybind11.h>

#include "base/error.h"

namespace sx {

// The class of sardonyx.errors that stands for a kind.
const char* error_class_name(ErrorKind kind);

void bind_errors(pybind11::module_& module);
void bind_value(pybind11::module_& module);
void bind_user_ops(pybind11::module_& module);
void bind_session(pybind11::module_& module);
void bind_program(pybind11::module_& module);
void bind_operators(pybind11::module_& module);
void bind_export(pybind11::module_& module);

}  // namespace sx
