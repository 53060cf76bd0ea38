// The rule sets, one file each.
#pragma once

#include <vector>

#include "passes/pass.h"

namespace sx {

std::vector<Rule> identity_rules();             // nodes that change nothing
std::vector<Rule> view_rules();                 // of those, views that change no shape or follow one another
std::vector<Rule> transpose_rules();            // transposes that cancel, merge or move no data
std::vector<Rule> convolution_rules();          // Pad, BatchNormalization, Mul and Add folded into Conv
std::vector<Rule> branch_rules();               // If with a known condition
std::vector<Rule> quantized_rules();            // 8-bit work between DequantizeLinear and QuantizeLinear
std::vector<Rule> dequantized_product_rules();  // products of dequantized operands
std::vector<Rule> integer_product_rules();      // MatMulInteger with its scales and bias
std::vector<Rule> attention_rules();            // spelled-out attention
std::vector<Rule> byte_map_rules();             // 8-bit work that a table of 256 results does
std::vector<Rule> activation_rules();           // spelled-out Swish, HardSwish, Gelu, LayerNormalization
std::vector<Rule> group_normalization_rules();  // spelled-out GroupNormalization, and constants folded into it
std::vector<Rule> epilogue_rules();             // Conv, MatMul and Gemm with what follows them
std::vector<Rule> activation_fusion();          // of those rules, the ones that also hold in blocks of channels
std::vector<Rule> expansion_rules();  // a 1 x 1 convolution in front of a depthwise one, in blocks of channels
std::vector<Rule> maxima_rules();     // a 2 x 2 maximum behind a convolution, in blocks of channels

}  // namespace sx
