// The Python module sardonyx._core.
#include <google/protobuf/stubs/common.h>
#include <pybind11/pybind11.h>

PYBIND11_MODULE(_core, module) {
  module.attr("__version__") = SARDONYX_VERSION;
  module.attr("protobuf_version") = google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION);
}
