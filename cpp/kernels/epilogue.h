// Elementwise functions of one f32 argument, and the elementwise tail that GEMM and convolution apply to their result.
#pragma once

#include <cstdint>

namespace sx {

// alpha and beta are the parameters of the function; kinds that name neither ignore both.
enum class Activation : uint8_t {
  kNone,             // x
  kRelu,             // max(x, 0)
  kClip,             // min(max(x, alpha), beta)
  kLeakyRelu,        // x < 0 ? alpha * x : x
  kThresholdedRelu,  // x > alpha ? x : 0
  kElu,              // x < 0 ? alpha * (exp(x) - 1) : x
  kSelu,             // beta * (x < 0 ? alpha * (exp(x) - 1) : x)
  kCelu,             // max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))
  kSigmoid,          // 1 / (1 + exp(-x))
  kHardSigmoid,      // min(max(alpha * x + beta, 0), 1)
  kSwish,            // x / (1 + exp(-alpha * x))
  kHardSwish,        // x * min(max(x / 6 + 1/2, 0), 1)
  kTanh,
  kGelu,      // x / 2 * (1 + erf(x / sqrt(2)))
  kGeluTanh,  // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
  kMish,      // x * tanh(softplus(x))
  kSoftplus,  // log(1 + exp(x))
  kSoftsign,  // x / (1 + |x|)
  kErf,
  kExp,
  kLog,
  kLog1p,
  kExpm1,
  kSqrt,
  kReciprocal,
  kReciprocalSqrt,  // 1 / sqrt(x)
  kSquare,
  kAbs,
  kNeg,
  kSign,  // -1, 0, 1; NaN stays
  kFloor,
  kCeil,
  kRound,  // to nearest even
  kTrunc,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kAffine,  // alpha * x + beta, rounded after each step
};

// y[i,j] = act(scale * acc[i,j] + row_bias[i] + column_bias[j] + residual_scale * residual[i * residual_stride + j]);
// with residual_last, the residual is added after the activation. Absent parts are null. The residual may be the
// output itself, element for element, and must not overlap it in any other way.
struct Epilogue {
  float scale = 1.0f;
  const float* row_bias = nullptr;
  const float* column_bias = nullptr;
  const float* residual = nullptr;
  int64_t residual_stride = 0;
  float residual_scale = 1.0f;
  bool residual_last = false;
  Activation activation = Activation::kNone;
  float alpha = 0.0f;
  float beta = 0.0f;
};

}  // namespace sx
