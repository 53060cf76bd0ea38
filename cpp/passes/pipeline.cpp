// Runs the passes in order, to a fixed point where one makes room for another.
#include "passes/pipeline.h"

#include "ops/infer.h"
#include "ops/matmul.h"
#include "passes/rules.h"

namespace sx {
namespace {

std::vector<Rule> together(std::initializer_list<std::vector<Rule>> sets) {
  std::vector<Rule> all;
  for (const std::vector<Rule>& set : sets) all.insert(all.end(), set.begin(), set.end());
  return all;
}

void infer_all(Graph& graph) {
  infer_types(graph);
  graph.verify();
}

}  // namespace

void simplify(Graph& graph, PassLog& log, bool verify_each) {
  constexpr int kMaxRounds = 8;
  const std::vector<Rule> rules = together({identity_rules(), transpose_rules(), convolution_rules(), branch_rules()});
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = sink_constants(graph, log);
    changed = fold_constants(graph, log) || changed;
    changed = apply_rules(graph, rules, log, verify_each) || changed;
    changed = merge_common_subexpressions(graph, log) || changed;
    changed = move_selections(graph, log) || changed;
    changed = eliminate_dead_code(graph, log) || changed;
    if (!changed) break;
    infer_all(graph);
  }
}

void lower(Graph& graph, PassLog& log, const LowerOptions& options, bool verify_each) {
  apply_rules(graph, together({byte_map_rules(), quantized_rules()}), log, verify_each);
  apply_rules(graph, dequantized_product_rules(), log, verify_each);
  fold_constants(graph, log, {true});
  apply_rules(graph, integer_product_rules(), log, verify_each);
  apply_rules(graph, activation_rules(), log, verify_each);
  // What is in f32 only now may be folded now.
  if (widen_halves(graph, log)) apply_rules(graph, convolution_rules(), log, verify_each);
  apply_rules(graph, together({group_normalization_rules(), attention_rules(), view_rules()}), log, verify_each);
  apply_rules(graph, epilogue_rules(), log, verify_each);
  // What became fusible in blocks takes its activation there.
  const bool stacked = stack_images(graph, log, options.winograd);
  const bool blocked = block_channels(graph, log, options.winograd, options.precision);
  if (stacked || blocked) apply_rules(graph, activation_fusion(), log, verify_each);
  if (blocked) apply_rules(graph, together({expansion_rules(), maxima_rules()}), log, verify_each);
  if (changing_precision(options.precision) == Precision::kBf16) hand_panels(graph, log);
  eliminate_dead_code(graph, log);
  infer_all(graph);
  if (chain_elementwise(graph, log)) graph.verify();
}

}  // namespace sx
