// Errors that name the node at fault.
#pragma once

#include <new>
#include <stdexcept>

#include "ops/op_def.h"

namespace sx {

// Calls f for the sake of `node`. An error that does not begin with the label of a node gets it; running out of memory
// becomes an error too.
template <typename F>
void naming(const Node& node, F&& f) {
  const auto out_of_memory = [&] {
    fail(ErrorKind::kRuntimeException, label(node), " needs more memory than there is");
  };
  try {
    f();
  } catch (const Error& error) {
    const std::string text = error.what();
    if (text.compare(0, 1, "[") == 0) throw;
    fail(error.kind(), label(node), " ", text);
  } catch (const std::bad_alloc&) {
    out_of_memory();
  } catch (const std::length_error&) {
    out_of_memory();
  }
}

}  // namespace sx
