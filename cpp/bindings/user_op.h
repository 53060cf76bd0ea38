// What Python sees of an operator that is added while the program runs, and operators made of Python functions.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "ops/user_ops.h"

namespace sx {

struct UserOp {
  std::shared_ptr<const OpDef> def;
};

// `function(*inputs, **attributes)` gives one output, or a tuple of them. `check(inputs, attributes, outputs)` raises
// TypeError for a node that the function cannot be called for: the number of inputs, names of attributes, number of
// outputs. `infer(inputs, attributes)` is None or gives a list with one entry for each output: None, the name of a
// type, or (ONNX's number of the element type, dims or None); it gets a list with None or
// (name of the type, element type, dims or None) for each input.
std::shared_ptr<const OpDef> python_op(const std::string& domain, const std::string& name, int version,
                                       const pybind11::object& function, const pybind11::object& check,
                                       const pybind11::object& infer, bool pure);

}  // namespace sx
