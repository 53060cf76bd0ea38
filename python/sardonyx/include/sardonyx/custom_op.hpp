// Operators as C++ classes over the C interface of custom_op.h; header only, C++17, compiled into the user's library.
//
//   struct Scale {
//     explicit Scale(const sardonyx::Node& node) : factor(node.attribute("factor", 1.0f)) {}
//     static void infer(sardonyx::Infer& infer) { infer.output(0, infer.input(0)); }
//     void compute(sardonyx::Run& run) const;
//     float factor;
//   };
//   SARDONYX_OPERATORS(registry) { registry.add<Scale>("com.acme", "Scale"); }
//
// The class is made from a node when a model is prepared, and compute() is called for each run, by several threads at a
// time. Both may throw a std::exception; its text becomes part of the error that the user of the model sees.
#ifndef SARDONYX_CUSTOM_OP_HPP_
#define SARDONYX_CUSTOM_OP_HPP_

#include <sardonyx/custom_op.h>

#include <cstdint>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sardonyx {

template <typename T>
constexpr int32_t dtype_of = SX_UNKNOWN;
template <>
inline constexpr int32_t dtype_of<float> = SX_FLOAT32;
template <>
inline constexpr int32_t dtype_of<double> = SX_FLOAT64;
template <>
inline constexpr int32_t dtype_of<int8_t> = SX_INT8;
template <>
inline constexpr int32_t dtype_of<uint8_t> = SX_UINT8;
template <>
inline constexpr int32_t dtype_of<int16_t> = SX_INT16;
template <>
inline constexpr int32_t dtype_of<uint16_t> = SX_UINT16;
template <>
inline constexpr int32_t dtype_of<int32_t> = SX_INT32;
template <>
inline constexpr int32_t dtype_of<uint32_t> = SX_UINT32;
template <>
inline constexpr int32_t dtype_of<int64_t> = SX_INT64;
template <>
inline constexpr int32_t dtype_of<uint64_t> = SX_UINT64;
template <>
inline constexpr int32_t dtype_of<bool> = SX_BOOL;

namespace detail {

// The failure of a call of the interface, whose message Sardonyx has kept already.
struct Failed : std::exception {};

inline bool found(int status) {
  if (status == SX_ERROR) throw Failed();
  return status == SX_OK;
}

template <typename F>
int guarded(const SxApi* api, F&& body) {
  try {
    body();
    return SX_OK;
  } catch (const Failed&) {
    return SX_ERROR;
  } catch (const std::exception& error) {
    return api->fail(error.what());
  } catch (...) {
    return api->fail("an exception that is no std::exception");
  }
}

}  // namespace detail

class Tensor {
 public:
  explicit Tensor(const SxTensor& tensor) : tensor_(tensor) {}
  int32_t dtype() const { return tensor_.dtype; }
  int64_t size() const { return tensor_.size; }
  std::vector<int64_t> shape() const { return {tensor_.dims, tensor_.dims + tensor_.rank}; }
  // The elements; throws where they are not of type T.
  template <typename T>
  T* data() const {
    static_assert(dtype_of<T> != SX_UNKNOWN, "no element type is named by this C++ type: use raw()");
    if (tensor_.dtype != dtype_of<T>)
      throw std::invalid_argument("a tensor has element type " + std::to_string(tensor_.dtype) + " where " +
                                  std::to_string(dtype_of<T>) + " is expected");
    return static_cast<T*>(tensor_.data);
  }
  void* raw() const { return tensor_.data; }

 private:
  SxTensor tensor_;
};

struct TensorType {
  int32_t dtype = SX_UNKNOWN;
  std::optional<std::vector<int64_t>> shape;  // absent: the rank is not known; see SxType for negative extents
};

