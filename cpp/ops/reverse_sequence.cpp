// y = x with the first sequence_lens[b] time steps of each sample b in reverse order.
#include "ops/elements.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

// Whether time is axis 0 and batch axis 1; the other way round otherwise.
bool time_first(const NodeView& node) {
  const int64_t time = node.attr_int("time_axis");
  const int64_t batch = node.attr_int("batch_axis");
  SX_CHECK(node, (time == 0 && batch == 1) || (time == 1 && batch == 0), "time_axis is ", time, " and batch_axis ",
           batch, "; 0 and 1 in some order expected");
  return time == 0;
}

void infer_reverse_sequence(InferContext& c) {
  time_first(c);
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) >= 2, "the input is ", c.type(0).str(), "; rank 2 or more expected");
  c.out(0, c.type(0));
}

Kernel make_reverse_sequence(Prepare& p) {
  const bool by_time = time_first(p);
  return [by_time](Run& run) {
    const Tensor& x = run.in(0);
    SX_CHECK(run, x.rank() >= 2, "the input has shape ", x.shape().str(), "; rank 2 or more expected");
    const int64_t steps = x.dim(by_time ? 0 : 1);
    const int64_t samples = x.dim(by_time ? 1 : 0);
    SX_CHECK(run, run.in(1).size() == samples, "sequence_lens has shape ", run.in(1).shape().str(),
             "; one for each of ", samples, " samples expected");
    const int64_t* lengths = run.in(1).data<int64_t>();
    for (int64_t i = 0; i < samples; ++i)
      SX_CHECK(run, lengths[i] >= 0 && lengths[i] <= steps, "sequence_lens[", i, "] is ", lengths[i], "; expected 0..",
               steps);
    Tensor& y = run.out(0, x.shape());
    if (y.size() == 0) return;
    const int64_t inner = x.shape().size(2, x.rank());
    const auto step = inner * static_cast<int64_t>(size_of(x.dtype()));
    const char* from = static_cast<const char*>(x.raw());
    char* to = static_cast<char*>(y.raw());
    parallel_for(steps * samples, move_grain(step), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t time = by_time ? row / samples : row % steps;
        const int64_t sample = by_time ? row % samples : row / steps;
        const int64_t source = time < lengths[sample] ? lengths[sample] - 1 - time : time;
        copy_elements(x.dtype(), to + row * step,
                      from + (by_time ? source * samples + sample : sample * steps + source) * step, inner);
      }
    });
  };
}

// The operator undoes itself.
void differentiate_reverse_sequence(GradientContext& c) {
  c.give(0, c.op("ReverseSequence", {c.grad(), c.in(1)}, c.node().attributes));
}

}  // namespace

void define_reverse_sequence(OpList& ops) {
  ops.add(OpDef("ReverseSequence")
              .since(28, 10)
              .attr("batch_axis", 1)
              .attr("time_axis", 0)
              .in("input", "T", kAllTypes)
              .in("sequence_lens", "", DType::kInt64)
              .out("Y", "T")
              .infer(infer_reverse_sequence)
              .kernel(make_reverse_sequence)
              .gradient(differentiate_reverse_sequence));
}

}  // namespace sx
