// Places blocks of memory with known lifetimes in one arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sx {

// A block that is alive during the steps first..last, both included.
struct Lifetime {
  int first = 0;
  int last = 0;
  size_t bytes = 0;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // of each block, multiples of 64
  size_t arena_bytes = 0;
};

// Greedy by size: the largest block first, each at the lowest offset that is free during its whole life (Pisarchyk and
// Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020). Blocks alive at the same step never overlap.
MemoryPlan plan_memory(const std::vector<Lifetime>& blocks);

}  // namespace sx