// A node of a model: its attributes and what is known of its inputs.
class Node {
 public:
  Node(const SxApi* api, const SxNode* node) : api_(api), node_(node) {}
  int32_t inputs() const { return api_->input_count(node_); }
  int32_t outputs() const { return api_->output_count(node_); }
  bool has_input(int32_t index) const {
    SxType type;
    return api_->input_type(node_, index, &type) == SX_OK;
  }
  // The type of an input; all unknown for an absent one.
  TensorType input(int32_t index) const {
    SxType type;
    if (!detail::found(api_->input_type(node_, index, &type))) return {};
    TensorType result{type.dtype, std::nullopt};
    if (type.rank >= 0) result.shape.emplace(type.dims, type.dims + type.rank);
    return result;
  }

  // An attribute, or `otherwise` where it is not given.
  int64_t attribute(const char* name, int64_t otherwise) const {
    detail::found(api_->get_int(node_, name, &otherwise));
    return otherwise;
  }
  int64_t attribute(const char* name, int otherwise) const { return attribute(name, int64_t{otherwise}); }
  float attribute(const char* name, float otherwise) const {
    detail::found(api_->get_float(node_, name, &otherwise));
    return otherwise;
  }
  std::string attribute(const char* name, const char* otherwise) const {
    const char* data = nullptr;
    size_t length = 0;
    return detail::found(api_->get_text(node_, name, &data, &length)) ? std::string(data, length) : otherwise;
  }
  std::vector<int64_t> attribute(const char* name, std::vector<int64_t> otherwise) const {
    const int64_t* values = nullptr;
    size_t count = 0;
    if (!detail::found(api_->get_ints(node_, name, &values, &count))) return otherwise;
    return {values, values + count};
  }
  std::vector<float> attribute(const char* name, std::vector<float> otherwise) const {
    const float* values = nullptr;
    size_t count = 0;
    if (!detail::found(api_->get_floats(node_, name, &values, &count))) return otherwise;
    return {values, values + count};
  }
  std::vector<std::string> attribute(const char* name, std::vector<std::string> otherwise) const {
    const char* data = nullptr;
    size_t length = 0;
    if (!detail::found(api_->get_text_at(node_, name, 0, &data, &length))) return otherwise;
    std::vector<std::string> values;
    while (detail::found(api_->get_text_at(node_, name, values.size(), &data, &length)))
      values.emplace_back(data, length);
    return values;
  }
  // A tensor that lives as long as this node.
  std::optional<Tensor> tensor(const char* name) const {
    SxTensor tensor;
    if (!detail::found(api_->get_tensor(node_, name, &tensor))) return std::nullopt;
    return Tensor(tensor);
  }

 protected:
  const SxApi* api_;
  const SxNode* node_;
};

// A node whose outputs are to be given types.
class Infer : public Node {
 public:
  Infer(const SxApi* api, SxNode* node) : Node(api, node), open_(node) {}
  void output(int32_t index, const TensorType& type) {
    const bool ranked = type.shape.has_value();
    const SxType told{type.dtype, ranked ? static_cast<int32_t>(type.shape->size()) : -1,
                      ranked ? type.shape->data() : nullptr};
    detail::found(api_->set_output_type(open_, index, &told));
  }

 private:
  SxNode* open_;
};

