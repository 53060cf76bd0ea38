// Checks what a caller feeds against what a graph expects.
#pragma once

#include <string>
#include <vector>

#include "ir/type.h"
#include "tensor/tensor.h"

namespace sx {

// Throws InvalidArgument, naming the input, what came and what is wanted.
void check_feed(const std::string& name, const Type& type, const Datum& value);

// "'a', 'b'"
std::string quoted(const std::vector<std::string>& names);

}  // namespace sx
