// Dropout: y = x * mask / (1 - ratio) in training mode, with mask = uniform >= ratio; y = x otherwise.
#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>

#include "base/mersenne.h"
#include "base/random.h"
#include "base/scratch.h"
#include "ops/convert.h"
#include "ops/elementwise.h"
#include "ops/gradient.h"
#include "ops/node_state.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr DTypeSet kTypes = kFloats | kFloat8s;
constexpr int64_t kBlock = 256;

void keep_all(const Tensor& x, Tensor& y, bool* mask) {
  if (y.raw() != x.raw() && y.bytes() > 0) std::memcpy(y.raw(), x.raw(), y.bytes());
  if (mask) std::fill_n(mask, x.size(), true);
}

// Draws the masks of one node. With a seed of its own, the first run's is that of ONNX's reference implementation,
// which is one of numpy.random.RandomState(seed), and further runs go on where it ended; otherwise each is of a stream
// of its own.
class MaskSource {
 public:
  MaskSource() = default;
  explicit MaskSource(uint64_t seed) : sequence_(std::make_unique<Mersenne>(seed)) {}

  void draw(double ratio, int64_t count, bool* mask) {
    if (sequence_) {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (int64_t i = 0; i < count; ++i) mask[i] = sequence_->uniform() >= ratio;
      return;
    }
    const RandomStream stream = next_random_stream();
    parallel_for(count, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) mask[i] = stream.uniform(static_cast<uint64_t>(i)) >= ratio;
    });
  }

 private:
  std::mutex mutex_;
  std::unique_ptr<Mersenne> sequence_;
};

double ratio_of(Run& run) {
  double ratio = 0.5;
  if (run.has(1)) {
    SX_CHECK(run, run.in(1).size() == 1, "ratio has the shape ", run.in(1).shape().str(), "; a scalar expected");
    convert_elements(run.in(1).dtype(), DType::kFloat64, run.in(1).raw(), &ratio, 1);
  }
  return ratio;
}

bool drops(Run& run, double ratio) {
  SX_CHECK(run, !run.has(2) || run.in(2).size() == 1, "training_mode has more than one element");
  const bool training = run.has(2) && run.in(2).data<bool>()[0];
  if (!training || ratio == 0) return false;
  SX_CHECK(run, ratio > 0 && ratio < 1, "ratio is ", ratio, "; a number from 0 up to but not including 1 expected");
  return true;
}

void apply_mask(const Tensor& x, const bool* kept, double ratio, Tensor& y) {
  const double scale = 1 / (1 - ratio);
  parallel_for(x.size(), 4096, [&](int64_t begin, int64_t end) {
    double block[kBlock];
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t n = std::min(kBlock, end - i);
      convert_elements(x.dtype(), DType::kFloat64, element(x, i), block, n);
      for (int64_t k = 0; k < n; ++k) block[k] = kept[i + k] ? block[k] * scale : 0;
      convert_elements(DType::kFloat64, y.dtype(), block, element(y, i), n);
    }
  });
}

Kernel make_dropout(Prepare& p) {
  const auto source = node_state<MaskSource>(p, "source", [&] {
    return p.has_attr("seed") ? new MaskSource(static_cast<uint64_t>(p.attr_int("seed"))) : new MaskSource();
  });
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const double ratio = ratio_of(run);
    const bool dropping = drops(run, ratio);
    bool* mask = run.wants(1) ? run.out(1, x.shape()).data<bool>() : nullptr;
    Tensor& y = run.out(0, x.shape());
    if (!dropping) return keep_all(x, y, mask);
    bool* kept =
        mask ? mask : static_cast<bool*>(thread_scratch(ScratchSlot::kOperator, static_cast<size_t>(x.size())));
    source->draw(ratio, x.size(), kept);
    apply_mask(x, kept, ratio, y);
  };
}

// What a Dropout node gave, from the mask that it drew.
Kernel make_dropout_again(Prepare&) {
  return [](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, run.in(3).shape() == x.shape(), "mask is ", run.in(3).shape().str(), "; ", x.shape().str(),
             " expected");
    const double ratio = ratio_of(run);
    const bool dropping = drops(run, ratio);
    Tensor& y = run.out(0, x.shape());
    if (!dropping) return keep_all(x, y, nullptr);
    apply_mask(x, run.in(3).data<bool>(), ratio, y);
  };
}

void infer_dropout(InferContext& c) {
  c.out(0, c.type(0));
  c.out(1, DType::kBool, c.type(0).shape);
}

// Before opset 12 the ratio was an attribute; from opset 7 on nothing was dropped, before that `is_test` said so. The
// mask had the type of the data before opset 10.
void upgrade_dropout(UpgradeContext& c) {
  drop_consumed_inputs(c);
  const float ratio = c.take<float>("ratio", 0.5f);
  const bool tests = c.take<int64_t>("is_test", c.opset() < 7 ? 0 : 1) != 0;
  if (!tests) {
    c.set_input(1, c.constant(Tensor::scalar(ratio)));
    c.set_input(2, c.constant(Tensor::scalar(true)));
  }
  std::vector<ValueId>& outputs = c.draft().outputs;
  if (c.opset() >= 10 || outputs.size() < 2 || outputs[1] == kNone) return;
  const ValueId wanted = outputs[1];
  const ValueId mask = c.detach_output(1);
  c.emit_after(wanted, "Cast", {mask}, {{"to", static_cast<int64_t>(c.input(0).type.dtype)}});
}

// dx = dy mask / (1 - ratio); outside of training the mask keeps all.
void differentiate_dropout(GradientContext& c) {
  SX_CHECK(c, !c.wants(1), "has no gradient by its ratio, which is a probability of drawing a mask");
  if (!c.in(2)) return c.give(0, c.grad());
  const DType dtype = c.grad().dtype();
  const Expr ratio = c.in(1) ? c.op("Reshape", {c.cast(c.in(1), dtype), c.ints({})}) : c.scalar(0.5, dtype);
  const Expr training = c.op("Reshape", {c.in(2), c.ints({})});
  const Expr scale = c.where(training, 1.0 / (1.0 - ratio), c.scalar(1, dtype));
  c.give(0, c.where(c.out(1), c.grad() * scale, c.scalar(0, dtype)));
}

}  // namespace

void define_dropout(OpList& ops) {
  ops.add(OpDef("Dropout")
              .since(22)
              .optional_attr("seed", AttrKind::kInt)
              .in("data", "T", kTypes)
              .optional_in("ratio", "T1", kTypes)
              .optional_in("training_mode", "T2", DType::kBool)
              .out("output", "T")
              .optional_out("mask", "T2", DType::kBool)
              .in_place({0})
              .nondeterministic()
              .infer(infer_dropout)
              .kernel(make_dropout)
              .gradient(differentiate_dropout)
              .upgrade(12, upgrade_dropout));
  ops.add(OpDef("DropoutAgain", "sardonyx")
              .in("data", "T", kTypes)
              .optional_in("ratio", "T1", kTypes)
              .optional_in("training_mode", "T2", DType::kBool)
              .in("mask", "T2", DType::kBool)
              .out("output", "T")
              .in_place({0})
              .no_gradient("it is for what follows the computation of gradients")
              .infer(same_as(0))
              .kernel(make_dropout_again));
}

}  // namespace sx
