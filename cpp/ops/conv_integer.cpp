// Convolutions of 8-bit integers with 32-bit sums: ConvInteger gives the sums, QLinearConv scales and rounds them.
#include <algorithm>

#include "base/scratch.h"
#include "kernels/conv/conv_int8.h"
#include "ops/conv.h"
#include "ops/float_io.h"
#include "ops/int8_product.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Inputs of the two operators.
struct Places {
  int x_zero, w, w_zero;
};
constexpr Places kInteger{2, 1, 3};
constexpr Places kQLinear{2, 3, 5};

class Int8Conv {
 public:
  Int8Conv(Prepare& p, const Places& places) : node_(p.node()), spec_(p), places_(places) {
    const Tensor* w = p.constant(places.w);
    const auto x = p.shape(0);
    if (w == nullptr || w->size() == 0 || !x || x->size() == 0) return;
    const ConvShape shape = conv_shape(p, spec_, *x, w->shape());
    packed_ = p.shared("w", [&] {
      Tensor packed(DType::kUInt8, Shape{packed_conv_int8_size(shape)});
      pack_conv_int8(shape, w->borrow().raw(), w->dtype() == DType::kInt8, packed.raw());
      return packed;
    });
  }

  ConvShape shape(const Run& run) const {
    return conv_shape(node_, spec_, run.in(0).shape(), run.in(places_.w).shape());
  }

  void compute(const Run& run, const ConvShape& s, const Int8Epilogue& epilogue, Tensor& y) const {
    const Tensor& x = run.in(0);
    const Tensor& w = run.in(places_.w);
    ConvInt8 problem;
    problem.shape = s;
    problem.x = x.raw();
    problem.x_signed = x.dtype() == DType::kInt8;
    problem.w_signed = w.dtype() == DType::kInt8;
    problem.y = y.raw();
    problem.epilogue = epilogue;
    if (run.has(places_.x_zero)) problem.x_zero = ZeroPoints(run, run.in(places_.x_zero), 1, 1).value();
    ZeroPoints w_zeros;
    if (run.has(places_.w_zero)) w_zeros = ZeroPoints(run, run.in(places_.w_zero), s.filters, 1);
    problem.w_zero = w_zeros.value();
    problem.w_zeros = w_zeros.of(0);
    if (packed_.defined()) return conv_int8(problem, packed_.raw());
    void* packed = thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(packed_conv_int8_size(s)));
    pack_conv_int8(s, w.raw(), problem.w_signed, packed);
    conv_int8(problem, packed);
  }

 private:
  NodeView node_;
  ConvSpec spec_;
  Places places_;
  Tensor packed_;
};

Kernel make_integer(Prepare& p) {
  return [conv = Int8Conv(p, kInteger)](Run& run) {
    const ConvShape s = conv.shape(run);
    Tensor& y = run.out(0, conv_result(s));
    if (y.size() > 0) conv.compute(run, s, {}, y);
  };
}

// x: 0..2, w: 3..5, y_scale: 6, y_zero_point: 7, B: 8.
Kernel make_qlinear(Prepare& p) {
  return [conv = Int8Conv(p, kQLinear)](Run& run) {
    const ConvShape s = conv.shape(run);
    for (int i : {1, 6, 7})
      SX_CHECK(run, run.in(i).size() == 1, "input ", i, " has ", run.in(i).size(), " elements; 1 expected");
    const Tensor& w_scale = run.in(4);
    SX_CHECK(run, w_scale.size() == 1 || w_scale.size() == s.filters, "w_scale has ", w_scale.size(),
             " elements; 1 or ", s.filters, " expected");
    Tensor& y = run.out(0, conv_result(s));
    if (y.size() == 0) return;
    const float x_scale = *run.in(1).data<float>();
    const float y_scale = *run.in(6).data<float>();
    const float* w_scales = w_scale.data<float>();
    Int8Epilogue epilogue;
    epilogue.output = int8_output(y.dtype());
    epilogue.zero_point = static_cast<int32_t>(run.in(7).scalar_as_int());
    if (w_scale.size() == 1) {
      epilogue.scale = x_scale * *w_scales / y_scale;
    } else {
      auto* scales =
          static_cast<float*>(thread_scratch(ScratchSlot::kOperator2, static_cast<size_t>(s.filters) * sizeof(float)));
      for (int64_t i = 0; i < s.filters; ++i) scales[i] = x_scale * w_scales[i] / y_scale;
      epilogue.row_scales = scales;
    }
    if (run.has(8)) {
      SX_CHECK(run, run.in(8).size() == s.filters, "the bias has ", run.in(8).size(), " elements; ", s.filters,
               " expected");
      epilogue.bias = run.in(8).data<int32_t>();
    }
    conv.compute(run, s, epilogue, y);
  };
}

}  // namespace

void define_conv_integer(OpList& ops) {
  add_conv_attrs(ops.add(OpDef("ConvInteger")
                             .since(10, 10)
                             .in("x", "T1", kBytes)
                             .in("w", "T2", kBytes)
                             .optional_in("x_zero_point", "T1", kBytes)
                             .optional_in("w_zero_point", "T2", kBytes)
                             .out("y", "T3", DType::kInt32)
                             .infer([](InferContext& c) { infer_conv(c, 0, 1, DType::kInt32); })
                             .kernel(make_integer)));
  add_conv_attrs(ops.add(OpDef("QLinearConv")
                             .since(10, 10)
                             .in("x", "T1", kBytes)
                             .in("x_scale", "", DType::kFloat32)
                             .in("x_zero_point", "T1", kBytes)
                             .in("w", "T2", kBytes)
                             .in("w_scale", "", DType::kFloat32)
                             .in("w_zero_point", "T2", kBytes)
                             .in("y_scale", "", DType::kFloat32)
                             .in("y_zero_point", "T3", kBytes)
                             .optional_in("B", "T4", DType::kInt32)
                             .out("y", "T3")
                             .infer([](InferContext& c) { infer_conv(c, 0, 3, c.dtype(7)); })
                             .kernel(make_qlinear)));
}

}  // namespace sx
