// Loads libraries of operators and gives them the C interface of sardonyx/custom_op.h.
#include "ops/operator_library.h"

#include <dlfcn.h>
#include <limits.h>
#include <sardonyx/custom_op.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "ops/infer.h"
#include "ops/kernel.h"

using namespace sx;  // NOLINT: the structures that the header declares are those of the global namespace

namespace {

// The message of the callback that this thread is in.
thread_local std::string message;

int fail_with(const std::string& text) {
  message = text;
  return SX_ERROR;
}

// Runs a part of the interface for a library, which no exception may reach.
template <typename F>
int guarded(F&& part) {
  try {
    return part();
  } catch (const std::exception& error) {
    return fail_with(error.what());
  }
}

}  // namespace

struct SxRegistry {
  std::string path;
  std::vector<std::shared_ptr<const OpDef>> ops;
};

struct SxNode {
  const NodeView* view = nullptr;
  InferContext* infer = nullptr;           // while types are inferred
  const Prepare* prepare = nullptr;        // while a kernel is made
  std::vector<Dim> symbols;                // what extents below -1 stand for
  std::vector<std::vector<int64_t>> dims;  // per input

  const Type* type(int i) const {
    if (infer != nullptr) return infer->has(i) ? &infer->type(i) : nullptr;
    return prepare->has(i) ? &prepare->type(i) : nullptr;
  }
  int64_t number_of(const Dim& dim) {
    if (dim.known()) return dim.value();
    if (!dim.symbolic()) return -1;
    const auto found = std::find(symbols.begin(), symbols.end(), dim);
    if (found == symbols.end()) symbols.push_back(dim);
    return -2 - (std::find(symbols.begin(), symbols.end(), dim) - symbols.begin());
  }
  Dim dim_of(int64_t number) const {
    if (number >= 0) return Dim(number);
    const auto index = static_cast<size_t>(-2 - std::max<int64_t>(number, -1 - static_cast<int64_t>(symbols.size())));
    return number == -1 || index >= symbols.size() ? Dim() : symbols[index];
  }
  void note_inputs() {
    for (int i = 0; i < static_cast<int>(view->node().inputs.size()); ++i) {
      dims.emplace_back();
      const Type* known = type(i);
      if (known == nullptr || !known->shape) continue;
      for (const Dim& dim : *known->shape) dims.back().push_back(number_of(dim));
    }
  }
};

struct SxRun {
  Run& run;
  const std::vector<Type>& types;  // of the outputs, as far as they were told
  std::vector<Tensor> outputs;     // those asked for so far
};

