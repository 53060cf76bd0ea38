// Sums of products over labelled axes, such as "bij,bjk->bik": operand by operand, each pair as one batched product.
#include <algorithm>
#include <map>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/rows.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/matmul.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"

namespace sx {
namespace {

using Labels = std::vector<int>;
// Stands for the axes that an ellipsis covers until the ranks are known; those axes are then numbered from
// kFirstHidden, the last one first.
constexpr int kEllipsis = -1;
constexpr int kFirstHidden = 256;

bool contains(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

// The equation with ellipses in place.
struct Equation {
  std::vector<Labels> operands;
  Labels output;

  explicit Equation(const NodeView& node) {
    std::string text;
    for (char c : node.attr_string("equation"))
      if (c != ' ') text += c;
    const size_t arrow = text.find("->");
    const std::string left = text.substr(0, arrow);
    size_t begin = 0;
    while (true) {
      const size_t comma = left.find(',', begin);
      operands.push_back(term(node, left.substr(begin, comma == std::string::npos ? comma : comma - begin)));
      if (comma == std::string::npos) break;
      begin = comma + 1;
    }
    if (arrow != std::string::npos) {
      output = term(node, text.substr(arrow + 2));
      for (size_t i = 0; i < output.size(); ++i) {
        SX_CHECK(node, std::count(output.begin(), output.end(), output[i]) == 1, "the equation '", text,
                 "' repeats a label in its output");
        SX_CHECK(node, output[i] == kEllipsis || appears(output[i]) > 0, "the equation '", text,
                 "' has an output label '", static_cast<char>(output[i]), "' that no operand has");
      }
      return;
    }
    // Without an arrow: what the ellipses cover, then the labels that appear once, in alphabetical order.
    if (appears(kEllipsis) > 0) output.push_back(kEllipsis);
    for (int label = 0; label < kFirstHidden; ++label)
      if (appears(label) == 1) output.push_back(label);
  }

  // With the axes of ellipses spelt out for operands of these ranks.
  Equation expanded(const NodeView& node, const std::vector<int>& ranks) const {
    SX_CHECK(node, ranks.size() == operands.size(), "the equation names ", operands.size(), " operands; ", ranks.size(),
             " given");
    Equation full = *this;
    int most = 0;
    for (size_t i = 0; i < operands.size(); ++i) {
      const int named = static_cast<int>(operands[i].size()) - (contains(operands[i], kEllipsis) ? 1 : 0);
      const int hidden = ranks[i] - named;
      SX_CHECK(node, contains(operands[i], kEllipsis) ? hidden >= 0 : hidden == 0, "operand ", i, " has ", ranks[i],
               " axes but the equation gives it ", named, " labels");
      expand(full.operands[i], hidden);
      most = std::max(most, hidden);
    }
    expand(full.output, most);
    return full;
  }

 private:
  static Labels term(const NodeView& node, const std::string& text) {
    Labels labels;
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (c == '.') {
        SX_CHECK(node, text.compare(i, 3, "...") == 0 && !contains(labels, kEllipsis),
                 "the equation has a stray '.' in '", text, "'");
        labels.push_back(kEllipsis);
        i += 2;
      } else {
        SX_CHECK(node, (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), "the equation has a '", c, "' in '", text,
                 "'; letters expected");
        labels.push_back(c);
      }
    }
    return labels;
  }

  static void expand(Labels& labels, int hidden) {
    const auto at = std::find(labels.begin(), labels.end(), kEllipsis);
    if (at == labels.end()) return;
    Labels axes;
    for (int i = hidden - 1; i >= 0; --i) axes.push_back(kFirstHidden + i);
    labels.insert(labels.erase(at), axes.begin(), axes.end());
  }

  int64_t appears(int label) const {
    int64_t count = 0;
    for (const Labels& operand : operands) count += std::count(operand.begin(), operand.end(), label);
    return count;
  }
};

// A contiguous tensor whose axes carry labels; axes of extent one are left out.
template <typename T>
struct Term {
  Labels labels;
  std::vector<int64_t> extents;
  const T* data;
  Tensor held;  // keeps data alive where it is not an input's

