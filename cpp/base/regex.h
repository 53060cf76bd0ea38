// Regular expressions in the syntax of RE2, matched in time linear in the text, over UTF-8.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sx {

// Literals, `.`, classes ([a-z], [^...], [:alpha:], \d \w \s and their negations), groups, alternatives, greedy and lazy
// * + ? {m,n}, ^ $ \A \z \b \B, and the flags i, m, s, U. No back-references, look-around or \p classes: the constructor
// throws InvalidArgument that says what is not supported. Of several matches the leftmost counts, and of those the one that
// Perl would find. Bytes that are not UTF-8 match as themselves.
class Regex {
 public:
  explicit Regex(const std::string& pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  struct Match {
    size_t begin, end;  // bytes
  };
  // The first match that begins at `from` or later; `^` and \b see the text before it.
  bool search(std::string_view text, size_t from, Match* match) const;
  // Whether all of the text matches.
  bool matches(std::string_view text) const;

 private:
  struct Program;
  bool run(std::string_view text, size_t from, bool whole, Match* match) const;
  std::unique_ptr<const Program> program_;
};

// The number of characters of a UTF-8 text; a byte that is not UTF-8 counts as one.
size_t utf8_length(std::string_view text);
// The bytes of the character that starts at `at`.
size_t utf8_width(std::string_view text, size_t at);

}  // namespace sx
