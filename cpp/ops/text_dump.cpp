// Prints graphs; the syntax is described in text.h.
#include <cstring>

#include "ops/op_def.h"
#include "ops/text.h"

namespace sx {
namespace {

constexpr int64_t kShownElements = 16;

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      const char* digits = "0123456789abcdef";
      result += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string name_text(const std::string& name) {
  bool plain = !name.empty() && name != "_" && !(name[0] >= '0' && name[0] <= '9');
  for (char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    plain = plain && (letter || std::strchr("_./$", c) != nullptr);
  }
  return plain ? name : quoted(name);
}

template <typename T>
std::string real_text(T value) {
  std::ostringstream text;
  text.precision(sizeof(T) == 4 ? 9 : 17);
  text << value;
  std::string result = text.str();
  // The shortest text that reads back as the same number.
  for (int digits = 1; digits < text.precision() && std::isfinite(value); ++digits) {
    std::ostringstream shorter;
    shorter.precision(digits);
    shorter << value;
    if (static_cast<T>(std::strtod(shorter.str().c_str(), nullptr)) != value) continue;
    result = shorter.str();
    break;
  }
  return result.find_first_of(".eni") == std::string::npos ? result + ".0" : result;
}

std::string element_text(const Tensor& tensor, int64_t i) {
  switch (tensor.dtype()) {
    case DType::kString: return quoted(tensor.data<std::string>()[i]);
    case DType::kFloat32: return real_text(tensor.data<float>()[i]);
    case DType::kFloat64: return real_text(tensor.data<double>()[i]);
    case DType::kFloat16: return real_text(static_cast<float>(tensor.data<Float16>()[i]));
    case DType::kBFloat16: return real_text(static_cast<float>(tensor.data<BFloat16>()[i]));
    case DType::kInt64: return std::to_string(tensor.data<int64_t>()[i]);
    case DType::kUInt64: return std::to_string(tensor.data<uint64_t>()[i]);
    default: break;
  }
  // Complex and 8-bit floats are shown by their bits.
  const bool integers = is_integer(tensor.dtype()) || tensor.dtype() == DType::kBool;
  if (!integers) {
    std::string bits = "x";
    const auto* bytes = static_cast<const uint8_t*>(tensor.raw()) + static_cast<size_t>(i) * size_of(tensor.dtype());
    for (size_t k = size_of(tensor.dtype()); k-- > 0;)
      bits += join("0123456789abcdef"[bytes[k] >> 4], "0123456789abcdef"[bytes[k] & 15]);
    return bits;
  }
  const Tensor one(
      tensor.dtype(), Shape{}, tensor.buffer(),
      static_cast<size_t>(static_cast<const char*>(tensor.raw()) - static_cast<const char*>(tensor.buffer()->data())) +
          static_cast<size_t>(i) * size_of(tensor.dtype()));
  return std::to_string(one.integers()[0]);
}

bool all_equal(const Tensor& tensor) {
  for (int64_t i = 1; i < tensor.size(); ++i) {
    if (tensor.dtype() == DType::kString) {
      if (tensor.data<std::string>()[i] != tensor.data<std::string>()[0]) return false;
    } else if (std::memcmp(static_cast<const char*>(tensor.raw()) + static_cast<size_t>(i) * size_of(tensor.dtype()),
                           tensor.raw(), size_of(tensor.dtype())) != 0) {
      return false;
    }
  }
  return tensor.size() > 0;
}

std::string tensor_text(const Tensor& tensor) {
  std::string text = join(name_of(tensor.dtype()), tensor.shape().str(), " {");
  const int64_t shown = all_equal(tensor) ? 1 : std::min(tensor.size(), kShownElements);
  for (int64_t i = 0; i < shown; ++i) text += (i ? ", " : "") + element_text(tensor, i);
  if (shown == kShownElements && tensor.size() > shown) text += join(", ... ", tensor.size(), " in all");
  return text + "}";
}

template <typename T, typename F>
std::string list_text(const std::vector<T>& items, F&& one) {
  std::string text = "[";
  for (size_t i = 0; i < items.size(); ++i) text += (i ? ", " : "") + one(items[i]);
  return text + "]";
}

std::string attribute_text(const Attribute& attribute) {
  return std::visit(
      [](const auto& x) -> std::string {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, int64_t>) return std::to_string(x);
        else if constexpr (std::is_same_v<T, float>) return real_text(x);
        else if constexpr (std::is_same_v<T, std::string>) return quoted(x);
        else if constexpr (std::is_same_v<T, Tensor>) return tensor_text(x);
        else if constexpr (std::is_same_v<T, Type>) return x.str();
        else if constexpr (std::is_same_v<T, std::vector<int64_t>>)
          return list_text(x, [](int64_t i) { return std::to_string(i); });
        else if constexpr (std::is_same_v<T, std::vector<float>>) return list_text(x, real_text<float>);
        else if constexpr (std::is_same_v<T, std::vector<std::string>>) return list_text(x, quoted);
        else return list_text(x, tensor_text);
      },
      attribute);
}

class Printer {
 public:
  std::string take() { return std::move(text_); }

