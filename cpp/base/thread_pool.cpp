// The process-wide thread pool: workers spin briefly for the next job, then sleep.
#include "base/thread_pool.h"
#include "base/thread_number.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace sx {
namespace {

using Clock = std::chrono::steady_clock;
// Longer than what a program does between two runs or a run between two kernels: waking a thread takes tens of
// microseconds.
constexpr auto kSpinTime = std::chrono::microseconds(400);
// Where other threads want the CPUs, such as those of another library that spin behind their last job, a spinning
// thread uses up time that it, or the one it waits for, would need for work. Whoever notices says so for a while.
constexpr auto kCrowdedSpinTime = std::chrono::microseconds(20);
constexpr auto kCrowdedTime = std::chrono::milliseconds(20);
// A thread that spins and sees so much time go by at once did not have its CPU.
constexpr auto kLostTime = std::chrono::microseconds(100);
// A thread takes one part in so many of what is left of a share at a time: long ranges first, and short ones at the
// end, so that a thread that is late does not hold up the others.
constexpr int64_t kPartsOfRest = 8;
constexpr int kMostShares = 64;

thread_local bool inside_body = false;
thread_local int limit_here = 0;
thread_local int number_here = 0;

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// When threads may spin for long again, in ticks of the clock.
std::atomic<Clock::rep> crowded_until{0};

bool is_crowded(Clock::time_point now) {
  return now.time_since_epoch().count() < crowded_until.load(std::memory_order_relaxed);
}
void note_crowd(Clock::time_point now) {
  crowded_until.store((now + kCrowdedTime).time_since_epoch().count(), std::memory_order_relaxed);
}

// Spins until ready() or until the spin time is over; returns ready().
template <typename Ready>
bool spin_until(const Ready& ready) {
  auto now = Clock::now();
  const auto end = now + (is_crowded(now) ? kCrowdedSpinTime : kSpinTime);
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause_cpu();
    }
    const auto before = now;
    now = Clock::now();
    if (now - before > kLostTime) note_crowd(now);
  } while (now < end);
  return ready();
}

// A share of a job: the part that one thread begins with, so that what it wrote in the last job, still in its cache, is
// what it reads in this one. Who is done with his own takes from the others'.
struct alignas(64) Share {
  std::atomic<int64_t> next;
  int64_t end;

  // Takes [begin, end) of it; false where nothing is left.
  bool take(int64_t* begin, int64_t* stop) {
    int64_t at = next.load(std::memory_order_relaxed);
    do {
      if (at >= end) return false;
      *stop = at + std::max<int64_t>(1, (end - at) / kPartsOfRest);
    } while (!next.compare_exchange_weak(at, *stop, std::memory_order_relaxed));
    *begin = at;
    return true;
  }
};

// One parallel_for call; lives on the caller's stack.
struct Job {
  FunctionRef<void(int64_t, int64_t)> body;
  int64_t count;
  int64_t grain;
  int shares;
  std::atomic<int> helpers{0};  // workers inside run(); changed under the pool's mutex
  int free_seats;               // workers that may still join
  bool open = true;             // listed in the pool
  bool caller_sleeps = false;
  std::exception_ptr error;
  std::mutex error_mutex;
  Share share[kMostShares];

  // `threads` take part; shares are counted in grains.
  Job(FunctionRef<void(int64_t, int64_t)> body, int64_t count, int64_t grain, int threads)
      : body(body), count(count), grain(grain), shares(std::min(threads, kMostShares)), free_seats(threads - 1) {
    const int64_t grains = count / grain + (count % grain != 0);
    for (int i = 0; i < shares; ++i) {
      share[i].next.store(grains * i / shares, std::memory_order_relaxed);
      share[i].end = grains * (i + 1) / shares;
    }
  }

  // Called by each thread that takes part, the caller being number 0.
  void run(int thread) {
    const bool previous = inside_body;
    inside_body = true;
    try {
      for (int turn = 0; turn < shares; ++turn) {
        Share& from = share[(thread + turn) % shares];
        for (int64_t begin, end; from.take(&begin, &end);) body(begin * grain, std::min(end * grain, count));
      }
    } catch (...) {
      for (int i = 0; i < shares; ++i) share[i].next.store(share[i].end, std::memory_order_relaxed);
      std::lock_guard<std::mutex> lock(error_mutex);
      if (!error) error = std::current_exception();
    }
    inside_body = previous;
  }
};

