// Greedy-by-size arena placement.
#include "plan/memory_planner.h"

#include <algorithm>
#include <numeric>

namespace sx {

MemoryPlan plan_memory(const std::vector<Lifetime>& blocks) {
  constexpr size_t kAlignment = 64;
  MemoryPlan plan;
  plan.offsets.assign(blocks.size(), 0);
  std::vector<size_t> by_size(blocks.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<size_t> placed;  // in ascending order of offset
  for (size_t block : by_size) {
    const size_t bytes = (blocks[block].bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (bytes == 0) continue;
    size_t offset = 0;
    size_t best = SIZE_MAX;
    size_t best_gap = SIZE_MAX;
    for (size_t other : placed) {
      if (blocks[other].last < blocks[block].first || blocks[other].first > blocks[block].last) continue;
      if (plan.offsets[other] >= offset + bytes && plan.offsets[other] - offset < best_gap) {
        best = offset;
        best_gap = plan.offsets[other] - offset;
      }
      const size_t end = plan.offsets[other] + (blocks[other].bytes + kAlignment - 1) / kAlignment * kAlignment;
      offset = std::max(offset, end);
    }
    plan.offsets[block] = best == SIZE_MAX ? offset : best;
    plan.arena_bytes = std::max(plan.arena_bytes, plan.offsets[block] + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), block,
                                   [&](size_t a, size_t b) { return plan.offsets[a] < plan.offsets[b]; }),
                  block);
  }
  return plan;
}

}  // namespace sx
