// Decodes tensor elements: raw bytes, typed fields, packed sub-byte kinds, external files and sparse tensors.
#include "onnx/tensor_reader.h"

#include <cstring>
#include <utility>

#include "onnx/wire.h"

namespace sx {
namespace {

// Sparse initializers become dense; larger ones than this are refused.
constexpr int64_t kMaxDenseBytes = int64_t{4} << 30;
// Tensors from this size on are given up once they are packed, and read again from their file should they be needed.
constexpr size_t kLarge = size_t{64} << 10;

template <typename... Parts>
[[noreturn]] void bad(const std::string& what, const Parts&... parts) {
  fail(ErrorKind::kInvalidGraph, what, " ", parts...);
}

Shape checked_shape(const std::vector<int64_t>& dims, const std::string& what) {
  if (dims.size() > static_cast<size_t>(kMaxRank))
    bad(what, "has ", dims.size(), " dimensions; at most ", kMaxRank, " are supported");
  const Shape shape(dims);
  int64_t size = 1;
  for (int64_t dim : dims) {
    if (dim < 0) bad(what, "has the shape ", shape.str(), " with a negative extent");
    // 2^56 elements of any type still have a size in bytes; a zero elsewhere does not excuse the rest.
    if (dim != 0 && size > (int64_t{1} << 56) / dim) bad(what, "has the shape ", shape.str(), ", which is too large");
    if (dim != 0) size *= dim;
  }
  return shape;
}

DType checked_dtype(int number, const std::string& what) {
  if (number == 0) bad(what, "has no element type");
  try {
    return dtype_from_onnx(number);
  } catch (const Error& error) {
    fail(error.kind(), what, ": ", error.what());
  }
}

bool is_sub_byte(DType dtype) { return file_bits(dtype) < 8; }
bool is_signed_narrow(DType dtype) { return dtype == DType::kInt4 || dtype == DType::kInt2; }

size_t bytes_in_file(DType dtype, int64_t count) {
  return is_sub_byte(dtype) ? static_cast<size_t>((count * file_bits(dtype) + 7) / 8)
                            : static_cast<size_t>(count) * size_of(dtype);
}

// Packed elements, the first in the lowest bits, to one a byte.
void unpack(DType dtype, const uint8_t* from, int64_t count, uint8_t* to) {
  const int bits = file_bits(dtype);
  const int mask = (1 << bits) - 1;
  const int sign = is_signed_narrow(dtype) ? 1 << (bits - 1) : 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* at = from + i * bits / 8;
    const auto shift = static_cast<int>(i * bits % 8);
    int value = at[0] >> shift;
    if (shift + bits > 8) value |= at[1] << (8 - shift);
    value &= mask;
    to[i] = static_cast<uint8_t>((value ^ sign) - sign);
  }
}

void fill_from_raw(const Tensor& to, std::string_view raw) {
  if (to.size() == 0) return;
  const auto* from = reinterpret_cast<const uint8_t*>(raw.data());
  if (is_sub_byte(to.dtype())) {
    unpack(to.dtype(), from, to.size(), static_cast<uint8_t*>(to.raw()));
  } else if (to.dtype() == DType::kBool) {
    auto* flags = static_cast<uint8_t*>(to.raw());
    for (int64_t i = 0; i < to.size(); ++i) flags[i] = from[i] != 0;
  } else {
    std::memcpy(to.raw(), from, raw.size());
  }
}

// The typed field that holds elements of this kind: float_data, int32_data, ...
int field_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kComplex64: return 4;
    case DType::kString: return 6;
    case DType::kInt64: return 7;
    case DType::kFloat64:
    case DType::kComplex128: return 10;
    case DType::kUInt32:
    case DType::kUInt64: return 11;
    default: return 5;
  }
}

// Takes numbers of a typed field one by one and stores them as elements, or as packed bytes of sub-byte elements.
class Filler {
 public:
  Filler(uint8_t* to, size_t limit, size_t width) : to_(to), limit_(limit), width_(width) {}
  void put(uint64_t bits) {
    if (count_ < limit_) std::memcpy(to_ + count_ * width_, &bits, width_);
    ++count_;
  }
  size_t count() const { return count_; }

 private:
  uint8_t* to_;
  size_t limit_;
  size_t width_;
  size_t count_ = 0;
};

// Feeds every number of field `field` to `filler`, packed or not.
void read_numbers(std::string_view message, int field, WireReader::Kind kind, Filler& filler) {
  for (WireReader in(message); in.next();) {
    if (in.field() != field) continue;
    if (in.is_bytes()) {
      WireReader packed(in.bytes());
      while (!packed.done()) {
        if (kind == WireReader::Kind::kVarint) filler.put(packed.read_varint());
        else filler.put(packed.read_fixed(kind == WireReader::Kind::kFixed32 ? 4 : 8));
      }
    } else if (in.kind() == kind) {
      filler.put(in.number());
    }
  }
}

