// Runs the cases of tests/passes: FILE.txt tests the rule, pass or pipeline FILE on graphs written as text.
//
//   --- what the case shows
//   graph (x: f32[2]) => (y) { ... }
//   =>                                  the graph becomes this one, and stays so when the pass runs again
//   graph (x: f32[2]) => (y) { ... }
//
// In the place of `=>` and the second graph, `unchanged` says that the pass must not fire, and `missed: TEXT` that it
// must not and gives a reason with TEXT in it. BLOCK stands for the channels of a block, BLOCKS_OF_16 for the blocks
// that take 16 of them.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "kernels/conv/blocked.h"
#include "ops/text.h"
#include "passes/pipeline.h"
#include "passes/rules.h"

namespace sx {
namespace {

using Transform = std::function<void(Graph&, PassLog&)>;

struct Case {
  std::string title;
  std::string before;
  std::string after;   // empty where the pass must not fire
  std::string reason;  // part of the reason of a miss
};

std::vector<Rule> all_rules() {
  std::vector<Rule> all;
  for (const auto& set :
       {identity_rules(), transpose_rules(), convolution_rules(), branch_rules(), activation_rules(),
        group_normalization_rules(), attention_rules(), quantized_rules(), dequantized_product_rules(),
        integer_product_rules(), byte_map_rules(), epilogue_rules(), expansion_rules(), maxima_rules()})
    all.insert(all.end(), set.begin(), set.end());
  return all;
}

std::map<std::string, Transform> transforms() {
  std::map<std::string, Transform> named;
  for (const Rule& rule : all_rules())
    named[rule.name] = [rule](Graph& graph, PassLog& log) { apply_rules(graph, {rule}, log, true); };
  named["epilogues"] = [](Graph& graph, PassLog& log) { apply_rules(graph, epilogue_rules(), log, true); };
  named["fold_constants"] = [](Graph& graph, PassLog& log) { fold_constants(graph, log); };
  named["merge_common_subexpressions"] = [](Graph& graph, PassLog& log) { merge_common_subexpressions(graph, log); };
  named["eliminate_dead_code"] = [](Graph& graph, PassLog& log) { eliminate_dead_code(graph, log); };
  named["move_selections"] = [](Graph& graph, PassLog& log) { move_selections(graph, log); };
  named["sink_constants"] = [](Graph& graph, PassLog& log) { sink_constants(graph, log); };
  named["widen_halves"] = [](Graph& graph, PassLog& log) { widen_halves(graph, log); };
  named["chain_elementwise"] = [](Graph& graph, PassLog& log) { chain_elementwise(graph, log); };
  named["block_channels"] = [](Graph& graph, PassLog& log) { block_channels(graph, log); };
  named["hand_panels"] = [](Graph& graph, PassLog& log) { hand_panels(graph, log); };
  named["stack_images"] = [](Graph& graph, PassLog& log) { stack_images(graph, log); };
  named["simplify"] = [](Graph& graph, PassLog& log) { simplify(graph, log, true); };
  named["lower"] = [](Graph& graph, PassLog& log) { lower(graph, log, {}, true); };
  return named;
}

// A line of a graph with the extents that blocks of channels have on this tier.
std::string on_this_tier(std::string line) {
  const std::pair<const char*, int64_t> extents[] = {{"BLOCKS_OF_16", 16 / channel_block()},
                                                     {"BLOCK", channel_block()}};
  for (const auto& [word, extent] : extents)
    for (size_t at; (at = line.find(word)) != std::string::npos;)
      line.replace(at, std::strlen(word), std::to_string(extent));
  return line;
}

std::vector<Case> read_cases(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<Case> cases;
  bool behind = false;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("--- ", 0) == 0) {
      cases.push_back({line.substr(4), "", "", ""});
      behind = false;
    } else if (cases.empty()) {
      if (!line.empty() && line[0] != '#') check::failed(path.string().c_str(), 1, "text in front of the first case");
    } else if (line == "=>") {
      behind = true;
    } else if (line.rfind("missed: ", 0) == 0) {
      cases.back().reason = line.substr(8);
    } else if (line != "unchanged") {
      (behind ? cases.back().after : cases.back().before) += on_this_tier(line) + "\n";
    }
  }
  return cases;
}

