// com.microsoft Tokenizer: the tokens of every string, by separators or by an expression, rows padded to the longest
#include <algorithm>

#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/regex.h"
#include "ops/registry.h"
#include "ops/unicode.h"

namespace sx {
namespace {

using Tokens = std::vector<std::string>;

class Splitter {
 public:
  explicit Splitter(const NodeView& node) : least_(node.attr_int("mincharnum")) {
    const auto separators = node.attr_or("separators", std::vector<std::string>());
    const auto expression = node.attr_or("tokenexp", std::string());
    SX_CHECK(node, separators.empty() != expression.empty(), "needs exactly one of separators and tokenexp");
    SX_CHECK(node, least_ > 0, "mincharnum is ", least_, "; a positive number expected");
    characters_ = separators.size() == 1 && separators[0].empty();
    if (characters_) return;
    for (const std::string& separator : separators) {
      SX_CHECK(node, !separator.empty(), "has an empty separator beside others");
      separators_.emplace_back(separator);
    }
    if (!expression.empty()) tokens_.emplace_back(expression);
  }

  Tokens split(const std::string& text) const {
    Tokens found;
    if (characters_) {
      for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        next_code_point(text, at);
        if (least_ <= 1) found.push_back(text.substr(begin, at - begin));
      }
      return found;
    }
    if (!tokens_.empty()) {
      Regex::Match match;
      for (size_t at = 0; at <= text.size() && tokens_[0].search(text, at, match);) {
        keep(text.substr(match.begin, match.end - match.begin), found);
        at = next_start(text, match);
      }
      return found;
    }
    found.push_back(text);
    for (const Regex& separator : separators_) {
      Tokens parts;
      for (const std::string& part : found) {
        size_t begin = 0;
        Regex::Match match;
        for (size_t at = 0; at <= part.size() && separator.search(part, at, match);) {
          at = next_start(part, match);
          if (match.end == match.begin) continue;
          keep(part.substr(begin, match.begin - begin), parts);
          begin = match.end;
        }
        keep(part.substr(begin), parts);
      }
      found.swap(parts);
    }
    return found;
  }

 private:
  // An empty match must not be found for ever.
  static size_t next_start(const std::string& text, Regex::Match match) {
    if (match.end > match.begin) return match.end;
    size_t next = match.end;
    if (next >= text.size()) return text.size() + 1;
    next_code_point(text, next);
    return next;
  }
  static int64_t length_of(const std::string& text) {
    int64_t count = 0;
    for (size_t at = 0; at < text.size(); ++count) next_code_point(text, at);
    return count;
  }
  void keep(std::string token, Tokens& tokens) const {
    if (!token.empty() && length_of(token) >= least_) tokens.push_back(std::move(token));
  }

  int64_t least_;
  bool characters_ = false;
  std::vector<Regex> separators_;
  std::vector<Regex> tokens_;  // the expression, where there is one
};

void infer_tokenizer(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, DType::kString, std::nullopt);
  SX_CHECK(c, c.rank(0) == 1 || c.rank(0) == 2, "its input is ", c.type(0).str(),
           "; [strings] or [rows, strings] expected");
  SymShape shape = c.shape(0);
  shape.push_back(Dim());
  c.out(0, DType::kString, shape);
}

Kernel make_tokenizer(Prepare& p) {
  auto splitter = std::make_shared<const Splitter>(p);
  return [splitter, mark = p.attr_int("mark") != 0, pad = p.attr_string("pad_value")](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() == 1 || x.rank() == 2, "its input is ", x.shape().str(),
             "; [strings] or [rows, strings] expected");
    std::vector<Tokens> rows(static_cast<size_t>(x.size()));
    parallel_for(x.size(), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) rows[static_cast<size_t>(i)] = splitter->split(x.data<std::string>()[i]);
    });
    size_t longest = 0;
    for (const Tokens& tokens : rows) longest = std::max(longest, tokens.size());
    if (mark && longest > 0) longest += 2;
    Shape shape = x.shape();
    shape.push_back(static_cast<int64_t>(longest));
    std::string* y = run.out(0, shape).data<std::string>();
    for (const Tokens& tokens : rows) {
      std::string* const end = y + longest;
      if (longest == 0) continue;
      if (mark) *y++ = "\x02";
      for (const std::string& token : tokens) *y++ = token;
      if (mark) *y++ = "\x03";
      while (y < end) *y++ = pad;
    }
  };
}

}  // namespace

void define_ms_tokenizer(OpList& ops) {
  ops.add(OpDef("Tokenizer", "com.microsoft")
              .required_attr("mark", AttrKind::kInt)
              .required_attr("mincharnum", AttrKind::kInt)
              .required_attr("pad_value", AttrKind::kString)
              .optional_attr("separators", AttrKind::kStrings)
              .optional_attr("tokenexp", AttrKind::kString)
              .in("X", "T", DType::kString)
              .out("Y", "T")
              .infer(infer_tokenizer)
              .kernel(make_tokenizer));
}

}  // namespace sx
