// DLPack structures as its public specification lays them out (versions 0.8 and 1.x).
#include "bindings/dlpack.h"

#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"

namespace sx {
namespace {

namespace py = pybind11;

constexpr int32_t kCpu = 1;
constexpr int32_t kCudaHost = 3;
enum TypeCode : uint8_t {
  kSigned = 0,
  kUnsigned = 1,
  kFloating = 2,
  kBrain = 4,
  kComplexCode = 5,
  kBoolean = 6,
  kE4M3FN = 10,
  kE4M3FNUZ = 11,
  kE5M2 = 12,
  kE5M2FNUZ = 13,
  kE8M0 = 14,
};

struct DlDevice {
  int32_t type;
  int32_t id;
};
struct DlDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct DlTensor {
  void* data;
  DlDevice device;
  int32_t rank;
  DlDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null for contiguous
  uint64_t byte_offset;
};
struct DlManaged {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManaged*);
};
struct DlManagedVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(DlManagedVersioned*);
  uint64_t flags;
  DlTensor tensor;
};

struct TypeRow {
  DType dtype;
  DlDataType type;
};
constexpr TypeRow kTypes[] = {
    {DType::kFloat32, {kFloating, 32, 1}},
    {DType::kFloat64, {kFloating, 64, 1}},
    {DType::kFloat16, {kFloating, 16, 1}},
    {DType::kBFloat16, {kBrain, 16, 1}},
    {DType::kInt8, {kSigned, 8, 1}},
    {DType::kInt16, {kSigned, 16, 1}},
    {DType::kInt32, {kSigned, 32, 1}},
    {DType::kInt64, {kSigned, 64, 1}},
    {DType::kUInt8, {kUnsigned, 8, 1}},
    {DType::kUInt16, {kUnsigned, 16, 1}},
    {DType::kUInt32, {kUnsigned, 32, 1}},
    {DType::kUInt64, {kUnsigned, 64, 1}},
    {DType::kBool, {kBoolean, 8, 1}},
    {DType::kComplex64, {kComplexCode, 64, 1}},
    {DType::kComplex128, {kComplexCode, 128, 1}},
    {DType::kFloat8E4M3FN, {kE4M3FN, 8, 1}},
    {DType::kFloat8E4M3FNUZ, {kE4M3FNUZ, 8, 1}},
    {DType::kFloat8E5M2, {kE5M2, 8, 1}},
    {DType::kFloat8E5M2FNUZ, {kE5M2FNUZ, 8, 1}},
    {DType::kFloat8E8M0, {kE8M0, 8, 1}},
};

// What an exported capsule owns.
struct Export {
  Tensor tensor;
  std::vector<int64_t> shape, strides;
};

DlTensor describe(Export& owner) {
  const Tensor& tensor = owner.tensor;
  const TypeRow* found = nullptr;
  for (const TypeRow& row : kTypes) {
    if (row.dtype == tensor.dtype()) found = &row;
  }
  SX_REQUIRE(found != nullptr, kInvalidArgument, "DLPack has no type for ", session_name_of(tensor.dtype()),
             "; use numpy() instead");
  return {tensor.raw(), {kCpu, 0}, tensor.rank(), found->type, owner.shape.data(), owner.strides.data(), 0};
}

