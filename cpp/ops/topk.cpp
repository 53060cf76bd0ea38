// values, indices = the k largest (or smallest) elements along `axis`; of equal ones the first comes first, NaN is the
// largest.
#include <algorithm>
#include <functional>

#include "base/scratch.h"
#include "kernels/rows.h"
#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

void infer_topk(InferContext& c) {
  std::optional<SymShape> shape;
  if (c.has_shape(0)) {
    shape = c.shape(0);
    const auto axis = static_cast<size_t>(c.axis(c.attr_int("axis"), c.rank(0)));
    const auto k = c.elements(1);
    SX_CHECK(c, !k || k->size() == 1, "K has ", k ? k->size() : 0, " elements; one expected");
    const Dim extent = (*shape)[axis];
    (*shape)[axis] = k ? (*k)[0] : Dim();
    if (k && (*k)[0].known())
      SX_CHECK(c, (*k)[0].value() >= 0 && (!extent.known() || (*k)[0].value() <= extent.value()), "K is ",
               (*k)[0].str(), " but axis ", axis, " of ", c.type(0).str(), " has extent ", extent.str());
  }
  c.out(0, c.dtype(0), shape);
  c.out(1, DType::kInt64, shape);
}

// An unsigned number that orders as x does; equal values (0 and -0, any two NaN) give equal numbers.
template <typename T>
auto order_key(T x) {
  if constexpr (is_half_type<T>) {
    return order_key(static_cast<float>(x));
  } else if constexpr (std::is_floating_point_v<T>) {
    using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    constexpr U kSign = U{1} << (sizeof(U) * 8 - 1);
    if (x != x) return static_cast<U>(~U{0});
    if (x == T(0)) return kSign;
    U bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return (bits & kSign) != 0 ? static_cast<U>(~bits) : static_cast<U>(bits | kSign);
  } else if constexpr (sizeof(T) == 8) {
    return std::is_signed_v<T> ? static_cast<uint64_t>(x) ^ (uint64_t{1} << 63) : static_cast<uint64_t>(x);
  } else {
    return static_cast<uint32_t>(static_cast<int64_t>(x) - static_cast<int64_t>(std::numeric_limits<T>::min()));
  }
}

// Candidates order by key, then by position backwards: the greatest is the first of the largest.
struct WideCandidate {
  uint64_t key;
  uint64_t backwards;
  WideCandidate() = default;
  WideCandidate(uint64_t order, int64_t index) : key(order), backwards(~static_cast<uint64_t>(index)) {}
  int64_t index() const { return static_cast<int64_t>(~backwards); }
  bool operator>(const WideCandidate& other) const {
    return key != other.key ? key > other.key : backwards > other.backwards;
  }
};
struct NarrowCandidate {
  uint64_t packed;
  NarrowCandidate() = default;
  NarrowCandidate(uint32_t order, int64_t index)
      : packed(uint64_t{order} << 32 | (~static_cast<uint64_t>(index) & 0xffffffffu)) {}
  int64_t index() const { return static_cast<int64_t>(~packed & 0xffffffffu); }
  bool operator>(const NarrowCandidate& other) const { return packed > other.packed; }
};

// Leaves the k greatest of next(0) ... next(n - 1) at the front of `pool`, greatest first. `pool` holds `room` > k
// candidates; where that is less than n, those below the k-th found so far are dropped on the way. beyond(bar)(i)
// is the first place from i on, at most n, whose element may win over element `bar`, which comes before it.
template <typename Candidate, typename Next, typename Beyond>
void select(Candidate* pool, int64_t room, int64_t n, int64_t k, Next next, Beyond beyond) {
  const std::greater<Candidate> order;
  int64_t held = 0;
  int64_t i = 0;
  for (; i < n && held < room; ++i) pool[held++] = next(i);
  while (i < n) {
    std::nth_element(pool, pool + (k - 1), pool + held, order);
    held = k;
    const Candidate bar = pool[k - 1];
    const auto next_beyond = beyond(bar.index());
    for (; held < room && (i = next_beyond(i)) < n; ++i) {
      const Candidate candidate = next(i);
      if (candidate > bar) pool[held++] = candidate;
    }
  }
  if (k < held) std::nth_element(pool, pool + (k - 1), pool + held, order);
  std::sort(pool, pool + k, order);
}

// The same for a k that is small: the pool, of k candidates, is kept in order. The most that this may cost is n * k.
constexpr int64_t kFew = 32;
template <typename Candidate, typename Next, typename Beyond>
void select_few(Candidate* pool, int64_t n, int64_t k, Next next, Beyond beyond) {
  const auto insert = [pool](const Candidate& candidate, int64_t place) {
    for (; place > 0 && candidate > pool[place - 1]; --place) pool[place] = pool[place - 1];
    pool[place] = candidate;
  };
  int64_t i = 0;
  for (; i < k; ++i) insert(next(i), i);
  while ((i = beyond(pool[k - 1].index())(i)) < n) {
    const Candidate candidate = next(i++);
    if (candidate > pool[k - 1]) insert(candidate, k - 1);
  }
}

// The first place in [i, n) of NaN or of an element that is greater (less) than `bar`, or n.
template <typename T>
int64_t find_beyond(const T* x, int64_t i, int64_t n, T bar, bool greater) {
  using A = Arithmetic<T>;
  const A limit = static_cast<A>(bar);
  // No comparison holds for NaN.
  if (greater) {
    while (i < n && static_cast<A>(x[i]) <= limit) ++i;
  } else {
    while (i < n && static_cast<A>(x[i]) >= limit) ++i;
  }
  return i;
}

