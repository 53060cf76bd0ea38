"""SINGA's initial values: each function fills a tensor."""

from __future__ import annotations

import math

from sardonyx.compat.singa.eager import Tensor
from sardonyx.errors import InvalidArgument

__all__ = ["gaussian", "glorot", "msra", "uniform", "xavier"]


def _mean_fan(fan_in: int, fan_out: int) -> float:
    """The mean of those that are given."""
    given = [fan for fan in (fan_in, fan_out) if fan > 0]
    if not given:
        raise InvalidArgument("fan_in or fan_out must be given: how many inputs an output has, or outputs an input")
    return math.fsum(given) / len(given)


def uniform(t: Tensor, fan_in: int = 0, fan_out: int = 0) -> None:
    """U(-a, a) with a = sqrt(3 / fan), the mean of the fans given (Glorot and Bengio 2010)."""
    bound = math.sqrt(3.0 / _mean_fan(fan_in, fan_out))
    t.uniform(-bound, bound)


def gaussian(t: Tensor, fan_in: int = 0, fan_out: int = 0) -> None:
    """N(0, 2 / fan), the mean of the fans given (He et al. 2015)."""
    t.gaussian(0.0, math.sqrt(2.0 / _mean_fan(fan_in, fan_out)))


def xavier(t: Tensor) -> None:
    """U(-a, a) with a = sqrt(6 / (rows + columns)), of a matrix."""
    uniform(t, t.shape[0], t.shape[1])


def glorot(t: Tensor) -> None:
    """N(0, 2 / (rows + columns)), of a matrix."""
    t.gaussian(0.0, math.sqrt(2.0 / (t.shape[0] + t.shape[1])))


def msra(t: Tensor) -> None:
    """N(0, 2 / rows)."""
    gaussian(t, t.shape[0])
