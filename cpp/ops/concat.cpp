// y = the inputs one behind the other along `axis`.
#include <algorithm>
#include <cstring>

#include "base/scratch.h"
#include "base/thread_pool.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/strided_copy.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

void infer_concat(InferContext& c) {
  std::optional<SymShape> shape;
  bool whole = true;  // the rank of every input is known
  Dim sum(0);
  size_t axis = 0;
  for (int i = 0; i < c.inputs(); ++i) {
    if (!c.has_shape(i)) {
      whole = false;
      continue;
    }
    const SymShape& x = c.shape(i);
    if (!shape) {
      shape = x;
      axis = static_cast<size_t>(c.axis(c.attr_int("axis"), c.rank(i)));
    }
    SX_CHECK(c, x.size() == shape->size(), "input ", i, " is ", c.type(i).str(), "; rank ", shape->size(),
             " expected, as for the others");
    for (size_t k = 0; k < x.size(); ++k) {
      if (k == axis) continue;
      Dim& known = (*shape)[k];
      SX_CHECK(c, !x[k].known() || !known.known() || x[k] == known, "input ", i, " is ", c.type(i).str(), "; extent ",
               known.str(), " expected on axis ", k, ", as for the others");
      if (x[k].known() || known.unknown()) known = x[k];
    }
    sum = sum + x[axis];
  }
  if (shape) (*shape)[axis] = whole ? sum : Dim();
  c.out(0, c.dtype(0), shape);
  std::vector<Dim> elements;
  for (int i = 0; i < c.inputs(); ++i) {
    const auto part = c.rank(i) == 1 ? c.elements(i) : std::nullopt;
    if (!part) return;
    elements.insert(elements.end(), part->begin(), part->end());
  }
  c.out_elements(0, elements);
}

constexpr int64_t kPiece = 32 << 10;  // bytes that one memcpy takes

// An input: `bytes` of each row of the result, from `before` on, in pieces from number `first` of the row on.
struct Part {
  const char* from;
  int64_t bytes, before, first;
};

// Copies all parts of all rows; the part behind the last has the sums of bytes and pieces.
void copy_parts(const Part* parts, int64_t count, int64_t rows, char* to) {
  const int64_t width = parts[count].before, pieces = parts[count].first;
  if (width == 0) return;
  const bool is_short = std::all_of(parts, parts + count, [](const Part& part) { return part.bytes <= kShortRow; });
  if (is_short) {
    // A block of rows stays near while its parts come together.
    const int64_t block = std::max<int64_t>(1, kPiece / 2 / width);
    return parallel_for((rows + block - 1) / block, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * block; row < std::min(end * block, rows); row += block) {
        for (int64_t i = 0; i < count; ++i) {
          const Part& part = parts[i];
          copy_short_rows(to + row * width + part.before, width, part.from + row * part.bytes, part.bytes, part.bytes,
                          std::min(block, rows - row));
        }
      }
    });
  }
  const int64_t grain = std::max<int64_t>(1, kPiece / (width / pieces + 1));
  parallel_for(checked_mul(rows, pieces), grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / pieces, piece = task % pieces;
      const auto behind = [](int64_t at, const Part& part) { return at < part.first; };
      const Part& part = *(std::upper_bound(parts, parts + count, piece, behind) - 1);
      const int64_t skip = (piece - part.first) * kPiece;
      std::memcpy(to + row * width + part.before + skip, part.from + row * part.bytes + skip,
                  static_cast<size_t>(std::min(kPiece, part.bytes - skip)));
    }
  });
}

Kernel make_concat(Prepare& p) {
  const NodeView node(p.node());
  const int64_t given_axis = node.attr_int("axis");
  return [node, given_axis](Run& run) {
    Shape shape = run.in(0).shape();
    const int axis = node.axis(given_axis, shape.rank());
    for (int i = 1; i < run.inputs(); ++i) {
      const Shape& x = run.in(i).shape();
      bool fits = x.rank() == shape.rank();
      for (int k = 0; fits && k < x.rank(); ++k) fits = k == axis || x[k] == shape[k];
      SX_CHECK(run, fits, "input ", i, " has shape ", x.str(), ", which does not continue ", shape.str(),
               " along axis ", axis);
      shape[axis] = checked_add(shape[axis], x[axis]);
    }
    Tensor& y = run.out(0, shape);
    const int64_t rows = shape.size(0, axis);
    const int64_t width = shape.size(axis, shape.rank());
    const auto step = static_cast<int64_t>(size_of(y.dtype()));
    char* to = static_cast<char*>(y.raw());
    if (y.dtype() == DType::kString) {
      for (int i = 0; i < run.inputs(); ++i) {
        const Tensor& x = run.in(i);
        const int64_t part = x.shape().size(axis, x.rank());
        CopyNest nest;
        nest.add(rows, width, part);
        nest.add(part, 1, 1);
        nest.run(y.dtype(), to, x.raw());
        to += part * step;
      }
      return;
    }
    const auto count = static_cast<size_t>(run.inputs());
    auto* parts = static_cast<Part*>(thread_scratch(ScratchSlot::kOperator, (count + 1) * sizeof(Part)));
    parts[0].before = parts[0].first = 0;
    for (size_t i = 0; i < count; ++i) {
      const Tensor& x = run.in(static_cast<int>(i));
      parts[i].from = static_cast<const char*>(x.raw());
      parts[i].bytes = x.shape().size(axis, x.rank()) * step;
      parts[i + 1].before = parts[i].before + parts[i].bytes;
      parts[i + 1].first = parts[i].first + (parts[i].bytes + kPiece - 1) / kPiece;
    }
    copy_parts(parts, run.inputs(), rows, to);
  };
}

void differentiate_concat(GradientContext& c) {
  const int64_t axis = c.attr_int("axis");
  std::vector<Expr> extents;
  for (size_t i = 0; i < c.inputs(); ++i) extents.push_back(c.op("Gather", {c.shape(c.in(i)), c.ints({axis})}));
  const std::vector<Expr> parts =
      c.ops(c.inputs(), "Split", {c.grad(), c.op("Concat", extents, {{"axis", int64_t{0}}})}, {{"axis", axis}});
  for (size_t i = 0; i < c.inputs(); ++i) c.give(i, parts[i]);
}

}  // namespace

void define_concat(OpList& ops) {
  ops.add(OpDef("Concat")
              .since(13)
              .required_attr("axis", AttrKind::kInt)
              .variadic_in("inputs", "T", kAllTypes)
              .out("concat_result", "T")
              .infer(infer_concat)
              .kernel(make_concat)
              .gradient(differentiate_concat)
              .upgrade(4, [](UpgradeContext& c) {
                if (!c.has("axis")) c.set("axis", int64_t{1});
              }));
}

}  // namespace sx
