// The Python module sardonyx._core.
#include <google/protobuf/stubs/common.h>
#include <pybind11/pybind11.h>

#include "bindings/bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ core of Sardonyx; use the sardonyx package instead.";
  module.attr("__version__") = SARDONYX_VERSION;
  module.attr("protobuf_version") = google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION);
  sx::bind_errors(module);
  sx::bind_value(module);
  sx::bind_session(module);
}
