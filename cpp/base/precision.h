// How short products may keep their operands in memory; they add up in f32 in any case.
#pragma once

#include <cstdint>

namespace sx {

// kF16 is for constant operands only: what changes from run to run stays f32.
enum class Precision : uint8_t { kF32, kBf16, kF16 };

}  // namespace sx
