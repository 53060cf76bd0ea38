// com.microsoft's MatMulNBits: y = a dequantize(b)^T + bias, b [n, k] in blocks of 2, 4 or 8 bits along k; MatMulBnb4,
// whose codes stand for the values of FP4 or NF4; and MatMulDequantized, y = a DequantizeLinear(b) + bias, which only
// the passes make.
#include <algorithm>
#include <list>
#include <optional>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_nbits.h"
#include "ops/convert.h"
#include "ops/float_io.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr DTypeSet kTypes = kHalfFloats | DType::kFloat32;
constexpr DTypeSet kBytes = DTypeSet(DType::kInt8) | DType::kUInt8;

// The values of the codes as bitsandbytes defines them.
constexpr float kFp4[16] = {0.0f,  5.208333333e-03f,  0.66666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
                            -0.0f, -5.208333333e-03f, -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f};
constexpr float kNf4[16] = {-1.0f,
                            -0.6961928009986877f,
                            -0.5250730514526367f,
                            -0.39491748809814453f,
                            -0.28444138169288635f,
                            -0.18477343022823334f,
                            -0.09105003625154495f,
                            0.0f,
                            0.07958029955625534f,
                            0.16093020141124725f,
                            0.24611230194568634f,
                            0.33791524171829224f,
                            0.44070982933044434f,
                            0.5626170039176941f,
                            0.7229568362236023f,
                            1.0f};

// Extents that follow from the attributes N, K, bits and block_size.
struct Extents {
  Extents(int64_t k, int64_t n, int64_t bits, int64_t block) : k(k), n(n), bits(bits), block(block) {}
  explicit Extents(const NodeView& node, int64_t width)
      : k(node.attr_int("K")), n(node.attr_int("N")), bits(width), block(node.attr_int("block_size")) {
    SX_CHECK(node, bits == 2 || bits == 4 || bits == 8, "bits is ", bits, "; 2, 4 or 8 expected");
    SX_CHECK(node, block >= 16 && (block & (block - 1)) == 0, "block_size is ", block,
             "; a power of two from 16 on expected");
    SX_CHECK(node, k > 0 && n > 0, "K is ", k, " and N is ", n, "; positive extents expected");
    checked_mul(checked_mul(n, 16), checked_add(k, block));
  }
  int64_t blocks() const { return (k - 1) / block + 1; }
  int64_t packed_zeros() const { return (blocks() * bits + 7) / 8; }

  int64_t k, n, bits, block;
};

// The known number of elements of input `i` must be `count`.
void check_size(const InferContext& c, int i, int64_t count, const char* what) {
  if (!c.has(i)) return;
  const auto shape = c.type(i).concrete_shape();
  SX_CHECK(c, !shape || shape->size() == count, what, " is ", c.type(i).str(), "; ", count, " elements expected");
}
void check_size(const Run& run, int i, int64_t count, const char* what) {
  if (!run.has(i)) return;
  SX_CHECK(run, run.in(i).size() == count, what, " has shape ", run.in(i).shape().str(), "; ", count,
           " elements expected");
}

// y has the shape of a but for the last extent, which goes from `inner` to `outer`.
void infer_product(InferContext& c, int64_t inner, int64_t outer) {
  if (!c.has_shape(0)) return c.out(0, c.dtype(0), std::nullopt);
  SymShape shape = c.shape(0);
  SX_CHECK(c, !shape.empty() && (!shape.back().known() || shape.back() == Dim(inner)), "A is ", c.type(0).str(),
           "; a last extent of ", inner, " expected");
  shape.back() = Dim(outer);
  c.out(0, c.dtype(0), shape);
}

Shape product_shape(const Run& run, int64_t inner, int64_t outer) {
  const Shape& a = run.in(0).shape();
  SX_CHECK(run, a.rank() >= 1 && a.back() == inner, "A has shape ", a.str(), "; a last extent of ", inner, " expected");
  Shape shape = a;
  shape[a.rank() - 1] = outer;
  return shape;
}

// --- The weights

// B ready to be multiplied by: in blocks along k for gemm_nbits(), with zero points that may be a single one, or dense,
// packed for gemm().
struct Weights {
  Tensor codes, scales, zeros, dense;
};

