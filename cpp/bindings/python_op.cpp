// Operators made of Python functions: inference and kernels that call back with the GIL.
#include <limits>
#include <utility>

#include "bindings/convert.h"
#include "bindings/python_error.h"
#include "bindings/user_op.h"
#include "ops/infer.h"
#include "ops/kernel.h"

namespace sx {
namespace {

struct Functions {
  PythonObject call;
  PythonObject check;
  PythonObject infer;
};

py::object object_of(const Attribute& attribute) {
  return std::visit(
      [](const auto& value) -> py::object {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, int64_t>) return py::int_(value);
        else if constexpr (std::is_same_v<T, float>) return py::float_(value);
        else if constexpr (std::is_same_v<T, std::string>) return str_from(value);
        else if constexpr (std::is_same_v<T, Tensor>) return array_from_tensor(value, false);
        else if constexpr (std::is_same_v<T, Type>) return str_from(session_type_name(value));
        else {
          py::tuple items(value.size());
          for (size_t i = 0; i < value.size(); ++i) items[i] = object_of(Attribute(value[i]));
          return std::move(items);
        }
      },
      attribute);
}

py::dict dict_of(const Attributes& attributes) {
  py::dict dict;
  for (const auto& [name, value] : attributes) dict[str_from(name)] = object_of(value);
  return dict;
}

// --- inference

py::object description_of(const Type& type) {
  py::object dims = py::none();
  if (type.shape) dims = dims_to_python(*type.shape);
  return py::make_tuple(session_type_name(type), static_cast<int>(type.is_tensor() ? type.dtype : DType::kUndefined),
                        dims);
}

Type type_described(const py::handle& description, const std::vector<Dim>& known) {
  if (description.is_none()) return {};
  if (PyUnicode_Check(description.ptr())) return type_from_session_name(description.cast<std::string>());
  const auto pair = description.cast<std::pair<int, py::object>>();
  const DType dtype = dtype_from_onnx(pair.first);
  return pair.second.is_none() ? Type::tensor(dtype) : Type::tensor(dtype, dims_from_python(pair.second, known));
}

void infer_types(const Functions& functions, InferContext& c) {
  const py::gil_scoped_acquire gil;
  bool ranked = true;
  try {
    const py::dict attributes = dict_of(c.node().attributes);
    functions.check.get()(c.inputs(), attributes, c.outputs());
    if (functions.infer.get().is_none()) return;
    py::list inputs;
    std::vector<Dim> known;
    for (int i = 0; i < c.inputs(); ++i) {
      inputs.append(c.has(i) ? description_of(c.type(i)) : py::none());
      ranked = ranked && !(c.has(i) && c.type(i).is_tensor() && !c.has_shape(i));
      if (c.has_shape(i)) known.insert(known.end(), c.shape(i).begin(), c.shape(i).end());
    }
    const py::list types = functions.infer.get()(inputs, attributes);
    SX_CHECK(c, static_cast<int>(types.size()) >= c.outputs(), "its infer function tells of ", types.size(),
             " outputs; the node has ", c.outputs());
    for (int i = 0; i < c.outputs(); ++i) c.out(i, type_described(types[static_cast<size_t>(i)], known));
  } catch (py::error_already_set& error) {
    // A function that counts on a shape where none is known yet; it is called again when there is.
    if (!ranked && error.matches(PyExc_Exception)) return;
    throw_python_error(error, label(c.node()) + " cannot be typed: ");
  }
}

// --- results

// Nobody but the tuple of results, or the caller, refers to the array that `returned` is, or to its memory.
bool is_fresh(const py::handle& returned, const py::array& array) {
  return Py_REFCNT(returned.ptr()) == 2 && array.owndata() && array.base().ptr() == nullptr;
}

// Numbers and lists of them take the element type that an output is to have, where that makes sense.
py::array array_of_values(const py::handle& values, DType wanted) {
  const py::object make = py::module_::import("numpy").attr("asarray");
  const py::array natural = make(values);
  const char kind = natural.dtype().kind();
  const bool number = wanted != DType::kString && wanted != DType::kBool;
  const bool inexact = is_float(wanted) || kComplex.has(wanted);
  const bool fits = std::string("biu").find(kind) != std::string::npos ? number : kind == 'f' && inexact;
  return fits ? py::array(make(values, numpy_dtype(wanted))) : natural;
}

bool is_plain(const py::handle& value) {
  return PyFloat_Check(value.ptr()) || PyLong_Check(value.ptr()) || PyList_Check(value.ptr()) ||
         py::isinstance(value, py::module_::import("numpy").attr("generic"));
}

Datum without_sharing(Datum datum) {
  if (datum.kind == Datum::Kind::kTensor) return datum.tensor.clone();
  if (datum.kind == Datum::Kind::kMap) return Datum::of_map({datum.map->keys.clone(), datum.map->values.clone()});
  if (datum.kind == Datum::Kind::kNone) return datum;
  std::vector<Datum> items;
  for (const Datum& item : *datum.sequence) items.push_back(without_sharing(item));
  return Datum::of_sequence(std::move(items));
}

bool is_of(const Datum& datum, const Type& type) {
  switch (type.kind) {
    case Type::Kind::kUnknown: return true;
    case Type::Kind::kTensor: return datum.kind == Datum::Kind::kTensor && datum.tensor.dtype() == type.dtype;
    case Type::Kind::kOptional: return datum.kind == Datum::Kind::kNone || is_of(datum, *type.element);
    case Type::Kind::kMap:
      return datum.kind == Datum::Kind::kMap && datum.map->keys.dtype() == type.key &&
             datum.map->values.dtype() == type.dtype;
    case Type::Kind::kSequence: break;
  }
  if (datum.kind != Datum::Kind::kSequence) return false;
  for (const Datum& item : *datum.sequence)
    if (!is_of(item, *type.element)) return false;
  return true;
}

bool fits(const Shape& shape, const std::optional<SymShape>& expected) {
  if (!expected) return true;
  if (expected->size() != static_cast<size_t>(shape.rank())) return false;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const Dim& dim = (*expected)[static_cast<size_t>(axis)];
    if (dim.known() && dim.value() != shape[axis]) return false;
  }
  return true;
}

