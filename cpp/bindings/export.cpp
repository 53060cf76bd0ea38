// Models in, models out: what `sardonyx.export` binds.
#include "onnx/exporter.h"

#include <pybind11/stl.h>

#include <optional>

#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "onnx/importer.h"
#include "passes/dynamic_batch.h"
#include "passes/pipeline.h"

namespace sx {
namespace {

struct ExportRequest {
  ImportOptions import;
  ExportOptions write;
  bool simplify = false;
  std::optional<std::string> batch;  // the symbol asked for; empty: any
};

ExportRequest request_from(const py::dict& options) {
  ExportRequest request;
  request.write.opset = options["opset"].cast<std::optional<int>>();
  request.write.external_data = options["external_data"].cast<bool>();
  request.simplify = options["simplify"].cast<bool>();
  request.batch = options["dynamic_batch"].cast<std::optional<std::string>>();
  return request;
}

std::optional<DynamicBatch> prepare(ImportedModel& model, const ExportRequest& request) {
  std::optional<DynamicBatch> batch;
  if (request.batch) batch = make_batch_dynamic(*model.graph, *request.batch);
  if (request.simplify) {
    PassLog log;
    simplify(*model.graph, log);
  }
  return batch;
}

py::object to_python(const std::optional<DynamicBatch>& batch) {
  if (!batch) return py::none();
  py::dict row;
  row["symbol"] = batch->symbol;
  row["was"] = batch->was;
  row["repaired"] = batch->repaired;
  return row;
}

// Reads the model from `source`, a path or bytes, and writes it to `path`, or gives it back as bytes where there is
// none; then what was done for a batch of any size.
py::tuple export_model(const py::object& source, const std::optional<std::string>& path, const py::dict& options) {
  const ExportRequest request = request_from(options);
  const bool from_bytes = py::isinstance<py::bytes>(source);
  const auto given = source.cast<std::string_view>();  // of the object's own memory
  std::optional<DynamicBatch> batch;
  std::string bytes;
  {
    const py::gil_scoped_release release;
    ImportedModel model =
        from_bytes ? import_bytes(given, request.import) : import_file(std::string(given), request.import);
    batch = prepare(model, request);
    if (path) export_file(*model.graph, model, *path, request.write);
    else bytes = export_bytes(*model.graph, model, request.write);
  }
  return py::make_tuple(path ? py::object(py::none()) : py::object(py::bytes(bytes)), to_python(batch));
}

}  // namespace

void bind_export(py::module_& module) {
  module.def("export_model", &export_model, py::arg("source"), py::arg("path"), py::arg("options"));
}

}  // namespace sx
