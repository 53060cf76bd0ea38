// StringConcat, StringSplit, RegexFullMatch and StringNormalizer: operators on tensors of UTF-8 strings.
#include <algorithm>
#include <unordered_set>

#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/regex.h"
#include "ops/registry.h"
#include "ops/unicode.h"

namespace sx {
namespace {

constexpr int64_t kGrain = 256;  // strings that are worth a task

// --- StringConcat

Kernel make_concat(Prepare&) {
  return [](Run& run) {
    const Tensor& a = run.in(0);
    const Tensor& b = run.in(1);
    const Shape shape = broadcast(a.shape(), b.shape());
    Tensor& y = run.out(0, shape);
    const Shape strides[2] = {strides_of(a.shape()), strides_of(b.shape())};
    const Tensor* inputs[2] = {&a, &b};
    parallel_for(y.size(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t at[2] = {0, 0};
        for (int k = 0; k < 2; ++k) {
          int64_t rest = i;
          const Shape& from = inputs[k]->shape();
          for (int axis = shape.rank() - 1, own = from.rank() - 1; own >= 0; --axis, --own) {
            if (from[own] != 1) at[k] += rest % shape[axis] * strides[k][own];
            rest /= shape[axis];
          }
        }
        y.data<std::string>()[i] = a.data<std::string>()[at[0]] + b.data<std::string>()[at[1]];
      }
    });
  };
}

// --- StringSplit

void infer_split(InferContext& c) {
  if (!c.has_shape(0)) {
    c.out(0, DType::kString, std::nullopt);
    return c.out(1, DType::kInt64, std::nullopt);
  }
  SymShape shape = c.shape(0);
  c.out(1, DType::kInt64, shape);
  shape.emplace_back();
  c.out(0, DType::kString, shape);
}

// The parts between runs of white space; the last keeps the rest of the text after `most` cuts.
void split_at_spaces(const std::string& text, int64_t most, std::vector<std::string>& parts) {
  auto skip = [&](size_t at, bool white) {
    while (at < text.size()) {
      size_t next = at;
      if (is_white_space(next_code_point(text, next)) != white) break;
      at = next;
    }
    return at;
  };
  for (size_t at = skip(0, true); at < text.size();) {
    const size_t end = most >= 0 && static_cast<int64_t>(parts.size()) == most ? text.size() : skip(at, false);
    parts.push_back(text.substr(at, end - at));
    at = skip(end, true);
  }
}

void split_at(const std::string& text, const std::string& delimiter, int64_t most, std::vector<std::string>& parts) {
  size_t at = 0;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t found = text.find(delimiter, at);
    if (found == std::string::npos) break;
    parts.push_back(text.substr(at, found - at));
    at = found + delimiter.size();
  }
  parts.push_back(text.substr(at));
}

Kernel make_split(Prepare& p) {
  const auto delimiter = p.attr_or<std::string>("delimiter", "");
  const int64_t most = p.attr_or<int64_t>("maxsplit", -1);
  return [delimiter, most](Run& run) {
    const Tensor& x = run.in(0);
    std::vector<std::vector<std::string>> parts(static_cast<size_t>(x.size()));
    parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const std::string& text = x.data<std::string>()[i];
        if (delimiter.empty()) split_at_spaces(text, most, parts[static_cast<size_t>(i)]);
        else split_at(text, delimiter, most, parts[static_cast<size_t>(i)]);
      }
    });
    size_t width = 0;
    for (const auto& list : parts) width = std::max(width, list.size());
    Shape shape = x.shape();
    shape.push_back(static_cast<int64_t>(width));
    if (run.wants(0)) {
      std::string* to = run.out(0, shape).data<std::string>();
      for (const auto& list : parts) {
        for (size_t k = 0; k < width; ++k) to[k] = k < list.size() ? list[k] : std::string();
        to += width;
      }
    }
    if (run.wants(1)) {
      int64_t* counts = run.out(1, x.shape()).data<int64_t>();
      for (size_t i = 0; i < parts.size(); ++i) counts[i] = static_cast<int64_t>(parts[i].size());
    }
  };
}

// --- RegexFullMatch

void infer_match(InferContext& c) { c.out(0, DType::kBool, c.has_shape(0) ? std::optional(c.shape(0)) : std::nullopt); }