  // `around` and `captures` are of a body.
  void print(const Graph& graph, const Graph* around, const std::vector<ValueId>& captures, int indent) {
    text_ += "graph ";
    if (!graph.name.empty()) text_ += name_text(graph.name) + " ";
    text_ += "(";
    const size_t formal = graph.inputs.size() - captures.size();
    for (size_t i = 0; i < graph.inputs.size(); ++i) {
      const ValueId input = graph.inputs[i];
      text_ += i == formal ? "; " : i ? ", " : "";
      text_ += typed(graph, input);
      if (i >= formal) text_ += " = " + name_text(around->value(captures[i - formal]).name);
    }
    text_ += ") => (";
    for (size_t i = 0; i < graph.outputs.size(); ++i)
      text_ += (i ? ", " : "") + name_text(graph.value(graph.outputs[i]).name);
    text_ += ") {\n";
    const std::string margin(static_cast<size_t>(indent) * 2 + 2, ' ');
    for (ValueId id = 0; id < static_cast<ValueId>(graph.value_limit()); ++id) {
      if (!graph.has_value(id) || !graph.is_constant(id)) continue;
      text_ +=
          margin + name_text(graph.value(id).name) + " = const " + tensor_text(graph.value(id).facts.constant) + "\n";
    }
    for (NodeId id : graph.order()) {
      text_ += margin;
      print_node(graph, graph.node(id), indent + 1);
    }
    text_ += std::string(static_cast<size_t>(indent) * 2, ' ') + "}";
  }

 private:
  static std::string typed(const Graph& graph, ValueId id) {
    const Type& type = graph.type(id);
    return name_text(graph.value(id).name) + (type.kind == Type::Kind::kUnknown ? "" : ": " + type.str());
  }

  void print_node(const Graph& graph, const Node& node, int indent) {
    for (size_t i = 0; i < node.outputs.size(); ++i)
      text_ += (i ? ", " : "") + (node.outputs[i] == kNone ? "_" : typed(graph, node.outputs[i]));
    text_ += (node.outputs.empty() ? "" : " ") + ("= " + node.op->full_name());
    bool first = true;
    auto separate = [&] {
      text_ += first ? "<" : ", ";
      first = false;
    };
    for (const auto& [name, value] : node.attributes) {
      separate();
      text_ += name + "=" + attribute_text(value);
    }
    for (const Body& body : node.bodies) {
      separate();
      text_ += body.attribute + "=";
      print(*body.graph, &graph, body.captures, indent);
    }
    text_ += first ? "(" : ">(";
    for (size_t i = 0; i < node.inputs.size(); ++i)
      text_ += (i ? ", " : "") + (node.inputs[i] == kNone ? "_" : name_text(graph.value(node.inputs[i]).name));
    text_ += ")\n";
  }

  std::string text_;
};

}  // namespace

std::string dump(const Graph& graph) {
  Printer printer;
  printer.print(graph, nullptr, {}, 0);
  return printer.take() + "\n";
}

}  // namespace sx