// Repacks what the inputs hold; `get(i)` is input i or null.
template <typename Get>
Weights in_blocks(const Extents& e, const Get& get, int zeros_input, const uint8_t* bytes) {
  const Isa isa = active_isa();
  const int64_t strips = nbits_strips(e.n, isa), lanes = nbits_lanes(isa);
  const int64_t words = e.blocks() * (e.block * e.bits / 32);
  Weights w;
  w.codes = Tensor(DType::kUInt32, Shape{strips, words, lanes});
  pack_nbits_codes(e.n, words, bytes, w.codes.template data<uint32_t>(), isa);
  w.scales = Tensor(DType::kFloat32, Shape{strips, e.blocks(), lanes});
  pack_nbits_scales(e.n, e.blocks(), FloatIn(*get(2)).data(), w.scales.template data<float>(), isa);
  const Tensor* zeros = zeros_input == kNone ? nullptr : get(zeros_input);
  if (zeros == nullptr) return w;
  Tensor plain;
  if (zeros->dtype() == DType::kUInt8) {
    plain = Tensor(DType::kFloat32, Shape{e.n, e.blocks()});
    const uint8_t* from = zeros->template data<uint8_t>();
    float* to = plain.template data<float>();
    for (int64_t row = 0; row < e.n; ++row) {
      for (int64_t block = 0; block < e.blocks(); ++block) {
        const int64_t bit = block * e.bits;
        const int code = from[row * e.packed_zeros() + bit / 8] >> (bit % 8);
        *to++ = static_cast<float>(code & ((1 << e.bits) - 1));
      }
    }
  } else {
    plain = to_f32(*zeros);
  }
  if (std::all_of(plain.data<float>(), plain.data<float>() + plain.size(),
                  [&](float zero) { return zero == plain.data<float>()[0]; })) {
    w.zeros = Tensor::scalar(plain.data<float>()[0]);
    return w;
  }
  w.zeros = Tensor(DType::kFloat32, w.scales.shape());
  pack_nbits_scales(e.n, e.blocks(), plain.data<float>(), w.zeros.template data<float>(), isa);
  return w;
}

NBitsMatrix matrix_of(const Extents& e, const Weights& w, const float* table) {
  NBitsMatrix b;
  b.k = e.k, b.n = e.n;
  b.bits = static_cast<int>(e.bits);
  b.block_size = e.block;
  b.codes = w.codes.data<uint32_t>();
  b.scales = w.scales.data<float>();
  b.zero = static_cast<float>(1 << (e.bits - 1));
  if (w.zeros.defined() && w.zeros.rank() == 0) b.zero = *w.zeros.data<float>();
  else if (w.zeros.defined()) b.zeros = w.zeros.data<float>();
  b.table = table;
  return b;
}

// A node's constants, in memory while this lives.
class Loans {
 public:
  explicit Loans(const Prepare& p) : p_(p) {}
  const Tensor* operator()(int i) const {
    const Tensor* constant = p_.constant(i);
    return constant == nullptr ? nullptr : &held_.emplace_back(constant->borrow());
  }

 private:
  const Prepare& p_;
  mutable std::list<Tensor> held_;
};

// Each of the tensors that `make` gives, kept for the life of the session.
template <typename Make>
Weights shared_weights(const Prepare& p, const Make& make) {
  std::optional<Weights> made;
  const auto keep = [&](const char* tag, Tensor Weights::* part) {
    return p.shared(tag, [&] {
      if (!made) made = make();
      return *made.*part;
    });
  };
  Weights w;
  w.codes = keep("codes", &Weights::codes);
  w.scales = keep("scales", &Weights::scales);
  w.zeros = keep("zeros", &Weights::zeros);
  w.dense = keep("dense", &Weights::dense);
  return w;
}

