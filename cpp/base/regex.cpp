// A regular expression becomes a small program, which all threads of a match run in step over the text.
#include "base/regex.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace sx {
namespace {

constexpr uint32_t kMaxRune = 0x10ffff;
constexpr uint32_t kBadByte = 0x110000;  // + the byte: what is not UTF-8
constexpr int kMaxRepeat = 1000;
constexpr size_t kMaxProgram = 200000;
constexpr int kMaxDepth = 200;

uint32_t decode(std::string_view text, size_t at, size_t* width) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i])); };
  const uint32_t first = byte(0);
  *width = 1;
  if (first < 0x80) return first;
  const size_t count = first >= 0xf0 && first < 0xf8 ? 4 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xc2 && first < 0xe0 ? 2 : 0;
  if (count == 0 || at + count > text.size()) return kBadByte + first;
  uint32_t rune = first & (0xffu >> (count + 1));
  for (size_t i = 1; i < count; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return kBadByte + first;
    rune = rune << 6 | (byte(i) & 0x3f);
  }
  static constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (rune < kLeast[count] || rune > kMaxRune || (rune >= 0xd800 && rune < 0xe000)) return kBadByte + first;
  *width = count;
  return rune;
}

bool is_word(uint32_t rune) {
  return (rune >= '0' && rune <= '9') || (rune >= 'A' && rune <= 'Z') || (rune >= 'a' && rune <= 'z') || rune == '_';
}

struct Range {
  uint32_t low, high;
};
using Ranges = std::vector<Range>;

Ranges negated(Ranges ranges) {
  std::sort(ranges.begin(), ranges.end(), [](Range a, Range b) { return a.low < b.low; });
  Ranges result;
  uint32_t next = 0;
  for (Range range : ranges) {
    if (range.low > next) result.push_back({next, range.low - 1});
    next = std::max(next, range.high + 1);
  }
  // A byte that is not UTF-8 is outside of every class.
  result.push_back({next, kBadByte + 0xff});
  return result;
}

const std::pair<const char*, Ranges>* named_class(std::string_view name) {
  static const std::vector<std::pair<const char*, Ranges>> kClasses = {
      {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
      {"alpha", {{'A', 'Z'}, {'a', 'z'}}},
      {"ascii", {{0, 0x7f}}},
      {"blank", {{'\t', '\t'}, {' ', ' '}}},
      {"cntrl", {{0, 0x1f}, {0x7f, 0x7f}}},
      {"digit", {{'0', '9'}}},
      {"graph", {{'!', '~'}}},
      {"lower", {{'a', 'z'}}},
      {"print", {{' ', '~'}}},
      {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
      {"space", {{'\t', '\r'}, {' ', ' '}}},
      {"upper", {{'A', 'Z'}}},
      {"word", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}}},
      {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}},
      {"perlspace", {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}},
  };
  for (const auto& entry : kClasses)
    if (name == entry.first) return &entry;
  return nullptr;
}

enum class Op : uint8_t { kClass, kSplit, kJump, kAssert, kMatch };
enum class Assert : uint8_t { kTextBegin, kTextEnd, kLineBegin, kLineEnd, kWordEdge, kNoWordEdge };

struct Instruction {
  Op op;
  Assert assert = Assert::kTextBegin;
  int32_t a = 0, b = 0;  // kSplit: next, the preferred first; kJump: next; kClass: index of its ranges
};

// Recursive descent; every part appends its code, targets being absolute.
class Compiler {
 public:
  Compiler(const std::string& pattern, std::vector<Instruction>& code, std::vector<Ranges>& classes)
      : pattern_(pattern), code_(code), classes_(classes) {}

  void compile() {
    alternatives(0);
    if (!done()) bad("an unmatched )");
    emit({Op::kMatch});
  }

 private:
  struct Flags {
    bool fold = false, dot_all = false, multi_line = false, ungreedy = false;
  };

