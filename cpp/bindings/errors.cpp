// C++ errors become the exception classes of sardonyx.errors.
#include <exception>
#include <string>

#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/python_error.h"

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

void throw_python_error(py::error_already_set& error, const std::string& what) {
  if (!error.matches(PyExc_Exception)) throw;
  const py::object exception = error.value();
  if (error.trace()) PyException_SetTraceback(exception.ptr(), error.trace().ptr());
  const std::string name = Py_TYPE(exception.ptr())->tp_name;
  const size_t dot = name.rfind('.');
  std::string text = py::str(exception);
  const bool ours = py::isinstance(exception, py::module_::import("sardonyx.errors").attr("Error"));
  if (!ours) text = name.substr(dot == std::string::npos ? 0 : dot + 1) + (text.empty() ? "" : ": " + text);
  throw PythonError(what + text, exception);
}

// Raises the error with its cause, as one of our classes: that of the cause where it is ours.
static void raise_caused(const PythonError& error) {
  const py::module_ errors = py::module_::import("sardonyx.errors");
  const bool ours = py::isinstance(error.cause(), errors.attr("Error"));
  const py::object raised = ours ? py::type::of(error.cause()) : errors.attr(error_class_name(error.kind()));
  const std::string message = error.what();
  PyObject* text = PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()), "replace");
  const py::object instance = raised(py::reinterpret_steal<py::object>(text));
  PyException_SetCause(instance.ptr(), error.cause().inc_ref().ptr());
  PyErr_SetObject(raised.ptr(), instance.ptr());
}

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const PythonError& error) {
      raise_caused(error);
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
