// The one thread pool of the process, shared by all sessions.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

namespace sx {

// A non-owning reference to a callable; costs no allocation.
template <typename Signature>
class FunctionRef;
template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F, typename = std::enable_if_t<!std::is_same_v<std::decay_t<F>, FunctionRef>>>
  FunctionRef(F&& callable)  // NOLINT: made to be implicit
      : object_(const_cast<void*>(static_cast<const void*>(&callable))), call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// Calls body(begin, end) for disjoint ranges that cover [0, count), on the calling thread and idle workers, and
// returns when all are done. Ranges are multiples of `grain` but for the last; a count of at most `grain` runs inline.
// Any number of threads may call it at a time, also from inside a body (which then runs inline). The first exception
// of a body is thrown again here. Results must not depend on how the range is cut.
void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body);

// How many threads parallel_for may use now on this thread: at least 1.
int thread_count();

// The CPUs that the process may really use: affinity mask and cgroup quota, at least 1.
int usable_cpus();

// Caps parallel_for on the calling thread for as long as it lives; 0 means no cap.
class ThreadLimit {
 public:
  explicit ThreadLimit(int limit);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int previous_;
};

}  // namespace sx