template <typename Managed>
py::capsule wrap(const Tensor& tensor, const char* name) {
  auto owner = std::make_unique<Export>();
  owner->tensor = tensor;
  owner->shape = tensor.shape().vector();
  owner->strides = strides_of(tensor.shape()).vector();
  auto managed = std::make_unique<Managed>();
  managed->tensor = describe(*owner);
  if constexpr (std::is_same_v<Managed, DlManagedVersioned>) {
    managed->major = 1;
    managed->minor = 0;
    managed->flags = 0;
  }
  managed->context = owner.release();
  managed->deleter = [](Managed* self) {
    delete static_cast<Export*>(self->context);
    delete self;
  };
  PyObject* capsule = PyCapsule_New(managed.release(), name, [](PyObject* object) {
    const char* label = PyCapsule_GetName(object);
    // A consumer renames the capsule and calls the deleter itself.
    if (label == nullptr || std::strncmp(label, "used", 4) == 0) return;
    auto* self = static_cast<Managed*>(PyCapsule_GetPointer(object, label));
    if (self != nullptr) self->deleter(self);
  });
  if (capsule == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::capsule>(capsule);
}

Tensor copy_strided(DType dtype, const Shape& shape, const char* data, const int64_t* strides) {
  Tensor copy(dtype, shape);
  const size_t item = size_of(dtype);
  char* to = static_cast<char*>(copy.raw());
  std::vector<int64_t> index(static_cast<size_t>(shape.rank()), 0);
  for (int64_t k = 0; k < copy.size(); ++k) {
    int64_t from = 0;
    for (int axis = 0; axis < shape.rank(); ++axis) from += index[static_cast<size_t>(axis)] * strides[axis];
    std::memcpy(to + static_cast<size_t>(k) * item, data + from * static_cast<int64_t>(item), item);
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      if (++index[static_cast<size_t>(axis)] < shape[axis]) break;
      index[static_cast<size_t>(axis)] = 0;
    }
  }
  return copy;
}

bool contiguous(const Shape& shape, const int64_t* strides) {
  if (strides == nullptr) return true;
  const Shape dense = strides_of(shape);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] != 1 && strides[axis] != dense[axis]) return false;
  }
  return true;
}

template <typename Managed>
Tensor take(const py::capsule& capsule, const char* name, const char* used) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (managed == nullptr) throw py::error_already_set();
  const DlTensor& source = managed->tensor;
  SX_REQUIRE(source.device.type == kCpu || source.device.type == kCudaHost, kInvalidArgument,
             "the DLPack tensor lives on device type ", source.device.type, "; copy it to the CPU first");
  DType dtype = DType::kUndefined;
  for (const TypeRow& row : kTypes) {
    if (row.type.code == source.dtype.code && row.type.bits == source.dtype.bits && source.dtype.lanes == 1)
      dtype = row.dtype;
  }
  SX_REQUIRE(dtype != DType::kUndefined, kInvalidArgument, "DLPack type code ", int{source.dtype.code}, " with ",
             int{source.dtype.bits}, " bits and ", source.dtype.lanes, " lanes has no ONNX type");
  const Shape shape(source.shape, source.shape + source.rank);
  const auto size = static_cast<size_t>(shape.size());
  char* data = static_cast<char*>(source.data) + source.byte_offset;
  PyCapsule_SetName(capsule.ptr(), used);
  std::shared_ptr<void> owner(managed, [](void* pointer) {
    auto* self = static_cast<Managed*>(pointer);
    if (self->deleter == nullptr) return;
    const py::gil_scoped_acquire gil;
    self->deleter(self);
  });
  const bool aligned = reinterpret_cast<uintptr_t>(data) % std::min<size_t>(size_of(dtype), 8) == 0;
  if (size == 0) return Tensor(dtype, shape);
  if (!contiguous(shape, source.strides)) return copy_strided(dtype, shape, data, source.strides);
  if (!aligned) return copy_strided(dtype, shape, data, strides_of(shape).begin());
  return Tensor(dtype, shape, Buffer::wrap(data, size * size_of(dtype), [owner]() mutable { owner.reset(); }));
}

}  // namespace

py::capsule to_dlpack(const Tensor& tensor, bool versioned) {
  return versioned ? wrap<DlManagedVersioned>(tensor, "dltensor_versioned") : wrap<DlManaged>(tensor, "dltensor");
}

Tensor from_dlpack(const py::capsule& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    return take<DlManagedVersioned>(capsule, "dltensor_versioned", "used_dltensor_versioned");
  }
  SX_REQUIRE(PyCapsule_IsValid(capsule.ptr(), "dltensor"), kInvalidArgument,
             "expected a DLPack capsule that nobody has taken yet");
  return take<DlManaged>(capsule, "dltensor", "used_dltensor");
}

}  // namespace sx