// One run of a node.
class Run {
 public:
  Run(const SxApi* api, SxRun* run) : api_(api), run_(run) {}
  std::optional<Tensor> optional_input(int32_t index) const {
    SxTensor tensor;
    if (!detail::found(api_->input(run_, index, &tensor))) return std::nullopt;
    return Tensor(tensor);
  }
  Tensor input(int32_t index) const {
    const std::optional<Tensor> tensor = optional_input(index);
    if (!tensor) throw std::invalid_argument("input " + std::to_string(index) + " is required but absent");
    return *tensor;
  }
  // Memory for an output; nothing where nobody wants it.
  std::optional<Tensor> optional_output(int32_t index, int32_t dtype, const std::vector<int64_t>& shape) {
    SxTensor tensor;
    const auto rank = static_cast<int32_t>(shape.size());
    if (!detail::found(api_->output(run_, index, dtype, rank, shape.data(), &tensor))) return std::nullopt;
    return Tensor(tensor);
  }
  template <typename T>
  T* output(int32_t index, const std::vector<int64_t>& shape) {
    const std::optional<Tensor> tensor = optional_output(index, dtype_of<T>, shape);
    if (!tensor) throw std::invalid_argument("nobody wants output " + std::to_string(index));
    return tensor->data<T>();
  }
  std::string_view string(int32_t input, int64_t index) const {
    const char* data = nullptr;
    size_t length = 0;
    if (!detail::found(api_->get_string(run_, input, index, &data, &length)))
      throw std::invalid_argument("input " + std::to_string(input) + " is absent");
    return {data, length};
  }
  void set_string(int32_t output, int64_t index, std::string_view text) {
    detail::found(api_->set_string(run_, output, index, text.data(), text.size()));
  }
  // Calls body(begin, end) for parts of 0..count of at least `grain` on several threads. `body` must not throw.
  template <typename F>
  void parallel_for(int64_t count, int64_t grain, const F& body) const {
    const auto call = [](void* user, int64_t begin, int64_t end) { (*static_cast<const F*>(user))(begin, end); };
    api_->parallel_for(count, grain, call, const_cast<F*>(&body));
  }

 private:
  const SxApi* api_;
  SxRun* run_;
};

// How many inputs and outputs nodes of an operator have (-1: any number), and more that no class can say.
struct Options {
  int32_t since_version = 1;
  int32_t min_inputs = 0, max_inputs = -1;
  int32_t min_outputs = 1, max_outputs = -1;
  bool pure = false;  // may be computed ahead of a run
};

class Registry {
 public:
  Registry(const SxApi* api, SxRegistry* registry) : api_(api), registry_(registry) {}

  template <typename Op>
  void add(const char* domain, const char* name, const Options& options = {}) {
    SxOperator op{};
    op.abi = SX_CUSTOM_OP_ABI;
    op.domain = domain;
    op.name = name;
    op.since_version = options.since_version;
    op.min_inputs = options.min_inputs;
    op.max_inputs = options.max_inputs;
    op.min_outputs = options.min_outputs;
    op.max_outputs = options.max_outputs;
    op.pure = options.pure ? 1 : 0;
    if constexpr (has_infer<Op>(0)) {
      op.infer = [](const SxApi* api, SxNode* node, void*) {
        return detail::guarded(api, [&] {
          Infer infer(api, node);
          Op::infer(infer);
        });
      };
    }
    op.create = [](const SxApi* api, const SxNode* node, void*, void** state) {
      return detail::guarded(api, [&] { *state = new Op(Node(api, node)); });
    };
    op.compute = [](const SxApi* api, SxRun* run, void* state) {
      return detail::guarded(api, [&] {
        Run context(api, run);
        static_cast<const Op*>(state)->compute(context);
      });
    };
    op.destroy = [](void* state) { delete static_cast<Op*>(state); };
    if (api_->add_operator(registry_, &op) != SX_OK) throw detail::Failed();
  }

 private:
  template <typename Op>
  static constexpr auto has_infer(int) -> decltype(Op::infer(std::declval<Infer&>()), true) {
    return true;
  }
  template <typename Op>
  static constexpr bool has_infer(...) {
    return false;
  }

  const SxApi* api_;
  SxRegistry* registry_;
};

}  // namespace sardonyx

// Followed by a block that adds operators to `registry`.
#define SARDONYX_OPERATORS(registry)                                                     \
  static void sardonyx_operators(sardonyx::Registry& registry);                          \
  extern "C" SX_EXPORT int SardonyxRegisterOperators(const SxApi* api, SxRegistry* to) { \
    return sardonyx::detail::guarded(api, [&] {                                          \
      sardonyx::Registry operators(api, to);                                             \
      sardonyx_operators(operators);                                                     \
    });                                                                                  \
  }                                                                                      \
  static void sardonyx_operators(sardonyx::Registry& registry)

#endif  // SARDONYX_CUSTOM_OP_HPP_
