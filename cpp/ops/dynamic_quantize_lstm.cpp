// An LSTM whose weights are 8-bit integers and whose inputs and hidden states are quantized on the way.
#include <algorithm>

#include "base/scratch.h"
#include "ops/int8_product.h"
#include "ops/lstm.h"

namespace sx {
namespace {

// Places of the inputs that LSTM does not have.
constexpr int kWScale = 8, kWZero = 9, kRScale = 10, kRZero = 11;

// Quantized matrices [directions, k, 4 * hidden] with their scales and zero points.
class QuantizedMatrices {
 public:
  QuantizedMatrices(Prepare& p, int weights, int scale, int zero) : weights_(weights), scale_(scale), zero_(zero) {
    const Tensor* w = p.constant(weights);
    if (w != nullptr && w->rank() == 3) packed_ = p.shared(weights == 1 ? "w" : "r", [&] { return pack(w->borrow()); });
  }

  // Ready for one run.
  struct Bound {
    Tensor packed;
    int64_t step = 0;
    bool is_signed = false;
    const float* scales = nullptr;
    int64_t scale_step = 0;  // elements for each direction: 1 or 4 * hidden
    std::vector<int32_t> zeros;
    int64_t zero_step = 0;

    // y[rows, n] = (a - a_zero) (w - w_zero) * a_scale * w_scale + bias, for rows that share one or have each its own
    // zero point and scale.
    void multiply(int direction, GemmInt8 g) const {
      const float* scale = scales + direction * scale_step;
      const int32_t* zero = zeros.data() + direction * zero_step;
      g.packed_b = packed.data<uint8_t>() + direction * step;
      g.b_signed = is_signed;
      if (zero_step == 1) g.b_zero = *zero;
      else g.b_zeros = zero;
      g.epilogue.output = Int8Output::kFloat32;
      if (scale_step == 1) g.epilogue.scale *= *scale;
      else g.epilogue.column_scales = scale;
      gemm_int8(g);
    }
  };

  Bound bind(const Run& run, int directions) const {
    const Tensor& w = run.in(weights_);
    Bound bound;
    bound.packed = packed_.defined() ? packed_ : pack(w);
    bound.step = packed_step(w);
    bound.is_signed = w.dtype() == DType::kInt8;
    const Tensor& scale = run.in(scale_);
    const Tensor& zero = run.in(zero_);
    const auto per_direction = [&](const Tensor& x, const char* what) {
      SX_CHECK(run, x.size() == directions || x.size() == directions * w.dim(2), what, " has ", x.size(), " elements; ",
               directions, " or ", directions * w.dim(2), " expected");
      return x.size() / directions;
    };
    bound.scale_step = per_direction(scale, "a weight scale");
    bound.scales = scale.data<float>();
    bound.zero_step = per_direction(zero, "a weight zero point");
    for (int64_t value : zero.integers()) bound.zeros.push_back(static_cast<int32_t>(value));
    return bound;
  }

 private:
  static int64_t packed_step(const Tensor& w) { return (packed_b_int8_size(w.dim(1), w.dim(2)) + 63) / 64 * 64; }
  static Tensor pack(const Tensor& w) {
    const int64_t k = w.dim(1), n = w.dim(2), step = packed_step(w);
    Tensor packed(DType::kUInt8, Shape{checked_mul(w.dim(0), step)});
    for (int64_t d = 0; d < w.dim(0); ++d)
      pack_b_int8(k, n, static_cast<const uint8_t*>(w.raw()) + d * k * n, n, false, w.dtype() == DType::kInt8,
                  packed.data<uint8_t>() + d * step);
    return packed;
  }

  int weights_, scale_, zero_;
  Tensor packed_;
};

class QuantizedProducts : public RecurrentProducts<float> {
 public:
  QuantizedProducts(const RecurrentSizes& sizes, const float* x, QuantizedMatrices::Bound w, QuantizedMatrices::Bound r)
      : sizes_(sizes),
        w_(std::move(w)),
        r_(std::move(r)),
        x_(DType::kUInt8, Shape{sizes.steps * sizes.batch, sizes.inputs}) {
    range_ = quantize_dynamically(x, x_.size(), x_.data<uint8_t>());
  }

  // X has one scale.
  void project(int direction, const RecurrentRows& rows, const float*, const float* bias, float* y) const override {
    GemmInt8 g;
    g.m = rows.count(), g.n = sizes_.width(), g.k = sizes_.inputs;
    g.a = rows.of(x_.data<uint8_t>(), sizes_.inputs), g.lda = sizes_.inputs;
    g.a_zero = range_.zero_point;
    g.epilogue.scale = range_.scale;
    g.epilogue.float_bias = bias;
    g.c = y, g.ldc = g.n;
    w_.multiply(direction, g);
  }