void multiply(const Run& run, const Extents& e, const Weights& w, const float* table, int bias_input, Tensor& y,
              int64_t inner, int64_t outer) {
  if (y.size() == 0) return;
  const FloatIn a(run.in(0));
  std::optional<FloatIn> bias;
  if (bias_input != kNone && run.has(bias_input)) bias.emplace(run.in(bias_input));
  const FloatOut out(y);
  const int64_t m = y.size() / outer;
  const float* addend = bias ? bias->data() : nullptr;
  if (w.dense.defined()) {
    Gemm g;
    g.m = m, g.n = outer, g.k = inner;
    g.a = a.data(), g.lda = inner;
    g.packed_b = w.dense.data<float>();
    g.c = out.data(), g.ldc = outer;
    g.epilogue.column_bias = addend;
    gemm(g);
  } else {
    gemm_nbits(matrix_of(e, w, table), {m, a.data(), inner, addend, out.data(), outer});
  }
  out.store();
}

// --- MatMulNBits

enum NBitsInput { kA, kB, kScales, kZeros, kGroups, kBias };

template <typename Checker>
void check_inputs(const Checker& c, const Extents& e, DType zeros) {
  check_size(c, kB, e.n * e.blocks() * (e.block * e.bits / 8), "B");
  check_size(c, kScales, e.n * e.blocks(), "scales");
  check_size(c, kZeros, e.n * (zeros == DType::kUInt8 ? e.packed_zeros() : e.blocks()), "zero_points");
  check_size(c, kGroups, e.k, "g_idx");
  check_size(c, kBias, e.n, "bias");
}

// With g_idx the block of a row of B is looked up: element (row, column) of B^T as f32, packed for gemm().
template <typename Get>
Tensor regrouped(const NodeView& node, const Extents& e, const Get& get) {
  const int32_t* groups = get(kGroups)->template data<int32_t>();
  const FloatIn scales(*get(kScales));
  const Tensor* zeros = get(kZeros);
  const bool packed = zeros != nullptr && zeros->dtype() == DType::kUInt8;
  std::optional<FloatIn> plain;
  if (zeros != nullptr && !packed) plain.emplace(*zeros);
  const uint8_t* codes = get(kB)->template data<uint8_t>();
  const int mask = (1 << e.bits) - 1;
  for (int64_t k = 0; k < e.k; ++k)
    SX_CHECK(node, groups[k] >= 0 && groups[k] < e.blocks(), "g_idx holds ", groups[k], "; expected 0..",
             e.blocks() - 1);
  Tensor rows(DType::kFloat32, Shape{e.n, e.k});
  const int64_t row_bytes = e.blocks() * (e.block * e.bits / 8);
  parallel_for(e.n, 8, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t k = 0; k < e.k; ++k) {
        const int64_t bit = k * e.bits;
        const int64_t zero_bit = groups[k] * e.bits;
        const int code = codes[n * row_bytes + bit / 8] >> (bit % 8) & mask;
        float zero = static_cast<float>(1 << (e.bits - 1));
        if (packed)
          zero = static_cast<float>(
              zeros->template data<uint8_t>()[n * e.packed_zeros() + zero_bit / 8] >> (zero_bit % 8) & mask);
        else if (plain) zero = plain->data()[n * e.blocks() + groups[k]];
        rows.data<float>()[n * e.k + k] = (static_cast<float>(code) - zero) * scales.data()[n * e.blocks() + groups[k]];
      }
    }
  });
  Tensor panels(DType::kFloat32, Shape{packed_b_size(e.k, e.n)});
  pack_b(e.k, e.n, rows.data<float>(), e.k, true, panels.data<float>());
  return panels;
}

template <typename Get>
Weights nbits_weights(const NodeView& node, const Extents& e, const Get& get) {
  if (get(kGroups) == nullptr) return in_blocks(e, get, kZeros, get(kB)->template data<uint8_t>());
  Weights w;
  w.dense = regrouped(node, e, get);
  return w;
}

void infer_nbits(InferContext& c) {
  const Extents e(c, c.attr_int("bits"));
  SX_CHECK(c, c.attr_int("weight_prepacked") == 0, "weight_prepacked is ", c.attr_int("weight_prepacked"),
           ", a layout for one kind of device; export the model with 0");
  check_inputs(c, e, c.has(kZeros) ? c.dtype(kZeros) : DType::kUInt8);
  infer_product(c, e.k, e.n);
}

