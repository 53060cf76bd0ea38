// A chain of elementwise f32 steps in one pass over memory: tile by tile, with what lies between the steps in the
// first-level cache. Each step has the bits of the same function over whole arrays.
#pragma once

#include <cstdint>
#include <vector>

#include "base/cpu.h"
#include "kernels/unary.h"

namespace sx {

enum class Comparison : uint8_t { kEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual };
enum class Logic : uint8_t { kAnd, kOr, kXor };

// One function of values. Values are numbered: inputs first, then the result of each step. A value is a number or a
// mask; masks are bytes of 0 and 1 in memory.
struct ChainStep {
  enum class Kind : uint8_t {
    kBinary,      // numbers a, b
    kActivation,  // number a
    kCompare,     // numbers a, b; a mask
    kLogic,       // masks a, b; a mask
    kNot,         // mask a; a mask
    kSelect,      // mask a ? number b : number c
    kNumber,      // mask a as 0 or 1
  };
  Kind kind = Kind::kBinary;
  Binary binary = Binary::kAdd;
  Activation activation = Activation::kNone;
  Comparison comparison = Comparison::kEqual;
  Logic logic = Logic::kAnd;
  float alpha = 0.0f, beta = 0.0f;
  int operands[3] = {-1, -1, -1};

  bool gives_mask() const { return kind == Kind::kCompare || kind == Kind::kLogic || kind == Kind::kNot; }
  // How many operands there are, and whether operand i is a mask.
  int arity() const;
  bool takes_mask(int i) const;
};

class Chain {
 public:
  static constexpr int kMaxInputs = 32;
  static constexpr int kMaxSteps = 64;
  static constexpr int kMaxAxes = 16;

  // `masks` says which inputs are masks; `results` which steps are outputs. The steps must be valid.
  Chain(std::vector<bool> masks, std::vector<ChainStep> steps, std::vector<int> results);

  // The index space: the extents of the result, and for each input the stride along them, 0 where it repeats.
  struct Space {
    int64_t size = 0;
    int rank = 0;
    int64_t extent[kMaxAxes] = {};
    int64_t stride[kMaxInputs][kMaxAxes] = {};
    // Where `places` is not null, input 0, which does not repeat, is given by rows of `width` elements each: row r of
    // it is row places[r] of what the input points to.
    const int32_t* places = nullptr;
    int64_t width = 1;
  };
  // Outputs are contiguous. An output may take the place of an input that does not repeat and has its element type.
  // Large spaces are split over the thread pool.
  void run(const Space& space, const void* const* inputs, void* const* outputs, Isa isa = active_isa()) const;

 private:
  struct Bound;
  void run_tile(const Bound& bound, int64_t begin, int64_t n, float* scratch) const;

  std::vector<bool> masks_;
  std::vector<ChainStep> steps_;
  std::vector<int> results_;
  std::vector<int> last_use_;   // of each value: the last step that reads it, else -1
  std::vector<int> output_of_;  // of each step: the output it is, else -1
  std::vector<int> slot_;       // of each step: its place in scratch memory, else -1
  std::vector<bool> fills_;     // of each input: a tile of it is wanted where it has one element only
  int slots_ = 0;
  int64_t grain_ = 1;  // tiles
};

}  // namespace sx
