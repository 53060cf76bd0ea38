// An operator as a C++ class: com.acme::ScaleShift, y = factor * x + shift.
#include <sardonyx/custom_op.hpp>

namespace {

struct ScaleShift {
  explicit ScaleShift(const sardonyx::Node& node) : factor(node.attribute("factor", 1.0f)) {
    if (factor == 0) throw std::invalid_argument("factor is 0");
  }

  static void infer(sardonyx::Infer& infer) { infer.output(0, infer.input(0)); }

  void compute(sardonyx::Run& run) const {
    const sardonyx::Tensor x = run.input(0);
    const auto shift = run.optional_input(1);
    const float offset = shift ? shift->data<float>()[0] : 0;
    const float* from = x.data<float>();
    float* to = run.output<float>(0, x.shape());
    run.parallel_for(x.size(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = factor * from[i] + offset;
    });
  }

  float factor;
};

}  // namespace

SARDONYX_OPERATORS(registry) {
  sardonyx::Options options;
  options.min_inputs = 1;
  options.max_inputs = 2;
  options.max_outputs = 1;
  options.pure = true;
  registry.add<ScaleShift>("com.acme", "ScaleShift", options);
}
