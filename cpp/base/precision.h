// How short products may keep their operands in memory; they add up in f32 in any case.
#pragma once

#include <cstdint>

namespace sx {

enum class Precision : uint8_t { kF32, kBf16 };

}  // namespace sx
