// NumPy arrays and Python lists, dicts and strings to and from Tensor and Datum.
#include "bindings/convert.h"

#include <pybind11/gil_safe_call_once.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "bindings/dlpack.h"
#include "bindings/value.h"

namespace sx {
namespace {

constexpr int kFirstUserDType = 256;  // NumPy's NPY_USERDEF
// Results of at most this size and rank are copied into NumPy's memory.
constexpr size_t kCopiedBytes = 1024;
constexpr int kCopiedRank = 8;

struct DTypeRow {
  DType dtype;
  const char* name;
};
constexpr DTypeRow kNumpyNames[] = {
    {DType::kFloat32, "float32"}, {DType::kUInt8, "uint8"},         {DType::kInt8, "int8"},
    {DType::kUInt16, "uint16"},   {DType::kInt16, "int16"},         {DType::kInt32, "int32"},
    {DType::kInt64, "int64"},     {DType::kString, "object"},       {DType::kBool, "bool"},
    {DType::kFloat16, "float16"}, {DType::kFloat64, "float64"},     {DType::kUInt32, "uint32"},
    {DType::kUInt64, "uint64"},   {DType::kComplex64, "complex64"}, {DType::kComplex128, "complex128"},
};
constexpr DTypeRow kMlNames[] = {
    {DType::kBFloat16, "bfloat16"},
    {DType::kFloat8E4M3FN, "float8_e4m3fn"},
    {DType::kFloat8E4M3FNUZ, "float8_e4m3fnuz"},
    {DType::kFloat8E5M2, "float8_e5m2"},
    {DType::kFloat8E5M2FNUZ, "float8_e5m2fnuz"},
    {DType::kUInt4, "uint4"},
    {DType::kInt4, "int4"},
    {DType::kFloat4E2M1, "float4_e2m1fn"},
    {DType::kFloat8E8M0, "float8_e8m0fnu"},
    {DType::kUInt2, "uint2"},
    {DType::kInt2, "int2"},
    {DType::kFloat6E2M3, "float6_e2m3fn"},
    {DType::kFloat6E3M2, "float6_e3m2fn"},
};

using DTypeTable = std::array<py::object, kDTypeCount>;

const DTypeTable& numpy_table() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<DTypeTable> storage;
  return storage
      .call_once_and_store_result([] {
        const py::object make = py::module_::import("numpy").attr("dtype");
        DTypeTable table;
        for (const DTypeRow& row : kNumpyNames) table[static_cast<size_t>(row.dtype)] = make(row.name);
        return table;
      })
      .get_stored();
}

const DTypeTable& ml_table() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<DTypeTable> storage;
  return storage
      .call_once_and_store_result([] {
        const py::object make = py::module_::import("numpy").attr("dtype");
        const py::module_ library = py::module_::import("ml_dtypes");
        DTypeTable table;
        for (const DTypeRow& row : kMlNames) {
          if (py::hasattr(library, row.name)) table[static_cast<size_t>(row.dtype)] = make(library.attr(row.name));
        }
        return table;
      })
      .get_stored();
}

std::string text_of(const py::handle& object) {
  Py_ssize_t size = 0;
  if (PyUnicode_Check(object.ptr())) {
    const char* text = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
    if (text != nullptr) return std::string(text, static_cast<size_t>(size));
    PyErr_Clear();
    PyObject* bytes = PyUnicode_AsEncodedString(object.ptr(), "utf-8", "surrogateescape");
    if (bytes == nullptr) throw py::error_already_set();
    return std::string(py::reinterpret_steal<py::bytes>(bytes));
  }
  if (PyBytes_Check(object.ptr())) return std::string(py::reinterpret_borrow<py::bytes>(object));
  fail(ErrorKind::kInvalidArgument, "a string tensor holds str or bytes, got ", Py_TYPE(object.ptr())->tp_name);
}

Shape shape_of(const py::array& array) { return Shape(array.shape(), array.shape() + array.ndim()); }

Tensor strings_from_array(const py::array& array) {
  Tensor tensor(DType::kString, shape_of(array));
  auto* to = tensor.data<std::string>();
  int64_t index = 0;
  const py::list items = array.attr("ravel")().attr("tolist")();
  for (const py::handle item : items) to[index++] = text_of(item);
  return tensor;
}