  [[noreturn]] void bad(const std::string& what) const {
    fail(ErrorKind::kInvalidArgument, "the regular expression '", pattern_, "' has ", what, " at byte ", at_);
  }
  bool done() const { return at_ >= pattern_.size(); }
  char peek() const { return pattern_[at_]; }
  bool take(char c) {
    if (done() || peek() != c) return false;
    ++at_;
    return true;
  }
  bool starts(std::string_view text) const { return std::string_view(pattern_).substr(at_, text.size()) == text; }
  uint32_t rune() {
    if (done()) bad("an unfinished escape or class");
    size_t width;
    const uint32_t value = decode(pattern_, at_, &width);
    at_ += width;
    return value;
  }
  int32_t here() const { return static_cast<int32_t>(code_.size()); }
  int32_t emit(Instruction instruction) {
    if (code_.size() >= kMaxProgram) bad("more repetitions than are supported");
    code_.push_back(instruction);
    return here() - 1;
  }

  void alternatives(int depth) {
    if (depth > kMaxDepth) bad("groups nested too deeply");
    const Flags saved = flags_;
    const int32_t begin = here();
    sequence(depth);
    std::vector<int32_t> exits;
    int32_t branch = begin;
    while (take('|')) {
      insert(branch, {Op::kSplit, Assert::kTextBegin, branch + 1, 0});
      exits.push_back(emit({Op::kJump}));
      code_[static_cast<size_t>(branch)].b = here();
      branch = here();
      sequence(depth);
    }
    for (int32_t exit : exits) code_[static_cast<size_t>(exit)].a = here();
    flags_ = saved;
  }

  // Puts an instruction before the code from `place` on, all of which jumps within itself.
  void insert(int32_t place, Instruction instruction) {
    emit(instruction);
    for (int32_t i = here() - 1; i > place; --i) std::swap(code_[static_cast<size_t>(i)], code_[static_cast<size_t>(i - 1)]);
    for (int32_t i = place + 1; i < here(); ++i) shift(code_[static_cast<size_t>(i)], place, 1);
  }
  static void shift(Instruction& instruction, int32_t from, int32_t by) {
    if (instruction.op != Op::kSplit && instruction.op != Op::kJump) return;
    if (instruction.a >= from) instruction.a += by;
    if (instruction.op == Op::kSplit && instruction.b >= from) instruction.b += by;
  }

  void sequence(int depth) {
    while (!done() && peek() != '|' && peek() != ')') {
      const int32_t begin = here();
      if (!atom(depth)) continue;
      repetitions(begin);
    }
  }

  void repetitions(int32_t begin) {
    while (!done()) {
      int least = 0, most = -1;
      if (take('*')) {
      } else if (take('+')) {
        least = 1;
      } else if (take('?')) {
        most = 1;
      } else if (!counts(&least, &most)) {
        return;
      }
      const bool lazy = take('?') != flags_.ungreedy;
      repeat(begin, least, most, lazy);
    }
  }

  // {m}, {m,} or {m,n}; anything else in braces is literal text.
  bool counts(int* least, int* most) {
    if (done() || peek() != '{') return false;
    size_t i = at_ + 1;
    auto number = [&](int* value) {
      const size_t first = i;
      int64_t total = 0;
      for (; i < pattern_.size() && pattern_[i] >= '0' && pattern_[i] <= '9'; ++i) total = std::min<int64_t>(total * 10 + (pattern_[i] - '0'), 1000000);
      *value = static_cast<int>(total);
      return i > first;
    };
    if (!number(least)) return false;
    *most = *least;
    if (i < pattern_.size() && pattern_[i] == ',') {
      ++i;
      if (!number(most)) *most = -1;
    }
    if (i >= pattern_.size() || pattern_[i] != '}') return false;
    if (*least > kMaxRepeat || *most > kMaxRepeat || (*most >= 0 && *most < *least)) bad("a repetition that is not supported");
    at_ = i + 1;
    return true;
  }