Kernel make_nbits(Prepare& p) {
  const NodeView node(p.node());
  const Extents e(p, p.attr_int("bits"));
  bool constant = true;
  for (int i : {kB, kScales, kZeros, kGroups}) constant = constant && (!p.has(i) || p.constant(i) != nullptr);
  Weights kept;
  if (constant) {
    kept = shared_weights(p, [&] { return nbits_weights(node, e, Loans(p)); });
    p.describe(join(e.bits, "-bit codes, ", kept.dense.defined() ? "regrouped, dequantized" : "repacked"));
  } else {
    p.describe(join(e.bits, "-bit codes, repacked in each run"));
  }
  return [node, e, constant, kept](Run& run) {
    check_inputs(run, e, run.has(kZeros) ? run.in(kZeros).dtype() : DType::kUInt8);
    Tensor& y = run.out(0, product_shape(run, e.k, e.n));
    const auto get = [&](int i) { return run.has(i) ? &run.in(i) : nullptr; };
    multiply(run, e, constant ? kept : nbits_weights(node, e, get), nullptr, kBias, y, e.k, e.n);
  };
}

// --- MatMulBnb4

struct Bnb4 {
  explicit Bnb4(const NodeView& node) : e(node, 4), trans_b(node.attr_int("transB") != 0) {
    const int64_t kind = node.attr_int("quant_type");
    SX_CHECK(node, kind == 0 || kind == 1, "quant_type is ", kind, "; 0 (FP4) or 1 (NF4) expected");
    table = kind == 0 ? kFp4 : kNf4;
  }
  int64_t scales() const { return (e.n * e.k - 1) / e.block + 1; }
  int64_t inner() const { return trans_b ? e.k : e.n; }
  int64_t outer() const { return trans_b ? e.n : e.k; }
  template <typename Checker>
  void check(const Checker& c) const {
    check_size(c, kB, (e.n * e.k + 1) / 2, "B");
    check_size(c, kScales, scales(), "absmax");
  }

  // The codes lie from the high bits of each byte on, in blocks over the flattened [n, k].
  template <typename Get>
  Weights weights(const Get& get) const {
    const uint8_t* codes = get(kB)->template data<uint8_t>();
    if (trans_b && e.k % e.block == 0) {
      Tensor swapped(DType::kUInt8, get(kB)->shape());
      for (int64_t i = 0; i < swapped.size(); ++i)
        swapped.data<uint8_t>()[i] = static_cast<uint8_t>(codes[i] << 4 | codes[i] >> 4);
      return in_blocks(e, get, kNone, swapped.data<uint8_t>());
    }
    const FloatIn scales(*get(kScales));
    Tensor rows(DType::kFloat32, Shape{e.n, e.k});
    for (int64_t i = 0; i < rows.size(); ++i) {
      const int code = codes[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15;
      rows.data<float>()[i] = table[code] * scales.data()[i / e.block];
    }
    Weights w;
    w.dense = Tensor(DType::kFloat32, Shape{packed_b_size(inner(), outer())});
    pack_b(inner(), outer(), rows.data<float>(), e.k, trans_b, w.dense.template data<float>());
    return w;
  }

  Extents e;
  bool trans_b;
  const float* table;
};

void infer_bnb4(InferContext& c) {
  const Bnb4 node(c);
  node.check(c);
  infer_product(c, node.inner(), node.outer());
}

Kernel make_bnb4(Prepare& p) {
  const Bnb4 node(p);
  const bool constant = p.constant(kB) != nullptr && p.constant(kScales) != nullptr;
  Weights kept;
  if (constant) kept = shared_weights(p, [&] { return node.weights(Loans(p)); });
  p.describe(!constant ? "repacked in each run" : kept.dense.defined() ? "dequantized" : "repacked");
  return [node, constant, kept](Run& run) {
    node.check(run);
    Tensor& y = run.out(0, product_shape(run, node.inner(), node.outer()));
    const Weights fresh = constant ? kept : node.weights([&](int i) { return &run.in(i); });
    multiply(run, node.e, fresh, node.table, kNone, y, node.inner(), node.outer());
  };
}

// --- MatMulDequantized

// A product with constant weights [k, n], or [n, k] with transB, as DequantizeLinear takes them: with one scale, one
// for each column, or one for each block of rows of a column.
struct Dequantized {
  explicit Dequantized(const Prepare& p) : trans_b(p.attr_int("transB") != 0), e(extents(p, trans_b)) {
    for (int i = 1; i <= 3; ++i)
      SX_CHECK(p, !p.has(i) || p.constant(i) != nullptr, "needs constant weights, scales and zero points");
  }