std::string described(const Datum& datum) {
  std::string text = session_type_name(datum);
  if (datum.kind == Datum::Kind::kTensor) text += datum.tensor.shape().str();
  return text;
}

std::string described(const Type& type) {
  std::string text = session_type_name(type);
  if (type.is_tensor() && type.shape) text += to_string(*type.shape);
  return text;
}

// The value that a function returned for output `i`, copied unless it is an array that nobody else can write to, which
// only an array in a `fresh` tuple, or one of its own, can be.
Datum result_of(const Run& run, int i, const Type& type, const py::handle& returned, bool fresh) {
  SX_CHECK(run, !returned.is_none() || type.kind == Type::Kind::kOptional, "its function returned None for output ", i,
           ", which was to be ", described(type));
  Datum datum;
  try {
    if (py::isinstance<py::array>(returned)) {
      const auto array = py::reinterpret_borrow<py::array>(returned);
      const bool alone = fresh && is_fresh(returned, array);
      datum = tensor_from_array(array);
      if (!alone) datum = without_sharing(datum);
    } else if (type.is_tensor() && is_plain(returned)) {
      datum = without_sharing(tensor_from_array(array_of_values(returned, type.dtype)));
    } else if (PyList_Check(returned.ptr()) && PyList_GET_SIZE(returned.ptr()) == 0) {
      datum = Datum::of_sequence({});
    } else if (type.kind == Type::Kind::kSequence || type.kind == Type::Kind::kMap) {
      datum = without_sharing(datum_from_object("result", type, returned));
    } else {
      datum = without_sharing(datum_from_object(returned));
    }
  } catch (const Error& error) {
    run.error("its function returned a ", Py_TYPE(returned.ptr())->tp_name, " for output ", i, ": ", error.what());
  } catch (py::error_already_set& error) {
    throw_python_error(error, join(label(run.node()), " its function returned a ", Py_TYPE(returned.ptr())->tp_name,
                                   " for output ", i, ", which cannot be made an array: "));
  }
  SX_CHECK(run, is_of(datum, type) && (!type.is_tensor() || fits(datum.tensor.shape(), type.shape)),
           "its function returned ", described(datum), " for output ", i, ", which was to be ", described(type));
  return datum;
}