Tensor read_strings(const proto::Tensor& from, const Shape& shape, const std::string& what) {
  int64_t count = 0;
  for (WireReader in(from.message); in.next();) count += in.field() == 6 && in.is_bytes();
  if (count != shape.size()) bad(what, "has ", count, " strings; its shape ", shape.str(), " needs ", shape.size());
  Tensor tensor(DType::kString, shape);
  std::string* to = tensor.data<std::string>();
  for (WireReader in(from.message); in.next();)
    if (in.field() == 6 && in.is_bytes()) *to++ = std::string(in.bytes());
  return tensor;
}

Tensor read_typed(const proto::Tensor& from, DType dtype, const Shape& shape, const std::string& what) {
  const int field = field_of(dtype);
  const auto kind = field == 4    ? WireReader::Kind::kFixed32
                    : field == 10 ? WireReader::Kind::kFixed64
                                  : WireReader::Kind::kVarint;
  // Each number holds a packed byte of elements of 2 or 4 bits, but a single element of 6.
  const bool packed_bytes = file_bits(dtype) == 2 || file_bits(dtype) == 4;
  const size_t width = field == 4 ? 4 : field == 10 ? 8 : size_of(dtype);
  const size_t needed =
      packed_bytes ? bytes_in_file(dtype, shape.size()) : static_cast<size_t>(shape.size()) * size_of(dtype) / width;
  // Each number takes a byte or more in the message: no memory is taken for elements that cannot be there.
  if (needed > from.message.size()) bad(what, "has fewer elements than its shape ", shape.str(), " needs");
  Tensor tensor(dtype, shape);
  std::vector<uint8_t> packed(packed_bytes ? needed : 0);
  Filler filler(packed_bytes ? packed.data() : static_cast<uint8_t*>(tensor.raw()), needed, width);
  read_numbers(from.message, field, kind, filler);
  if (filler.count() != needed)
    bad(what, "has ", filler.count(), " numbers in its data; ", name_of(dtype), shape.str(), " needs ", needed);
  if (packed_bytes) unpack(dtype, packed.data(), tensor.size(), static_cast<uint8_t*>(tensor.raw()));
  // The specification leaves the bits above the six zero; a file may not.
  if (file_bits(dtype) == 6)
    for (int64_t i = 0; i < tensor.size(); ++i) static_cast<uint8_t*>(tensor.raw())[i] &= 0x3f;
  if (dtype == DType::kBool) {
    auto* flags = static_cast<uint8_t*>(tensor.raw());
    for (int64_t i = 0; i < tensor.size(); ++i) flags[i] = flags[i] != 0;
  }
  return tensor;
}

// A non-negative decimal number of at most 63 bits.
int64_t parse_count(const std::string& text, const std::string& key, const std::string& what) {
  int64_t value = 0;
  bool good = !text.empty() && text.size() <= 18;
  for (char c : text) {
    good = good && c >= '0' && c <= '9';
    if (good) value = value * 10 + (c - '0');
  }
  if (!good) bad(what, "has external data with the ", key, " '", text.substr(0, 40), "'; a number of bytes expected");
  return value;
}

Tensor read_external(ExternalData& files, const proto::Tensor& from, DType dtype, const Shape& shape,
                     const std::string& what) {
  if (dtype == DType::kString) bad(what, "holds strings, which cannot be external data");
  auto text = [&](const char* key) {
    auto found = from.external_data.find(key);
    return found == from.external_data.end() ? std::string() : found->second;
  };
  const size_t needed = bytes_in_file(dtype, shape.size());
  const std::string offset_text = text("offset");
  const std::string length_text = text("length");
  const auto offset = static_cast<size_t>(offset_text.empty() ? 0 : parse_count(offset_text, "offset", what));
  const size_t length = length_text.empty() ? needed : static_cast<size_t>(parse_count(length_text, "length", what));
  if (length != needed)
    bad(what, "has ", length, " bytes of external data; ", name_of(dtype), shape.str(), " needs ", needed);
  std::shared_ptr<const MappedFile> file;
  try {
    file = files.open(text("location"));
  } catch (const Error& error) {
    fail(error.kind(), what, ": ", error.what());
  }
  const std::string_view whole = file->bytes();
  if (offset > whole.size() || length > whole.size() - offset)
    bad(what, "needs bytes ", offset, " to ", offset + length, " of the external data '", text("location"),
        "', which has only ", whole.size(), ": the file is not the model's, or was cut short");
  const std::string_view part = whole.substr(offset, length);
  const bool aligned = reinterpret_cast<uintptr_t>(part.data()) % size_of(dtype) == 0;
  if (aligned && needed > 0 && !is_sub_byte(dtype) && dtype != DType::kBool) {
    const auto view = [=] {
      // Pages that were read count as memory in use until they are forgotten.
      auto buffer = Buffer::wrap(const_cast<char*>(part.data()), length, [file, part] { file->forget(part); });
      return Tensor(dtype, shape, std::move(buffer));
    };
    return length < kLarge ? view() : Tensor::on_demand(dtype, shape, view, Tensor());
  }
  Tensor tensor(dtype, shape);
  fill_from_raw(tensor, part);
  return tensor;
}

}  // namespace

