// Errors that name the node at fault.
#pragma once

#include "ops/op_def.h"

namespace sx {

// Throws `error` with the node's label before a message that does not begin with one.
[[noreturn]] inline void throw_named(const Error& error, const Node& node) {
  const std::string text = error.what();
  throw Error(error.kind(), text.compare(0, 1, "[") == 0 ? text : label(node) + " " + text);
}

}  // namespace sx
