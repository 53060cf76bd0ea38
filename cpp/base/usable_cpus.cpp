// Counts the CPUs that the process may use: the affinity mask, capped by the quota of its cgroup (v1 or v2).
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#include "base/thread_pool.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace sx {
namespace {

#if defined(__linux__)
int affinity_cpus() {
  // Machines with more CPUs than the static set holds are asked with a growing one.
  for (int capacity = CPU_SETSIZE; capacity <= 1 << 16; capacity *= 2) {
    cpu_set_t* set = CPU_ALLOC(capacity);
    if (!set) break;
    const size_t bytes = CPU_ALLOC_SIZE(capacity);
    CPU_ZERO_S(bytes, set);
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return count;
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

constexpr double kNoQuota = std::numeric_limits<double>::infinity();

// "QUOTA PERIOD" or "max PERIOD".
double quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return kNoQuota;
  return std::strtod(quota.c_str(), nullptr) / period;
}

double quota_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0) return kNoQuota;
  return quota / period;
}

// The least quota of `path` and the groups above it. In a container the path may not exist below the mount point; its
// root, which is looked at last, is then the container's own group.
template <typename Quota>
double least_quota(const std::string& mount, std::string path, const Quota& quota_of) {
  double least = kNoQuota;
  while (!path.empty() && path != "/") {
    least = std::min(least, quota_of(mount + path));
    path.erase(path.rfind('/'));
  }
  return std::min(least, quota_of(mount));
}

double cgroup_quota() {
  double least = kNoQuota;
  std::ifstream file("/proc/self/cgroup");
  // Lines are "ID:CONTROLLERS:PATH"; version 2 has id 0 and no controllers.
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (path.empty() || path[0] != '/') continue;
    if (controllers == ",,") {
      least = std::min(least, least_quota("/sys/fs/cgroup", path, quota_v2));
    } else if (controllers.find(",cpu,") != std::string::npos) {
      least = std::min(least, least_quota("/sys/fs/cgroup/cpu", path, quota_v1));
    }
  }
  return least;
}
#endif

}  // namespace

int usable_cpus() {
#if defined(__linux__)
  const double quota = std::min(std::round(cgroup_quota()), 65536.0);
  return std::max(1, std::min(affinity_cpus(), static_cast<int>(quota)));
#else
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#endif
}

}  // namespace sx