Tensor TensorReader::read(const proto::Tensor& from, const std::string& what) {
  const DType dtype = checked_dtype(from.data_type, what);
  const Shape shape = checked_shape(from.dims, what);
  if (from.segmented) bad(what, "is stored in segments, which no version of ONNX defines");
  if (from.external) return read_external(external_, from, dtype, shape, what);
  if (dtype == DType::kString) return read_strings(from, shape, what);
  std::string_view raw;
  bool has_raw = false;
  for (WireReader in(from.message); in.next();) {
    if (in.field() != 9 || !in.is_bytes()) continue;
    raw = in.bytes();
    has_raw = true;
  }
  if (!has_raw) return read_typed(from, dtype, shape, what);
  const size_t needed = bytes_in_file(dtype, shape.size());
  if (raw.size() != needed)
    bad(what, "has ", raw.size(), " bytes of data; ", name_of(dtype), shape.str(), " needs ", needed);
  const bool plain = !is_sub_byte(dtype) && dtype != DType::kBool;
  if (file_ != nullptr && plain && raw.size() >= kLarge) {
    const auto offset = static_cast<size_t>(raw.data() - file_->bytes().data());
    const auto read_again = [file = file_->file(), dtype, shape, offset] {
      Tensor tensor(dtype, shape);
      file->read(offset, tensor.bytes(), tensor.raw());
      return tensor;
    };
    // Read now: the file may be written to before the first run.
    return Tensor::on_demand(dtype, shape, read_again, read_again());
  }
  Tensor tensor(dtype, shape);
  fill_from_raw(tensor, raw);
  return tensor;
}

Tensor TensorReader::read_sparse(const proto::SparseTensor& from, const std::string& what) {
  const Tensor values = read(from.values, what);
  const Tensor indices = read(from.indices, "the indices of " + what);
  const Shape shape = checked_shape(from.dims, what);
  if (values.rank() != 1) bad(what, "has values of shape ", values.shape().str(), "; one axis expected");
  if (values.dtype() == DType::kString) bad(what, "is a sparse tensor of strings, which is not supported");
  if (indices.dtype() != DType::kInt64) bad(what, "has indices of type ", name_of(indices.dtype()), "; i64 expected");
  const int64_t count = values.size();
  const bool linear = indices.rank() == 1 && indices.dim(0) == count;
  if (!linear && !(indices.rank() == 2 && indices.dim(0) == count && indices.dim(1) == shape.rank()))
    bad(what, "has indices of shape ", indices.shape().str(), " for ", count, " values of rank ", shape.rank());
  const int64_t size = shape.size();
  if (size > kMaxDenseBytes / static_cast<int64_t>(size_of(values.dtype())))
    bad(what, "is a sparse tensor of shape ", shape.str(),
        "; its dense form, which is used here, would be larger than 4 GiB");
  Tensor dense(values.dtype(), shape);
  if (size > 0) std::memset(dense.raw(), 0, dense.bytes());
  const int64_t* index = indices.data<int64_t>();
  const size_t width = size_of(values.dtype());
  for (int64_t k = 0; k < count; ++k) {
    int64_t at = 0;
    if (linear) {
      at = index[k];
      if (at < 0 || at >= size) bad(what, "has the index ", at, " outside its shape ", shape.str());
    } else {
      for (int axis = 0; axis < shape.rank(); ++axis) {
        const int64_t i = index[k * shape.rank() + axis];
        if (i < 0 || i >= shape[axis])
          bad(what, "has the index ", i, " outside axis ", axis, " of its shape ", shape.str());
        at = at * shape[axis] + i;
      }
    }
    std::memcpy(static_cast<char*>(dense.raw()) + static_cast<size_t>(at) * width,
                static_cast<const char*>(values.raw()) + static_cast<size_t>(k) * width, width);
  }
  return dense;
}

}  // namespace sx