  void repeat(int32_t begin, int least, int most, bool lazy) {
    const std::vector<Instruction> body(code_.begin() + begin, code_.end());
    code_.resize(static_cast<size_t>(begin));
    auto copy = [&] {
      const int32_t by = here() - begin;
      for (Instruction instruction : body) {
        shift(instruction, begin, by);
        emit(instruction);
      }
    };
    auto split = [&](int32_t inside, int32_t behind) {
      return lazy ? Instruction{Op::kSplit, Assert::kTextBegin, behind, inside} : Instruction{Op::kSplit, Assert::kTextBegin, inside, behind};
    };
    for (int i = 0; i < least; ++i) copy();
    if (most < 0) {
      const int32_t loop = emit({Op::kSplit});
      copy();
      emit({Op::kJump, Assert::kTextBegin, loop});
      code_[static_cast<size_t>(loop)] = split(loop + 1, here());
      return;
    }
    std::vector<int32_t> splits;
    for (int i = least; i < most; ++i) {
      splits.push_back(emit({Op::kSplit}));
      copy();
    }
    for (int32_t place : splits) code_[static_cast<size_t>(place)] = split(place + 1, here());
  }

  // False where it only changes flags.
  bool atom(int depth) {
    if (take('(')) return group(depth);
    if (take('[')) {
      add_class(bracket());
      return true;
    }
    if (take('.')) {
      add_class(flags_.dot_all ? Ranges{{0, kBadByte + 0xff}} : negated({{'\n', '\n'}}));
      return true;
    }
    if (take('^')) return assertion(flags_.multi_line ? Assert::kLineBegin : Assert::kTextBegin);
    if (take('$')) return assertion(flags_.multi_line ? Assert::kLineEnd : Assert::kTextEnd);
    if (peek() == '*' || peek() == '+' || peek() == '?') bad("a repetition of nothing");
    if (take('\\')) return escape();
    const uint32_t literal = rune();
    add_class({{literal, literal}});
    return true;
  }

  bool group(int depth) {
    if (take('?')) {
      if (starts("P<") || (starts("<") && !starts("<=") && !starts("<!"))) {
        const size_t close = pattern_.find('>', at_);
        if (close == std::string::npos) bad("an unfinished group name");
        at_ = close + 1;
      } else {
        Flags given = flags_;
        bool on = true;
        while (!done() && peek() != ':' && peek() != ')') {
          const char c = pattern_[at_++];
          if (c == '-') on = false;
          else if (c == 'i') given.fold = on;
          else if (c == 's') given.dot_all = on;
          else if (c == 'm') given.multi_line = on;
          else if (c == 'U') given.ungreedy = on;
          else bad("a group (?" + std::string(1, c) + "...), which is not supported,");
        }
        if (take(')')) {
          flags_ = given;
          return false;
        }
        if (!take(':')) bad("an unfinished group");
        const Flags saved = std::exchange(flags_, given);
        alternatives(depth + 1);
        flags_ = saved;
        if (!take(')')) bad("a group without its )");
        return true;
      }
    }
    alternatives(depth + 1);
    if (!take(')')) bad("a group without its )");
    return true;
  }

  bool assertion(Assert kind) {
    emit({Op::kAssert, kind});
    return true;
  }

  bool escape() {
    if (done()) bad("a \\ at its end");
    switch (peek()) {
      case 'A': ++at_; return assertion(Assert::kTextBegin);
      case 'z': ++at_; return assertion(Assert::kTextEnd);
      case 'b': ++at_; return assertion(Assert::kWordEdge);
      case 'B': ++at_; return assertion(Assert::kNoWordEdge);
      default: break;
    }
    Ranges ranges;
    if (!shorthand(&ranges)) {
      const uint32_t value = escaped();
      ranges = {{value, value}};
    }
    add_class(std::move(ranges));
    return true;
  }

