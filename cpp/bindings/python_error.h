// Errors that come from an exception of Python and keep it as their cause.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <utility>

#include "base/error.h"

namespace sx {

// A Python object that any thread may let go of.
class PythonObject {
 public:
  explicit PythonObject(pybind11::object object) : object_(object.release().ptr()) {}
  ~PythonObject() {
    if (!Py_IsInitialized()) return;
    const pybind11::gil_scoped_acquire gil;
    Py_XDECREF(object_);
  }
  PythonObject(const PythonObject&) = delete;
  PythonObject& operator=(const PythonObject&) = delete;

  pybind11::handle get() const { return object_; }  // needs the GIL to be of use

 private:
  PyObject* object_;
};

class PythonError : public Error {
 public:
  PythonError(const std::string& message, pybind11::object exception)
      : Error(ErrorKind::kFail, message), cause_(std::make_shared<PythonObject>(std::move(exception))) {}
  pybind11::handle cause() const { return cause_->get(); }

 private:
  std::shared_ptr<const PythonObject> cause_;
};

// Throws the exception that is being handled as a PythonError whose message begins with `what` and goes on with the
// exception's own; one that is no Exception (KeyboardInterrupt) as it is. Needs the GIL.
[[noreturn]] void throw_python_error(pybind11::error_already_set& error, const std::string& what);

}  // namespace sx