  int64_t extent(int label) const {
    const auto at = std::find(labels.begin(), labels.end(), label);
    return at == labels.end() ? 1 : extents[static_cast<size_t>(at - labels.begin())];
  }
  int64_t extent(const Labels& of) const {
    int64_t size = 1;
    for (int label : of) size = checked_mul(size, extent(label));
    return size;
  }
};

Labels joined(std::initializer_list<Labels> parts) {
  Labels all;
  for (const Labels& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

template <typename T>
class Contraction {
 public:
  // The term with its axes in the order `target`: repeated labels give the diagonal, missing ones are summed. Its
  // elements go to `into` where that is set.
  static Term<T> arrange(const Term<T>& x, const Labels& target, T* into = nullptr) {
    if (x.labels == target && (into == nullptr || x.data == into)) return x;
    const Labels summed = without(unique(x.labels), target);
    Term<T> y;
    y.labels = target;
    for (int label : target) y.extents.push_back(x.extent(label));
    const int64_t size = x.extent(target);
    if (into == nullptr) {
      y.held = Tensor(dtype_of<T>, Shape{size});
      into = y.held.template data<T>();
    }
    y.data = into;
    if (summed.empty()) {
      copy(x, target, into);
      return y;
    }
    // Axes to be summed that stand side by side are summed where they are, others behind all the rest.
    const auto first = std::find_first_of(x.labels.begin(), x.labels.end(), summed.begin(), summed.end());
    const Labels before(x.labels.begin(), first);
    const Labels behind = without(without(target, before), summed);
    if (x.labels == joined({before, summed, behind}) && target == joined({before, behind})) {
      sum(x.data, x.extent(before), x.extent(summed), x.extent(behind), into);
    } else {
      const Term<T> turned = arrange(x, joined({target, summed}));
      sum(turned.data, size, turned.extent(summed), 1, into);
    }
    return y;
  }

  // a and b multiplied, and summed over the labels that are not in `needed`; the product goes to `into` where its axes
  // come out as `wanted`.
  static Term<T> contract(const Term<T>& a, const Term<T>& b, const Labels& needed, const Labels& wanted, T* into) {
    Labels batch, rows, columns, inner;
    for (int label : unique(a.labels)) {
      if (contains(b.labels, label)) (contains(needed, label) ? batch : inner).push_back(label);
      else if (contains(needed, label)) rows.push_back(label);
    }
    for (int label : unique(b.labels))
      if (!contains(a.labels, label) && contains(needed, label)) columns.push_back(label);
    // Operands that already stand as a (transposed) stack of matrices are not moved.
    Term<T> left = a, right = b;
    Matrices first, second;
    if (!as_matrices(left, batch, rows, inner, &first)) {
      left = arrange(a, joined({batch, rows, inner}));
      as_matrices(left, batch, rows, inner, &first);
    }
    if (!as_matrices(right, batch, inner, columns, &second)) {
      const bool turned = !b.labels.empty() && contains(inner, b.labels.back());
      right = arrange(b, turned ? joined({batch, columns, inner}) : joined({batch, inner, columns}));
      as_matrices(right, batch, inner, columns, &second);
    }
    const int64_t count = left.extent(batch), m = left.extent(rows), n = right.extent(columns), k = left.extent(inner);
    Term<T> y;
    y.labels = joined({batch, rows, columns});
    for (int label : y.labels) y.extents.push_back(contains(columns, label) ? right.extent(label) : left.extent(label));
    T* to = into;
    if (into == nullptr || y.labels != wanted) {
      y.held = Tensor(dtype_of<T>, Shape{count, m, n});
      to = y.held.template data<T>();
    }
    y.data = to;
    if (k == 0) std::fill(to, to + count * m * n, T{0});
    else if (count * m * n > 0) multiply(count, m, n, k, first, second, to);
    return y;
  }

 private:
  // Element (i, row, column) of a stack stands at data[i * stack + row * row_step + column * column_step]; one of the
  // two steps is 1.
  struct Matrices {
    const T* data;
    int64_t stack, row_step, column_step;
  };

  static Labels unique(const Labels& labels) {
    Labels once;
    for (int label : labels)
      if (!contains(once, label)) once.push_back(label);
    return once;
  }
  static Labels without(const Labels& labels, const Labels& taken) {
    Labels left;
    for (int label : labels)
      if (!contains(taken, label)) left.push_back(label);
    return left;
  }
  // How far elements lie apart along a label; along a diagonal where it is repeated.
  static int64_t step_of(const Term<T>& x, int label) {
    int64_t step = 0, size = 1;
    for (size_t i = x.labels.size(); i-- > 0; size *= x.extents[i])
      if (x.labels[i] == label) step += size;
    return step;
  }

  static void copy(const Term<T>& x, const Labels& target, T* to) {
    CopyNest nest;
    int64_t step = x.extent(target);
    for (int label : target) {
      const int64_t extent = x.extent(label);
      step = extent == 0 ? 0 : step / extent;
      nest.add(extent, step, step_of(x, label));
    }
    nest.run(dtype_of<T>, to, x.data);
  }

  // to[o, i] = the sum of x[o, j, i] over j.
  static void sum(const T* x, int64_t outer, int64_t n, int64_t inner, T* to) {
    if (outer * inner == 0) return;
    if constexpr (std::is_same_v<T, float>) {
      if (inner == 1) return reduce_rows(Reduction::kSum, x, outer, n, to);
      if (n > 0) return reduce_middle(Reduction::kSum, x, outer, n, inner, to);
    }
    parallel_for(outer, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, n * inner)), [&](int64_t from, int64_t last) {
      for (int64_t o = from; o < last; ++o) {
        T* row = to + o * inner;
        std::fill(row, row + inner, T{0});
        for (int64_t j = 0; j < n; ++j)
          for (int64_t i = 0; i < inner; ++i) row[i] += x[(o * n + j) * inner + i];
      }
    });
  }

  // The step along `labels` as one axis; false where they do not stand together in this order.
  static bool step_along(const Term<T>& x, const Labels& labels, int64_t* step) {
    *step = labels.empty() ? 0 : step_of(x, labels.back());
    for (size_t i = labels.size(); i-- > 1;)
      if (step_of(x, labels[i - 1]) != step_of(x, labels[i]) * x.extent(labels[i])) return false;
    return true;
  }
  // x as a stack of matrices where it lies; false where that cannot be.
  static bool as_matrices(const Term<T>& x, const Labels& batch, const Labels& rows, const Labels& columns,
                          Matrices* found) {
    found->data = x.data;
    if (x.labels.size() != batch.size() + rows.size() + columns.size() || !step_along(x, batch, &found->stack) ||
        !step_along(x, rows, &found->row_step) || !step_along(x, columns, &found->column_step))
      return false;
    if (columns.empty()) found->column_step = 1;
    if (rows.empty()) found->row_step = found->column_step == 1 ? x.extent(columns) : 1;
    return found->column_step == 1 || found->row_step == 1;
  }

  static void multiply(int64_t count, int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, T* c) {
    if constexpr (std::is_same_v<T, float>) {
      Gemm g;
      g.m = m, g.n = n, g.k = k;
      g.trans_a = a.column_step != 1, g.trans_b = b.column_step != 1;
      g.a = a.data, g.lda = g.trans_a ? a.column_step : a.row_step;
      g.b = b.data, g.ldb = g.trans_b ? b.column_step : b.row_step;
      g.c = c, g.ldc = n;
      gemm_batched(g, count, {a.stack, b.stack, m * n, 0});
    } else {
      parallel_for(count * m, plain_product_grain(n, k), [&](int64_t from, int64_t to) {
        for (int64_t row = from; row < to; ++row) {
          PlainProduct<T> p;
          p.m = m, p.n = n, p.k = k;
          p.a = a.data + row / m * a.stack, p.a_row = a.row_step, p.a_column = a.column_step;
          p.b = b.data + row / m * b.stack, p.b_row = b.row_step, p.b_column = b.column_step;
          p.c = c + row / m * m * n;
          plain_product(p, row % m, row % m + 1);
        }
      });
    }
  }
};

// Elements as T: integers by their low bits, halves as f32.
template <typename T>
Tensor elements_as(const Tensor& x) {
  if (x.dtype() == dtype_of<T>) return x;
  if constexpr (std::is_same_v<T, float>) {
    return to_f32(x);
  } else {
    if (size_of(x.dtype()) == sizeof(T)) {
      const auto offset = static_cast<char*>(x.raw()) - static_cast<char*>(x.buffer()->data());
      return Tensor(dtype_of<T>, x.shape(), x.buffer(), static_cast<size_t>(offset));
    }
    Tensor y(dtype_of<T>, x.shape());
    const std::vector<int64_t> values = x.integers();
    for (size_t i = 0; i < values.size(); ++i) y.data<T>()[i] = static_cast<T>(values[i]);
    return y;
  }
}

template <typename T>
void store_elements(const T* from, const Tensor& y) {
  if constexpr (std::is_same_v<T, float>) {
    store_f32(from, y);
  } else {
    const auto narrow = [&](auto zero) {
      using U = decltype(zero);
      U* to = static_cast<U*>(y.raw());
      for (int64_t i = 0; i < y.size(); ++i) to[i] = static_cast<U>(from[i]);
    };
    switch (size_of(y.dtype())) {
      case 1: return narrow(uint8_t{});
      case 2: return narrow(uint16_t{});
      default: return narrow(T{});
    }
  }
}

template <typename T>
void compute(Run& run, const Equation& equation) {
  std::vector<int> ranks;
  for (int i = 0; i < run.inputs(); ++i) ranks.push_back(run.in(i).rank());
  const Equation full = equation.expanded(NodeView(run.node()), ranks);
  std::map<int, int64_t> extents;
  for (int i = 0; i < run.inputs(); ++i) {
    const Labels& labels = full.operands[static_cast<size_t>(i)];
    for (int axis = 0; axis < ranks[static_cast<size_t>(i)]; ++axis) {
      const int64_t extent = run.in(i).dim(axis);
      int64_t& known = extents.emplace(labels[static_cast<size_t>(axis)], extent).first->second;
      SX_CHECK(run, known == extent || known == 1 || extent == 1, "operand ", i, " is ", run.in(i).shape().str(),
               " but the label of its axis ", axis, " has the extent ", known, " elsewhere");
      if (known == 1) known = extent;
    }
  }
  std::vector<Term<T>> terms;
  for (int i = 0; i < run.inputs(); ++i) {
    Term<T> term;
    term.held = elements_as<T>(run.in(i));
    term.data = term.held.template data<T>();
    for (int axis = 0; axis < ranks[static_cast<size_t>(i)]; ++axis) {
      if (run.in(i).dim(axis) == 1) continue;
      term.labels.push_back(full.operands[static_cast<size_t>(i)][static_cast<size_t>(axis)]);
      term.extents.push_back(run.in(i).dim(axis));
    }
    terms.push_back(std::move(term));
  }
  Shape shape;
  Labels wanted;
  for (int label : full.output) {
    const int64_t extent = extents.at(label);
    shape.push_back(extent);
    if (extent != 1) wanted.push_back(label);
  }
  Tensor& y = run.out(0, shape);
  const bool stands = std::is_integral_v<T> ? size_of(y.dtype()) == sizeof(T) : y.dtype() == dtype_of<T>;
  T* into = stands ? static_cast<T*>(y.raw()) : nullptr;
  Term<T> result = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    Labels needed = full.output;
    for (size_t j = i + 1; j < terms.size(); ++j)
      needed.insert(needed.end(), terms[j].labels.begin(), terms[j].labels.end());
    result = Contraction<T>::contract(result, terms[i], needed, wanted, i + 1 == terms.size() ? into : nullptr);
  }
  result = Contraction<T>::arrange(result, wanted, into);
  if (!stands) store_elements(result.data, y);
}

void infer(InferContext& c) {
  const Equation equation(c);
  std::vector<int> ranks;
  for (int i = 0; i < c.inputs(); ++i) {
    if (!c.has_shape(i)) return c.out(0, c.dtype(0), std::nullopt);
    ranks.push_back(c.rank(i));
  }
  const Equation full = equation.expanded(c, ranks);
  std::map<int, Dim> extents;
  for (int i = 0; i < c.inputs(); ++i) {
    for (int axis = 0; axis < ranks[static_cast<size_t>(i)]; ++axis) {
      const Dim& extent = c.shape(i)[static_cast<size_t>(axis)];
      auto [known, added] = extents.emplace(full.operands[static_cast<size_t>(i)][static_cast<size_t>(axis)], extent);
      if (!added) known->second = broadcast(c, {known->second}, {extent})[0];
    }
  }
  SymShape out;
  for (int label : full.output) out.push_back(extents.count(label) != 0 ? extents.at(label) : Dim());
  c.out(0, c.dtype(0), out);
}

Kernel make(Prepare& p) {
  const DType dtype = p.dtype(0);
  return [equation = Equation(p), dtype](Run& run) {
    if (dtype == DType::kFloat64) return compute<double>(run, equation);
    if (is_float(dtype)) return compute<float>(run, equation);
    if (size_of(dtype) == 8) return compute<uint64_t>(run, equation);
    compute<uint32_t>(run, equation);
  };
}

// --- gradients

// Spells terms of labels as letters.
class Speller {
 public:
  explicit Speller(const NodeView& node) : node_(node) {}
  std::string operator()(const Labels& labels) {
    std::string text;
    for (int label : labels) text += letter(label);
    return text;
  }
  // A label that nothing else has.
  int fresh() { return next_fresh_--; }

