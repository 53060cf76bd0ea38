// Philox and the process-wide source of random streams.
#include "base/random.h"

#include <cmath>
#include <mutex>
#include <random>

namespace sx {

std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                               static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * x[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return x;
}

double RandomStream::normal(uint64_t index) const {
  constexpr double kTwoPi = 6.283185307179586;
  // Two numbers come from one pair of uniforms; the first is in (0, 1] so that its logarithm is finite.
  const uint64_t pair = index & ~uint64_t{1};
  const double radius = std::sqrt(-2 * std::log(1 - uniform(pair)));
  const double angle = kTwoPi * uniform(pair + 1);
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

namespace {
struct Source {
  std::mutex mutex;
  RandomState state;
  bool seeded = false;

  // Called with the mutex held.
  RandomState& get() {
    if (!seeded) {
      std::random_device entropy;
      state.seed = (uint64_t{entropy()} << 32) | entropy();
      seeded = true;
    }
    return state;
  }
};
Source& source() {
  static Source instance;
  return instance;
}
}  // namespace

RandomStream next_random_stream() {
  Source& from = source();
  const std::lock_guard<std::mutex> lock(from.mutex);
  RandomState& state = from.get();
  // The high bit keeps these streams apart from those of operators with a seed of their own.
  return RandomStream(state.seed, (uint64_t{1} << 63) | state.streams++);
}

void set_random_seed(uint64_t seed) { set_random_state({seed, 0}); }

RandomState random_state() {
  Source& from = source();
  const std::lock_guard<std::mutex> lock(from.mutex);
  return from.get();
}

void set_random_state(const RandomState& state) {
  Source& to = source();
  const std::lock_guard<std::mutex> lock(to.mutex);
  to.state = state;
  to.seeded = true;
}

}  // namespace sx