// ml_dtypes leaves the upper bits of a byte that holds int4, uint4, int2 or uint2 to chance; a Tensor does not.
Tensor narrow_from_bytes(DType dtype, const Shape& shape, const uint8_t* bytes) {
  Tensor tensor(dtype, shape);
  const int unused = 8 - file_bits(dtype);
  auto* to = static_cast<uint8_t*>(tensor.raw());
  for (int64_t i = 0; i < tensor.size(); ++i) {
    const auto top = static_cast<uint8_t>(bytes[i] << unused);
    to[i] = static_cast<uint8_t>(is_signed_integer(dtype) ? static_cast<int8_t>(top) >> unused : top >> unused);
  }
  return tensor;
}

std::string type_and_shape(const Type& type) {
  std::string text = session_type_name(type);
  if (type.is_tensor() && type.shape) text += to_string(*type.shape);
  return text;
}

std::string type_and_shape(const Datum& datum) {
  std::string text = session_type_name(datum);
  if (datum.kind == Datum::Kind::kTensor) text += datum.tensor.shape().str();
  return text;
}

void check_tensor(const std::string& name, const Type& type, const Tensor& tensor) {
  const auto both = [&] { return join("; got ", type_and_shape(Datum(tensor)), ", wanted ", type_and_shape(type)); };
  if (type.dtype != DType::kUndefined && tensor.dtype() != type.dtype) {
    const std::string target = py::str(numpy_dtype(type.dtype));
    fail(ErrorKind::kInvalidArgument, "input '", name, "' has the wrong element type", both(),
         ". Convert it first, as in array.astype(", type.dtype == DType::kString ? "object" : "'" + target + "'", ")");
  }
  if (!type.shape) return;
  const int rank = static_cast<int>(type.shape->size());
  SX_REQUIRE(tensor.rank() == rank, kInvalidArgument, "input '", name, "' has ", tensor.rank(),
             tensor.rank() == 1 ? " dimension" : " dimensions", " where the model wants ", rank, both());
  for (int axis = 0; axis < rank; ++axis) {
    const Dim& dim = (*type.shape)[static_cast<size_t>(axis)];
    SX_REQUIRE(!dim.known() || dim.value() == tensor.dim(axis), kInvalidArgument, "input '", name, "' has ",
               tensor.dim(axis), " elements along axis ", axis, " where the model wants ", dim.value(), both());
  }
}

bool is_plain_list(const py::handle& object) { return PyList_Check(object.ptr()) || PyTuple_Check(object.ptr()); }

bool is_python_value(const py::handle& object) {
  return is_plain_list(object) || PyBool_Check(object.ptr()) || PyLong_Check(object.ptr()) ||
         PyFloat_Check(object.ptr()) || PyComplex_Check(object.ptr()) || PyUnicode_Check(object.ptr()) ||
         PyBytes_Check(object.ptr());
}

// A nested list or a scalar as an array of the wanted type; floats are rounded to it, integers must be kept as they
// are.
py::array array_from_values(const std::string& name, const Type& type, const py::handle& object) {
  const py::module_ numpy = py::module_::import("numpy");
  const auto refuse = [&](const char* why) {
    fail(ErrorKind::kInvalidArgument, "input '", name, "': ", why, "; wanted ", type_and_shape(type));
  };
  try {
    if (type.dtype == DType::kString) return numpy.attr("array")(object, numpy_dtype(DType::kString));
    py::array natural = numpy.attr("asarray")(object);
    if (type.dtype == DType::kUndefined) return natural;
    const py::dtype wanted = numpy_dtype(type.dtype);
    const bool number = std::string("biufc").find(natural.dtype().kind()) != std::string::npos;
    if (!number) refuse("the values are not numbers");
    const py::array array =
        wanted.num() >= kFirstUserDType ? natural.attr("astype")(wanted) : numpy.attr("asarray")(object, wanted);
    const bool drops = is_integer(type.dtype) || type.dtype == DType::kBool || natural.dtype().kind() == 'c';
    if (drops && !py::bool_(py::object(array.attr("__eq__")(natural)).attr("all")())) {
      refuse("these values do not fit the element type without loss");
    }
    return array;
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_ValueError) && !error.matches(PyExc_OverflowError) && !error.matches(PyExc_TypeError))
      throw;
    fail(ErrorKind::kInvalidArgument, "input '", name, "' cannot be made an array (", error.what(), "); wanted ",
         type_and_shape(type));
  }
}

