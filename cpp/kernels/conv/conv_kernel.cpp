// The table of f32 convolution kernels by ISA.
#include "kernels/conv/conv_kernel.h"

#include <limits>

#define SX_SIMD_SOURCE "kernels/conv/conv_kernel.simd.h"
#include "kernels/foreach_isa.h"

namespace sx {
namespace {
SX_DEFINE_FOR_ISA(ConvKernel, kConvKernel)
}  // namespace

const ConvKernel& conv_kernel(Isa isa) { return for_isa(isa); }

FilterTail filter_tail(const Epilogue& epilogue, Isa isa, Precision precision) {
  FilterTail tail;
  tail.scale = epilogue.scale;
  tail.has_bias = epilogue.row_bias != nullptr;
  tail.residual_scale = epilogue.residual_scale;
  tail.residual_last = epilogue.residual_last;
  tail.alpha = epilogue.alpha;
  tail.beta = epilogue.beta;
  if (epilogue.activation == Activation::kRelu || epilogue.activation == Activation::kClip) {
    const bool relu = epilogue.activation == Activation::kRelu;
    tail.clip = true;
    tail.low = relu ? 0.0f : epilogue.alpha;
    tail.high = relu ? std::numeric_limits<float>::infinity() : epilogue.beta;
  } else if (epilogue.activation != Activation::kNone) {
    tail.activate = activation_function(epilogue.activation, isa, precision);
  }
  return tail;
}

}  // namespace sx
