// y[c] = count of n-gram c in a row of x, or its weight, or their product
#include <algorithm>
#include <unordered_map>

#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

enum class Mode { kTf, kIdf, kTfIdf };

// The pool of n-grams as a tree over numbered words.
class NGrams {
 public:
  explicit NGrams(const NodeView& node) {
    const std::string& mode = node.attr_string("mode");
    SX_CHECK(node, mode == "TF" || mode == "IDF" || mode == "TFIDF", "mode is '", mode, "'; TF, IDF or TFIDF expected");
    mode_ = mode == "TF" ? Mode::kTf : mode == "IDF" ? Mode::kIdf : Mode::kTfIdf;
    shortest_ = node.attr_int("min_gram_length");
    longest_ = node.attr_int("max_gram_length");
    skips_ = node.attr_int("max_skip_count");
    SX_CHECK(node, shortest_ >= 1 && longest_ >= shortest_, "n-grams have ", shortest_, " to ", longest_,
             " words; 1 or more expected");
    SX_CHECK(node, skips_ >= 0, "max_skip_count is ", skips_);
    columns_ = node.attr_ints("ngram_indexes");
    weights_ = node.attr_or("weights", std::vector<float>());
    SX_CHECK(node, !columns_.empty(), "ngram_indexes is empty");
    SX_CHECK(node, weights_.empty() || weights_.size() == columns_.size(), "has ", weights_.size(), " weights for ",
             columns_.size(), " n-grams");
    for (int64_t column : columns_) {
      SX_CHECK(node, column >= 0 && column < INT64_MAX, "ngram_indexes has ", column);
      width_ = std::max(width_, column + 1);
    }
    const auto ints = node.attr_or("pool_int64s", std::vector<int64_t>());
    const auto texts = node.attr_or("pool_strings", std::vector<std::string>());
    SX_CHECK(node, ints.empty() != texts.empty(), "needs exactly one of pool_int64s and pool_strings");
    std::vector<int64_t> words = ints;
    for (const std::string& text : texts)
      words.push_back(texts_.emplace(text, static_cast<int64_t>(texts_.size())).first->second);
    text_ = ints.empty();
    build(node, words);
  }

  bool text() const { return text_; }
  int64_t width() const { return width_; }

  // Words that no n-gram has are -1 where x holds strings.
  int64_t word(const Tensor& x, int64_t i) const {
    if (!text_) return x.dtype() == DType::kInt64 ? x.data<int64_t>()[i] : x.data<int32_t>()[i];
    auto found = texts_.find(x.data<std::string>()[i]);
    return found == texts_.end() ? -1 : found->second;
  }

  // Counts the n-grams of a row into y, then weighs them.
  void count(const std::vector<int64_t>& row, float* y) const {
    std::fill_n(y, width_, 0.0f);
    const auto length = static_cast<int64_t>(row.size());
    for (int64_t step = 1; step - 1 <= skips_ && (step == 1 || step < length); ++step) {
      // Single words do not depend on the step: they count once.
      const int64_t least = step == 1 ? shortest_ : std::max<int64_t>(shortest_, 2);
      for (int64_t begin = 0; begin < length; ++begin) {
        int32_t place = 0;
        for (int64_t size = 1, at = begin; size <= longest_ && at < length; ++size, at += step) {
          auto next = edges_.find({place, row[static_cast<size_t>(at)]});
          if (next == edges_.end()) break;
          place = next->second;
          const int64_t gram = grams_[static_cast<size_t>(place)];
          if (gram >= 0 && size >= least) y[columns_[static_cast<size_t>(gram)]] += 1.0f;
        }
      }
    }
    if (mode_ == Mode::kTf) return;
    for (size_t i = 0; i < static_cast<size_t>(width_); ++i) {
      const float weight = i < weights_.size() ? weights_[i] : 1.0f;
      y[i] = mode_ == Mode::kTfIdf ? y[i] * weight : y[i] > 0 ? weight : 0.0f;
    }
  }

 private:
  struct Edge {
    int32_t from;
    int64_t word;
    bool operator==(const Edge& other) const { return from == other.from && word == other.word; }
  };
  struct EdgeHash {
    size_t operator()(const Edge& edge) const {
      return static_cast<size_t>((static_cast<uint64_t>(edge.word) * 0x9e3779b97f4a7c15u) ^
                                 (static_cast<uint64_t>(edge.from) * 0xc2b2ae3d27d4eb4fu));
    }
  };

