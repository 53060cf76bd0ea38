// The cell of an LSTM, shared with its quantized form.
#pragma once

#include "ops/recurrent.h"

namespace sx {

template <typename T>
class LstmCell : public RecurrentCell<T> {
 public:
  // `peepholes` are [directions, 3 * hidden] in the order input, output, forget, or null.
  LstmCell(const RecurrentSpec& spec, bool input_forget, const T* peepholes)
      : spec_(spec), input_forget_(input_forget), peepholes_(peepholes) {}
  void step(const RecurrentStep<T>& s) const override;

 private:
  const RecurrentSpec& spec_;
  bool input_forget_;
  const T* peepholes_;
};
extern template class LstmCell<float>;
extern template class LstmCell<double>;

// check_recurrent_inputs() and inputs 6 (initial c) and 7 (peepholes).
void check_lstm_inputs(const Run& run, const RecurrentSizes& sizes);

}  // namespace sx
