// Parses graphs; the syntax is described in text.h.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

#include "ops/infer.h"
#include "ops/registry.h"
#include "ops/text.h"

namespace sx {
namespace {

// Text is ours, not a user's, but a long line must not exhaust memory or the stack either.
constexpr int64_t kMaxElements = int64_t{1} << 28;
constexpr int kMaxDepth = 32;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::unique_ptr<Graph> parse() {
    expect("graph");
    auto graph = parse_graph(nullptr, nullptr);
    skip();
    if (at_ < text_.size()) error("text behind the graph");
    graph->verify();
    return graph;
  }

 private:
  // --- tokens

  template <typename... Parts>
  [[noreturn]] void error(const Parts&... parts) const {
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, text_.size())), '\n');
    fail(ErrorKind::kInvalidArgument, "line ", line, " of the graph's text: ", parts...);
  }

  void skip() {
    while (at_ < text_.size()) {
      if (text_[at_] == '#') at_ = std::min(text_.find('\n', at_), text_.size());
      else if (std::strchr(" \t\r\n", text_[at_]) == nullptr) return;
      else ++at_;
    }
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(std::string_view token) {
    skip();
    if (text_.substr(at_, token.size()) != token) return false;
    const size_t end = at_ + token.size();
    if (is_name(token.back()) && end < text_.size() && is_name(text_[end])) return false;
    at_ = end;
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) error("'", token, "' expected, found '", std::string(text_.substr(at_, 20)), "'");
  }
  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && std::strchr("_./$", c) != nullptr);
  }
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  std::string quoted() {
    expect("\"");
    std::string result;
    while (at_ < text_.size() && text_[at_] != '"') {
      char c = text_[at_++];
      if (c == '\\' && at_ < text_.size()) {
        c = text_[at_++];
        if (c == 'x') {
          c = static_cast<char>(std::strtol(std::string(text_.substr(at_, 2)).c_str(), nullptr, 16));
          at_ = std::min(at_ + 2, text_.size());
        }
      }
      result += c;
    }
    if (at_ == text_.size()) error("a string does not end");
    ++at_;
    return result;
  }
  std::string name() {
    if (peek() == '"') return quoted();
    const size_t begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    if (begin == at_ || is_digit(text_[begin]))
      error("a name expected, found '", std::string(text_.substr(begin, 20)), "'");
    return std::string(text_.substr(begin, at_ - begin));
  }
  // The characters of a number, inf or nan.
  std::string number() {
    skip();
    const size_t begin = at_;
    while (at_ < text_.size() && (is_name(text_[at_]) || text_[at_] == '-' || text_[at_] == '+')) ++at_;
    if (begin == at_) error("a number expected, found '", std::string(text_.substr(begin, 20)), "'");
    return std::string(text_.substr(begin, at_ - begin));
  }
  int64_t integer() {
    const std::string text = number();
    char* end = nullptr;
    errno = 0;
    const long long value = std::strtoll(text.c_str(), &end, 10);
    if (*end != '\0' || errno == ERANGE) error("'", text, "' is not an integer");
    return value;
  }
  double real() {
    const std::string text = number();
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (*end != '\0') error("'", text, "' is not a number");
    return value;
  }
  // Items between brackets, separated by commas.
  template <typename F>
  void list(std::string_view open, std::string_view close, F&& item) {
    expect(open);
    if (accept(close)) return;
    do item();
    while (accept(","));
    expect(close);
  }

  // --- types

  DType dtype() {
    const std::string word = name();
    for (int i = 1; i < kDTypeCount; ++i)
      if (word == name_of(static_cast<DType>(i))) return static_cast<DType>(i);
    error("'", word, "' is not an element type");
  }

  // A sum of products of integers and names; anything else is a symbol as it stands.
  Dim dim() {
    skip();
    const size_t begin = at_;
    int depth = 0;
    while (at_ < text_.size() && (depth > 0 || std::strchr(",]", text_[at_]) == nullptr)) {
      depth += text_[at_] == '(' || text_[at_] == '[';
      depth -= text_[at_] == ')' || text_[at_] == ']';
      ++at_;
    }
    std::string text(text_.substr(begin, at_ - begin));
    while (!text.empty() && text.back() == ' ') text.pop_back();
    if (text == "?") return Dim();
    Dim sum(0);
    size_t from = 0;
    while (from < text.size()) {
      const size_t sign = text.find_first_of("+-", from + 1);
      const auto value = product(text.substr(from, sign - from));
      if (!value) return Dim::symbol(text);
      sum = sum + *value;
      from = std::min(sign, text.size());
    }
    return sum;
  }
  static std::optional<Dim> product(std::string text) {
    Dim result(1);
    text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
    if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
      if (text[0] == '-') result = Dim(-1);
      text.erase(0, 1);
    }
    size_t from = 0;
    while (from <= text.size()) {
      const size_t star = std::min(text.find('*', from), text.size());
      const std::string factor = text.substr(from, star - from);
      if (factor.empty() || !std::all_of(factor.begin(), factor.end(), is_name)) return std::nullopt;
      if (std::all_of(factor.begin(), factor.end(), is_digit))
        result = result * Dim(std::strtoll(factor.c_str(), nullptr, 10));
      else result = result * Dim::symbol(factor);
      from = star + 1;
    }
    return result;
  }

  Type type() {
    if (accept("unknown")) return {};
    if (accept("seq")) return wrapped(Type::sequence);
    if (accept("optional")) return wrapped(Type::optional);
    if (accept("map")) {
      expect("(");
      const DType key = dtype();
      expect(",");
      const DType value = dtype();
      expect(")");
      return Type::map(key, value);
    }
    const DType element = dtype();
    expect("[");
    if (accept("..")) {
      expect("]");
      return Type::tensor(element);
    }
    SymShape shape;
    if (accept("]")) return Type::tensor(element, shape);
    do shape.push_back(dim());
    while (accept(","));
    expect("]");
    return Type::tensor(element, shape);
  }
  Type wrapped(Type (*make)(const Type&)) {
    expect("(");
    const Type inner = type();
    expect(")");
    return make(inner);
  }

  // --- tensors

  void put(const Tensor& tensor, int64_t i) {
    auto real_to = [&](auto zero) {
      tensor.data<decltype(zero)>()[i] = static_cast<decltype(zero)>(static_cast<float>(real()));
    };
    switch (tensor.dtype()) {
      case DType::kString: tensor.data<std::string>()[i] = quoted(); return;
      case DType::kFloat64: tensor.data<double>()[i] = real(); return;
      case DType::kFloat32: return real_to(float());
      case DType::kFloat16: return real_to(Float16());
      case DType::kBFloat16: return real_to(BFloat16());
      default: break;
    }
    // Everything else by its low bytes: integers as they are, other kinds as x and the bits in hexadecimal.
    uint64_t bits = 0;
    if (peek() == 'x') {
      const std::string text = number();
      bits = std::strtoull(text.c_str() + 1, nullptr, 16);
    } else if (tensor.dtype() == DType::kUInt64) {
      bits = std::strtoull(number().c_str(), nullptr, 10);
    } else {
      bits = static_cast<uint64_t>(integer());
    }
    const size_t width = size_of(tensor.dtype());
    std::memcpy(static_cast<char*>(tensor.raw()) + static_cast<size_t>(i) * width, &bits,
                std::min(width, sizeof(bits)));
  }

  Tensor tensor() {
    const Type declared = type();
    const auto shape = declared.concrete_shape();
    if (!declared.is_tensor() || !shape)
      error("a constant needs a type with numbers for extents, found ", declared.str());
    const int64_t size = shape->size();
    if (size > kMaxElements) error("a constant of ", size, " elements is too large");
    if (size_of(declared.dtype) > 8 && declared.dtype != DType::kString)
      error("complex128 constants cannot be written");
    Tensor result(declared.dtype, *shape);
    if (accept("random")) {
      if (!is_float(declared.dtype)) error("random elements are for floats, found ", declared.str());
      fill_random(result, static_cast<uint64_t>(integer()));
      return result;
    }
    int64_t count = 0;
    list("{", "}", [&] {
      if (count >= size) error("more elements than ", declared.str(), " has");
      put(result, count++);
    });
    if (count == 1) {
      for (int64_t i = 1; i < size; ++i) {
        if (declared.dtype == DType::kString) result.data<std::string>()[i] = result.data<std::string>()[0];
        else
          std::memcpy(static_cast<char*>(result.raw()) + static_cast<size_t>(i) * size_of(declared.dtype), result.raw(),
                      size_of(declared.dtype));
      }
    } else if (count != size) {
      error(count, " elements given for ", declared.str());
    }
    return result;
  }

  void fill_random(const Tensor& tensor, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (int64_t i = 0; i < tensor.size(); ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const float value = static_cast<float>(state >> 40) / 8388608.0f - 1.0f;  // 24 bits
      switch (tensor.dtype()) {
        case DType::kFloat32: tensor.data<float>()[i] = value; break;
        case DType::kFloat64: tensor.data<double>()[i] = static_cast<double>(value); break;
        case DType::kFloat16: tensor.data<Float16>()[i] = Float16(value); break;
        case DType::kBFloat16: tensor.data<BFloat16>()[i] = BFloat16(value); break;
        default: error("random elements of ", name_of(tensor.dtype()), " are not supported");
      }
    }
  }

  // --- attributes

  // The kind comes from the operator where it is known there, else from the look of the value.
  Attribute attribute(const AttrSpec* spec) {
    const auto wants = [&](AttrKind kind) { return spec != nullptr && spec->kind == kind; };
    const char next = peek();
    if (next == '"') return quoted();
    if (next == '[') return attribute_list(spec);
    if (wants(AttrKind::kType)) return type();
    if (next != '-' && next != '+' && !is_digit(next) && next != 'i' && next != 'n') return tensor();
    if (next == 'i' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) return tensor();  // i64[..]
    const std::string text = number();
    if (wants(AttrKind::kFloat) || text.find_first_of(".en") != std::string::npos)
      return std::strtof(text.c_str(), nullptr);
    return static_cast<int64_t>(std::strtoll(text.c_str(), nullptr, 10));
  }
  Attribute attribute_list(const AttrSpec* spec) {
    std::vector<Attribute> items;
    AttrSpec one;
    one.kind = spec == nullptr                    ? AttrKind::kInt
               : spec->kind == AttrKind::kFloats  ? AttrKind::kFloat
               : spec->kind == AttrKind::kTensors ? AttrKind::kTensor
               : spec->kind == AttrKind::kStrings ? AttrKind::kString
                                                  : AttrKind::kInt;
    list("[", "]", [&] { items.push_back(attribute(&one)); });
    switch (items.empty() ? one.kind : AttrKind::kGraph) {
      case AttrKind::kFloat: return std::vector<float>();
      case AttrKind::kString: return std::vector<std::string>();
      case AttrKind::kTensor: return std::vector<Tensor>();
      case AttrKind::kInt: return std::vector<int64_t>();
      default: break;
    }
    if (std::holds_alternative<float>(items[0])) return collected<float>(items);
    if (std::holds_alternative<std::string>(items[0])) return collected<std::string>(items);
    if (std::holds_alternative<Tensor>(items[0])) return collected<Tensor>(items);
    return collected<int64_t>(items);
  }
  template <typename T>
  std::vector<T> collected(const std::vector<Attribute>& items) {
    std::vector<T> values;
    for (const Attribute& item : items) {
      if (!std::holds_alternative<T>(item)) error("a list mixes kinds of values");
      values.push_back(std::get<T>(item));
    }
    return values;
  }

  // --- graphs

  ValueId value_of(const Graph& graph, const std::string& text) {
    const ValueId id = graph.find_value(text);
    if (id == kNone) error("'", text, "' is not defined here");
    return id;
  }

  // Behind the word graph. `around` and `captures` are given for a body.
  std::unique_ptr<Graph> parse_graph(const Graph* around, std::vector<ValueId>* captures) {
    if (++depth_ > kMaxDepth) error("graphs are nested too deep");
    auto graph = std::make_unique<Graph>();
    if (peek() != '(') graph->name = name();
    expect("(");
    bool captured = false;
    while (!accept(")")) {
      if (accept(";")) captured = true;
      else if (!graph->inputs.empty()) expect(",");
      if (captured && around == nullptr) error("only bodies capture values");
      const std::string input = name();
      const ValueId id = graph->add_input(input, accept(":") ? type() : Type());
      if (!captured) continue;
      expect("=");
      captures->push_back(value_of(*around, name()));
      if (graph->type(id).kind == Type::Kind::kUnknown) graph->value(id).facts.type = around->type(captures->back());
    }
    expect("=>");
    std::vector<std::string> outputs;
    list("(", ")", [&] { outputs.push_back(name()); });
    expect("{");
    while (!accept("}")) parse_node(*graph);
    for (const std::string& output : outputs) graph->outputs.push_back(value_of(*graph, output));
    --depth_;
    return graph;
  }

  void parse_node(Graph& graph) {
    std::vector<std::pair<std::string, Type>> outputs;
    while (!accept("=")) {
      if (!outputs.empty()) expect(",");
      const std::string output = accept("_") ? std::string() : name();
      outputs.emplace_back(output, accept(":") ? type() : Type());
    }
    if (accept("const")) {
      if (outputs.size() != 1) error("a constant has one name");
      graph.add_constant(outputs[0].first, tensor());
      return;
    }
    std::string op = name();
    std::string domain;
    if (accept("::")) {
      domain = op;
      op = name();
    }
    Node node;
    node.op = &get_op(op, domain);
    if (accept("<")) {
      do {
        const std::string key = name();
        expect("=");
        if (accept("graph")) {
          Body body;
          body.attribute = key;
          body.graph = parse_graph(&graph, &body.captures);
          node.bodies.push_back(std::move(body));
        } else {
          node.attributes[key] = attribute(node.op->find_attr(key));
        }
      } while (accept(","));
      expect(">");
    }
    list("(", ")", [&] { node.inputs.push_back(accept("_") ? kNone : value_of(graph, name())); });
    std::string shown;
    for (const auto& [output, declared] : outputs) {
      node.outputs.push_back(output.empty() ? kNone : graph.add_value(output, declared));
      if (shown.empty()) shown = output;
    }
    node.origin = op + " '" + shown + "'";
    check_node(node);
    infer_node(graph, graph.add_node(std::move(node)));
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::unique_ptr<Graph> parse_graph(std::string_view text) { return Parser(text).parse(); }

}  // namespace sx
