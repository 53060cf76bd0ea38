"""Initial values by OneFlow's names: functions that end in _ give a parameter new elements and return it. The others
are those of `sardonyx.nn.init`, which return arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sardonyx.graph.tensor import Tensor
from sardonyx.nn import init
from sardonyx.nn.init import *  # noqa: F403
from sardonyx.nn.init import Mode

__all__ = [
    *init.__all__,
    "calculate_gain", "constant_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_", "orthogonal_",
    "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

calculate_gain = init.gain


def _filled(draw: Callable[..., Any]) -> Callable[..., Tensor]:
    """A function of `sardonyx.nn.init` that fills a parameter."""

    def function(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        tensor.assign(draw(tensor.numpy().shape, *args, **options))
        return tensor

    function.__doc__ = f"See sardonyx.nn.init.{draw.__name__}; the parameter stands for its shape."
    return function


constant_ = _filled(init.constant)
ones_ = _filled(init.ones)
orthogonal_ = _filled(init.orthogonal)
xavier_normal_ = _filled(init.xavier_normal)
xavier_uniform_ = _filled(init.xavier_uniform)
zeros_ = _filled(init.zeros)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """N(mean, std^2)."""
    tensor.assign(init.normal(tensor.numpy().shape, mean, std))
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """U(a, b)."""
    tensor.assign(init.uniform(tensor.numpy().shape, a, b))
    return tensor


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """N(mean, std^2), drawn again outside a to b."""
    tensor.assign(init.truncated_normal(tensor.numpy().shape, mean, std, (a - mean) / std, (b - mean) / std))
    return tensor


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """N(0, gain^2 / fan) (He et al. 2015); a: the slope of leaky_relu."""
    tensor.assign(init.he_normal(tensor.numpy().shape, init.gain(nonlinearity, a), mode))
    return tensor


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: Mode = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """U(-b, b) with b = gain sqrt(3 / fan) (He et al. 2015); a: the slope of leaky_relu."""
    tensor.assign(init.he_uniform(tensor.numpy().shape, init.gain(nonlinearity, a), mode))
    return tensor