  void build(const NodeView& node, const std::vector<int64_t>& words) {
    const std::vector<int64_t>& starts = node.attr_ints("ngram_counts");
    SX_CHECK(node, !starts.empty(), "ngram_counts is empty");
    SX_CHECK(node, longest_ <= static_cast<int64_t>(starts.size()), "n-grams may have ", longest_,
             " words but ngram_counts ends at ", starts.size());
    const auto pool = static_cast<int64_t>(words.size());
    grams_.push_back(-1);
    int64_t gram = 0;
    for (size_t i = 0; i < starts.size(); ++i) {
      const int64_t size = static_cast<int64_t>(i) + 1;
      const int64_t begin = starts[i];
      const int64_t end = i + 1 < starts.size() ? starts[i + 1] : pool;
      SX_CHECK(node, begin >= 0 && begin <= end && end <= pool && (end - begin) % size == 0,
               "ngram_counts says that the ", size, "-grams stand at ", begin, " to ", end, " of a pool of ", pool,
               " words");
      for (int64_t at = begin; at < end; at += size, ++gram) {
        if (size < shortest_ || size > longest_) continue;
        int32_t place = 0;
        for (int64_t k = 0; k < size; ++k) {
          const auto fresh = static_cast<int32_t>(grams_.size());
          auto [edge, added] = edges_.emplace(Edge{place, words[static_cast<size_t>(at + k)]}, fresh);
          if (added) grams_.push_back(-1);
          place = edge->second;
        }
        SX_CHECK(node, grams_[static_cast<size_t>(place)] < 0, "n-gram ", gram, " of the pool is there twice");
        grams_[static_cast<size_t>(place)] = gram;
      }
    }
    SX_CHECK(node, gram == static_cast<int64_t>(columns_.size()), "the pool has ", gram, " n-grams but ngram_indexes ",
             columns_.size());
  }

  Mode mode_;
  int64_t shortest_, longest_, skips_, width_ = 0;
  bool text_ = false;
  std::vector<int64_t> columns_;
  std::vector<float> weights_;
  std::unordered_map<std::string, int64_t> texts_;
  std::unordered_map<Edge, int32_t, EdgeHash> edges_;
  std::vector<int64_t> grams_;  // per place of the tree: the n-gram that ends there, or -1
};

void infer_tfidf(InferContext& c) {
  const std::vector<int64_t>& columns = c.attr_ints("ngram_indexes");
  if (!c.has_shape(0)) return c.out(0, DType::kFloat32, std::nullopt);
  SX_CHECK(c, c.rank(0) <= 2, "its input is ", c.type(0).str(), "; [words] or [rows, words] expected");
  SX_CHECK(c, !columns.empty(), "ngram_indexes is empty");
  SymShape shape;
  if (c.rank(0) == 2) shape.push_back(c.shape(0)[0]);
  shape.push_back(Dim(*std::max_element(columns.begin(), columns.end())) + Dim(1));
  c.out(0, DType::kFloat32, shape);
}

Kernel make_tfidf(Prepare& p) {
  auto grams = std::make_shared<const NGrams>(p);
  SX_CHECK(p, grams->text() == (p.dtype(0) == DType::kString), "its input is ", name_of(p.dtype(0)),
           " but its pool holds ", grams->text() ? "strings" : "integers");
  return [grams](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() <= 2, "its input is ", x.shape().str(), "; [words] or [rows, words] expected");
    const int64_t rows = x.rank() == 2 ? x.dim(0) : 1;
    const int64_t length = rows == 0 ? 0 : x.size() / rows;
    float* y = run.out(0, x.rank() == 2 ? Shape{rows, grams->width()} : Shape{grams->width()}).data<float>();
    parallel_for(rows, std::max<int64_t>(1, 1024 / std::max<int64_t>(1, length)), [&](int64_t begin, int64_t end) {
      std::vector<int64_t> words(static_cast<size_t>(length));
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t i = 0; i < length; ++i) words[static_cast<size_t>(i)] = grams->word(x, row * length + i);
        grams->count(words, y + row * grams->width());
      }
    });
  };
}

}  // namespace

void define_tfidf_vectorizer(OpList& ops) {
  ops.add(OpDef("TfIdfVectorizer")
              .since(9, 9)
              .required_attr("mode", AttrKind::kString)
              .required_attr("min_gram_length", AttrKind::kInt)
              .required_attr("max_gram_length", AttrKind::kInt)
              .required_attr("max_skip_count", AttrKind::kInt)
              .required_attr("ngram_counts", AttrKind::kInts)
              .required_attr("ngram_indexes", AttrKind::kInts)
              .optional_attr("pool_int64s", AttrKind::kInts)
              .optional_attr("pool_strings", AttrKind::kStrings)
              .optional_attr("weights", AttrKind::kFloats)
              .in("X", "T", DType::kString | DType::kInt32 | DType::kInt64)
              .out("Y", "", DType::kFloat32)
              .infer(infer_tfidf)
              .kernel(make_tfidf)
              .zero_gradient());
}

}  // namespace sx
