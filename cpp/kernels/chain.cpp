// Runs chains of elementwise steps over tiles.
#include "kernels/chain.h"

#include <algorithm>
#include <cstring>

#include "base/scratch.h"
#include "base/thread_pool.h"
#include "kernels/activation.h"
#include "kernels/chain_kernel.h"
#include "kernels/unary_kernel.h"

#define SX_SIMD_SOURCE "kernels/chain_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {

SX_DEFINE_FOR_ISA(ChainKernel, kChainKernel)

// Elements of a tile: long enough to outweigh the calls, short enough for a dozen tiles in the nearest cache.
constexpr int64_t kTile = 1024;
// Steps times elements that are worth a chunk.
constexpr int64_t kGrain = 131072;

// How many binary functions one step takes as long as.
int cost(const ChainStep& step) {
  if (step.kind != ChainStep::Kind::kActivation) return 1;
  switch (step.activation) {
    case Activation::kNone:
    case Activation::kRelu:
    case Activation::kClip:
    case Activation::kAbs:
    case Activation::kNeg:
    case Activation::kSquare: return 1;
    default: return 8;
  }
}

// `n` elements of the space from `begin` on, of an input with these strides.
template <typename T>
void gather(const Chain::Space& space, const int64_t* stride, const T* x, T* y, int64_t begin, int64_t n) {
  const int last = space.rank - 1;
  int64_t index[Chain::kMaxAxes];
  int64_t at = 0;
  for (int axis = last; axis >= 0; --axis) {
    index[axis] = begin % space.extent[axis];
    begin /= space.extent[axis];
    at += index[axis] * stride[axis];
  }
  while (n > 0) {
    const int64_t count = std::min(n, space.extent[last] - index[last]);
    if (stride[last] == 0) std::fill_n(y, count, x[at]);
    else std::memcpy(y, x + at, static_cast<size_t>(count) * sizeof(T));
    y += count;
    n -= count;
    if (n == 0) return;
    at -= index[last] * stride[last];
    index[last] = 0;
    for (int axis = last - 1; axis >= 0; --axis) {
      at += stride[axis];
      if (++index[axis] < space.extent[axis]) break;
      at -= space.extent[axis] * stride[axis];
      index[axis] = 0;
    }
  }
}

// `n` elements from `begin` on of what is given by rows.
void gather_rows(const Chain::Space& space, const float* x, float* y, int64_t begin, int64_t n) {
  int64_t row = begin / space.width, column = begin % space.width;
  while (n > 0) {
    const int64_t count = std::min(n, space.width - column);
    std::memcpy(y, x + space.places[row] * space.width + column, static_cast<size_t>(count) * sizeof(float));
    y += count;
    n -= count;
    ++row;
    column = 0;
  }
}

// Whether an input with these strides lies in memory as the result does.
bool is_dense(const Chain::Space& space, const int64_t* stride) {
  int64_t expected = 1;
  for (int axis = space.rank - 1; axis >= 0; --axis) {
    if (stride[axis] != expected) return false;
    expected *= space.extent[axis];
  }
  return true;
}

}  // namespace

int ChainStep::arity() const {
  switch (kind) {
    case Kind::kBinary:
    case Kind::kCompare:
    case Kind::kLogic: return 2;
    case Kind::kSelect: return 3;
    default: return 1;
  }
}

bool ChainStep::takes_mask(int i) const {
  return kind == Kind::kLogic || kind == Kind::kNot || kind == Kind::kNumber || (kind == Kind::kSelect && i == 0);
}