std::vector<std::filesystem::path> case_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(SARDONYX_PASS_TESTS))
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::string misses(const PassLog& log) {
  std::string text;
  for (const PassEvent& event : log.events())
    if (event.outcome.kind == Outcome::Kind::kMissed) text += event.pass + ": " + event.outcome.reason + "\n";
  return text;
}

// What went wrong, or nothing.
std::string run_case(const Case& test, const Transform& transform) {
  const auto graph = parse_graph(test.before);
  const std::string before = dump(*graph);
  PassLog log;
  transform(*graph, log);
  graph->verify();
  if (test.after.empty()) {
    if (dump(*graph) != before) return "it must not fire, but gives\n" + dump(*graph);
    for (const PassEvent& event : log.events())
      if (event.outcome.kind == Outcome::Kind::kFired) return "it must not fire, but says that it did";
    if (!test.reason.empty() && misses(log).find(test.reason) == std::string::npos)
      return "no miss says '" + test.reason + "'; the log has\n" + misses(log);
    return "";
  }
  eliminate_dead_code(*graph, log);  // rules leave constants behind
  graph->verify();
  const std::string expected = dump(*parse_graph(test.after));
  const std::string found = dump(*graph);
  if (found != expected) return "found\n" + found + "expected\n" + expected + misses(log);
  transform(*graph, log);
  return dump(*graph) == expected ? "" : "a second run changes it to\n" + dump(*graph);
}

TEST(passes_text_cases) {
  const auto known = transforms();
  std::string failures;
  int count = 0;
  for (const auto& path : case_files()) {
    const auto transform = known.find(path.stem().string());
    CHECK(transform != known.end());
    for (const Case& test : read_cases(path)) {
      std::string wrong;
      try {
        wrong = run_case(test, transform->second);
      } catch (const std::exception& error) {
        wrong = error.what();
      }
      ++count;
      if (!wrong.empty()) failures += "\n" + path.stem().string() + ": " + test.title + ": " + wrong;
    }
  }
  CHECK_EQ(failures, "");
  CHECK(count > 0);
}

TEST(passes_every_rule_has_cases_for_and_against) {
  std::set<std::string> fire, stay;
  for (const auto& path : case_files())
    for (const Case& test : read_cases(path)) (test.after.empty() ? stay : fire).insert(path.stem().string());
  std::string missing;
  for (const auto& [name, transform] : transforms()) {
    const bool pipeline = name == "simplify" || name == "lower" || name == "epilogues";
    if (fire.count(name) == 0 || (!pipeline && stay.count(name) == 0)) missing += name + " ";
  }
  CHECK_EQ(missing, "");
}

TEST(passes_erase_chains_longer_than_the_stack) {
  std::string text = "graph (x: f32[2]) => (y) {\n  c = const bool[] {1}\n  t0 = Neg(x)\n";
  constexpr int kLength = 20000;
  for (int i = 1; i < kLength; ++i) text += "  t" + std::to_string(i) + " = Neg(t" + std::to_string(i - 1) + ")\n";
  text += "  y = If<then_branch=graph (; a: f32[2] = x) => (u) {\n  u = Abs(a)\n}, else_branch=graph (; b: f32[2] = t" +
          std::to_string(kLength - 1) + ") => (v) {\n  v = Abs(b)\n}>(c)\n}";
  const auto graph = parse_graph(text);
  PassLog log;
  apply_rules(*graph, branch_rules(), log, false);
  graph->verify();
  CHECK_EQ(graph->order().size(), 2u);  // Abs, and Identity for the name of the output
}

}  // namespace
}  // namespace sx
