// Regular expressions in the syntax of RE2, matched in time linear in the text whatever the pattern.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sx {

// A set of code points. After the last add() it wants sort() before anything is asked of it.
class CodePointSet {
 public:
  void add(uint32_t first, uint32_t last) { ranges_.emplace_back(first, last); }
  void add(const CodePointSet& other) { ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end()); }
  void sort();
  // Adds the other case of every member; sorted before and after, as is the result of inverse().
  void fold();
  // All code points that are not members.
  CodePointSet inverse() const;
  bool has(uint32_t code_point) const;

 private:
  // Ordered and apart from one another once sorted.
  std::vector<std::pair<uint32_t, uint32_t>> ranges_;
};

// A compiled pattern; immutable. Knows literals, classes, groups, alternation, greedy and lazy repetition, the
// assertions ^ $ \A \z \b \B, the flags i m s U and the escapes of RE2 except for Unicode categories (\p), for which
// the constructor throws NotImplemented; it throws InvalidGraph for a pattern that is malformed or too large.
class Regex {
 public:
  explicit Regex(const std::string& pattern);
  // Whether the whole of `text` (UTF-8) matches.
  bool full_match(const std::string& text) const;
  struct Match {
    size_t begin, end;  // bytes
  };
  // The leftmost match that begins at byte `from`, where a character begins, or later; of several the one that Perl
  // would find. Assertions see the text before `from`.
  bool search(const std::string& text, size_t from, Match& match) const;

 private:
  friend class RegexParser;
  enum class Op : uint8_t { kSet, kSplit, kAssert, kMatch };
  enum class Assertion : uint8_t { kTextBegin, kTextEnd, kLineBegin, kLineEnd, kWordBoundary, kNotWordBoundary };
  struct Instruction {
    Op op;
    Assertion assertion;
    uint32_t next;
    uint32_t other;  // second target of a split; number of the set
  };
  struct States;
  void follow(States& states, uint32_t start, size_t begin, uint32_t before, uint32_t after) const;

  std::vector<Instruction> program_;
  std::vector<CodePointSet> sets_;
  uint32_t start_ = 0;
};

}  // namespace sx
