// A 1 x 1 convolution and the depthwise one that reads its result, strip by strip: what lies between them stays in near
// memory.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/conv/conv_shape.h"
#include "kernels/epilogue.h"

namespace sx {

// One of the two convolutions, with weights as pack_blocked makes them (kDirect and kDepthwise). Epilogues are those
// that blocked_conv takes, without residuals.
struct BlockedStage {
  const ConvShape* shape = nullptr;
  const float* packed = nullptr;
  const Epilogue* epilogue = nullptr;
};

// y = depthwise(expand(x)), with the bits of the two one after the other. `expand` has a 1 x 1 kernel that moves by 1,
// and its outputs are the inputs of `depthwise`. Data are float, or BFloat16 where has_bf16_blocks(isa) (blocked.h).
template <typename T>
void blocked_expand(const BlockedStage& expand, const BlockedStage& depthwise, const T* x, T* y,
                    Isa isa = active_isa());

}  // namespace sx