Kernel make_match(Prepare& p) {
  const std::string& pattern = p.attr_string("pattern");
  std::shared_ptr<const Regex> regex;
  try {
    regex = std::make_shared<const Regex>(pattern);
  } catch (const Error& error) {
    fail(error.kind(), label(p.node()), " '", pattern, "': ", error.what());
  }
  return [regex](Run& run) {
    const Tensor& x = run.in(0);
    bool* to = run.out(0, x.shape()).data<bool>();
    parallel_for(x.size(), 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = regex->full_match(x.data<std::string>()[i]);
    });
  };
}

// --- StringNormalizer

void infer_normalizer(InferContext& c) {
  if (!c.has_shape(0)) return c.out(0, DType::kString, std::nullopt);
  const int rank = c.rank(0);
  SX_CHECK(c, rank == 1 || (rank == 2 && (!c.shape(0)[0].known() || c.shape(0)[0] == Dim(1))), "the input is ",
           c.type(0).str(), "; [C] or [1,C] expected");
  const Dim count = c.has_attr("stopwords") ? Dim() : c.shape(0).back() == Dim(0) ? Dim(1) : c.shape(0).back();
  c.out(0, DType::kString, rank == 1 ? SymShape{count} : SymShape{Dim(1), count});
}

Kernel make_normalizer(Prepare& p) {
  const std::string& action = p.attr_string("case_change_action");
  SX_CHECK(p, action == "NONE" || action == "LOWER" || action == "UPPER", "case_change_action is '", action,
           "'; NONE, LOWER or UPPER expected");
  const bool case_sensitive = p.attr_int("is_case_sensitive") != 0;
  std::unordered_set<std::string> stopwords;
  for (const std::string& word : p.attr_or<std::vector<std::string>>("stopwords", {}))
    stopwords.insert(case_sensitive ? word : to_lower(word));
  const bool lower = action == "LOWER", upper = action == "UPPER";
  return [case_sensitive, stopwords, lower, upper](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() == 1 || (x.rank() == 2 && x.dim(0) == 1), "the input has shape ", x.shape().str(),
             "; [C] or [1,C] expected");
    std::vector<const std::string*> kept;
    for (int64_t i = 0; i < x.size(); ++i) {
      const std::string& text = x.data<std::string>()[i];
      if (stopwords.empty() || stopwords.count(case_sensitive ? text : to_lower(text)) == 0) kept.push_back(&text);
    }
    // Where nothing is left the output is one empty string.
    const auto count = static_cast<int64_t>(std::max<size_t>(kept.size(), 1));
    std::string* to = run.out(0, x.rank() == 1 ? Shape{count} : Shape{1, count}).data<std::string>();
    if (kept.empty()) to[0].clear();
    parallel_for(static_cast<int64_t>(kept.size()), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const std::string& text = *kept[static_cast<size_t>(i)];
        to[i] = lower ? to_lower(text) : upper ? to_upper(text) : text;
      }
    });
  };
}

}  // namespace

void define_string_ops(OpList& ops) {
  ops.add(OpDef("StringConcat")
              .since(20, 20)
              .in("X", "T", DType::kString)
              .in("Y", "T", DType::kString)
              .out("Z", "T")
              .infer(broadcast_like(0))
              .kernel(make_concat));
  ops.add(OpDef("StringSplit")
              .since(20, 20)
              .optional_attr("delimiter", AttrKind::kString)
              .optional_attr("maxsplit", AttrKind::kInt)
              .in("X", "T", DType::kString)
              .out("Y", "", DType::kString)
              .out("Z", "", DType::kInt64)
              .infer(infer_split)
              .kernel(make_split));
  ops.add(OpDef("RegexFullMatch")
              .since(20, 20)
              .required_attr("pattern", AttrKind::kString)
              .in("X", "T", DType::kString)
              .out("Y", "", DType::kBool)
              .infer(infer_match)
              .kernel(make_match));
  ops.add(OpDef("StringNormalizer")
              .since(10, 10)
              .attr("case_change_action", "NONE")
              .attr("is_case_sensitive", 0)
              .optional_attr("locale", AttrKind::kString)
              .optional_attr("stopwords", AttrKind::kStrings)
              .in("X", "T", DType::kString)
              .out("Y", "T")
              .infer(infer_normalizer)
              .kernel(make_normalizer));
}

}  // namespace sx
