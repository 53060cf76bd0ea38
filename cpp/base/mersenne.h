// The Mersenne Twister MT19937: the numbers that numpy.random.RandomState draws for a seed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sx {

// A sequence, in contrast to RandomStream: a number can only be had after those before it.
class Mersenne {
 public:
  // As RandomState(seed) for a seed of 32 bits, and as RandomState([low word, high word]) for a larger one.
  explicit Mersenne(uint64_t seed);

  uint32_t next();
  // Uniform in [0, 1), with 53 random bits of two words, as random_sample() gives it.
  double uniform();

 private:
  static constexpr size_t kLength = 624;
  void seed_by(uint32_t seed);
  void mix(const std::array<uint32_t, 2>& words);
  void refill();

  std::array<uint32_t, kLength> state_{};
  size_t at_ = kLength;
};

}  // namespace sx
