// Libraries of operators that users compile against sardonyx/custom_op.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/op_def.h"

namespace sx {

// The operators of the library at `path`, the same ones each time; it stays loaded. Throws NoSuchFile, or
// InvalidArgument for a file that is no such library or was made for another version of the interface.
std::vector<std::shared_ptr<const OpDef>> operators_of_library(const std::string& path);

}  // namespace sx