// The core value of an OrtValue (or of the core's own HostValue), or null.
const HostValue* value_of(const py::handle& object) {
  if (py::isinstance<HostValue>(object)) return object.cast<const HostValue*>();
  if (!py::hasattr(object, "_value")) return nullptr;
  const py::object inner = object.attr("_value");
  return py::isinstance<HostValue>(inner) ? inner.cast<const HostValue*>() : nullptr;
}

Tensor tensor_from_protocols(const py::handle& object) {
  if (py::hasattr(object, "__dlpack__")) {
    try {
      return from_dlpack(object.attr("__dlpack__")());
    } catch (const py::error_already_set&) {
      if (!py::hasattr(object, "__array__")) throw;
    }
  }
  return tensor_from_array(py::module_::import("numpy").attr("asarray")(object));
}

Datum tensor_from_object(const std::string& name, const Type& type, const py::handle& object) {
  Tensor tensor;
  if (py::isinstance<py::array>(object)) {
    tensor = tensor_from_array(py::reinterpret_borrow<py::array>(object));
  } else if (const HostValue* value = value_of(object)) {
    SX_REQUIRE(value->datum.kind == Datum::Kind::kTensor, kInvalidArgument, "input '", name, "' is a ",
               session_type_name(value->datum), "; wanted ", type_and_shape(type));
    tensor = value->datum.tensor;
  } else if (is_python_value(object)) {
    tensor = tensor_from_array(array_from_values(name, type, object));
  } else if (py::hasattr(object, "__dlpack__") || py::hasattr(object, "__array__")) {
    tensor = tensor_from_protocols(object);
  } else {
    fail(ErrorKind::kInvalidArgument, "input '", name, "' is a ", Py_TYPE(object.ptr())->tp_name, "; wanted ",
         type_and_shape(type), " as a NumPy array, a nested list, an OrtValue or an object with __dlpack__");
  }
  check_tensor(name, type, tensor);
  return tensor;
}

Datum sequence_from_object(const std::string& name, const Type& type, const py::handle& object) {
  SX_REQUIRE(is_plain_list(object), kInvalidArgument, "input '", name, "' is a ", Py_TYPE(object.ptr())->tp_name,
             "; wanted ", session_type_name(type), " as a list");
  std::vector<Datum> items;
  for (const py::handle item : py::reinterpret_borrow<py::sequence>(object)) {
    items.push_back(datum_from_object(join(name, "[", items.size(), "]"), *type.element, item));
  }
  return Datum::of_sequence(std::move(items));
}

Datum map_from_object(const std::string& name, const Type& type, const py::handle& object) {
  SX_REQUIRE(PyDict_Check(object.ptr()), kInvalidArgument, "input '", name, "' is a ", Py_TYPE(object.ptr())->tp_name,
             "; wanted ", session_type_name(type), " as a dict");
  const auto dict = py::reinterpret_borrow<py::dict>(object);
  MapData data;
  data.keys =
      tensor_from_array(array_from_values(name + " (keys)", Type::tensor(type.key), py::list(dict.attr("keys")())));
  data.values = tensor_from_array(
      array_from_values(name + " (values)", Type::tensor(type.dtype), py::list(dict.attr("values")())));
  SX_REQUIRE(data.keys.rank() == 1 && data.values.rank() == 1, kInvalidArgument, "input '", name,
             "': a map's keys and values are single numbers or strings");
  return Datum::of_map(std::move(data));
}

py::object item_at(const Tensor& tensor, int64_t index) {
  switch (tensor.dtype()) {
    case DType::kString: return str_from(tensor.data<std::string>()[index]);
    case DType::kInt64: return py::int_(tensor.data<int64_t>()[index]);
    case DType::kFloat32: return py::float_(tensor.data<float>()[index]);
    case DType::kFloat64: return py::float_(tensor.data<double>()[index]);
    default: return array_from_tensor(tensor).attr("item")(index);
  }
}

py::dict dict_from_map(const MapData& map) {
  py::dict dict;
  for (int64_t k = 0; k < map.keys.size(); ++k) dict[item_at(map.keys, k)] = item_at(map.values, k);
  return dict;
}

// May the caller have this memory for good?
bool owned_alone(const Tensor& tensor) {
  return tensor.buffer() != nullptr && tensor.buffer().use_count() == 1 &&
         tensor.buffer()->bytes() <= 2 * tensor.bytes() + 4096;
}

