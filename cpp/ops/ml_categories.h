// Looks values up in a list of keys.
#pragma once

#include <cmath>
#include <string>
#include <unordered_map>
#include <vector>

#include "ops/ml_common.h"

namespace sx {

// Places of keys in a list; of equal keys the first counts, and all NaNs are one key.
class CategoryIndex {
 public:
  explicit CategoryIndex(const Tensor& keys);

  // Whether elements of this type can be looked up.
  bool accepts(DType dtype) const;
  // The place of element `i` of x, or -1.
  int64_t find(const Tensor& x, int64_t i) const;
  // The place of an integer among integers, or -1.
  int64_t find(int64_t value) const;

 private:
  enum class Kind { kInteger, kReal, kText };
  static Kind kind_of(DType dtype);
  Kind kind_;
  std::unordered_map<int64_t, int64_t> integers_;  // real numbers by their bits
  std::vector<int32_t> dense_;                     // by integer - first_, where they are close to each other
  int64_t first_ = 0;
  std::unordered_map<std::string, int64_t> texts_;
};

}  // namespace sx
