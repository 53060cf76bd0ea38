// Regular expressions as nondeterministic automata that are run on all states at a time.
#include "ops/regex.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "ops/unicode.h"

namespace sx {
namespace {

constexpr size_t kMaxProgram = 200000;
constexpr int kMaxRepeat = 1000;
constexpr int kMaxDepth = 200;
constexpr uint32_t kLastCodePoint = kInvalidByte + 0xff;
constexpr uint32_t kEnd = 0xffffffff;  // no code point: before the first and behind the last

bool is_word(uint32_t c) { return c < 0x80 && (std::isalnum(static_cast<int>(c)) != 0 || c == '_'); }

CodePointSet set_of(std::initializer_list<std::pair<uint32_t, uint32_t>> ranges) {
  CodePointSet set;
  for (const auto& [first, last] : ranges) set.add(first, last);
  set.sort();
  return set;
}

CodePointSet digits() { return set_of({{'0', '9'}}); }
CodePointSet spaces() { return set_of({{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}); }
CodePointSet words() { return set_of({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}); }

}  // namespace

void CodePointSet::sort() {
  std::sort(ranges_.begin(), ranges_.end());
  std::vector<std::pair<uint32_t, uint32_t>> joined;
  for (const auto& range : ranges_) {
    if (!joined.empty() && range.first <= joined.back().second + 1)
      joined.back().second = std::max(joined.back().second, range.second);
    else joined.push_back(range);
  }
  ranges_ = std::move(joined);
}

void CodePointSet::fold() {
  // Every code point with another one that differs from it by case only.
  static const auto* pairs = [] {
    auto* found = new std::vector<std::pair<uint32_t, uint32_t>>;
    constexpr uint32_t kLastCased = 0x1e943;
    for (uint32_t c = 0; c <= kLastCased; ++c) {
      for (uint32_t other : {to_lower(c), to_upper(c), to_lower(to_upper(c))}) {
        if (other == c) continue;
        found->emplace_back(c, other);
        found->emplace_back(other, c);
      }
    }
    return found;
  }();
  CodePointSet others;
  for (const auto& [c, other] : *pairs)
    if (has(c)) others.add(other, other);
  add(others);
  sort();
}

CodePointSet CodePointSet::inverse() const {
  CodePointSet set;
  uint32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) set.ranges_.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLastCodePoint) set.ranges_.emplace_back(next, kLastCodePoint);
  return set;
}

bool CodePointSet::has(uint32_t c) const {
  const auto range = std::lower_bound(ranges_.begin(), ranges_.end(), c,
                                      [](const auto& a, uint32_t value) { return a.second < value; });
  return range != ranges_.end() && range->first <= c;
}

// Recursive descent; each construct is compiled to a piece of program whose loose ends all go to one place.
class RegexParser {
 public:
  RegexParser(const std::string& pattern, Regex& regex) : regex_(regex) {
    for (size_t at = 0; at < pattern.size();) text_.push_back(next_code_point(pattern, at));
  }

  void parse() {
    const Node tree = alternation(0);
    require(at_ == text_.size(), "has a ) without a (");
    regex_.start_ = emit(tree, instruction(Regex::Op::kMatch, 0, 0));
  }

 private:
  using Op = Regex::Op;
  using Assertion = Regex::Assertion;
  enum class Kind { kEmpty, kSet, kAssertion, kSequence, kChoice, kRepeat };
  struct Node {
    Kind kind = Kind::kEmpty;
    uint32_t set = 0;
    Assertion assertion = Assertion::kTextBegin;
    int least = 0;
    int most = -1;  // -1: no limit
    bool lazy = false;
    std::vector<Node> parts;
  };
  struct Flags {
    bool ignore_case = false;
    bool multi_line = false;
    bool dot_all = false;
    bool lazy = false;  // repetitions without a ? behind them
  };