// ml_dtypes leaves the unused high bits of a narrow integer open; ours are zero, or copies of the sign.
Tensor canonical_narrow(const Tensor& tensor) {
  const bool is_signed = is_signed_integer(tensor.dtype());
  const int unused = 8 - file_bits(tensor.dtype());
  const auto* from = static_cast<const uint8_t*>(tensor.raw());
  const auto meant = [&](uint8_t byte) {
    const auto high = static_cast<uint8_t>(byte << unused);
    return is_signed ? static_cast<uint8_t>(static_cast<int8_t>(high) >> unused) : static_cast<uint8_t>(high >> unused);
  };
  bool same = true;
  for (int64_t k = 0; k < tensor.size(); ++k) same = same && meant(from[k]) == from[k];
  if (same) return tensor;
  Tensor copy(tensor.dtype(), tensor.shape());
  auto* to = static_cast<uint8_t*>(copy.raw());
  for (int64_t k = 0; k < tensor.size(); ++k) to[k] = meant(from[k]);
  return copy;
}

// A copy in memory of NumPy's, which costs less than a capsule does where there is little to copy.
py::object copied_array(const Tensor& tensor) {
  Py_intptr_t dims[kCopiedRank];
  std::copy(tensor.shape().begin(), tensor.shape().end(), dims);
  const auto& numpy = py::detail::npy_api::get();
  PyObject* array = numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, numpy_dtype(tensor.dtype()).release().ptr(),
                                                tensor.rank(), dims, nullptr, nullptr, 0, nullptr);
  if (array == nullptr) throw py::error_already_set();
  std::memcpy(py::detail::array_proxy(array)->data, tensor.raw(), tensor.bytes());
  return py::reinterpret_steal<py::object>(array);
}

}  // namespace