// Lines whose elements are not neighbours are copied, this many at a time.
constexpr int64_t kLines = 16;

template <typename T, typename Candidate>
void top_lines(const T* x, T* values, int64_t* indices, int64_t outer, int64_t n, int64_t inner, int64_t k,
               bool largest) {
  using Key = decltype(order_key(T()));
  const Key flip = largest ? Key(0) : static_cast<Key>(~Key(0));
  const int64_t room = std::min(n, std::max<int64_t>(3 * k, 64)) + 1;
  const NextBeyond floats_beyond = next_beyond(largest);
  const int64_t lines = std::min(inner, kLines), groups = (inner + lines - 1) / lines;
  parallel_for(outer * groups, std::max<int64_t>(16384 / n / lines, 1), [&](int64_t begin, int64_t end) {
    auto* pool =
        static_cast<Candidate*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(room) * sizeof(Candidate)));
    T* copies = nullptr;
    if (inner > 1)
      copies = static_cast<T*>(thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(n * lines) * sizeof(T)));
    for (int64_t group = begin; group < end; ++group) {
      const int64_t o = group / groups, column = group % groups * lines;
      const int64_t count = std::min(lines, inner - column);
      const T* block = x + o * n * inner + column;
      if (inner > 1) {
        for (int64_t j = 0; j < n; ++j)
          for (int64_t line = 0; line < count; ++line) copies[line * n + j] = block[j * inner + line];
        block = copies;
      }
      for (int64_t line = 0; line < count; ++line) {
        const T* from = block + line * n;
        const auto candidate = [&](int64_t i) { return Candidate(static_cast<Key>(order_key(from[i]) ^ flip), i); };
        const auto beyond = [&](int64_t bar) {
          return [&, value = from[bar]](int64_t i) {
            if constexpr (std::is_same_v<T, float>) return floats_beyond(from, i, n, value);
            else return find_beyond(from, i, n, value, largest);
          };
        };
        if (k <= kFew) select_few(pool, n, k, candidate, beyond);
        else select(pool, room, n, k, candidate, beyond);
        const int64_t to = o * k * inner + column + line;
        for (int64_t i = 0; i < k; ++i) {
          const int64_t index = pool[i].index();
          if (values != nullptr) values[to + i * inner] = from[index];
          if (indices != nullptr) indices[to + i * inner] = index;
        }
      }
    }
  });
}

// The greatest alone.
void top_one(const float* x, float* values, int64_t* indices, int64_t outer, int64_t n, int64_t inner) {
  Tensor held;
  if (indices == nullptr) {
    held = Tensor(DType::kInt64, Shape{outer * inner});
    indices = held.data<int64_t>();
  }
  place_extremes(true, false, x, outer, n, inner, indices);
  if (values == nullptr) return;
  parallel_for(outer * inner, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) values[i] = x[(i / inner * n + indices[i]) * inner + i % inner];
  });
}

Kernel make_topk(Prepare& p) {
  const NodeView node(p.node());
  const int64_t given_axis = node.attr_int("axis");
  const bool largest = node.attr_int("largest") != 0;
  return [node, given_axis, largest](Run& run) {
    const Tensor& x = run.in(0);
    const int axis = node.axis(given_axis, x.rank());
    SX_CHECK(run, run.in(1).size() == 1, "K has shape ", run.in(1).shape().str(), "; one element expected");
    const int64_t k = run.in(1).scalar_as_int();
    const int64_t n = x.dim(axis);
    SX_CHECK(run, k >= 0 && k <= n, "K is ", k, " but axis ", axis, " of ", x.shape().str(), " has extent ", n);
    Shape shape = x.shape();
    shape[axis] = k;
    Tensor* values = run.wants(0) ? &run.out(0, shape) : nullptr;
    Tensor* indices = run.wants(1) ? &run.out(1, shape) : nullptr;
    if (shape.size() == 0) return;
    const int64_t outer = shape.size(0, axis);
    const int64_t inner = shape.size(axis + 1, shape.rank());
    with_number(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      T* to = values != nullptr ? values->data<T>() : nullptr;
      int64_t* at = indices != nullptr ? indices->data<int64_t>() : nullptr;
      if constexpr (std::is_same_v<T, float>) {
        if (k == 1 && largest && n < int64_t{INT32_MAX}) return top_one(x.data<float>(), to, at, outer, n, inner);
      }
      if constexpr (sizeof(order_key(T())) == 4) {
        if (n <= int64_t{0xffffffff})
          return top_lines<T, NarrowCandidate>(x.data<T>(), to, at, outer, n, inner, k, largest);
      }
      top_lines<T, WideCandidate>(x.data<T>(), to, at, outer, n, inner, k, largest);
    });
  };
}

void differentiate_topk(GradientContext& c) {
  c.give(0, c.op("ScatterElements", {c.zeros_like(c.in(0)), c.out(1), c.grad()}, {{"axis", c.attr_int("axis")}}));
}

}  // namespace

void define_topk(OpList& ops) {
  ops.add(OpDef("TopK")
              .since(24)
              .attr("axis", -1)
              .attr("largest", 1)
              .attr("sorted", 1)
              .in("X", "T", kNumbers)
              .in("K", "", DType::kInt64)
              .out("Values", "T")
              .out("Indices", "", DType::kInt64)
              .infer(infer_topk)
              .kernel(make_topk)
              .gradient(differentiate_topk)
              .upgrade(10, [](UpgradeContext& c) {
                c.set_input(1, c.constant(Tensor::vector({c.take<int64_t>("k", 0)})));
              }));
}

}  // namespace sx
