"""Activations: functions of single elements, and softmax."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, apply_all, constant, variable
from sardonyx.nn import init
from sardonyx.nn.module import Module

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Threshold",
]


class _Activation(Module):
    """One operator. `inplace` has no effect: memory is planned when a graph is compiled."""

    op: ClassVar[str]

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self._attributes: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return apply(self.op, x, **self._attributes)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return ", ".join(f"{name}={value}" for name, value in self._attributes.items())


class ReLU(_Activation):
    """max(x, 0).

    Example:
        >>> ReLU()(np.array([-1, 2], np.float32)).numpy()
        array([0., 2.], dtype=float32)
    """

    op = "Relu"


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    op = "Sigmoid"


class Tanh(_Activation):
    """tanh(x)."""

    op = "Tanh"


class SELU(_Activation):
    """scale * (x where x > 0, else alpha (exp(x) - 1)), with the constants of Klambauer et al. 2017."""

    op = "Selu"


class Softsign(_Activation):
    """x / (1 + |x|)."""

    op = "Softsign"


class Hardswish(_Activation):
    """x * min(max(x + 3, 0), 6) / 6."""

    op = "HardSwish"


class Mish(_Activation):
    """x * tanh(log(1 + exp(x)))."""

    op = "Mish"


class Hardsigmoid(_Activation):
    """min(max(x / 6 + 1/2, 0), 1)."""

    op = "HardSigmoid"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace)
        self._attributes = {"alpha": 1 / 6, "beta": 0.5}


class LeakyReLU(_Activation):
    """x where x > 0, else negative_slope * x."""

    op = "LeakyRelu"

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self._attributes = {"alpha": negative_slope}


class _WithAlpha(_Activation):
    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self._attributes = {"alpha": alpha}


class ELU(_WithAlpha):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    op = "Elu"


class CELU(_WithAlpha):
    """x where x > 0, else alpha * (exp(x / alpha) - 1)."""

    op = "Celu"


class GELU(_Activation):
    """x * Phi(x), with the normal distribution's Phi; approximate="tanh" takes the approximation with tanh."""

    op = "Gelu"

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        super().__init__()
        self._attributes = {"approximate": approximate}


class _AlongAxis(_Activation):
    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self._attributes = {"axis": dim}


class Softmax(_AlongAxis):
    """exp(x) / sum(exp(x)) along an axis."""

    op = "Softmax"


class LogSoftmax(_AlongAxis):
    """log(softmax(x)) along an axis."""

    op = "LogSoftmax"


class SiLU(_Activation):
    """x * sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return apply("Mul", x, apply("Sigmoid", x))


class LogSigmoid(_Activation):
    """log(sigmoid(x))."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return -apply("Softplus", -x)


class Hardshrink(_Activation):
    """x where |x| > lambd, else 0."""

    op = "Shrink"

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self._attributes = {"lambd": lambd, "bias": 0.0}


class Softshrink(_Activation):
    """x moved towards 0 by lambd, and no further."""

    op = "Shrink"

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self._attributes = {"lambd": lambd, "bias": lambd}


class Threshold(Module):
    """x where x > threshold, else `value`."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value = threshold, value

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return apply("Where", x > self.threshold, x, constant(self.value, dtype=x.dtype))

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"threshold={self.threshold}, value={self.value}"


class GLU(Module):
    """The first half along an axis times the sigmoid of the second (Dauphin et al. 2017)."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape with an even extent on that axis."""
        first, second = apply_all("Split", [x], {"axis": self.dim, "num_outputs": 2}, outputs=2)
        return first * apply("Sigmoid", second)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"dim={self.dim}"


class Softplus(Module):
    """log(1 + exp(beta x)) / beta."""

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if not beta > 0:
            raise InvalidArgument(f"beta is {beta}; a positive number expected")
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return apply("Softplus", x) if self.beta == 1 else apply("Softplus", x * self.beta) / self.beta


class Hardtanh(Module):
    """min(max(x, min_val), max_val)."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if not min_val < max_val:
            raise InvalidArgument(f"min_val {min_val} must be less than max_val {max_val}")
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return apply("Clip", x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


class ReLU6(Hardtanh):
    """min(max(x, 0), 6)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return ""


class PReLU(Module):
    """x where x > 0, else weight * x, with a weight for each channel or one for all.

    Attributes:
        weight: [num_parameters], 1/4 at first.
    """

    def __init__(self, num_parameters: int = 1, value: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = variable(init.constant([num_parameters], value))

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, channels, ...]."""
        slope = self.weight
        if self.num_parameters > 1 and x.rank > 2:
            slope = slope.reshape([-1] + [1] * (x.rank - 2))
        return apply("PRelu", x, slope)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"num_parameters={self.num_parameters}"