namespace {

void describe(const Tensor& tensor, SxTensor* to) {
  to->dtype = static_cast<int32_t>(tensor.dtype());
  to->rank = tensor.rank();
  to->dims = tensor.shape().begin();
  to->size = tensor.size();
  to->data = tensor.dtype() == DType::kString ? nullptr : tensor.raw();
}

// --- the interface: nodes

template <typename T, typename Use>
int with_attribute(const SxNode* node, const char* name, Use&& use) {
  return guarded([&] {
    const Attributes& attributes = node->view->node().attributes;
    const auto found = attributes.find(name);
    if (found == attributes.end()) return static_cast<int>(SX_MISSING);
    const T* value = std::get_if<T>(&found->second);
    if (value == nullptr)
      return fail_with(join("attribute '", name, "' is of another kind: ", kind_name(found->second), " found"));
    return static_cast<int>(use(*value));
  });
}

int32_t input_count(const SxNode* node) { return static_cast<int32_t>(node->view->node().inputs.size()); }
int32_t output_count(const SxNode* node) { return static_cast<int32_t>(node->view->node().outputs.size()); }

int input_type(const SxNode* node, int32_t index, SxType* to) {
  const Type* type = index >= 0 && index < input_count(node) ? node->type(index) : nullptr;
  if (type == nullptr) return SX_MISSING;
  const auto& dims = node->dims[static_cast<size_t>(index)];
  to->dtype = static_cast<int32_t>(type->is_tensor() ? type->dtype : DType::kUndefined);
  to->rank = type->rank();
  to->dims = dims.data();
  return SX_OK;
}

int set_output_type(SxNode* node, int32_t index, const SxType* type) {
  return guarded([&] {
    if (node->infer == nullptr) return fail_with("set_output_type is for infer only");
    if (index < 0) return fail_with(join("there is no output ", index));
    std::optional<SymShape> shape;
    if (type->rank >= 0) {
      shape.emplace();
      for (int32_t axis = 0; axis < type->rank; ++axis) shape->push_back(node->dim_of(type->dims[axis]));
    }
    if (type->dtype != SX_UNKNOWN) node->infer->out(index, dtype_from_onnx(type->dtype), std::move(shape));
    return static_cast<int>(SX_OK);
  });
}

int get_int(const SxNode* node, const char* name, int64_t* to) {
  return with_attribute<int64_t>(node, name, [&](int64_t value) { return *to = value, SX_OK; });
}
int get_float(const SxNode* node, const char* name, float* to) {
  return with_attribute<float>(node, name, [&](float value) { return *to = value, SX_OK; });
}
int get_text(const SxNode* node, const char* name, const char** data, size_t* length) {
  return with_attribute<std::string>(
      node, name, [&](const std::string& text) { return *data = text.data(), *length = text.size(), SX_OK; });
}
int get_ints(const SxNode* node, const char* name, const int64_t** values, size_t* count) {
  return with_attribute<std::vector<int64_t>>(
      node, name, [&](const auto& list) { return *values = list.data(), *count = list.size(), SX_OK; });
}
int get_floats(const SxNode* node, const char* name, const float** values, size_t* count) {
  return with_attribute<std::vector<float>>(
      node, name, [&](const auto& list) { return *values = list.data(), *count = list.size(), SX_OK; });
}
int get_text_at(const SxNode* node, const char* name, size_t index, const char** data, size_t* length) {
  return with_attribute<std::vector<std::string>>(node, name, [&](const auto& list) {
    if (index >= list.size()) return SX_MISSING;
    return *data = list[index].data(), *length = list[index].size(), SX_OK;
  });
}
int get_tensor(const SxNode* node, const char* name, SxTensor* to) {
  return with_attribute<Tensor>(node, name, [&](const Tensor& tensor) { return describe(tensor, to), SX_OK; });
}

// --- the interface: runs

int input(SxRun* run, int32_t index, SxTensor* to) {
  if (index < 0 || !run->run.has(index)) return SX_MISSING;
  if (run->run.datum(index).kind != Datum::Kind::kTensor)
    return fail_with(join("input ", index, " is no tensor; operators of libraries take tensors only"));
  describe(run->run.in(index), to);
  return SX_OK;
}

int output(SxRun* run, int32_t index, int32_t dtype, int32_t rank, const int64_t* dims, SxTensor* to) {
  return guarded([&] {
    if (index < 0 || !run->run.wants(index)) return static_cast<int>(SX_MISSING);
    if (rank < 0 || rank > kMaxRank) return fail_with(join("output ", index, " is given the rank ", rank));
    const std::vector<int64_t> extents(dims, dims + rank);
    for (int64_t extent : extents)
      if (extent < 0) return fail_with(join("output ", index, " is given the extent ", extent));
    const Shape shape(extents);
    const auto place = static_cast<size_t>(index);
    const Type& told = run->types[place];
    bool fits = !told.is_tensor() || static_cast<int32_t>(told.dtype) == dtype;
    fits = fits && (!told.shape || told.shape->size() == extents.size());
    for (size_t axis = 0; fits && told.shape && axis < extents.size(); ++axis)
      fits = !(*told.shape)[axis].known() || (*told.shape)[axis].value() == extents[axis];
    const DType type = dtype_from_onnx(dtype);
    if (!fits)
      return fail_with(join("output ", index, " is ", name_of(type), shape.str(), ", which was to be ", told.str()));
    if (run->outputs.size() <= place) run->outputs.resize(place + 1);
    run->outputs[place] = run->run.out(index, type, shape);
    describe(run->outputs[place], to);
    return static_cast<int>(SX_OK);
  });
}

std::string* string_at(const Tensor& tensor, int64_t index) {
  const bool there = tensor.dtype() == DType::kString && index >= 0 && index < tensor.size();
  return there ? tensor.data<std::string>() + index : nullptr;
}

int get_string(SxRun* run, int32_t index, int64_t at, const char** data, size_t* length) {
  if (index < 0 || !run->run.has(index)) return SX_MISSING;
  const std::string* text = string_at(run->run.in(index), at);
  if (text == nullptr) return fail_with(join("input ", index, " has no string ", at));
  *data = text->data();
  *length = text->size();
  return SX_OK;
}

int set_string(SxRun* run, int32_t index, int64_t at, const char* data, size_t length) {
  return guarded([&] {
    const bool made = index >= 0 && static_cast<size_t>(index) < run->outputs.size();
    std::string* text = made ? string_at(run->outputs[static_cast<size_t>(index)], at) : nullptr;
    if (text == nullptr) return fail_with(join("output ", index, " has no string ", at));
    text->assign(data, length);
    return static_cast<int>(SX_OK);
  });
}

void run_parallel(int64_t count, int64_t grain, void (*body)(void*, int64_t, int64_t), void* user) {
  parallel_for(count, std::max<int64_t>(grain, 1), [&](int64_t begin, int64_t end) { body(user, begin, end); });
}

int fail_callback(const char* text) { return fail_with(text == nullptr ? "" : text); }

int add_operator(SxRegistry* registry, const SxOperator* op);

const SxApi kApi = {SX_CUSTOM_OP_ABI, sizeof(SxApi),   add_operator, fail_callback, input_count, output_count,
                    input_type,       set_output_type, get_int,      get_float,     get_text,    get_ints,
                    get_floats,       get_text_at,     get_tensor,   input,         output,      get_string,
                    set_string,       run_parallel};

// --- operators

// Calls a callback; its failure is the error of the node.
template <typename Call>
void checked(const Node& node, ErrorKind kind, const char* what, Call&& call) {
  message.clear();
  const int status = call();
  if (status == SX_OK) return;
  fail(kind, label(node), " ", what, " failed: ", message.empty() ? join("status ", status) : message);
}

bool within(size_t count, int32_t min, int32_t max) {
  return static_cast<int64_t>(count) >= min && (max < 0 || static_cast<int64_t>(count) <= max);
}

void infer_types(const SxOperator& op, InferContext& c) {
  const size_t inputs = c.node().inputs.size();
  const size_t outputs = c.node().outputs.size();
  SX_CHECK(c, within(inputs, op.min_inputs, op.max_inputs), "has ", inputs, " inputs; the operator takes ",
           op.min_inputs, " to ", op.max_inputs);
  SX_CHECK(c, within(outputs, op.min_outputs, op.max_outputs), "has ", outputs, " outputs; the operator gives ",
           op.min_outputs, " to ", op.max_outputs);
  if (op.infer == nullptr) return;
  SxNode node;
  node.view = &c;
  node.infer = &c;
  node.note_inputs();
  checked(c.node(), ErrorKind::kInvalidGraph, "inference", [&] { return op.infer(&kApi, &node, op.user); });
}

Kernel make_kernel(const SxOperator& op, const std::string& path, Prepare& p) {
  SxNode node;
  node.view = &p;
  node.prepare = &p;
  node.note_inputs();
  void* state = op.user;
  if (op.create != nullptr)
    checked(p.node(), ErrorKind::kInvalidGraph, "its kernel", [&] { return op.create(&kApi, &node, op.user, &state); });
  const auto destroy = op.create != nullptr ? op.destroy : nullptr;
  const std::shared_ptr<void> owned(state, [destroy](void* made) {
    if (destroy != nullptr) destroy(made);
  });
  std::vector<Type> types(p.node().outputs.size());
  for (size_t i = 0; i < types.size(); ++i)
    if (p.wants(static_cast<int>(i))) types[i] = p.output_type(static_cast<int>(i));
  p.describe(path.substr(path.rfind('/') + 1));
  const auto compute = op.compute;
  return [owned, types, compute](Run& run) {
    SxRun context{run, types, {}};
    checked(run.node(), ErrorKind::kFail, "it", [&] { return compute(&kApi, &context, owned.get()); });
    for (int i = 0; i < run.outputs(); ++i) {
      const auto place = static_cast<size_t>(i);
      const bool made = place < context.outputs.size() && context.outputs[place].defined();
      SX_CHECK(run, made || !run.wants(i), "did not make output ", i);
    }
  };
}

int add_operator(SxRegistry* registry, const SxOperator* given) {
  return guarded([&] {
    SX_REQUIRE(given->abi == SX_CUSTOM_OP_ABI, kInvalidArgument, "an operator of '", registry->path,
               "' was made for version ", given->abi, " of the interface; this release has version ", SX_CUSTOM_OP_ABI,
               ": compile the library again with its header");
    SX_REQUIRE(given->domain != nullptr && given->name != nullptr && given->compute != nullptr, kInvalidArgument,
               "an operator of '", registry->path, "' lacks domain, name or compute");
    const SxOperator op = *given;
    const std::string path = registry->path;
    const std::string domain = op.domain;
    auto def = std::make_shared<OpDef>(op.name, domain == "ai.onnx" ? "" : domain);
    def->since(op.since_version, op.since_version).any_attributes();
    def->any_in("inputs", PortSpec::Presence::kVariadic).any_out("outputs", PortSpec::Presence::kVariadic);
    def->infer([op](InferContext& c) { infer_types(op, c); });
    def->kernel([op, path](Prepare& p) { return make_kernel(op, path, p); });
    if (op.pure == 0) def->nondeterministic();
    registry->ops.push_back(std::move(def));
    return static_cast<int>(SX_OK);
  });
}

std::vector<std::shared_ptr<const OpDef>> load(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const char* reason = library == nullptr ? ::dlerror() : nullptr;
  SX_REQUIRE(library != nullptr, kInvalidArgument, "'", path,
             "' cannot be loaded as a library: ", reason != nullptr ? reason : "no reason given");
  void* entry = ::dlsym(library, "SardonyxRegisterOperators");
  if (entry == nullptr) {
    const bool other = ::dlsym(library, "RegisterCustomOps") != nullptr;
    ::dlclose(library);
    fail(ErrorKind::kInvalidArgument, "'", path, "' exports no function SardonyxRegisterOperators",
         other ? "; its operators were compiled for onnxruntime: compile them" : "; compile it",
         " against sardonyx/custom_op.h (sardonyx.get_include())");
  }
  SxRegistry registry{path, {}};
  message.clear();
  const int status = reinterpret_cast<decltype(&SardonyxRegisterOperators)>(entry)(&kApi, &registry);
  SX_REQUIRE(status == SX_OK, kInvalidArgument,
             message.empty() ? join("'", path, "' failed to register its operators") : message);
  return registry.ops;
}

}  // namespace

namespace sx {

std::vector<std::shared_ptr<const OpDef>> operators_of_library(const std::string& path) {
  static std::mutex mutex;
  // Libraries are never unloaded: threads may be in them, and static objects of theirs may be registered elsewhere.
  static auto* const loaded = new std::map<std::string, std::vector<std::shared_ptr<const OpDef>>>;
  char resolved[PATH_MAX];
  SX_REQUIRE(::realpath(path.c_str(), resolved) != nullptr && ::access(resolved, R_OK) == 0, kNoSuchFile,
             "there is no readable library '", path, "'");
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = loaded->find(resolved);
  if (found != loaded->end()) return found->second;
  return loaded->emplace(resolved, load(resolved)).first->second;
}

}  // namespace sx