  // \d \w \s and their negations, behind the backslash.
  bool shorthand(Ranges* ranges) {
    const char c = peek();
    const char* name = c == 'd' || c == 'D' ? "digit" : c == 'w' || c == 'W' ? "word" : c == 's' || c == 'S' ? "perlspace" : nullptr;
    if (name == nullptr) return false;
    ++at_;
    const Ranges& known = named_class(name)->second;
    const Ranges found = c >= 'a' ? known : negated(known);
    ranges->insert(ranges->end(), found.begin(), found.end());
    return true;
  }

  uint32_t hex(size_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = done() ? ' ' : peek();
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) bad("a bad \\x escape");
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    return value;
  }

  // The character that an escape stands for, behind the backslash.
  uint32_t escaped() {
    const uint32_t c = rune();
    switch (c) {
      case 'n': return '\n';
      case 't': return '\t';
      case 'r': return '\r';
      case 'f': return '\f';
      case 'v': return '\v';
      case 'a': return '\a';
      case 'x': {
        if (!take('{')) return hex(2);
        const size_t close = pattern_.find('}', at_);
        if (close == std::string::npos || close == at_ || close - at_ > 6) bad("a bad \\x escape");
        const uint32_t value = hex(close - at_);
        ++at_;
        if (value > kMaxRune) bad("a bad \\x escape");
        return value;
      }
      default: break;
    }
    if (c < 0x80 && !is_word(c)) return c;
    bad("an escape that is not supported");
  }

  Ranges bracket() {
    const bool negate = take('^');
    Ranges ranges;
    for (bool first = true; first || done() || peek() != ']'; first = false) {
      if (done()) bad("a class without its ]");
      if (starts("[:")) {
        const size_t close = pattern_.find(":]", at_);
        const bool inverse = at_ + 2 < pattern_.size() && pattern_[at_ + 2] == '^';
        const size_t name_at = at_ + (inverse ? 3 : 2);
        const auto* found = close == std::string::npos || close < name_at
                                ? nullptr
                                : named_class(std::string_view(pattern_).substr(name_at, close - name_at));
        if (found == nullptr) bad("a class name that is not known");
        const Ranges named = inverse ? negated(found->second) : found->second;
        ranges.insert(ranges.end(), named.begin(), named.end());
        at_ = close + 2;
        continue;
      }
      uint32_t low;
      if (take('\\')) {
        if (done()) bad("a class without its ]");
        if (shorthand(&ranges)) continue;
        low = escaped();
      } else {
        low = rune();
      }
      uint32_t high = low;
      if (at_ + 1 < pattern_.size() && peek() == '-' && pattern_[at_ + 1] != ']') {
        ++at_;
        high = take('\\') ? escaped() : rune();
        if (high < low) bad("a range that runs backwards");
      }
      ranges.push_back({low, high});
    }
    ++at_;
    if (flags_.fold) ranges = folded(ranges);
    return negate ? negated(ranges) : ranges;
  }

  // With the other case of ASCII letters.
  static Ranges folded(const Ranges& ranges) {
    Ranges all = ranges;
    for (Range range : ranges) {
      for (const Range letters : {Range{'a', 'z'}, Range{'A', 'Z'}}) {
        const uint32_t low = std::max(range.low, letters.low);
        const uint32_t high = std::min(range.high, letters.high);
        if (low <= high) all.push_back({low ^ 0x20u, high ^ 0x20u});
      }
    }
    return all;
  }

  void add_class(Ranges ranges) {
    if (flags_.fold) ranges = folded(ranges);
    classes_.push_back(std::move(ranges));
    emit({Op::kClass, Assert::kTextBegin, static_cast<int32_t>(classes_.size() - 1)});
  }

  const std::string& pattern_;
  std::vector<Instruction>& code_;
  std::vector<Ranges>& classes_;
  size_t at_ = 0;
  Flags flags_;
};

