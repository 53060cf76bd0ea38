// The memory planner: no two blocks that are alive together overlap, and memory is reused.
#include "plan/memory_planner.h"

#include <algorithm>
#include <random>

#include "check.h"

namespace sx {
namespace {

void check_plan(const std::vector<Lifetime>& blocks, const MemoryPlan& plan) {
  CHECK_EQ(plan.offsets.size(), blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    CHECK_EQ(plan.offsets[i] % 64, 0u);
    CHECK(plan.offsets[i] + blocks[i].bytes <= plan.arena_bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool together = blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last;
      if (!together || blocks[i].bytes == 0 || blocks[j].bytes == 0) continue;
      const bool apart =
          plan.offsets[i] + blocks[i].bytes <= plan.offsets[j] || plan.offsets[j] + blocks[j].bytes <= plan.offsets[i];
      CHECK(apart);
    }
  }
}

TEST(memory_planner_places_nothing) { CHECK_EQ(plan_memory({}).arena_bytes, 0u); }

TEST(memory_planner_reuses_a_chain) {
  // a -> b -> c -> d: two places serve all.
  const std::vector<Lifetime> blocks = {{0, 1, 1000}, {1, 2, 1000}, {2, 3, 1000}, {3, 4, 1000}};
  const MemoryPlan plan = plan_memory(blocks);
  check_plan(blocks, plan);
  CHECK_EQ(plan.arena_bytes, 2u * 1024u);
}

TEST(memory_planner_fills_gaps) {
  const std::vector<Lifetime> blocks = {{0, 9, 128}, {0, 2, 256}, {0, 9, 64}, {3, 9, 256}};
  const MemoryPlan plan = plan_memory(blocks);
  check_plan(blocks, plan);
  CHECK_EQ(plan.arena_bytes, 128u + 256u + 64u);
}

TEST(memory_planner_random_lifetimes) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<Lifetime> blocks;
    size_t peak = 0;
    for (int i = 0; i < 60; ++i) {
      const int first = static_cast<int>(random() % 50);
      blocks.push_back({first, first + static_cast<int>(random() % 12), random() % 5000});
    }
    for (int step = 0; step < 64; ++step) {
      size_t alive = 0;
      for (const Lifetime& block : blocks)
        if (block.first <= step && step <= block.last) alive += block.bytes;
      peak = std::max(peak, alive);
    }
    const MemoryPlan plan = plan_memory(blocks);
    check_plan(blocks, plan);
    CHECK(plan.arena_bytes >= peak);
  }
}

}  // namespace
}  // namespace sx
