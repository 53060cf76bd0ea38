// NumPy arrays and Python lists, dicts and strings to and from Tensor and Datum.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "ir/type.h"
#include "tensor/tensor.h"

namespace sx {

namespace py = pybind11;

// NumPy's dtype for an element type: ml_dtypes for the kinds that NumPy lacks, object for strings.
py::dtype numpy_dtype(DType dtype);
// kUndefined for a dtype that ONNX has no name for. Objects, str and bytes arrays are kString.
DType dtype_of_numpy(const py::dtype& dtype);

// The array as a tensor. C-contiguous aligned memory is shared and kept alive by the tensor; anything else is copied.
Tensor tensor_from_array(const py::array& array);
// An array over the tensor's memory, which the array keeps alive; strings become an object array of str.
py::array array_from_tensor(const Tensor& tensor, bool writeable = true);

// A run's result for the caller to own: memory that a session, a feed or another result still refers to is copied.
py::object object_from_result(Datum&& datum);
// A view of the datum: shares the memory.
py::object object_from_datum(const Datum& datum, bool writeable = true);

// What was fed under `name`, checked against `type`: arrays, objects with __dlpack__ or __array__, nested lists,
// scalars, dicts (maps), lists (sequences) and None (optionals). Throws InvalidArgument that names the input, what
// came and what is wanted.
Datum datum_from_object(const std::string& name, const Type& type, const py::handle& object);
// Without a wanted type: arrays, lists of arrays, dicts.
Datum datum_from_object(const py::handle& object);

// onnxruntime's spelling: tensor(float), seq(map(int64,tensor(float))), optional(tensor(string)).
std::string session_type_name(const Type& type);
std::string session_type_name(const Datum& datum);
// The type of such a name; throws InvalidArgument.
Type type_from_session_name(const std::string& name);
// [3, "N", None]; and back, with symbols taken from `known` by their names where they are there.
py::list dims_to_python(const SymShape& shape);
SymShape dims_from_python(const py::handle& dims, const std::vector<Dim>& known);
// A str, with surrogates for what is not UTF-8.
py::object str_from(const std::string& text);

}  // namespace sx