  static int64_t bits_of(DType dtype) {
    return dtype == DType::kInt8 || dtype == DType::kUInt8   ? 8
           : dtype == DType::kInt4 || dtype == DType::kUInt4 ? 4
                                                             : 2;
  }
  static Extents extents(const Prepare& p, bool trans_b) {
    const Tensor& codes = *p.constant(1);
    const int64_t bits = bits_of(codes.dtype()), unit = 32 / bits, block = p.attr_int("block_size");
    const int64_t k = codes.dim(trans_b ? 1 : 0), n = codes.dim(trans_b ? 0 : 1);
    SX_CHECK(p, block % unit == 0, "has blocks of ", block, "; a multiple of ", unit, " expected");
    return Extents(k, n, bits, block == 0 ? checked_add(k, unit - 1) / unit * unit : block);
  }

  Weights weights(const Prepare& p) const {
    const DType dtype = p.constant(1)->dtype();
    const bool is_signed = dtype == DType::kInt8 || dtype == DType::kInt4 || dtype == DType::kInt2;
    const float center = static_cast<float>(1 << (e.bits - 1));
    const Tensor scales = by_column(p.constant(2)->borrow(), 0.0f);
    Tensor zeros(DType::kFloat32, scales.shape());
    std::fill_n(zeros.data<float>(), zeros.size(), is_signed ? center : 0.0f);
    if (p.has(3)) zeros = by_column(p.constant(3)->borrow(), is_signed ? center : 0.0f);
    const bool centered =
        std::all_of(zeros.data<float>(), zeros.data<float>() + zeros.size(), [&](float z) { return z == center; });
    const Tensor bytes = packed_codes(p.constant(1)->borrow(), is_signed);
    return in_blocks(e, [&](int i) { return i == 2 ? &scales : &zeros; }, centered ? kNone : 3, bytes.data<uint8_t>());
  }

  bool trans_b;
  Extents e;

 private:
  // Values for a block, a column or all, and `more`, as [n, blocks].
  Tensor by_column(const Tensor& values, float more) const {
    std::vector<float> from(static_cast<size_t>(values.size()));
    convert_elements(values.dtype(), DType::kFloat32, values.raw(), from.data(), values.size());
    Tensor result(DType::kFloat32, Shape{e.n, e.blocks()});
    const int64_t blocks = e.blocks();
    for (int64_t j = 0; j < e.n; ++j) {
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t at = values.size() == 1   ? 0
                           : values.rank() == 1 ? j
                           : trans_b            ? j * blocks + block
                                                : block * e.n + j;
        result.data<float>()[j * blocks + block] = from[static_cast<size_t>(at)] + more;
      }
    }
    return result;
  }

  // The codes of each column side by side, from the low bits of each byte on. Signed ones move up to begin at 0.
  Tensor packed_codes(const Tensor& codes, bool is_signed) const {
    constexpr int64_t kColumns = 64;
    const int64_t row = e.blocks() * (e.block * e.bits / 8);
    Tensor packed(DType::kUInt8, Shape{e.n, row});
    const auto* from = static_cast<const uint8_t*>(codes.raw());
    const int mask = (1 << e.bits) - 1, flip = is_signed ? 1 << (e.bits - 1) : 0;
    parallel_for((e.n + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
      for (int64_t j0 = begin * kColumns; j0 < std::min(e.n, end * kColumns); j0 += kColumns) {
        const int64_t columns = std::min(kColumns, e.n - j0);
        uint8_t* to = packed.data<uint8_t>() + j0 * row;
        std::fill_n(to, columns * row, uint8_t{0});
        for (int64_t k = 0; k < e.k; ++k) {
          const int64_t byte = k * e.bits / 8, shift = k * e.bits % 8;
          for (int64_t j = 0; j < columns; ++j) {
            const int code = from[trans_b ? (j0 + j) * e.k + k : k * e.n + j0 + j];
            to[j * row + byte] = static_cast<uint8_t>(to[j * row + byte] | ((code & mask) ^ flip) << shift);
          }
        }
      }
    });
    return packed;
  }
};