py::object str_from(const std::string& text) {
  PyObject* object = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape");
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

py::dtype numpy_dtype(DType dtype) {
  const py::object& plain = numpy_table()[static_cast<size_t>(dtype)];
  if (plain) return py::reinterpret_borrow<py::dtype>(plain);
  const py::object& extended = ml_table()[static_cast<size_t>(dtype)];
  SX_REQUIRE(extended, kNotImplemented, "the installed ml_dtypes has no type for ", session_name_of(dtype),
             "; install a newer ml_dtypes");
  return py::reinterpret_borrow<py::dtype>(extended);
}

DType dtype_of_numpy(const py::dtype& dtype) {
  if (dtype.num() >= kFirstUserDType) {
    const DTypeTable& table = ml_table();
    for (const DTypeRow& row : kMlNames) {
      const py::object& known = table[static_cast<size_t>(row.dtype)];
      if (known && py::reinterpret_borrow<py::dtype>(known).num() == dtype.num()) return row.dtype;
    }
    return dtype.kind() == 'T' ? DType::kString : DType::kUndefined;
  }
  const auto bytes = dtype.itemsize();
  switch (dtype.kind()) {
    case 'f':
      return bytes == 4   ? DType::kFloat32
             : bytes == 8 ? DType::kFloat64
             : bytes == 2 ? DType::kFloat16
                          : DType::kUndefined;
    case 'i':
      return bytes == 8 ? DType::kInt64 : bytes == 4 ? DType::kInt32 : bytes == 2 ? DType::kInt16 : DType::kInt8;
    case 'u':
      return bytes == 8 ? DType::kUInt64 : bytes == 4 ? DType::kUInt32 : bytes == 2 ? DType::kUInt16 : DType::kUInt8;
    case 'b': return DType::kBool;
    case 'c': return bytes == 8 ? DType::kComplex64 : bytes == 16 ? DType::kComplex128 : DType::kUndefined;
    case 'O':
    case 'U':
    case 'S':
    case 'T': return DType::kString;
    default: return DType::kUndefined;
  }
}

Tensor tensor_from_array(const py::array& given) {
  const DType dtype = dtype_of_numpy(given.dtype());
  SX_REQUIRE(dtype != DType::kUndefined, kInvalidArgument, "NumPy's ", std::string(py::str(given.dtype())),
             " has no ONNX element type");
  if (dtype == DType::kString) return strings_from_array(given);
  constexpr int kDense = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  py::array array = given;
  const char order = given.dtype().byteorder();
  if ((given.flags() & kDense) != kDense || order == '>') {
    const py::module_ numpy = py::module_::import("numpy");
    array = numpy.attr("array")(given, numpy_dtype(dtype), py::arg("order") = "C", py::arg("copy") = true);
  }
  const Shape shape = shape_of(array);
  if (array.size() == 0) return Tensor(dtype, shape);
  if (kNarrowIntegers.has(dtype)) return narrow_from_bytes(dtype, shape, static_cast<const uint8_t*>(array.data()));
  const auto bytes = static_cast<size_t>(array.nbytes());
  void* data = const_cast<void*>(array.data());
  PyObject* owner = array.release().ptr();
  const Tensor tensor(dtype, shape, Buffer::wrap(data, bytes, [owner] {
                        if (!Py_IsInitialized()) return;
                        if (PyGILState_Check() != 0) {
                          Py_DECREF(owner);
                          return;
                        }
                        const py::gil_scoped_acquire gil;
                        Py_DECREF(owner);
                      }));
  const bool narrow = (kNarrowIntegers | kNarrowFloats).has(dtype);
  return narrow ? canonical_narrow(tensor) : tensor;
}

py::array array_from_tensor(const Tensor& tensor, bool writeable) {
  const std::vector<py::ssize_t> shape(tensor.shape().begin(), tensor.shape().end());
  if (tensor.dtype() == DType::kString) {
    py::array array(numpy_dtype(DType::kString), shape);
    auto** to = static_cast<PyObject**>(array.mutable_data());
    const auto* from = tensor.data<std::string>();
    for (int64_t k = 0; k < tensor.size(); ++k) {
      PyObject* old = to[k];
      to[k] = str_from(from[k]).release().ptr();
      Py_XDECREF(old);
    }
    return array;
  }
  if (tensor.size() == 0) return py::array(numpy_dtype(tensor.dtype()), shape);
  const py::capsule owner(new Tensor(tensor), [](void* pointer) { delete static_cast<Tensor*>(pointer); });
  py::array array(numpy_dtype(tensor.dtype()), shape, tensor.raw(), owner);
  if (!writeable) array.attr("setflags")(py::arg("write") = false);
  return array;
}

py::object object_from_result(Datum&& datum) {
  switch (datum.kind) {
    case Datum::Kind::kNone: return py::none();
    case Datum::Kind::kMap: return dict_from_map(*datum.map);
    case Datum::Kind::kTensor:
      if (datum.tensor.dtype() != DType::kString && datum.tensor.size() != 0 && datum.tensor.bytes() <= kCopiedBytes &&
          datum.tensor.rank() <= kCopiedRank)
        return copied_array(datum.tensor);
      return array_from_tensor(
          datum.tensor.dtype() == DType::kString || owned_alone(datum.tensor) ? datum.tensor : datum.tensor.clone());
    case Datum::Kind::kSequence: break;
  }
  py::list list;
  const bool alone = datum.sequence.use_count() == 1;
  for (Datum& item : *datum.sequence) list.append(object_from_result(alone ? std::move(item) : Datum(item)));
  return list;
}

py::object object_from_datum(const Datum& datum, bool writeable) {
  switch (datum.kind) {
    case Datum::Kind::kNone: return py::none();
    case Datum::Kind::kMap: return dict_from_map(*datum.map);
    case Datum::Kind::kTensor: return array_from_tensor(datum.tensor, writeable);
    case Datum::Kind::kSequence: break;
  }
  py::list list;
  for (const Datum& item : *datum.sequence) list.append(object_from_datum(item, writeable));
  return list;
}

Datum datum_from_object(const std::string& name, const Type& type, const py::handle& object) {
  if (const HostValue* value = type.is_tensor() ? nullptr : value_of(object)) return value->datum;
  switch (type.kind) {
    case Type::Kind::kTensor: return tensor_from_object(name, type, object);
    case Type::Kind::kSequence: return sequence_from_object(name, type, object);
    case Type::Kind::kMap: return map_from_object(name, type, object);
    case Type::Kind::kOptional: return object.is_none() ? Datum() : datum_from_object(name, *type.element, object);
    case Type::Kind::kUnknown: break;
  }
  return datum_from_object(object);
}

Datum datum_from_object(const py::handle& object) {
  if (object.is_none()) return Datum();
  if (const HostValue* value = value_of(object)) return value->datum;
  if (PyDict_Check(object.ptr())) {
    const py::list keys(py::reinterpret_borrow<py::dict>(object).attr("keys")());
    const bool strings = !keys.empty() && !PyLong_Check(keys[0].ptr());
    return map_from_object("map", Type::map(strings ? DType::kString : DType::kInt64, DType::kUndefined), object);
  }
  if (is_plain_list(object)) {
    const auto sequence = py::reinterpret_borrow<py::sequence>(object);
    bool values = true;
    for (const py::handle item : sequence) values = values && is_python_value(item);
    if (!values) {
      std::vector<Datum> items;
      for (const py::handle item : sequence) items.push_back(datum_from_object(item));
      return Datum::of_sequence(std::move(items));
    }
  }
  return tensor_from_object("value", Type::tensor(DType::kUndefined), object);
}

std::string session_type_name(const Type& type) {
  switch (type.kind) {
    case Type::Kind::kTensor: return join("tensor(", session_name_of(type.dtype), ")");
    case Type::Kind::kSequence: return join("seq(", session_type_name(*type.element), ")");
    case Type::Kind::kOptional: return join("optional(", session_type_name(*type.element), ")");
    case Type::Kind::kMap:
      return join("map(", session_name_of(type.key), ",tensor(", session_name_of(type.dtype), "))");
    case Type::Kind::kUnknown: break;
  }
  return "unknown";
}

std::string session_type_name(const Datum& datum) {
  switch (datum.kind) {
    case Datum::Kind::kTensor: return join("tensor(", session_name_of(datum.tensor.dtype()), ")");
    case Datum::Kind::kMap:
      return join("map(", session_name_of(datum.map->keys.dtype()), ",tensor(",
                  session_name_of(datum.map->values.dtype()), "))");
    case Datum::Kind::kSequence:
      return join("seq(", datum.sequence->empty() ? "tensor(float)" : session_type_name(datum.sequence->front()), ")");
    case Datum::Kind::kNone: break;
  }
  return "none";
}

Type type_from_session_name(const std::string& name) {
  const auto inside = [&](const std::string& open) -> std::optional<std::string> {
    if (name.compare(0, open.size(), open) != 0 || name.back() != ')') return std::nullopt;
    return name.substr(open.size(), name.size() - open.size() - 1);
  };
  const auto dtype_named = [&](const std::string& wanted) {
    for (int number = 1; number < kDTypeCount; ++number)
      if (wanted == session_name_of(static_cast<DType>(number))) return static_cast<DType>(number);
    fail(ErrorKind::kInvalidArgument, "'", name, "' is no type; as in 'tensor(float)' or 'seq(tensor(int64))'");
  };
  if (const auto element = inside("tensor(")) return Type::tensor(dtype_named(*element));
  if (const auto element = inside("seq(")) return Type::sequence(type_from_session_name(*element));
  if (const auto element = inside("optional(")) return Type::optional(type_from_session_name(*element));
  if (const auto pair = inside("map(")) {
    const size_t comma = std::min(pair->find(','), pair->size());
    const Type value = type_from_session_name(pair->substr(std::min(comma + 1, pair->size())));
    if (value.is_tensor()) return Type::map(dtype_named(pair->substr(0, comma)), value.dtype);
  }
  dtype_named("");
  return {};
}

py::list dims_to_python(const SymShape& shape) {
  py::list dims;
  for (const Dim& dim : shape) {
    if (dim.known()) dims.append(dim.value());
    else if (dim.symbolic()) dims.append(dim.str());
    else dims.append(py::none());
  }
  return dims;
}

SymShape dims_from_python(const py::handle& dims, const std::vector<Dim>& known) {
  SymShape shape;
  for (const py::handle item : py::reinterpret_borrow<py::sequence>(dims)) {
    if (item.is_none()) {
      shape.emplace_back();
    } else if (PyUnicode_Check(item.ptr())) {
      const auto name = item.cast<std::string>();
      const auto found = std::find_if(known.begin(), known.end(), [&](const Dim& dim) { return dim.str() == name; });
      shape.push_back(found != known.end() ? *found : Dim::symbol(name));
    } else {
      shape.emplace_back(item.cast<int64_t>());
    }
  }
  return shape;
}

}  // namespace sx
