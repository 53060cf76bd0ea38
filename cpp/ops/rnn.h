// The form of a simple recurrent network, shared with its gradient.
#pragma once

#include "ops/recurrent.h"

namespace sx {

struct RnnForm : RecurrentForm {
  explicit RnnForm(const NodeView&) : RecurrentForm{1, {"Tanh"}, {1}} {}
};
CellRule rnn_cell(const RnnForm& form);

}  // namespace sx
