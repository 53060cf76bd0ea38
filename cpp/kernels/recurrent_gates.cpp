// The gates of recurrent cells by ISA.
#include "kernels/recurrent_gates.h"

namespace sx {
namespace {
struct RecurrentGates {
  void (*lstm)(float* sums, int64_t n, float* c, float* h);
  void (*lstm_keeping)(float* sums, int64_t n, float* c, float* h);
  void (*lstm_backward)(float* gates, int64_t n, const float* c_before, const float* c, const float* dh, float* dc);
  void (*gru)(const float* x, float* sums, const float* bias, int64_t n, float* h, float* kept);
  void (*gru_backward)(float* gates, int64_t n, const float* h_before, const float* kept, float* recurred, float* dh);
};
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/recurrent_gates.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(RecurrentGates, kRecurrentGates)
}  // namespace

void lstm_gates(float* sums, int64_t n, float* c, float* h, bool keeps, Isa isa) {
  const RecurrentGates& gates = for_isa(isa);
  (keeps ? gates.lstm_keeping : gates.lstm)(sums, n, c, h);
}

void lstm_gates_backward(float* gates, int64_t n, const float* c_before, const float* c, const float* dh, float* dc,
                         Isa isa) {
  for_isa(isa).lstm_backward(gates, n, c_before, c, dh, dc);
}

void gru_gates(const float* x, float* sums, const float* bias, int64_t n, float* h, float* kept, Isa isa) {
  for_isa(isa).gru(x, sums, bias, n, h, kept);
}

void gru_gates_backward(float* gates, int64_t n, const float* h_before, const float* kept, float* recurred, float* dh,
                        Isa isa) {
  for_isa(isa).gru_backward(gates, n, h_before, kept, recurred, dh);
}

}  // namespace sx
