// Adagrad, Adam and Momentum of ai.onnx.preview.training: one step for any number of tensors.
#include <cmath>

#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr const char* kDomain = "ai.onnx.preview.training";
constexpr DTypeSet kReal = DType::kFloat32 | DType::kFloat64;
constexpr int64_t kGrain = 16384;

// Inputs behind R and T come in `groups` of one length: X..., G..., then the states; outputs are X and the states
// again.
int tensors_of(const NodeView& node, int groups) {
  const auto given = static_cast<int>(node.node().inputs.size()) - 2;
  SX_CHECK(node, given > 0 && given % groups == 0, "has ", given, " tensors; a multiple of ", groups, " expected");
  const int tensors = given / groups;
  const auto outputs = static_cast<int>(node.node().outputs.size());
  SX_CHECK(node, outputs <= tensors * (groups - 1), "has ", outputs, " outputs; ", tensors * (groups - 1), " expected");
  return tensors;
}

InferFn infer_optimizer(int groups) {
  return [groups](InferContext& c) {
    const int tensors = tensors_of(c, groups);
    for (int k = 0; k < groups - 1; ++k)
      for (int i = 0; i < tensors; ++i) c.out(k * tensors + i, c.type(2 + (k == 0 ? 0 : k + 1) * tensors + i));
  };
}

// Calls step(x, g, states, i) with references to element i of the outputs; `States` is the number of states.
template <int kStates, typename Step>
Kernel optimizer_kernel(const NodeView& node, const Step& step) {
  const int tensors = tensors_of(node, kStates + 2);
  return [tensors, step](Run& run) {
    SX_CHECK(run, run.in(0).size() == 1 && run.in(1).size() == 1, "R and T must have one element each");
    const double rate = run.in(0).scalar_as_double();
    const int64_t count = run.in(1).scalar_as_int();
    for (int i = 0; i < tensors; ++i) {
      const Tensor& x = run.in(2 + i);
      auto one = [&](auto zero) {
        using T = decltype(zero);
        const T* from[kStates + 2];
        T* to[kStates + 1];
        Tensor unwanted[kStates + 1];
        for (int k = 0; k < kStates + 2; ++k) {
          const Tensor& input = run.in(2 + k * tensors + i);
          SX_CHECK(run, input.dtype() == x.dtype() && input.shape() == x.shape(), "tensor ", i, " is ",
                   name_of(x.dtype()), x.shape().str(), " but its gradient or a state is ", name_of(input.dtype()),
                   input.shape().str());
          from[k] = input.data<T>();
        }
        for (int k = 0; k < kStates + 1; ++k) {
          if (run.wants(k * tensors + i)) {
            to[k] = run.out(k * tensors + i, x.shape()).template data<T>();
          } else {
            unwanted[k] = Tensor(x.dtype(), x.shape());
            to[k] = unwanted[k].template data<T>();
          }
        }
        const auto bound = step(static_cast<T>(rate), count);
        parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) {
          for (int64_t at = begin; at < end; ++at) {
            T states[kStates];
            for (int k = 0; k < kStates; ++k) states[k] = from[k + 2][at];
            to[0][at] = bound(from[0][at], from[1][at], states);
            for (int k = 0; k < kStates; ++k) to[k + 1][at] = states[k];
          }
        });
      };
      if (x.dtype() == DType::kFloat64) one(double{});
      else one(float{});
    }
  };
}

Kernel make_adagrad(Prepare& p) {
  return optimizer_kernel<1>(p, [norm = p.attr_float("norm_coefficient"), decay = p.attr_float("decay_factor"),
                                 epsilon = p.attr_float("epsilon")](auto rate, int64_t count) {
    using T = decltype(rate);
    const T step = rate / (T(1) + static_cast<T>(count) * static_cast<T>(decay));
    return [step, norm, epsilon](T x, T g, T* h) {
      const T gradient = g + static_cast<T>(norm) * x;
      h[0] += gradient * gradient;
      return x - step * gradient / (std::sqrt(h[0]) + static_cast<T>(epsilon));
    };
  });
}

Kernel make_adam(Prepare& p) {
  return optimizer_kernel<2>(
      p, [alpha = p.attr_float("alpha"), beta = p.attr_float("beta"), norm = p.attr_float("norm_coefficient"),
          after = p.attr_float("norm_coefficient_post"), epsilon = p.attr_float("epsilon")](auto rate, int64_t count) {
        using T = decltype(rate);
        const T a = static_cast<T>(alpha);
        const T b = static_cast<T>(beta);
        // At the first step nothing is corrected.
        const T times = static_cast<T>(count);
        const T step = count > 0 ? rate * std::sqrt(T(1) - std::pow(b, times)) / (T(1) - std::pow(a, times)) : rate;
        return [=](T x, T g, T* states) {
          const T gradient = g + static_cast<T>(norm) * x;
          states[0] = a * states[0] + (T(1) - a) * gradient;
          states[1] = b * states[1] + (T(1) - b) * gradient * gradient;
          const T moved = x - step * states[0] / (std::sqrt(states[1]) + static_cast<T>(epsilon));
          return (T(1) - static_cast<T>(after)) * moved;
        };
      });
}

Kernel make_momentum(Prepare& p) {
  const std::string& mode = p.attr_string("mode");
  SX_CHECK(p, mode == "standard" || mode == "nesterov", "mode is '", mode, "'; standard or nesterov expected");
  return optimizer_kernel<1>(p,
                             [nesterov = mode == "nesterov", alpha = p.attr_float("alpha"), beta = p.attr_float("beta"),
                              norm = p.attr_float("norm_coefficient")](auto rate, int64_t count) {
                               using T = decltype(rate);
                               const T a = static_cast<T>(alpha);
                               const T b = count > 0 ? static_cast<T>(beta) : T(1);
                               return [=](T x, T g, T* v) {
                                 const T gradient = g + static_cast<T>(norm) * x;
                                 v[0] = a * v[0] + b * gradient;
                                 return x - rate * (nesterov ? gradient + a * v[0] : v[0]);
                               };
                             });
}

OpDef optimizer(const char* name, int groups) {
  OpDef op(name, kDomain);
  op.in("R", "T1", kReal)
      .in("T", "T2", DType::kInt64)
      .variadic_in("inputs", "", kReal)
      .variadic_out("outputs", "", kReal);
  op.infer(infer_optimizer(groups));
  return op;
}

}  // namespace

void define_training_optimizers(OpList& ops) {
  ops.add(optimizer("Adagrad", 3)
              .attr("decay_factor", 0.0f)
              .attr("epsilon", 1e-6f)
              .attr("norm_coefficient", 0.0f)
              .kernel(make_adagrad)
              .no_gradient("nothing is learnt through the step of an optimizer"));
  ops.add(optimizer("Adam", 4)
              .attr("alpha", 0.9f)
              .attr("beta", 0.999f)
              .attr("epsilon", 1e-6f)
              .attr("norm_coefficient", 0.0f)
              .attr("norm_coefficient_post", 0.0f)
              .kernel(make_adam)
              .no_gradient("nothing is learnt through the step of an optimizer"));
  ops.add(optimizer("Momentum", 3)
              .required_attr("alpha", AttrKind::kFloat)
              .required_attr("beta", AttrKind::kFloat)
              .required_attr("mode", AttrKind::kString)
              .required_attr("norm_coefficient", AttrKind::kFloat)
              .kernel(make_momentum)
              .no_gradient("nothing is learnt through the step of an optimizer"));
}

}  // namespace sx
