// Models in, models out: what `sardonyx.export` binds.
#include "onnx/exporter.h"

#include <pybind11/stl.h>

#include <optional>

#include "base/error.h"
#include "bindings/bindings.h"
#include "onnx/importer.h"
#include "passes/pipeline.h"

namespace sx {
namespace {

struct ExportRequest {
  ImportOptions import;
  ExportOptions write;
  bool simplify = false;
};

ExportRequest request_from(const py::dict& options) {
  ExportRequest request;
  request.write.opset = options["opset"].cast<std::optional<int>>();
  request.write.external_data = options["external_data"].cast<bool>();
  request.simplify = options["simplify"].cast<bool>();
  return request;
}

void prepare(ImportedModel& model, const ExportRequest& request) {
  if (!request.simplify) return;
  PassLog log;
  simplify(*model.graph, log);
}

// Reads the model from `source`, a path or bytes, and writes it to `path`, or returns it as bytes where there is none.
std::optional<py::bytes> export_model(const py::object& source, const std::optional<std::string>& path,
                                      const py::dict& options) {
  const ExportRequest request = request_from(options);
  const bool from_bytes = py::isinstance<py::bytes>(source);
  const auto given = source.cast<std::string_view>();  // of the object's own memory
  std::string bytes;
  {
    const py::gil_scoped_release release;
    ImportedModel model = from_bytes ? import_bytes(given, request.import) : import_file(std::string(given), request.import);
    prepare(model, request);
    if (path) export_file(*model.graph, model, *path, request.write);
    else bytes = export_bytes(*model.graph, model, request.write);
  }
  if (path) return std::nullopt;
  return py::bytes(bytes);
}

}  // namespace

void bind_export(py::module_& module) {
  module.def("export_model", &export_model, py::arg("source"), py::arg("path"), py::arg("options"));
}

}  // namespace sx
