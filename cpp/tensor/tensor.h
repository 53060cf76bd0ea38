// Buffers and contiguous tensors; Datum is whatever may travel along an edge of a graph: tensor, sequence, map or none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"

namespace sx {

class Tensor;

// A block of memory with one owner. Plain buffers come 64-byte aligned from a process-wide cache of freed blocks, so
// that repeated runs do not meet the kernel's page faults; foreign memory (NumPy arrays, mapped files) carries a
// release function; memory on demand is there only while somebody needs it (Tensor::on_demand).
class Buffer {
 public:
  // Uninitialised memory. Throws RuntimeException when it cannot be had.
  static std::shared_ptr<Buffer> allocate(size_t bytes);
  // `count` empty strings.
  static std::shared_ptr<Buffer> allocate_strings(size_t count);
  // Memory of somebody else; `release` runs when the last tensor lets go.
  static std::shared_ptr<Buffer> wrap(void* data, size_t bytes, std::function<void()> release);

  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // Memory on demand stays from the first call on.
  void* data() const { return source_ == nullptr ? data_ : settle(); }
  size_t bytes() const { return bytes_; }

 private:
  friend class Tensor;
  enum class Kind { kPlain, kStrings, kForeign };
  struct Source;
  Buffer(Kind kind, void* data, size_t bytes);
  void* settle() const;

  Kind kind_;
  void* data_;
  size_t bytes_;  // for strings: count * sizeof(std::string)
  std::function<void()> release_;
  std::shared_ptr<Source> source_;  // of memory on demand
};

// Gives the cached free blocks back to the system.
void trim_buffer_cache();

// A typed, shaped, contiguous row-major view of a Buffer. Copying shares the memory.
class Tensor {
 public:
  Tensor() = default;
  // New uninitialised memory (strings are empty).
  Tensor(DType dtype, const Shape& shape);
  // A view of `buffer` from `offset` bytes; throws InvalidArgument when it does not fit.
  Tensor(DType dtype, const Shape& shape, std::shared_ptr<Buffer> buffer, size_t offset = 0);

  // A tensor whose elements `make` reads or computes when they are needed, the same each time: a weight that stays in
  // its file, or that follows from such. `now`, if defined, is what `make` would give. Whoever calls borrow() has the
  // elements for as long as the borrowed tensor lives, and the last one to let go gives the memory back; after a call
  // of raw() or data() they stay. `make` may be called by any thread, one at a time.
  static Tensor on_demand(DType dtype, const Shape& shape, std::function<Tensor()> make, Tensor now);
  // This tensor, with its elements in memory while the result lives.
  Tensor borrow() const;
  // The same, as memory of the caller's own where nobody else has the elements: what discard() works on.
  Tensor take() const;
  // Gives the pages of a range of bytes back; its elements are undefined then. Does nothing where the memory is shared.
  void discard(size_t offset, size_t bytes) const;

  template <typename T>
  static Tensor of(const Shape& shape, const std::vector<T>& values);
  template <typename T>
  static Tensor scalar(T value) {
    return of<T>(Shape{}, std::vector<T>{value});
  }
  static Tensor vector(const std::vector<int64_t>& values) {
    return of<int64_t>(Shape{static_cast<int64_t>(values.size())}, values);
  }

  bool defined() const { return dtype_ != DType::kUndefined; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t size() const { return size_; }
  size_t bytes() const { return static_cast<size_t>(size_) * size_of(dtype_); }

  void* raw() const { return data_ != nullptr || buffer_ == nullptr ? data_ : buffer_->data(); }
  // Typed access; the dtype must be that of T.
  template <typename T>
  T* data() const {
    SX_ASSERT(dtype_of<T> == dtype_);
    return static_cast<T*>(raw());
  }
  const std::shared_ptr<Buffer>& buffer() const { return buffer_; }

  // The same elements under another shape of equal size.
  Tensor reshaped(const Shape& shape) const;
  // A deep copy in memory of its own.
  Tensor clone() const;
  // The elements as int64 (any integer dtype or bool); throws InvalidArgument otherwise.
  std::vector<int64_t> integers() const;
  // The single element of a tensor of size one, as double / int64, from any real dtype.
  double scalar_as_double() const;
  int64_t scalar_as_int() const;

 private:
  DType dtype_ = DType::kUndefined;
  Shape shape_;
  int64_t size_ = 0;
  std::shared_ptr<Buffer> buffer_;
  void* data_ = nullptr;  // null for memory on demand, whose address only the buffer knows
};

template <typename T>
Tensor Tensor::of(const Shape& shape, const std::vector<T>& values) {
  Tensor tensor(dtype_of<T>, shape);
  SX_ASSERT(tensor.size() == static_cast<int64_t>(values.size()));
  T* to = tensor.data<T>();
  for (size_t i = 0; i < values.size(); ++i) to[i] = values[i];
  return tensor;
}

struct Datum;
// A map as ai.onnx.ml produces it: keys int64 or string, values any tensor scalar kind; kept as two parallel tensors.
struct MapData {
  Tensor keys;
  Tensor values;
};

// One run-time value. kNone is an absent optional.
struct Datum {
  enum class Kind { kNone, kTensor, kSequence, kMap };
  Kind kind = Kind::kNone;
  Tensor tensor;
  std::shared_ptr<std::vector<Datum>> sequence;
  std::shared_ptr<MapData> map;

  Datum() = default;
  Datum(Tensor t) : kind(Kind::kTensor), tensor(std::move(t)) {}  // NOLINT: a tensor is a datum
  static Datum of_sequence(std::vector<Datum> items) {
    Datum datum;
    datum.kind = Kind::kSequence;
    datum.sequence = std::make_shared<std::vector<Datum>>(std::move(items));
    return datum;
  }
  static Datum of_map(MapData data) {
    Datum datum;
    datum.kind = Kind::kMap;
    datum.map = std::make_shared<MapData>(std::move(data));
    return datum;
  }
};

}  // namespace sx
