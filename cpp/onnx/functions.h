// Model-local functions, replaced by their nodes.
#pragma once

#include "onnx/proto.h"

namespace sx {

// Replaces every call of one of the model's functions, in bodies of control flow and in other functions too, with
// copies of the function's nodes. A copy keeps the opsets of its function (Node::opsets points into `model`). Throws
// InvalidGraph for functions that call themselves, and for models that would grow beyond reason.
void inline_functions(proto::Model& model);

}  // namespace sx
