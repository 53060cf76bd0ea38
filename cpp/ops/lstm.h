// The cell of an LSTM, shared with its quantized form.
#pragma once

#include "ops/recurrent.h"

namespace sx {

struct LstmForm : RecurrentForm {
  bool input_forget;  // the forget gate is 1 - the input gate

  explicit LstmForm(const NodeView& node);
  LstmForm();  // of a node that has no attributes
};
CellRule lstm_cell(const LstmForm& form);

// Its inner vector is c.
template <typename T>
class LstmCell : public RecurrentCell<T> {
 public:
  LstmCell(const RecurrentSpec& spec, const LstmForm& form, RecurrentIo<T>& io);
  void step(const RecurrentStep<T>& s) const override;

 private:
  const RecurrentSpec& spec_;
  bool input_forget_;
  bool plain_;          // lstm_gates() is the whole cell
  const T* peepholes_;  // [directions, 3 * hidden] in the order input, output, forget, or null
};
extern template class LstmCell<float>;
extern template class LstmCell<double>;

}  // namespace sx
