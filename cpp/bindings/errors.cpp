// C++ errors become the exception classes of sardonyx.errors.
#include <exception>
#include <string>

#include "base/error.h"
#include "bindings/bindings.h"

namespace sx {

namespace py = pybind11;

const char* error_class_name(ErrorKind kind) {
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

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      const py::object raised = py::module_::import("sardonyx.errors").attr(error_class_name(error.kind()));
      const std::string message = error.what();
      PyObject* text = PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()), "replace");
      PyErr_SetObject(raised.ptr(), text);
      Py_XDECREF(text);
    }
  });
}

}  // namespace sx
