// An input that holds a few integers (axes, sizes, pads): read once where it is constant, else at each run.
#pragma once

#include <optional>
#include <vector>

#include "ops/kernel.h"

namespace sx {

class IntInput {
 public:
  IntInput(const Prepare& p, int index) : index_(index) {
    if (const Tensor* known = p.constant(index)) known_ = known->integers();
  }
  // The integers; `buffer` keeps them where they were not known. Nothing when the input is absent.
  const std::vector<int64_t>& get(const Run& run, std::vector<int64_t>& buffer) const {
    if (known_) return *known_;
    if (run.has(index_)) buffer = run.in(index_).integers();
    return buffer;
  }

 private:
  int index_;
  std::optional<std::vector<int64_t>> known_;
};

}  // namespace sx