Chain::Chain(std::vector<bool> masks, std::vector<ChainStep> steps, std::vector<int> results)
    : masks_(std::move(masks)), steps_(std::move(steps)), results_(std::move(results)) {
  const size_t inputs = masks_.size();
  last_use_.assign(inputs + steps_.size(), -1);
  fills_ = masks_;
  int total = 0;
  for (size_t s = 0; s < steps_.size(); ++s) {
    const ChainStep& step = steps_[s];
    for (int i = 0; i < step.arity(); ++i) last_use_[static_cast<size_t>(step.operands[i])] = static_cast<int>(s);
    if (step.kind == ChainStep::Kind::kActivation && static_cast<size_t>(step.operands[0]) < inputs)
      fills_[static_cast<size_t>(step.operands[0])] = true;
    total += cost(step);
  }
  grain_ = std::max<int64_t>(1, kGrain / kTile / std::max(1, total));
  output_of_.assign(steps_.size(), -1);
  for (size_t k = 0; k < results_.size(); ++k) output_of_[static_cast<size_t>(results_[k])] = static_cast<int>(k);

  // A step takes a slot that no later step reads any more, its own operands' included. Masks among the outputs are
  // read when the tile is done.
  slot_.assign(steps_.size(), -1);
  std::vector<int> free;
  for (size_t s = 0; s < steps_.size(); ++s) {
    const ChainStep& step = steps_[s];
    for (int i = 0; i < step.arity(); ++i) {
      const auto value = static_cast<size_t>(step.operands[i]);
      if (value < inputs || last_use_[value] != static_cast<int>(s)) continue;
      const size_t made = value - inputs;
      const bool again = std::find(step.operands, step.operands + i, step.operands[i]) != step.operands + i;
      if (slot_[made] >= 0 && output_of_[made] < 0 && !again) free.push_back(slot_[made]);
    }
    if (output_of_[s] >= 0 && !step.gives_mask()) continue;
    if (free.empty()) {
      slot_[s] = slots_++;
    } else {
      slot_[s] = free.back();
      free.pop_back();
    }
    if (last_use_[inputs + s] < 0 && output_of_[s] < 0) free.push_back(slot_[s]);
  }
}

// A run's inputs and outputs, and where tiles of them lie.
struct Chain::Bound {
  enum class Kind : uint8_t { kDense, kScalar, kGathered, kRows };
  const Space* space = nullptr;
  const void* const* inputs = nullptr;
  void* const* outputs = nullptr;
  const UnaryKernel* numbers = nullptr;
  const ChainKernel* masks = nullptr;
  Isa isa = Isa();
  Kind kind[kMaxInputs] = {};
  int input_slot[kMaxInputs] = {};
  int output_slot[kMaxSteps] = {};  // by output: -1 where the step writes it in its place
  int slots = 0;
};

void Chain::run(const Space& space, const void* const* inputs, void* const* outputs, Isa isa) const {
  if (space.size == 0) return;
  Bound bound;
  bound.space = &space;
  bound.inputs = inputs;
  bound.outputs = outputs;
  bound.numbers = &unary_kernel(isa);
  bound.masks = &for_isa(isa);
  bound.isa = isa;
  bound.slots = slots_;
  for (size_t i = 0; i < masks_.size(); ++i) {
    const int64_t* stride = space.stride[i];
    const bool repeats = std::all_of(stride, stride + space.rank, [](int64_t step) { return step == 0; });
    const bool dense = is_dense(space, stride);
    bound.kind[i] = dense ? Bound::Kind::kDense : repeats && !fills_[i] ? Bound::Kind::kScalar : Bound::Kind::kGathered;
    if (i == 0 && space.places != nullptr) bound.kind[i] = Bound::Kind::kRows;
    if (masks_[i] || bound.kind[i] == Bound::Kind::kGathered || bound.kind[i] == Bound::Kind::kRows)
      bound.input_slot[i] = bound.slots++;
  }
  for (size_t k = 0; k < results_.size(); ++k) {
    const auto made = static_cast<size_t>(results_[k]);
    bound.output_slot[k] = -1;
    if (steps_[made].gives_mask()) continue;
    // What takes the place of an input that is read again later waits for the end of the tile.
    for (size_t i = 0; i < masks_.size(); ++i)
      if (inputs[i] == outputs[k] && !masks_[i] && last_use_[i] > results_[k]) bound.output_slot[k] = bound.slots;
    if (bound.output_slot[k] >= 0) ++bound.slots;
  }
  const int64_t tiles = (space.size + kTile - 1) / kTile;
  const auto bytes = static_cast<size_t>(bound.slots) * kTile * sizeof(float);
  parallel_for(tiles, grain_, [&](int64_t first, int64_t end) {
    auto* scratch = static_cast<float*>(thread_scratch(ScratchSlot::kOperator, bytes));
    for (int64_t tile = first; tile < end; ++tile)
      run_tile(bound, tile * kTile, std::min(kTile, space.size - tile * kTile), scratch);
  });
}

