// Shapes of convolutions, shared by the float, integer and fused operators.
#pragma once

#include "kernels/conv/conv_shape.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/sliding_window.h"

namespace sx {

struct ConvSpec {
  WindowSpec window;
  int64_t groups;
  explicit ConvSpec(const NodeView& node);
};

// Output 0 for data `x` and weights `w` (input indices), with element type `dtype`.
void infer_conv(InferContext& c, int x, int w, DType dtype);
// The checked geometry of a convolution of data and weights of these shapes.
ConvShape conv_shape(const NodeView& node, const ConvSpec& spec, const Shape& x, const Shape& w);
// [batch, filters, out...] of it.
Shape conv_result(const ConvShape& shape);
// The attributes that every convolution has.
OpDef& add_conv_attrs(OpDef& op);
// The convolution itself in f64; `bias` may be null.
void conv_f64(const ConvShape& shape, const double* x, const double* w, const double* bias, double* y);
// dw, the gradient of the weights for that of the result (conv_gradient.cpp).
void conv_weight_gradient(const ConvShape& shape, const float* x, const float* dy, float* dw);
void conv_weight_gradient(const ConvShape& shape, const double* x, const double* dy, double* dw);
// Conv's gradient rule (conv_gradient.cpp).
void differentiate_conv(GradientContext& c);

}  // namespace sx
