// The form of a GRU, shared with its gradient.
#pragma once

#include "ops/recurrent.h"

namespace sx {

struct GruForm : RecurrentForm {
  bool reset_behind;  // the reset gate acts behind the product: n = g(x W + r (h R + b_R) + b_W)

  explicit GruForm(const NodeView& node);
};
CellRule gru_cell(const GruForm& form);

}  // namespace sx
