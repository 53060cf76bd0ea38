// Fills the operator table from ops.def at the first look-up.
#include "ops/registry.h"

#include <algorithm>
#include <map>
#include <memory>

#include "base/suggest.h"

namespace sx {

// Each file under ops/ that is listed in ops.def defines one of these.
#define SX_DEFINE(stem) void define_##stem(OpList& ops);
#include "ops/ops.def"
#undef SX_DEFINE

namespace {

using Key = std::pair<std::string, std::string>;  // domain, name

const std::map<Key, std::unique_ptr<OpDef>>& table() {
  static const auto* instance = [] {
    OpList list;
#define SX_DEFINE(stem) define_##stem(list);
#include "ops/ops.def"
#undef SX_DEFINE
    auto* ops = new std::map<Key, std::unique_ptr<OpDef>>;
    for (auto& op : list.all()) {
      const Key key{op->domain(), op->name()};
      SX_ASSERT(ops->emplace(key, std::move(op)).second);
    }
    return ops;
  }();
  return *instance;
}

}  // namespace

const OpDef* find_op(const std::string& name, const std::string& domain) {
  auto found = table().find({domain == "ai.onnx" ? "" : domain, name});
  return found == table().end() ? nullptr : found->second.get();
}

const OpDef& get_op(const std::string& name, const std::string& domain) {
  const OpDef* op = find_op(name, domain);
  if (op != nullptr) return *op;
  std::vector<std::string> known;
  for (const OpDef* other : all_ops()) known.push_back(other->name());
  fail(ErrorKind::kNotImplemented, "there is no operator '", domain.empty() ? "" : domain + "::", name, "'",
       suggestion(name, known));
}

std::vector<const OpDef*> all_ops() {
  std::vector<const OpDef*> ops;
  for (const auto& entry : table()) ops.push_back(entry.second.get());
  return ops;
}

}  // namespace sx
