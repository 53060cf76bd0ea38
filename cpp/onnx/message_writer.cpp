// Encodes types, tensors and attributes; the numbers are those of onnx.proto's fields.
#include "onnx/message_writer.h"

namespace sx {
namespace {

constexpr size_t kReferFrom = 4096;  // smaller contents are copied into the message
constexpr size_t kExternalFrom = 1024;

WireWriter entry(const std::string& key, const std::string& value) {
  WireWriter message;
  message.bytes(1, key);
  message.bytes(2, value);
  return message;
}

// Elements narrower than a byte as in files: the first in the lowest bits.
std::string packed_elements(const Tensor& tensor) {
  const int bits = file_bits(tensor.dtype());
  const auto* from = static_cast<const uint8_t*>(tensor.raw());
  std::string packed(static_cast<size_t>((tensor.size() * bits + 7) / 8), '\0');
  for (int64_t i = 0; i < tensor.size(); ++i) {
    const int value = (from[i] & ((1 << bits) - 1)) << (i * bits % 8);
    const auto at = static_cast<size_t>(i * bits / 8);
    packed[at] = static_cast<char>(static_cast<uint8_t>(packed[at]) | (value & 0xff));
    // Six bits may reach into the next byte.
    if (value > 0xff) packed[at + 1] = static_cast<char>(value >> 8);
  }
  return packed;
}

WireWriter shape_message(const SymShape& shape) {
  WireWriter message;
  for (const Dim& dim : shape) {
    WireWriter one;
    if (dim.known()) one.number(1, dim.value());
    else if (dim.symbolic()) one.bytes(2, dim.str());
    message.message(1, one);
  }
  return message;
}

}  // namespace

WireWriter type_message(const Type& type) {
  WireWriter inner;
  WireWriter message;
  switch (type.kind) {
    case Type::Kind::kUnknown: break;
    case Type::Kind::kTensor:
      inner.number(1, static_cast<int64_t>(type.dtype));
      if (type.shape) inner.message(2, shape_message(*type.shape));
      message.message(1, inner);
      break;
    case Type::Kind::kSequence:
    case Type::Kind::kOptional:
      inner.message(1, type_message(*type.element));
      message.message(type.kind == Type::Kind::kSequence ? 4 : 9, inner);
      break;
    case Type::Kind::kMap:
      inner.number(1, static_cast<int64_t>(type.key));
      inner.message(2, type_message(Type::tensor(type.dtype)));
      message.message(5, inner);
      break;
  }
  return message;
}

WireWriter value_info_message(const std::string& name, const Type& type) {
  WireWriter message;
  message.bytes(1, name);
  if (type.kind != Type::Kind::kUnknown) message.message(2, type_message(type));
  return message;
}

WireWriter tensor_message(const std::string& name, const Tensor& tensor, WeightFile* weights) {
  WireWriter message;
  if (tensor.rank() > 0) message.packed(1, tensor.shape().vector());
  message.number(2, static_cast<int64_t>(tensor.dtype()));
  message.name(8, name);
  if (tensor.dtype() == DType::kString) {
    for (int64_t i = 0; i < tensor.size(); ++i) message.bytes(6, tensor.data<std::string>()[i]);
    return message;
  }
  const bool narrow = file_bits(tensor.dtype()) < 8;
  const std::string packed = narrow ? packed_elements(tensor) : std::string();
  const std::string_view raw =
      narrow ? std::string_view(packed) : std::string_view(static_cast<const char*>(tensor.raw()), tensor.bytes());
  if (weights != nullptr && raw.size() >= kExternalFrom) {
    const size_t offset = weights->add(raw);
    message.message(13, entry("location", weights->location()));
    message.message(13, entry("offset", std::to_string(offset)));
    message.message(13, entry("length", std::to_string(raw.size())));
    message.number(14, 1);
  } else if (raw.size() >= kReferFrom && !narrow) {
    message.refer(9, raw);
  } else {
    message.bytes(9, raw);
  }
  return message;
}

WireWriter attribute_message(const std::string& name, const Attribute& attribute) {
  WireWriter message;
  message.bytes(1, name);
  auto kind = [&](int number) { message.number(20, number); };
  std::visit(
      [&](const auto& x) {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, float>) {
          message.real(2, x);
          kind(1);
        } else if constexpr (std::is_same_v<T, int64_t>) {
          message.number(3, x);
          kind(2);
        } else if constexpr (std::is_same_v<T, std::string>) {
          message.bytes(4, x);
          kind(3);
        } else if constexpr (std::is_same_v<T, Tensor>) {
          message.message(5, tensor_message("", x, nullptr));
          kind(4);
        } else if constexpr (std::is_same_v<T, Type>) {
          message.message(14, type_message(x));
          kind(13);
        } else if constexpr (std::is_same_v<T, std::vector<float>>) {
          for (float item : x) message.real(7, item);
          kind(6);
        } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
          for (int64_t item : x) message.number(8, item);
          kind(7);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          for (const std::string& item : x) message.bytes(9, item);
          kind(8);
        } else {
          for (const Tensor& item : x) message.message(10, tensor_message("", item, nullptr));
          kind(9);
        }
      },
      attribute);
  return message;
}

}  // namespace sx
