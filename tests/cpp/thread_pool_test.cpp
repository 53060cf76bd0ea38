// The thread pool: coverage of ranges, nesting, many callers, exceptions, limits and fork.
#include "base/thread_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.h"

namespace sx {
namespace {

// True if every index of [0, count) is visited once, in ranges that begin at multiples of the grain.
bool covers(int64_t count, int64_t grain) {
  std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
  std::atomic<bool> aligned{true};
  parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    if (begin % grain != 0 || (end % grain != 0 && end != count)) aligned = false;
    for (int64_t i = begin; i < end; ++i) visits[i].fetch_add(1);
  });
  for (const auto& visit : visits) {
    if (visit.load() != 1) return false;
  }
  return aligned;
}

TEST(parallel_for_visits_each_index_once) {
  for (int64_t count : {0, 1, 2, 7, 64, 1000}) {
    for (int64_t grain : {1, 3, 64}) CHECK(covers(count, grain));
  }
  for (int i = 0; i < 2000; ++i) CHECK(covers(17, 1));
}

TEST(parallel_for_with_a_negative_count_does_nothing) {
  parallel_for(-5, 1, [](int64_t, int64_t) { throw std::logic_error("called"); });
}

TEST(parallel_for_nests) {
  std::atomic<int64_t> sum{0};
  parallel_for(20, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      parallel_for(50, 1, [&](int64_t from, int64_t to) { sum += to - from; });
    }
  });
  CHECK_EQ(sum.load(), 1000);
}

TEST(parallel_for_serves_many_callers) {
  std::atomic<int> good{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 6; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 300; ++round) good += covers(33, 2);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQ(good.load(), 6 * 300);
}

TEST(parallel_for_carries_the_exception) {
  for (int round = 0; round < 200; ++round) {
    CHECK_THROWS(parallel_for(100, 1,
                              [](int64_t begin, int64_t end) {
                                if (begin <= 50 && 50 < end) throw std::runtime_error("at fifty");
                              }),
                 "at fifty");
  }
  CHECK(covers(100, 1));
}

TEST(thread_limit_holds_and_ends) {
  const int all = thread_count();
  CHECK(all >= 1 && all <= usable_cpus());
  {
    const ThreadLimit limit(1);
    CHECK_EQ(thread_count(), 1);
    const std::thread::id here = std::this_thread::get_id();
    parallel_for(64, 1, [&](int64_t, int64_t) { CHECK(std::this_thread::get_id() == here); });
    {
      const ThreadLimit inner(0);
      CHECK_EQ(thread_count(), all);
    }
    CHECK_EQ(thread_count(), 1);
  }
  CHECK_EQ(thread_count(), all);
  if (all > 1) {
    parallel_for(8, 1, [&](int64_t, int64_t) { CHECK_EQ(thread_count(), 1); });
  }
}

TEST(parallel_for_works_in_the_child_of_a_fork) {
  CHECK(covers(100, 1));
  const pid_t child = fork();
  if (child == 0) _exit(covers(100, 1) && covers(1000, 10) ? 0 : 1);
  CHECK(child > 0);
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(covers(100, 1));
}

}  // namespace
}  // namespace sx
