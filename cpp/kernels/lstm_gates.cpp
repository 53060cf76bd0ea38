// The gates of an LSTM by ISA.
#include "kernels/lstm_gates.h"

namespace sx {
namespace {
using LstmGates = void (*)(const float* sums, int64_t n, float* c, float* h);
}  // namespace
}  // namespace sx

#define SX_SIMD_SOURCE "kernels/lstm_gates.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(LstmGates, kLstmGates)
}  // namespace

void lstm_gates(const float* sums, int64_t n, float* c, float* h, Isa isa) { for_isa(isa)(sums, n, c, h); }

}  // namespace sx
