// C++ errors become the exception classes of sardonyx.errors.
#include <exception>

#include "base/error.h"
#include "bindings/bindings.h"

namespace sx {
namespace {

namespace py = pybind11;

const char* class_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFail: return "Fail";
    case ErrorKind::kInvalidArgument: return "InvalidArgument";
    case ErrorKind::kNoSuchFile: return "NoSuchFile";
    case ErrorKind::kNoModel: return "NoModel";
    case ErrorKind::kRuntimeException: return "RuntimeException";
    case ErrorKind::kInvalidProtobuf: return "InvalidProtobuf";
    case ErrorKind::kNotImplemented: return "NotImplemented";
    case ErrorKind::kInvalidGraph: return "InvalidGraph";
    case ErrorKind::kTerminated: return "Terminated";
    case ErrorKind::kDeadlineExceeded: return "DeadlineExceeded";
  }
  return "Fail";
}

}  // namespace

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      const py::object raised = py::module_::import("sardonyx.errors").attr(class_of(error.kind()));
      PyObject* text = PyUnicode_DecodeUTF8(error.what(), static_cast<Py_ssize_t>(std::string(error.what()).size()), "replace");
      PyErr_SetObject(raised.ptr(), text);
      Py_XDECREF(text);
    }
  });
}

}  // namespace sx