void set_results(Run& run, const std::vector<Type>& types, const py::object& returned) {
  if (!PyTuple_Check(returned.ptr())) {
    SX_CHECK(run, run.outputs() == 1, "its function returned one ", Py_TYPE(returned.ptr())->tp_name, "; a tuple of ",
             run.outputs(), " outputs expected");
    return run.set(0, result_of(run, 0, types[0], returned, true));
  }
  const auto count = static_cast<int>(PyTuple_GET_SIZE(returned.ptr()));
  SX_CHECK(run, count >= run.outputs(), "its function returned ", count, " outputs; ", run.outputs(), " expected");
  const bool fresh = Py_REFCNT(returned.ptr()) == 1;
  for (int i = 0; i < run.outputs(); ++i)
    if (run.wants(i))
      run.set(i, result_of(run, i, types[static_cast<size_t>(i)], PyTuple_GET_ITEM(returned.ptr(), i), fresh));
}

Kernel make_kernel(const std::shared_ptr<const Functions>& functions, Prepare& p) {
  std::shared_ptr<const PythonObject> attributes;
  {
    const py::gil_scoped_acquire gil;
    attributes = std::make_shared<PythonObject>(dict_of(p.node().attributes));
  }
  std::vector<Type> types(p.node().outputs.size());
  for (size_t i = 0; i < types.size(); ++i)
    if (p.wants(static_cast<int>(i))) types[i] = p.output_type(static_cast<int>(i));
  p.describe("Python function");
  return [functions, attributes, types](Run& run) {
    const py::gil_scoped_acquire gil;
    py::object returned;
    try {
      py::tuple inputs(static_cast<size_t>(run.inputs()));
      for (int i = 0; i < run.inputs(); ++i)
        inputs[static_cast<size_t>(i)] = run.has(i) ? object_from_datum(run.datum(i), false) : py::none();
      // A copy, since functions of C get the very dict.
      const auto keywords = py::reinterpret_steal<py::dict>(PyDict_Copy(attributes->get().ptr()));
      PyObject* result = PyObject_Call(functions->call.get().ptr(), inputs.ptr(), keywords.ptr());
      if (result == nullptr) throw py::error_already_set();
      returned = py::reinterpret_steal<py::object>(result);
    } catch (py::error_already_set& error) {
      throw_python_error(error, label(run.node()) + " failed: ");
    }
    set_results(run, types, returned);
  };
}

}  // namespace

std::shared_ptr<const OpDef> python_op(const std::string& domain, const std::string& name, int version,
                                       const py::object& function, const py::object& check, const py::object& infer,
                                       bool pure) {
  const std::shared_ptr<const Functions> functions(
      new Functions{PythonObject(function), PythonObject(check), PythonObject(infer)});
  auto op = std::make_shared<OpDef>(name, domain == "ai.onnx" ? "" : domain);
  op->since(version, version).any_attributes().retains();
  op->any_in("inputs", PortSpec::Presence::kVariadic).any_out("outputs", PortSpec::Presence::kVariadic);
  op->infer([functions](InferContext& c) { infer_types(*functions, c); });
  op->kernel([functions](Prepare& p) { return make_kernel(functions, p); });
  if (!pure) op->nondeterministic();
  return op;
}

}  // namespace sx