void infer_dequantized(InferContext& c) {
  SX_CHECK(c, c.rank(1) == 2 && c.shape(1)[0].known() && c.shape(1)[1].known(), "B is ", c.type(1).str(),
           "; a matrix expected");
  const size_t inner = c.attr_int("transB") != 0 ? 1 : 0;
  infer_product(c, c.shape(1)[inner].value(), c.shape(1)[1 - inner].value());
}

Kernel make_dequantized(Prepare& p) {
  const Dequantized node(p);
  const Weights kept = shared_weights(p, [&] { return node.weights(p); });
  p.describe(join(node.e.bits, "-bit codes"));
  return [e = node.e, kept](Run& run) {
    check_size(run, 4, e.n, "bias");
    Tensor& y = run.out(0, product_shape(run, e.k, e.n));
    multiply(run, e, kept, nullptr, 4, y, e.k, e.n);
  };
}

// dA = dY W', where the identity times the weights is W; what is quantized has no gradient.
void differentiate_quantized(GradientContext& c, size_t bias) {
  const Expr a = c.in(0);
  SX_CHECK(c, a.rank() >= 1, "has no gradient where the rank of its input is unknown");
  for (size_t i = 1; i < c.inputs(); ++i)
    SX_CHECK(c, i == bias || !c.wants(i), "has no gradient by what its weights are quantized with");
  if (c.wants(0)) {
    const Expr k = c.ints({c.attr_int("K")});
    const Expr square = c.op("Expand", {c.scalar(0, a.dtype()), c.concat({k, k}, 0)});
    std::vector<Expr> inputs = {c.op("EyeLike", {square})};
    for (size_t i = 1; i < c.inputs() && i != bias; ++i) inputs.push_back(c.in(i));
    const Expr weights = c.op(c.node().op->name(), inputs, c.node().attributes, "com.microsoft");
    c.give(0, c.op("MatMul", {c.grad(), c.swap_last(weights)}));
  }
  if (c.wants(bias)) c.give_sum(bias, c.grad());
}

}  // namespace

void define_matmul_nbits(OpList& ops) {
  ops.add(OpDef("MatMulNBits", "com.microsoft")
              .required_attr("K", AttrKind::kInt)
              .required_attr("N", AttrKind::kInt)
              .attr("bits", 4)
              .required_attr("block_size", AttrKind::kInt)
              .attr("accuracy_level", 0)
              .attr("weight_prepacked", 0)
              .in("A", "T1", kTypes)
              .in("B", "", DType::kUInt8)
              .in("scales", "", kTypes)
              .optional_in("zero_points", "", kTypes | DType::kUInt8)
              .optional_in("g_idx", "", DType::kInt32)
              .optional_in("bias", "", kTypes)
              .out("Y", "T1")
              .infer(infer_nbits)
              .kernel(make_nbits)
              .gradient([](GradientContext& c) { differentiate_quantized(c, 5); }));
  ops.add(OpDef("MatMulDequantized", "sardonyx")
              .attr("transB", 0)
              .attr("block_size", 0)
              .in("A", "T1", kTypes)
              .in("B", "T2", kBytes | kNarrowIntegers)
              .in("scale", "", kTypes)
              .optional_in("zero_point", "T2", kBytes | kNarrowIntegers)
              .optional_in("bias", "", kTypes)
              .out("Y", "T1")
              .infer(infer_dequantized)
              .kernel(make_dequantized));
  ops.add(OpDef("MatMulBnb4", "com.microsoft")
              .required_attr("K", AttrKind::kInt)
              .required_attr("N", AttrKind::kInt)
              .required_attr("block_size", AttrKind::kInt)
              .required_attr("quant_type", AttrKind::kInt)
              .attr("training_mode", 0)
              .attr("transB", 1)
              .in("A", "T1", kTypes)
              .in("B", "", DType::kUInt8)
              .in("absmax", "", kTypes)
              .out("Y", "T1")
              .infer(infer_bnb4)
              .kernel(make_bnb4)
              .gradient([](GradientContext& c) { differentiate_quantized(c, 3); }));
}

}  // namespace sx