  // Every row has a scale of its own, so that a sequence's result does not depend on the others of the batch.
  void recur(int direction, int, int64_t, int64_t rows, const float* h, const float* addend, int64_t addend_stride,
             float* y, int64_t y_stride) const override {
    const int64_t n = sizes_.hidden;
    const auto header = static_cast<size_t>(rows) * (sizeof(float) + sizeof(int32_t));
    auto* scratch = static_cast<char*>(thread_scratch(ScratchSlot::kOperator3, header + static_cast<size_t>(rows * n)));
    auto* scales = reinterpret_cast<float*>(scratch);
    auto* zeros = reinterpret_cast<int32_t*>(scratch + static_cast<size_t>(rows) * sizeof(float));
    auto* quantized = reinterpret_cast<uint8_t*>(scratch + header);
    for (int64_t i = 0; i < rows; ++i) {
      const Quantized q = quantize_dynamically(h + i * n, n, quantized + i * n);
      scales[i] = q.scale;
      zeros[i] = q.zero_point;
    }
    GemmInt8 g;
    g.m = rows, g.n = sizes_.width(), g.k = n;
    g.a = quantized, g.lda = n;
    g.a_zeros = zeros;
    g.epilogue.row_scales = scales;
    g.c = y, g.ldc = y_stride;
    g.epilogue.addend = addend, g.epilogue.addend_stride = addend_stride;
    r_.multiply(direction, g);
  }

 private:
  const RecurrentSizes& sizes_;
  QuantizedMatrices::Bound w_, r_;
  Tensor x_;
  Quantized range_{};
};

class DynamicQuantizeLstm {
 public:
  explicit DynamicQuantizeLstm(Prepare& p)
      : form_(p), spec_(p, form_), w_(p, 1, kWScale, kWZero), r_(p, 2, kRScale, kRZero), biases_(p, spec_, 0) {}

  void operator()(Run& run) const {
    const Shape& w = run.in(1).shape();
    const Shape& r = run.in(2).shape();
    SX_CHECK(run, w.rank() == 3 && r.rank() == 3, "W is ", w.str(), " and R is ", r.str(),
             "; three axes each expected");
    const RecurrentSizes sizes(run, spec_, r[1]);
    const Shape w_expected{sizes.directions, sizes.inputs, sizes.width()},
        r_expected{sizes.directions, sizes.hidden, sizes.width()};
    SX_CHECK(run, w == w_expected, "W is ", w.str(), "; ", w_expected.str(), " expected");
    SX_CHECK(run, r == r_expected, "R is ", r.str(), "; ", r_expected.str(), " expected");
    check_recurrent_inputs(run, sizes);
    const QuantizedProducts products(sizes, run.in(0).data<float>(), w_.bind(run, sizes.directions),
                                     r_.bind(run, sizes.directions));
    run_cell<float, LstmCell>(run, spec_, form_, sizes, products, biases_);
  }

 private:
  LstmForm form_;
  RecurrentSpec spec_;
  QuantizedMatrices w_, r_;
  BiasCache biases_;
};

}  // namespace

void define_dynamic_quantize_lstm(OpList& ops) {
  add_recurrent_attrs(ops.add(OpDef("DynamicQuantizeLSTM", "com.microsoft")
                                  .attr("input_forget", 0)
                                  .in("X", "T", DType::kFloat32)
                                  .in("W", "T2", kBytes)
                                  .in("R", "T2", kBytes)
                                  .optional_in("B", "T", DType::kFloat32)
                                  .optional_in("sequence_lens", "T1", DType::kInt32)
                                  .optional_in("initial_h", "T", DType::kFloat32)
                                  .optional_in("initial_c", "T", DType::kFloat32)
                                  .optional_in("P", "T", DType::kFloat32)
                                  .in("W_scale", "T", DType::kFloat32)
                                  .in("W_zero_point", "T2", kBytes)
                                  .in("R_scale", "T", DType::kFloat32)
                                  .in("R_zero_point", "T2", kBytes)
                                  .optional_out("Y", "T")
                                  .optional_out("Y_h", "T")
                                  .optional_out("Y_c", "T")
                                  .infer([](InferContext& c) { infer_recurrent(c, RecurrentSpec(c, LstmForm(c)), 1); })
                                  .kernel([](Prepare& p) -> Kernel { return DynamicQuantizeLstm(p); })
                                  .no_gradient("its weights are quantized")));
}

}  // namespace sx
