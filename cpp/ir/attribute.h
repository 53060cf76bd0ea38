// Attribute values of nodes.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "ir/type.h"
#include "tensor/tensor.h"

namespace sx {

// Graph-valued attributes are not here: a node keeps its bodies in Node::bodies.
using Attribute = std::variant<int64_t, float, std::string, Tensor, Type, std::vector<int64_t>, std::vector<float>,
                               std::vector<std::string>, std::vector<Tensor>>;
using Attributes = std::map<std::string, Attribute>;

// Equal in kind and content (tensors bit by bit).
bool same(const Attribute& a, const Attribute& b);
// Short text for messages and dumps; long lists and tensors are cut.
std::string to_string(const Attribute& attribute);
// "int", "float", "string", "tensor", "type", "ints", "floats", "strings", "tensors".
const char* kind_name(const Attribute& attribute);

}  // namespace sx