class Pool {
 public:
  Pool() : workers_(usable_cpus() - 1) {}

  int workers() const { return workers_; }

  void run(Job& job) {
    int wake;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!started_) start();
      jobs_.push_back(&job);
      open_jobs_.store(static_cast<int>(jobs_.size()), std::memory_order_release);
      wake = std::min(sleepers_, job.free_seats);
    }
    for (; wake > 0; --wake) work_.notify_one();
    job.run(0);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      close(job);
    }
    const auto done = [&job] { return job.helpers.load(std::memory_order_acquire) == 0; };
    if (done() || spin_until(done)) return;
    // A worker is late: most likely it has no CPU, and it may get this one.
    note_crowd(Clock::now());
    std::unique_lock<std::mutex> lock(mutex_);
    job.caller_sleeps = true;
    done_.wait(lock, done);
  }

 private:
  // Signals belong to the threads of the program, not to the workers.
  void start() {
    started_ = true;
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    try {
      for (int i = 0; i < workers_; ++i) std::thread([this, i] { work(i + 1); }).detach();
    } catch (const std::system_error&) {
      // The system refuses more threads; the caller takes part in each job, so fewer will do.
    }
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  }

  void close(Job& job) {
    if (!job.open) return;
    job.open = false;
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    open_jobs_.store(static_cast<int>(jobs_.size()), std::memory_order_release);
  }

  void work(int thread) {
    number_here = thread;
    for (;;) {
      spin_until([this] { return open_jobs_.load(std::memory_order_acquire) > 0; });
      Job* job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        if (jobs_.empty()) {
          ++sleepers_;
          work_.wait(lock, [this] { return !jobs_.empty(); });
          --sleepers_;
        }
        job = jobs_.front();
        job->helpers.fetch_add(1, std::memory_order_relaxed);
        if (--job->free_seats == 0) close(*job);
      }
      job->run(thread);
      {
        std::lock_guard<std::mutex> lock(mutex_);
        close(*job);
        // After the count reaches 0 the caller may return and end the job's life.
        const bool wake = job->caller_sleeps;
        if (job->helpers.fetch_sub(1, std::memory_order_acq_rel) == 1 && wake) done_.notify_all();
      }
    }
  }

  const int workers_;
  bool started_ = false;
  int sleepers_ = 0;
  std::vector<Job*> jobs_;
  std::atomic<int> open_jobs_{0};
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
};

// Never destroyed: the workers use it until the process ends.
std::atomic<Pool*> the_pool{nullptr};

// The child of a fork has no workers and perhaps a locked mutex: it starts over.
void forget_pool() { the_pool.store(nullptr); }

Pool& pool() {
  Pool* current = the_pool.load(std::memory_order_acquire);
  if (current) return *current;
  static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
  static_cast<void>(registered);
  Pool* fresh = new Pool;
  if (the_pool.compare_exchange_strong(current, fresh)) return *fresh;
  delete fresh;
  return *current;
}

}  // namespace

int thread_number() { return number_here; }

int thread_count() {
  if (inside_body) return 1;
  if (limit_here == 1) return 1;
  const int all = pool().workers() + 1;
  return limit_here > 0 ? std::min(limit_here, all) : all;
}

void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int threads = count <= grain ? 1 : thread_count();
  if (threads == 1) {
    // Not marked as a body: with one range only, a loop inside it may still use the workers.
    body(0, count);
    return;
  }
  const int64_t grains = count / grain + (count % grain != 0);
  Job job(body, count, grain, static_cast<int>(std::min<int64_t>(threads, grains)));
  pool().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

ThreadLimit::ThreadLimit(int limit) : previous_(limit_here) { limit_here = std::max(limit, 0); }
ThreadLimit::~ThreadLimit() { limit_here = previous_; }

}  // namespace sx
