// The table of operators that are added while the program runs.
#include "ops/user_ops.h"

#include "ops/registry.h"

namespace sx {
namespace {

std::string plain_domain(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

void check_addable(const OpDef& op) {
  SX_REQUIRE(!op.name().empty(), kInvalidArgument, "an operator needs a name");
  SX_REQUIRE(op.since_version() >= 1, kInvalidArgument, "operator ", op.full_name(), " is of version ",
             op.since_version(), "; 1 or more expected");
  SX_REQUIRE(find_op(op.name(), op.domain()) == nullptr, kInvalidArgument, "operator ", op.full_name(),
             " is built in and cannot be registered; give yours a domain of its own");
}

[[noreturn]] void fail_duplicate(const OpDef& op) {
  fail(ErrorKind::kInvalidArgument, "operator ", op.full_name(), " of version ", op.since_version(),
       " is registered already; unregister it first, or ask for it to be replaced");
}

}  // namespace

void UserOps::add(std::shared_ptr<const OpDef> op, bool replace) {
  check_addable(*op);
  std::shared_ptr<const OpDef> old;  // let go of outside of the lock: it may run a destructor of the user's
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& place = ops_[key_of(*op)][op->since_version()];
  if (place != nullptr && place != op && !replace) fail_duplicate(*op);
  old = std::exchange(place, std::move(op));
}

void UserOps::add(const std::vector<std::shared_ptr<const OpDef>>& ops) {
  for (size_t i = 0; i < ops.size(); ++i) {
    check_addable(*ops[i]);
    for (size_t k = 0; k < i; ++k)
      if (key_of(*ops[i]) == key_of(*ops[k]) && ops[i]->since_version() == ops[k]->since_version())
        fail_duplicate(*ops[i]);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& op : ops) {
    auto found = ops_.find(key_of(*op));
    if (found == ops_.end()) continue;
    auto version = found->second.find(op->since_version());
    if (version != found->second.end() && version->second != op) fail_duplicate(*op);
  }
  for (const auto& op : ops) ops_[key_of(*op)][op->since_version()] = op;
}

size_t UserOps::remove(const std::string& name, const std::string& domain, int version) {
  std::map<int, std::shared_ptr<const OpDef>> removed;  // let go of outside of the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  auto found = ops_.find({plain_domain(domain), name});
  if (found == ops_.end()) return 0;
  if (version == 0) {
    removed = std::move(found->second);
  } else if (auto one = found->second.find(version); one != found->second.end()) {
    removed.insert(found->second.extract(one));
  }
  if (version == 0 || found->second.empty()) ops_.erase(found);
  return removed.size();
}

std::shared_ptr<const OpDef> UserOps::find(const std::string& name, const std::string& domain, int64_t version) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto found = ops_.find({plain_domain(domain), name});
  if (found == ops_.end()) return nullptr;
  std::shared_ptr<const OpDef> newest;
  for (const auto& [since, op] : found->second)
    if (since <= version) newest = op;
  return newest;
}

std::vector<int> UserOps::versions(const std::string& name, const std::string& domain) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<int> versions;
  auto found = ops_.find({plain_domain(domain), name});
  if (found == ops_.end()) return versions;
  for (const auto& entry : found->second) versions.push_back(entry.first);
  return versions;
}

std::vector<std::shared_ptr<const OpDef>> UserOps::all() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<const OpDef>> all;
  for (const auto& entry : ops_)
    for (const auto& version : entry.second) all.push_back(version.second);
  return all;
}

UserOps& process_ops() {
  // Never destroyed: at exit the interpreter that functions belong to is gone.
  static auto* const instance = new UserOps;
  return *instance;
}

}  // namespace sx
