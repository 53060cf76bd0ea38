// MT19937 (Matsumoto and Nishimura, Mersenne Twister, 1998) with the seeding of 2002.
#include "base/mersenne.h"

namespace sx {

Mersenne::Mersenne(uint64_t seed) {
  const std::array<uint32_t, 2> words = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  seed_by(words[1] == 0 ? words[0] : 19650218);
  if (words[1] != 0) mix(words);
}

void Mersenne::mix(const std::array<uint32_t, 2>& words) {
  size_t i = 1;
  const auto mixed = [&](uint32_t factor) { return (state_[i - 1] ^ (state_[i - 1] >> 30)) * factor; };
  const auto advance = [&] {
    if (++i < kLength) return;
    state_[0] = state_[kLength - 1];
    i = 1;
  };
  for (size_t k = 0; k < kLength; ++k) {
    const size_t word = k % words.size();
    state_[i] = (state_[i] ^ mixed(1664525)) + words[word] + static_cast<uint32_t>(word);
    advance();
  }
  for (size_t k = 1; k < kLength; ++k) {
    state_[i] = (state_[i] ^ mixed(1566083941)) - static_cast<uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000;
}

void Mersenne::seed_by(uint32_t seed) {
  state_[0] = seed;
  for (size_t i = 1; i < kLength; ++i)
    state_[i] = 1812433253 * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<uint32_t>(i);
}

void Mersenne::refill() {
  constexpr size_t kShift = 397;
  for (size_t i = 0; i < kLength; ++i) {
    const uint32_t pair = (state_[i] & 0x80000000) | (state_[(i + 1) % kLength] & 0x7fffffff);
    state_[i] = state_[(i + kShift) % kLength] ^ (pair >> 1) ^ (pair % 2 != 0 ? 0x9908b0df : 0);
  }
  at_ = 0;
}

uint32_t Mersenne::next() {
  if (at_ == kLength) refill();
  uint32_t word = state_[at_++];
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680;
  word ^= (word << 15) & 0xefc60000;
  return word ^ (word >> 18);
}

double Mersenne::uniform() {
  const uint32_t high = next() >> 5;
  const uint32_t low = next() >> 6;
  return (high * 0x1p26 + low) * 0x1p-53;
}

}  // namespace sx
