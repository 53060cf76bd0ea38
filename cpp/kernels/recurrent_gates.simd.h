// The gates of recurrent cells for one ISA: what is multiplied shares a division.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_math.h"

namespace recurrent {

// sigmoid(x) = 1 / over_sigmoid(x)
SX_INLINE F over_sigmoid(F x) { return 1.0f + coarse_exp(-x); }

// Some lanes of an array: all, or the first few.
struct Whole {
  SX_INLINE F get(const float* p) const { return load(p); }
  SX_INLINE void put(float* p, F v) const { store(p, v); }
};
struct First {
  int count;
  SX_INLINE F get(const float* p) const { return load_n(p, count); }
  SX_INLINE void put(float* p, F v) const { store_n(p, v, count); }
};

// --- LSTM

template <bool keeps, typename Lanes>
SX_INLINE void lstm_step(const Lanes lanes, float* sums, int64_t n, float* c, float* h) {
  const F over_input = over_sigmoid(lanes.get(sums)), over_output = over_sigmoid(lanes.get(sums + n)),
          over_forget = over_sigmoid(lanes.get(sums + 2 * n));
  const Fraction cell = tanh_fraction(lanes.get(sums + 3 * n));
  const F next_c = lanes.get(c) / over_forget + cell.over / (over_input * cell.under);
  const Fraction out = tanh_fraction(next_c);
  lanes.put(c, next_c);
  lanes.put(h, out.over / (over_output * out.under));
  if (!keeps) return;
  lanes.put(sums, 1.0f / over_input);
  lanes.put(sums + n, 1.0f / over_output);
  lanes.put(sums + 2 * n, 1.0f / over_forget);
  lanes.put(sums + 3 * n, cell.over / cell.under);
}

template <bool keeps>
void lstm(float* sums, int64_t n, float* c, float* h) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) lstm_step<keeps>(Whole{}, sums + i, n, c + i, h + i);
  if (i < n) lstm_step<keeps>(First{static_cast<int>(n - i)}, sums + i, n, c + i, h + i);
}

template <typename Lanes>
SX_INLINE void lstm_step_back(const Lanes lanes, float* gates, int64_t n, const float* c_before, const float* c,
                              const float* dh, float* dc) {
  const F input = lanes.get(gates), output = lanes.get(gates + n), forget = lanes.get(gates + 2 * n),
          cell = lanes.get(gates + 3 * n), tangent = tanh(lanes.get(c)), from_h = lanes.get(dh);
  const F d = lanes.get(dc) + from_h * output * (1.0f - tangent * tangent);
  lanes.put(gates, d * cell * input * (1.0f - input));
  lanes.put(gates + n, from_h * tangent * output * (1.0f - output));
  lanes.put(gates + 2 * n, d * lanes.get(c_before) * forget * (1.0f - forget));
  lanes.put(gates + 3 * n, d * input * (1.0f - cell * cell));
  lanes.put(dc, d * forget);
}

void lstm_backward(float* gates, int64_t n, const float* c_before, const float* c, const float* dh, float* dc) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) lstm_step_back(Whole{}, gates + i, n, c_before + i, c + i, dh + i, dc + i);
  if (i < n) lstm_step_back(First{static_cast<int>(n - i)}, gates + i, n, c_before + i, c + i, dh + i, dc + i);
}

// --- GRU

template <typename Lanes>
SX_INLINE void gru_step(const Lanes lanes, const float* x, float* sums, const float* bias, int64_t n, float* h,
                        float* kept) {
  const F over_update = over_sigmoid(lanes.get(x) + lanes.get(sums)),
          over_reset = over_sigmoid(lanes.get(x + n) + lanes.get(sums + n));
  F inner = lanes.get(sums + 2 * n);
  if (bias != nullptr) inner = inner + lanes.get(bias);
  const F fresh = tanh(lanes.get(x + 2 * n) + inner / over_reset);
  lanes.put(h, fresh + (lanes.get(h) - fresh) / over_update);
  if (kept == nullptr) return;
  lanes.put(kept, inner);
  lanes.put(sums, 1.0f / over_update);
  lanes.put(sums + n, 1.0f / over_reset);
  lanes.put(sums + 2 * n, fresh);
}

void gru(const float* x, float* sums, const float* bias, int64_t n, float* h, float* kept) {
  const auto from = [](auto* p, int64_t i) { return p == nullptr ? nullptr : p + i; };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) gru_step(Whole{}, x + i, sums + i, from(bias, i), n, h + i, from(kept, i));
  if (i < n) gru_step(First{static_cast<int>(n - i)}, x + i, sums + i, from(bias, i), n, h + i, from(kept, i));
}

template <typename Lanes>
SX_INLINE void gru_step_back(const Lanes lanes, float* gates, int64_t n, const float* h_before, const float* kept,
                             float* recurred, float* dh) {
  const F update = lanes.get(gates), reset = lanes.get(gates + n), fresh = lanes.get(gates + 2 * n), d = lanes.get(dh);
  const F d_fresh = d * (1.0f - update) * (1.0f - fresh * fresh);
  const F d_update = d * (lanes.get(h_before) - fresh) * update * (1.0f - update);
  const F d_reset = d_fresh * lanes.get(kept) * reset * (1.0f - reset);
  lanes.put(gates, d_update);
  lanes.put(gates + n, d_reset);
  lanes.put(gates + 2 * n, d_fresh);
  lanes.put(recurred, d_update);
  lanes.put(recurred + n, d_reset);
  lanes.put(recurred + 2 * n, d_fresh * reset);
  lanes.put(dh, d * update);
}

void gru_backward(float* gates, int64_t n, const float* h_before, const float* kept, float* recurred, float* dh) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    gru_step_back(Whole{}, gates + i, n, h_before + i, kept + i, recurred + i, dh + i);
  if (i < n) gru_step_back(First{static_cast<int>(n - i)}, gates + i, n, h_before + i, kept + i, recurred + i, dh + i);
}

}  // namespace recurrent

constexpr RecurrentGates kRecurrentGates = {recurrent::lstm<false>, recurrent::lstm<true>, recurrent::lstm_backward,
                                            recurrent::gru, recurrent::gru_backward};

}  // namespace SX_ISA
}  // namespace sx