void Chain::run_tile(const Bound& bound, int64_t begin, int64_t n, float* scratch) const {
  const size_t inputs = masks_.size();
  const void* at[kMaxInputs + kMaxSteps];
  bool scalar[kMaxInputs + kMaxSteps] = {};
  const auto slot = [&](int k) { return scratch + k * kTile; };
  const auto mask_at = [&](int value) { return static_cast<const int32_t*>(at[value]); };
  const auto number_at = [&](int value) { return static_cast<const float*>(at[value]); };
  for (size_t i = 0; i < inputs; ++i) {
    const bool dense = bound.kind[i] == Bound::Kind::kDense;
    if (masks_[i]) {
      const auto* from = static_cast<const uint8_t*>(bound.inputs[i]);
      uint8_t bytes[kTile];
      if (!dense) gather(*bound.space, bound.space->stride[i], from, bytes, begin, n);
      auto* to = reinterpret_cast<int32_t*>(slot(bound.input_slot[i]));
      bound.masks->from_bytes(dense ? from + begin : bytes, to, n);
      at[i] = to;
    } else if (bound.kind[i] == Bound::Kind::kGathered || bound.kind[i] == Bound::Kind::kRows) {
      float* to = slot(bound.input_slot[i]);
      const auto* from = static_cast<const float*>(bound.inputs[i]);
      if (bound.kind[i] == Bound::Kind::kRows) gather_rows(*bound.space, from, to, begin, n);
      else gather(*bound.space, bound.space->stride[i], from, to, begin, n);
      at[i] = to;
    } else {
      scalar[i] = !dense;
      at[i] = static_cast<const float*>(bound.inputs[i]) + (dense ? begin : 0);
    }
  }
  for (size_t s = 0; s < steps_.size(); ++s) {
    const ChainStep& step = steps_[s];
    const int a = step.operands[0], b = step.operands[1], c = step.operands[2];
    const int output = output_of_[s];
    float* y = nullptr;
    if (slot_[s] >= 0) y = slot(slot_[s]);
    else if (bound.output_slot[output] >= 0) y = slot(bound.output_slot[output]);
    else y = static_cast<float*>(bound.outputs[output]) + begin;
    auto* mask = reinterpret_cast<int32_t*>(y);
    at[inputs + s] = y;
    switch (step.kind) {
      case ChainStep::Kind::kBinary:
        bound.numbers->binary[static_cast<int>(step.binary)][(scalar[a] ? 2 : 0) + (scalar[b] ? 1 : 0)](
            number_at(a), number_at(b), y, n);
        break;
      case ChainStep::Kind::kActivation:
        activation_function(step.activation, bound.isa)(number_at(a), y, n, step.alpha, step.beta);
        break;
      case ChainStep::Kind::kCompare:
        bound.masks->compare[static_cast<int>(step.comparison)][(scalar[a] ? 2 : 0) + (scalar[b] ? 1 : 0)](
            number_at(a), number_at(b), mask, n);
        break;
      case ChainStep::Kind::kLogic:
        bound.masks->logic[static_cast<int>(step.logic)](mask_at(a), mask_at(b), mask, n);
        break;
      case ChainStep::Kind::kNot: bound.masks->negate(mask_at(a), mask, n); break;
      case ChainStep::Kind::kSelect:
        bound.masks->select[(scalar[b] ? 2 : 0) + (scalar[c] ? 1 : 0)](mask_at(a), number_at(b), number_at(c), y, n);
        break;
      case ChainStep::Kind::kNumber: bound.masks->number(mask_at(a), y, n); break;
    }
  }
  for (size_t k = 0; k < results_.size(); ++k) {
    const void* made = at[inputs + static_cast<size_t>(results_[k])];
    if (steps_[static_cast<size_t>(results_[k])].gives_mask())
      bound.masks->to_bytes(static_cast<const int32_t*>(made), static_cast<uint8_t*>(bound.outputs[k]) + begin, n);
    else if (bound.output_slot[k] >= 0)
      std::memcpy(static_cast<float*>(bound.outputs[k]) + begin, made, static_cast<size_t>(n) * sizeof(float));
  }
}

}  // namespace sx
