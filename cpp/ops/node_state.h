// State that the plans of a session share for one node, such as how far it has got in its random numbers.
#pragma once

#include <memory>
#include <string>

#include "ops/kernel.h"

namespace sx {

// What `make` gives (a pointer from new), once for the node and `tag`: all plans of a session get the same object.
template <typename T, typename F>
std::shared_ptr<T> node_state(const Prepare& p, const std::string& tag, F make) {
  const Tensor holder = p.shared(tag, [&] {
    T* state = make();
    const std::shared_ptr<Buffer> buffer = Buffer::wrap(state, sizeof(T), [state] { delete state; });
    return Tensor(DType::kUInt8, Shape{static_cast<int64_t>(sizeof(T))}, buffer);
  });
  return std::shared_ptr<T>(holder.buffer(), static_cast<T*>(holder.raw()));
}

}  // namespace sx
