// The Python module sardonyx._core.
#include <pybind11/pybind11.h>

#include "bindings/bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ core of Sardonyx; use the sardonyx package instead.";
  module.attr("__version__") = SARDONYX_VERSION;
  sx::bind_errors(module);
  sx::bind_value(module);
  sx::bind_user_ops(module);
  sx::bind_session(module);
  sx::bind_program(module);
  sx::bind_operators(module);
  sx::bind_export(module);
}