bool holds(Assert kind, std::string_view text, size_t at) {
  const bool before = at > 0 && is_word(static_cast<unsigned char>(text[at - 1]));
  const bool after = at < text.size() && is_word(static_cast<unsigned char>(text[at]));
  switch (kind) {
    case Assert::kTextBegin: return at == 0;
    case Assert::kTextEnd: return at == text.size();
    case Assert::kLineBegin: return at == 0 || text[at - 1] == '\n';
    case Assert::kLineEnd: return at == text.size() || text[at] == '\n';
    case Assert::kWordEdge: return before != after;
    case Assert::kNoWordEdge: return before == after;
  }
  return false;
}

struct Thread {
  int32_t place;
  size_t begin;
};

}  // namespace

struct Regex::Program {
  std::vector<Instruction> code;
  std::vector<Ranges> classes;

  // Follows everything that consumes nothing from `place`; threads are added in order of preference.
  void follow(int32_t place, size_t begin, std::string_view text, size_t at, std::vector<Thread>& threads, std::vector<size_t>& mark,
              size_t stamp, std::vector<int32_t>& stack) const {
    stack.assign(1, place);
    while (!stack.empty()) {
      const int32_t here = stack.back();
      stack.pop_back();
      if (mark[static_cast<size_t>(here)] == stamp) continue;
      mark[static_cast<size_t>(here)] = stamp;
      const Instruction& instruction = code[static_cast<size_t>(here)];
      switch (instruction.op) {
        case Op::kJump: stack.push_back(instruction.a); break;
        case Op::kSplit:
          stack.push_back(instruction.b);
          stack.push_back(instruction.a);
          break;
        case Op::kAssert:
          if (holds(instruction.assert, text, at)) stack.push_back(here + 1);
          break;
        case Op::kClass:
        case Op::kMatch: threads.push_back({here, begin}); break;
      }
    }
  }
};

Regex::Regex(const std::string& pattern) {
  auto program = std::make_unique<Program>();
  Compiler(pattern, program->code, program->classes).compile();
  program_ = std::move(program);
}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

bool Regex::run(std::string_view text, size_t from, bool whole, Match* match) const {
  std::vector<Thread> threads, next;
  std::vector<size_t> mark(program_->code.size(), 0);
  std::vector<int32_t> stack;
  bool found = false;
  size_t stamp = 0;
  for (size_t at = from;; ) {
    // A new thread is the least preferred one, and starts only while nothing has matched.
    if (threads.empty()) ++stamp;
    if (!found && (!whole || at == from)) program_->follow(0, at, text, at, threads, mark, stamp, stack);
    if (threads.empty() && (found || whole)) break;
    size_t width = 1;
    const uint32_t rune = at < text.size() ? decode(text, at, &width) : 0;
    next.clear();
    ++stamp;
    for (const Thread& thread : threads) {
      const Instruction& instruction = program_->code[static_cast<size_t>(thread.place)];
      if (instruction.op == Op::kMatch) {
        if (whole && at != text.size()) continue;
        found = true;
        *match = {thread.begin, at};
        break;  // what is less preferred is cut off
      }
      if (at >= text.size()) continue;
      const Ranges& ranges = program_->classes[static_cast<size_t>(instruction.a)];
      const bool in = std::any_of(ranges.begin(), ranges.end(), [rune](Range range) { return rune >= range.low && rune <= range.high; });
      if (in) program_->follow(thread.place + 1, thread.begin, text, at + width, next, mark, stamp, stack);
    }
    if (at >= text.size()) break;
    threads.swap(next);
    at += width;
  }
  return found;
}

bool Regex::search(std::string_view text, size_t from, Match* match) const { return run(text, from, false, match); }

bool Regex::matches(std::string_view text) const {
  Match match;
  return run(text, 0, true, &match);
}

size_t utf8_width(std::string_view text, size_t at) {
  size_t width;
  decode(text, at, &width);
  return width;
}

size_t utf8_length(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += utf8_width(text, at)) ++count;
  return count;
}

}  // namespace sx