 private:
  char letter(int label) {
    const auto [found, added] = letters_.emplace(label, 'a');
    if (!added) return found->second;
    const size_t n = letters_.size() - 1;
    SX_CHECK(node_, n < 52, "has no gradient for more than 52 different axes");
    return found->second = static_cast<char>(n < 26 ? 'a' + static_cast<int>(n) : 'A' + static_cast<int>(n - 26));
  }

  const NodeView& node_;
  std::map<int, char> letters_;
  int next_fresh_ = -2;
};

// Operand i takes the sum of dy and the other operands over the labels that it lacks. Axes that only it has are spread,
// those along which it was broadcast are summed, and of an axis that it has twice only the diagonal takes anything.
void differentiate_operand(GradientContext& c, const Equation& full, size_t i) {
  const Expr x = c.in(i);
  Speller spell(c);
  Labels own, known = full.output;
  for (int label : full.operands[i])
    if (!contains(own, label)) own.push_back(label);
  std::vector<Expr> inputs = {c.grad()};
  std::string equation = spell(full.output);
  for (size_t k = 0; k < full.operands.size(); ++k) {
    if (k == i) continue;
    inputs.push_back(c.in(k));
    equation += "," + spell(full.operands[k]);
    known.insert(known.end(), full.operands[k].begin(), full.operands[k].end());
  }
  Labels given;
  std::vector<int64_t> missing;
  for (size_t axis = 0; axis < own.size(); ++axis) {
    if (contains(known, own[axis])) given.push_back(own[axis]);
    else missing.push_back(static_cast<int64_t>(axis));
  }
  Expr dx = c.unsqueeze(c.op("Einsum", inputs, {{"equation", equation + "->" + spell(given)}}), missing);
  const bool repeats = own.size() < full.operands[i].size();
  const Expr like = repeats ? c.op("Einsum", {x}, {{"equation", spell(full.operands[i]) + "->" + spell(own)}}) : x;
  dx = c.sum_like(c.expand_like(dx, like), like);
  if (!repeats) return c.give(i, dx);
  inputs = {dx};
  equation = spell(own);
  Labels axes;
  for (size_t axis = 0; axis < full.operands[i].size(); ++axis) {
    const int label = full.operands[i][axis];
    axes.push_back(contains(axes, label) ? spell.fresh() : label);
    if (axes.back() == label) continue;
    const Expr extent = c.extent(x, static_cast<int64_t>(axis));
    const Expr square = c.op("Expand", {c.scalar(0, x.dtype()), c.concat({extent, extent}, 0)});
    inputs.push_back(c.op("EyeLike", {square}));
    equation += "," + spell({label, axes.back()});
  }
  c.give(i, c.op("Einsum", inputs, {{"equation", equation + "->" + spell(axes)}}));
}

void differentiate(GradientContext& c) {
  std::vector<int> ranks;
  for (size_t i = 0; i < c.inputs(); ++i) {
    ranks.push_back(c.in(i).rank());
    SX_CHECK(c, ranks.back() >= 0, "has no gradient where the ranks of its inputs are unknown");
  }
  const Equation full = Equation(c).expanded(c, ranks);
  for (size_t i = 0; i < c.inputs(); ++i)
    if (c.wants(i)) differentiate_operand(c, full, i);
}

}  // namespace

void define_einsum(OpList& ops) {
  ops.add(OpDef("Einsum")
              .since(28, 12)
              .required_attr("equation", AttrKind::kString)
              .variadic_in("Inputs", "T", kNumbers)
              .out("Output", "T")
              .infer(infer)
              .kernel(make)
              .gradient(differentiate));
}

}  // namespace sx
