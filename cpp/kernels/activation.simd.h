// Array functions of all activations for one ISA.
namespace sx {
namespace SX_ISA {

#include "kernels/vec.h"
#include "kernels/vec_math.h"

template <int... kKind>
constexpr ActivationTable make_activation_table(std::integer_sequence<int, kKind...>) {
  return {{activate_array<static_cast<Activation>(kKind)>...},
          coarsely_activate_array<Activation::kGelu>,
          coarsely_activate_array<Activation::kGeluTanh>};
}

constexpr ActivationTable kActivations = make_activation_table(std::make_integer_sequence<int, kActivationCount>());

}  // namespace SX_ISA
}  // namespace sx