  template <typename... Parts>
  void require(bool condition, const Parts&... parts) const {
    if (!condition) fail(ErrorKind::kInvalidGraph, "the pattern ", parts..., " (at character ", at_, ")");
  }
  bool done() const { return at_ == text_.size(); }
  uint32_t peek() const { return done() ? kEnd : text_[at_]; }
  bool accept(uint32_t c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool accept(const char* word) {
    size_t n = 0;
    for (; word[n] != 0; ++n)
      if (at_ + n >= text_.size() || text_[at_ + n] != static_cast<uint32_t>(word[n])) return false;
    at_ += n;
    return true;
  }
  uint32_t take() {
    require(!done(), "ends too early");
    return text_[at_++];
  }

  // --- parsing

  Node set_node(CodePointSet set) {
    regex_.sets_.push_back(std::move(set));
    Node node;
    node.kind = Kind::kSet;
    node.set = static_cast<uint32_t>(regex_.sets_.size() - 1);
    return node;
  }
  Node literal(uint32_t c) {
    CodePointSet set = set_of({{c, c}});
    if (flags_.ignore_case) set.fold();
    return set_node(std::move(set));
  }
  static Node assertion(Assertion kind) {
    Node node;
    node.kind = Kind::kAssertion;
    node.assertion = kind;
    return node;
  }

  Node alternation(int depth) {
    require(depth < kMaxDepth, "is nested too deeply");
    const Flags outer = flags_;
    Node choice;
    choice.kind = Kind::kChoice;
    do choice.parts.push_back(sequence(depth));
    while (accept('|'));
    flags_ = outer;
    return choice.parts.size() == 1 ? std::move(choice.parts[0]) : choice;
  }

  Node sequence(int depth) {
    Node sequence;
    sequence.kind = Kind::kSequence;
    while (!done() && peek() != '|' && peek() != ')') {
      if (accept("\\Q")) {
        while (!done() && !accept("\\E")) sequence.parts.push_back(repeated(literal(take())));
        continue;
      }
      Node part;
      if (atom(part, depth)) sequence.parts.push_back(repeated(std::move(part)));
    }
    return sequence;
  }

  // The quantifiers that follow.
  Node repeated(Node part) {
    bool before = false;
    while (!done()) {
      int least = 0;
      int most = -1;
      if (accept('*')) {
      } else if (accept('+')) {
        least = 1;
      } else if (accept('?')) {
        most = 1;
      } else if (!braces(least, most)) {
        break;
      }
      require(!before, "has two quantifiers in a row");
      before = true;
      Node repeat;
      repeat.kind = Kind::kRepeat;
      repeat.lazy = accept('?') != flags_.lazy;
      repeat.least = least;
      repeat.most = most;
      repeat.parts.push_back(std::move(part));
      part = std::move(repeat);
    }
    return part;
  }

  // {n}, {n,} or {n,m}; anything else in braces is literal text.
  bool braces(int& least, int& most) {
    const size_t start = at_;
    auto number = [&](int& value) {
      if (done() || peek() < '0' || peek() > '9') return false;
      value = 0;
      while (!done() && peek() >= '0' && peek() <= '9')
        value = std::min(value * 10 + static_cast<int>(take() - '0'), kMaxRepeat + 1);
      return true;
    };
    int low = 0;
    int high = 0;
    bool good = accept('{') && number(low);
    high = low;
    if (good && accept(',') && !number(high)) high = -1;
    good = good && accept('}');
    if (!good) {
      at_ = start;
      return false;
    }
    require(low <= kMaxRepeat && high <= kMaxRepeat && (high < 0 || low <= high), "has a repetition out of 0..",
            kMaxRepeat);
    least = low;
    most = high;
    return true;
  }

  // One atom; false where it only changed flags.
  bool atom(Node& node, int depth) {
    if (accept('(')) {
      if (accept("?P<") || accept("?<")) {
        size_t length = 0;
        for (; !done() && peek() != '>'; ++length) require(is_word(take()), "has a group with a bad name");
        require(length > 0 && accept('>'), "has a group with a bad name");
      } else if (accept('?')) {
        const Flags outer = flags_;
        if (read_flags()) return false;
        node = alternation(depth + 1);
        flags_ = outer;
        require(accept(')'), "has a ( without a )");
        return true;
      }
      node = alternation(depth + 1);
      require(accept(')'), "has a ( without a )");
      return true;
    }
    if (accept('[')) {
      node = character_class();
      return true;
    }
    if (accept('.')) {
      node = set_node(flags_.dot_all ? CodePointSet().inverse() : set_of({{'\n', '\n'}}).inverse());
      return true;
    }
    if (accept('^')) {
      node = assertion(flags_.multi_line ? Assertion::kLineBegin : Assertion::kTextBegin);
      return true;
    }
    if (accept('$')) {
      node = assertion(flags_.multi_line ? Assertion::kLineEnd : Assertion::kTextEnd);
      return true;
    }
    if (accept('\\')) {
      node = escape();
      return true;
    }
    const uint32_t c = take();
    require(c != '*' && c != '+' && c != '?', "has a quantifier with nothing to repeat");
    node = literal(c);
    return true;
  }

  // The flags behind (?; true where the group ends with them.
  bool read_flags() {
    bool value = true;
    while (true) {
      const uint32_t c = take();
      if (c == 'i') flags_.ignore_case = value;
      else if (c == 'm') flags_.multi_line = value;
      else if (c == 's') flags_.dot_all = value;
      else if (c == 'U') flags_.lazy = value;
      else if (c == '-' && value) value = false;
      else if (c == ':') return false;
      else if (c == ')') return true;
      else require(false, "has a group of a kind that is not supported");
    }
  }

  uint32_t hexadecimal() {
    auto digit = [&] {
      const uint32_t c = take();
      require(c < 0x80 && std::isxdigit(static_cast<int>(c)) != 0, "has a bad \\x");
      return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    };
    if (!accept('{')) {
      const uint32_t high = digit();
      return high * 16 + digit();
    }
    uint32_t value = 0;
    do {
      value = value * 16 + digit();
      require(value <= 0x10ffff, "has a code point beyond Unicode");
    } while (peek() != '}');
    ++at_;
    return value;
  }

  // A class that stands behind a backslash; false where `c` names none.
  bool named_class(uint32_t c, CodePointSet& set) {
    switch (c) {
      case 'd': set = digits(); return true;
      case 'D': set = digits().inverse(); return true;
      case 's': set = spaces(); return true;
      case 'S': set = spaces().inverse(); return true;
      case 'w': set = words(); return true;
      case 'W': set = words().inverse(); return true;
      case 'p':
      case 'P': fail(ErrorKind::kNotImplemented, "the pattern uses a Unicode category (\\p), which is not supported");
      default: return false;
    }
  }

  // A single character behind a backslash.
  uint32_t escaped(uint32_t c) {
    switch (c) {
      case 'a': return '\a';
      case 'f': return '\f';
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'v': return '\v';
      case 'x': return hexadecimal();
      default: break;
    }
    const bool octal = c == '0' || (c >= '1' && c <= '7' && !done() && peek() >= '0' && peek() <= '7');
    if (octal) {
      uint32_t value = c - '0';
      for (int i = 0; i < 2 && !done() && peek() >= '0' && peek() <= '7'; ++i) value = value * 8 + (take() - '0');
      return value;
    }
    require(!(c < 0x80 && is_word(c) && c != '_'), "has an unknown escape");
    return c;
  }

  Node escape() {
    const uint32_t c = take();
    switch (c) {
      case 'A': return assertion(Assertion::kTextBegin);
      case 'z': return assertion(Assertion::kTextEnd);
      case 'b': return assertion(Assertion::kWordBoundary);
      case 'B': return assertion(Assertion::kNotWordBoundary);
      case 'C': return set_node(CodePointSet().inverse());
      default: break;
    }
    CodePointSet set;
    if (named_class(c, set)) return set_node(std::move(set));
    return literal(escaped(c));
  }

  // [:name:] or [:^name:] within a class.
  CodePointSet posix_class() {
    const bool negated = accept('^');
    std::string name;
    while (!done() && peek() != ':') name += static_cast<char>(std::min<uint32_t>(take(), 0x7f));
    require(accept(":]"), "has a bad [: :]");
    CodePointSet set;
    if (name == "alnum") set = set_of({{'0', '9'}, {'A', 'Z'}, {'a', 'z'}});
    else if (name == "alpha") set = set_of({{'A', 'Z'}, {'a', 'z'}});
    else if (name == "ascii") set = set_of({{0, 0x7f}});
    else if (name == "blank") set = set_of({{'\t', '\t'}, {' ', ' '}});
    else if (name == "cntrl") set = set_of({{0, 0x1f}, {0x7f, 0x7f}});
    else if (name == "digit") set = digits();
    else if (name == "graph") set = set_of({{'!', '~'}});
    else if (name == "lower") set = set_of({{'a', 'z'}});
    else if (name == "print") set = set_of({{' ', '~'}});
    else if (name == "punct") set = set_of({{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}});
    else if (name == "space") set = set_of({{'\t', '\r'}, {' ', ' '}});
    else if (name == "upper") set = set_of({{'A', 'Z'}});
    else if (name == "word") set = words();
    else if (name == "xdigit") set = set_of({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
    else require(false, "has the unknown class [:", name, ":]");
    return negated ? set.inverse() : set;
  }

  Node character_class() {
    const bool negated = accept('^');
    CodePointSet members;
    for (bool first = true; first || peek() != ']'; first = false) {
      if (accept("[:")) {
        members.add(posix_class());
        continue;
      }
      uint32_t low = take();
      CodePointSet named;
      if (low == '\\') {
        const uint32_t c = take();
        if (named_class(c, named)) {
          members.add(named);
          continue;
        }
        low = escaped(c);
      }
      uint32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = take();
        if (high == '\\') high = escaped(take());
        require(low <= high, "has a range in the wrong order");
      }
      members.add(low, high);
    }
    ++at_;
    members.sort();
    if (flags_.ignore_case) members.fold();
    return set_node(negated ? members.inverse() : std::move(members));
  }

  // --- compiling, back to front: every piece knows where it goes on

  uint32_t instruction(Op op, uint32_t next, uint32_t other, Assertion kind = Assertion::kTextBegin) {
    require(regex_.program_.size() < kMaxProgram, "is too large");
    regex_.program_.push_back({op, kind, next, other});
    return static_cast<uint32_t>(regex_.program_.size() - 1);
  }

  // Where to enter the program for `node`, which goes on to `next`.
  uint32_t emit(const Node& node, uint32_t next) {
    require(++emitted_ < 2 * kMaxProgram, "is too large");
    switch (node.kind) {
      case Kind::kEmpty: return next;
      case Kind::kSet: return instruction(Op::kSet, next, node.set);
      case Kind::kAssertion: return instruction(Op::kAssert, next, 0, node.assertion);
      case Kind::kSequence:
        for (size_t i = node.parts.size(); i-- > 0;) next = emit(node.parts[i], next);
        return next;
      case Kind::kChoice: {
        uint32_t entry = emit(node.parts.back(), next);
        for (size_t i = node.parts.size() - 1; i-- > 0;)
          entry = instruction(Op::kSplit, emit(node.parts[i], next), entry);
        return entry;
      }
      case Kind::kRepeat: {
        const Node& part = node.parts[0];
        uint32_t entry = next;
        if (node.most < 0) {
          const uint32_t loop = instruction(Op::kSplit, next, next);
          const uint32_t body = emit(part, loop);
          (node.lazy ? regex_.program_[loop].other : regex_.program_[loop].next) = body;
          entry = loop;
        } else {
          for (int i = node.least; i < node.most; ++i) {
            const uint32_t body = emit(part, entry);
            entry = node.lazy ? instruction(Op::kSplit, next, body) : instruction(Op::kSplit, body, next);
          }
        }
        for (int i = 0; i < node.least; ++i) entry = emit(part, entry);
        return entry;
      }
    }
    return next;
  }

  Regex& regex_;
  std::vector<uint32_t> text_;
  size_t at_ = 0;
  size_t emitted_ = 0;
  Flags flags_;
};

// The states that the automaton is in: a list without repetitions, the preferred first.
struct Regex::States {
  explicit States(size_t size) : member(size, false) {}
  std::vector<uint32_t> list;
  std::vector<size_t> begin;  // of each state in the list: where its match begins
  std::vector<bool> member;
  std::vector<uint32_t> pending;

  void clear() {
    for (uint32_t state : list) member[state] = false;
    list.clear();
    begin.clear();
  }
};

Regex::Regex(const std::string& pattern) { RegexParser(pattern, *this).parse(); }

// Adds `start` and all that is reached from it without reading, between the code points `before` and `after`.
void Regex::follow(States& states, uint32_t start, size_t begin, uint32_t before, uint32_t after) const {
  auto holds = [&](Assertion assertion) {
    const bool boundary = (before != kEnd && is_word(before)) != (after != kEnd && is_word(after));
    switch (assertion) {
      case Assertion::kTextBegin: return before == kEnd;
      case Assertion::kTextEnd: return after == kEnd;
      case Assertion::kLineBegin: return before == kEnd || before == '\n';
      case Assertion::kLineEnd: return after == kEnd || after == '\n';
      case Assertion::kWordBoundary: return boundary;
      case Assertion::kNotWordBoundary: return !boundary;
    }
    return false;
  };
  states.pending.push_back(start);
  while (!states.pending.empty()) {
    const uint32_t state = states.pending.back();
    states.pending.pop_back();
    if (states.member[state]) continue;
    states.member[state] = true;
    states.list.push_back(state);
    states.begin.push_back(begin);
    const Instruction& instruction = program_[state];
    if (instruction.op == Op::kSplit) {
      states.pending.push_back(instruction.other);
      states.pending.push_back(instruction.next);
    } else if (instruction.op == Op::kAssert && holds(instruction.assertion)) {
      states.pending.push_back(instruction.next);
    }
  }
}

bool Regex::full_match(const std::string& text) const {
  States now(program_.size()), then(program_.size());
  size_t at = 0;
  uint32_t before = kEnd;
  uint32_t c = at < text.size() ? next_code_point(text, at) : kEnd;
  follow(now, start_, 0, before, c);
  while (c != kEnd) {
    before = c;
    c = at < text.size() ? next_code_point(text, at) : kEnd;
    for (uint32_t state : now.list) {
      const Instruction& instruction = program_[state];
      if (instruction.op == Op::kSet && sets_[instruction.other].has(before))
        follow(then, instruction.next, 0, before, c);
    }
    now.clear();
    std::swap(now, then);
    if (now.list.empty()) return false;
  }
  return std::any_of(now.list.begin(), now.list.end(),
                     [&](uint32_t state) { return program_[state].op == Op::kMatch; });
}

bool Regex::search(const std::string& text, size_t from, Match& match) const {
  States now(program_.size()), then(program_.size());
  // Assertions only ask whether the character before is a letter of ASCII or a new line: its last byte tells.
  uint32_t before = from > 0 ? static_cast<unsigned char>(text[from - 1]) : kEnd;
  size_t here = from;
  size_t at = from;
  uint32_t c = at < text.size() ? next_code_point(text, at) : kEnd;
  bool found = false;
  for (;;) {
    // A match that begins here is less wanted than all that began before.
    if (!found) follow(now, start_, here, before, c);
    if (now.list.empty()) return found;
    const uint32_t read = c;
    const size_t behind = at;
    const uint32_t next = behind < text.size() ? next_code_point(text, at) : kEnd;
    for (size_t i = 0; i < now.list.size(); ++i) {
      const Instruction& instruction = program_[now.list[i]];
      if (instruction.op == Op::kMatch) {
        match = {now.begin[i], here};
        found = true;
        break;  // the states that follow are less wanted
      }
      if (instruction.op == Op::kSet && read != kEnd && sets_[instruction.other].has(read))
        follow(then, instruction.next, now.begin[i], read, next);
    }
    if (read == kEnd) return found;
    now.clear();
    std::swap(now, then);
    before = read;
    c = next;
    here = behind;
  }
}

}  // namespace sx
