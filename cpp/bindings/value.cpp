// The core of OrtValue: run-time values that live outside a run.
#include "bindings/value.h"

#include <pybind11/stl.h>

#include <cstring>

#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/dlpack.h"

namespace sx {
namespace {

const Tensor& tensor_of(const HostValue& value, const char* what) {
  SX_REQUIRE(value.datum.kind == Datum::Kind::kTensor, kInvalidArgument, what, " needs a tensor, this value is a ",
             session_type_name(value.datum));
  return value.datum.tensor;
}

HostValue zeros(const std::vector<int64_t>& dims, int onnx_type) {
  Tensor tensor(dtype_from_onnx(onnx_type), Shape(dims));
  if (tensor.dtype() != DType::kString && tensor.size() != 0) std::memset(tensor.raw(), 0, tensor.bytes());
  return HostValue{tensor};
}

// Somebody else's memory, which must outlive the value.
HostValue over_memory(uint64_t address, const std::vector<int64_t>& dims, int onnx_type) {
  const DType dtype = dtype_from_onnx(onnx_type);
  const Shape shape(dims);
  SX_REQUIRE(dtype != DType::kString, kInvalidArgument, "strings cannot be bound by address");
  SX_REQUIRE(address != 0 || shape.size() == 0, kInvalidArgument, "the buffer address is null");
  const auto bytes = static_cast<size_t>(checked_mul(shape.size(), static_cast<int64_t>(size_of(dtype))));
  return HostValue{Tensor(dtype, shape, Buffer::wrap(reinterpret_cast<void*>(address), bytes, [] {}))};
}

}  // namespace

void copy_into(const HostValue& target, const HostValue& source) {
  const Tensor& to = tensor_of(target, "copying");
  const Tensor& from = tensor_of(source, "copying");
  SX_REQUIRE(to.dtype() == from.dtype() && to.shape() == from.shape(), kInvalidArgument, "cannot copy ",
             session_type_name(Datum(from)), from.shape().str(), " into ", session_type_name(Datum(to)),
             to.shape().str());
  if (to.dtype() == DType::kString) {
    for (int64_t k = 0; k < to.size(); ++k) to.data<std::string>()[k] = from.data<std::string>()[k];
  } else if (to.size() != 0) {
    std::memmove(to.raw(), from.raw(), from.bytes());
  }
}

void bind_value(py::module_& module) {
  py::class_<HostValue>(module, "Value")
      .def_static("from_object", [](const py::object& object) { return HostValue{datum_from_object(object)}; })
      .def_static("zeros", &zeros, py::arg("shape"), py::arg("onnx_type"))
      .def_static("over_memory", &over_memory, py::arg("address"), py::arg("shape"), py::arg("onnx_type"))
      .def_static("from_dlpack", [](const py::capsule& capsule) { return HostValue{from_dlpack(capsule)}; })
      .def(
          "to_dlpack",
          [](const HostValue& value, bool versioned) { return to_dlpack(tensor_of(value, "DLPack"), versioned); },
          py::arg("versioned"))
      .def("numpy", [](const HostValue& value) { return array_from_tensor(tensor_of(value, "numpy()")); })
      .def("to_object", [](const HostValue& value) { return object_from_datum(value.datum); })
      .def("copy_from", &copy_into)
      .def("type_name", [](const HostValue& value) { return session_type_name(value.datum); })
      .def("kind",
           [](const HostValue& value) {
             constexpr const char* kNames[] = {"none", "tensor", "sequence", "map"};
             return kNames[static_cast<int>(value.datum.kind)];
           })
      .def("shape", [](const HostValue& value) { return tensor_of(value, "shape()").shape().vector(); })
      .def("onnx_type",
           [](const HostValue& value) { return static_cast<int>(tensor_of(value, "element_type()").dtype()); })
      .def("nbytes", [](const HostValue& value) { return tensor_of(value, "tensor_size_in_bytes()").bytes(); })
      .def("address", [](const HostValue& value) {
        const Tensor& tensor = tensor_of(value, "data_ptr()");
        SX_REQUIRE(tensor.dtype() != DType::kString, kInvalidArgument, "a string tensor has no plain memory");
        return reinterpret_cast<uint64_t>(tensor.raw());
      });
  module.def(
      "numpy_dtype", [](int onnx_type) { return numpy_dtype(dtype_from_onnx(onnx_type)); }, py::arg("onnx_type"));
  module.def(
      "onnx_type",
      [](const py::object& dtype) { return static_cast<int>(dtype_of_numpy(py::dtype::from_args(dtype))); },
      py::arg("dtype"));
}

}  // namespace sx
