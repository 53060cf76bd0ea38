// Operators that are added while the program runs: functions of Python and libraries of users.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "ops/op_def.h"

namespace sx {

// A set of operators, each in one or more versions of its domain. Thread-safe. A graph whose nodes use one of them must
// be outlived by the shared pointer to it.
class UserOps {
 public:
  // The version is OpDef::since_version(). Throws InvalidArgument where there is another one of that version already
  // (and `replace` is off), where the operator is built in, or where it has no name.
  void add(std::shared_ptr<const OpDef> op, bool replace = false);
  // Adds all or none.
  void add(const std::vector<std::shared_ptr<const OpDef>>& ops);
  // Removes one version, or all where it is 0; returns how many there were.
  size_t remove(const std::string& name, const std::string& domain, int version);
  // The newest operator that a model of this version of the domain may use, or nullptr.
  std::shared_ptr<const OpDef> find(const std::string& name, const std::string& domain, int64_t version) const;
  // All versions of an operator, in order.
  std::vector<int> versions(const std::string& name, const std::string& domain) const;
  // By domain, name and version.
  std::vector<std::shared_ptr<const OpDef>> all() const;

 private:
  using Key = std::pair<std::string, std::string>;  // domain, name
  static Key key_of(const OpDef& op) { return {op.domain(), op.name()}; }

  mutable std::mutex mutex_;
  std::map<Key, std::map<int, std::shared_ptr<const OpDef>>> ops_;
};

// Those that every session of the process may use.
UserOps& process_ops();

}  // namespace sx
