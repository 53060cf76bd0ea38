// Comparison and printing of attribute values.
#include "ir/attribute.h"

#include <cstring>

namespace sx {
namespace {

constexpr size_t kShown = 16;

bool same_tensor(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (a.dtype() == DType::kString) {
    for (int64_t i = 0; i < a.size(); ++i)
      if (a.data<std::string>()[i] != b.data<std::string>()[i]) return false;
    return true;
  }
  return a.size() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

template <typename T>
std::string list(const std::vector<T>& items) {
  std::string text = "[";
  for (size_t i = 0; i < items.size() && i < kShown; ++i) {
    text += (i ? ", " : "");
    if constexpr (std::is_same_v<T, std::string>) text += '"' + items[i] + '"';
    else text += join(items[i]);
  }
  if (items.size() > kShown) text += join(", ... ", items.size(), " in all");
  return text + "]";
}

}  // namespace

bool same(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&](const auto& x) {
        using T = std::decay_t<decltype(x)>;
        const T& y = std::get<T>(b);
        if constexpr (std::is_same_v<T, Tensor>) {
          return same_tensor(x, y);
        } else if constexpr (std::is_same_v<T, Type>) {
          return x.str() == y.str();
        } else if constexpr (std::is_same_v<T, float>) {
          return bits_of(x) == bits_of(y);
        } else if constexpr (std::is_same_v<T, std::vector<Tensor>>) {
          if (x.size() != y.size()) return false;
          for (size_t i = 0; i < x.size(); ++i)
            if (!same_tensor(x[i], y[i])) return false;
          return true;
        } else {
          return x == y;
        }
      },
      a);
}

std::string to_string(const Attribute& attribute) {
  return std::visit(
      [](const auto& x) -> std::string {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, std::string>) return '"' + x + '"';
        else if constexpr (std::is_same_v<T, Tensor>) return std::string(name_of(x.dtype())) + x.shape().str();
        else if constexpr (std::is_same_v<T, Type>) return x.str();
        else if constexpr (std::is_same_v<T, std::vector<Tensor>>) return join(x.size(), " tensors");
        else if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, float>) return join(x);
        else return list(x);
      },
      attribute);
}

const char* kind_name(const Attribute& attribute) {
  static const char* const kNames[] = {"int",  "float",  "string",  "tensor", "type",
                                       "ints", "floats", "strings", "tensors"};
  return kNames[attribute.index()];
}

}  // namespace sx
