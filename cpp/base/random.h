// Counter-based random numbers: the value at an index depends on the stream and the index only, never on the threads.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sx {

// Philox 4x32 with 10 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011).
std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

// A sequence of independent numbers that is addressed by index.
class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  uint64_t bits(uint64_t index) const {
    const std::array<uint32_t, 4> words = philox(seed_, index / 2, stream_);
    const size_t first = index % 2 * 2;
    return (uint64_t{words[first]} << 32) | words[first + 1];
  }
  // Uniform in [0, 1), with 53 random bits.
  double uniform(uint64_t index) const { return static_cast<double>(bits(index) >> 11) * 0x1p-53; }
  // Standard normal, by the Box-Muller transform.
  double normal(uint64_t index) const;

 private:
  uint64_t seed_;
  uint64_t stream_;
};

// Where operators without a seed of their own get their streams from: each call is a new one. The same streams come
// again after set_random_seed with the same seed; without it the process starts from the system's entropy.
RandomStream next_random_stream();
void set_random_seed(uint64_t seed);

// Where next_random_stream() stands, to go on from there in another process.
struct RandomState {
  uint64_t seed = 0;
  uint64_t streams = 0;  // handed out since the seed was set
};
RandomState random_state();
void set_random_state(const RandomState& state);

// The streams of one operator: with a seed of its own the first, second ... run always use the same ones.
class RandomSource {
 public:
  RandomSource() = default;
  explicit RandomSource(uint64_t seed) : seeded_(true), seed_(seed) {}
  RandomStream next() { return seeded_ ? RandomStream(seed_, runs_.fetch_add(1)) : next_random_stream(); }

 private:
  bool seeded_ = false;
  uint64_t seed_ = 0;
  std::atomic<uint64_t> runs_{0};
};

}  // namespace sx
