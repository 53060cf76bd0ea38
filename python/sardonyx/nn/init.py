"""Initial values of parameters: arrays drawn from a generator of random numbers.

Every function takes `rng`: a `numpy.random.Generator`, a seed, or None for the default generator, which `seed(n)` makes
repeat itself. Fans are those of weights laid out [outputs, inputs, *kernel].

Example:
    >>> seed(7)
    >>> round(float(he_normal((64, 3, 7, 7)).std()), 2)
    0.12
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument

__all__ = [
    "Rng",
    "constant",
    "fans",
    "gain",
    "generator",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "seed",
    "truncated_normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Rng: TypeAlias = "np.random.Generator | int | None"
Shape: TypeAlias = "Sequence[int]"
Mode: TypeAlias = Literal["fan_in", "fan_out"]
Array: TypeAlias = "npt.NDArray[Any]"

_default = np.random.default_rng()


def seed(n: int) -> None:
    """Starts the default generator anew: what is drawn from it afterwards is the same each time."""
    global _default
    _default = np.random.default_rng(n)


def generator(rng: Rng = None) -> np.random.Generator:
    """The generator that `rng` stands for."""
    if rng is None:
        return _default
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def _drawn_as(dtype: npt.DTypeLike) -> type[np.float32 | np.float64]:
    return np.float32 if np.dtype(dtype).itemsize <= 4 else np.float64


def fans(shape: Shape) -> tuple[int, int]:
    """How many inputs an output depends on, and outputs an input: of weights [outputs, inputs, *kernel]."""
    if len(shape) < 2:
        raise InvalidArgument(f"weights of shape {list(shape)} have no fans; two axes or more expected")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def gain(nonlinearity: str, slope: float = 0.01) -> float:
    """What keeps the variance of a signal through a nonlinearity: relu sqrt(2), leaky_relu sqrt(2 / (1 + slope^2)),
    tanh 5/3, selu 3/4, linear and sigmoid 1."""
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    gains["leaky_relu"] = math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in gains:
        raise InvalidArgument(f"nonlinearity is '{nonlinearity}'; one of {', '.join(gains)} expected")
    return gains[nonlinearity]


def zeros(shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
    """0."""
    return np.zeros(tuple(shape), dtype)


def ones(shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
    """1."""
    return np.ones(tuple(shape), dtype)


def constant(shape: Shape, value: float, dtype: npt.DTypeLike = np.float32) -> Array:
    """`value`."""
    return np.full(tuple(shape), value, dtype)


def uniform(
    shape: Shape, low: float = 0.0, high: float = 1.0, rng: Rng = None, dtype: npt.DTypeLike = np.float32
) -> Array:
    """U(low, high)."""
    drawn: Array = generator(rng).random(tuple(shape), _drawn_as(dtype))
    drawn *= high - low
    drawn += low
    return drawn.astype(dtype, copy=False)


def normal(
    shape: Shape, mean: float = 0.0, std: float = 1.0, rng: Rng = None, dtype: npt.DTypeLike = np.float32
) -> Array:
    """N(mean, std^2)."""
    drawn: Array = generator(rng).standard_normal(tuple(shape), _drawn_as(dtype))
    drawn *= std
    drawn += mean
    return drawn.astype(dtype, copy=False)


def truncated_normal(
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    rng: Rng = None,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """N(mean, std^2) on condition of lying in [mean + low * std, mean + high * std]: draws outside are drawn again."""
    chance = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if not chance > 1e-3:
        raise InvalidArgument(f"[{low}, {high}] holds hardly any of the normal distribution; a wider interval expected")
    source = generator(rng)
    drawn = source.standard_normal(tuple(shape))
    while (outside := (drawn < low) | (drawn > high)).any():
        drawn[outside] = source.standard_normal(int(outside.sum()))
    return (drawn * std + mean).astype(dtype)


def xavier_uniform(shape: Shape, gain: float = 1.0, rng: Rng = None, dtype: npt.DTypeLike = np.float32) -> Array:
    """U(-a, a) with a = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(shape)))
    return uniform(shape, -bound, bound, rng, dtype)


def xavier_normal(shape: Shape, gain: float = 1.0, rng: Rng = None, dtype: npt.DTypeLike = np.float32) -> Array:
    """N(0, s^2) with s = gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return normal(shape, 0.0, gain * math.sqrt(2 / sum(fans(shape))), rng, dtype)


def _fan(shape: Shape, mode: Mode) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise InvalidArgument(f"mode is '{mode}'; fan_in or fan_out expected")
    return fans(shape)[mode == "fan_out"]


def he_uniform(
    shape: Shape,
    gain: float = math.sqrt(2),
    mode: Mode = "fan_in",
    rng: Rng = None,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """U(-a, a) with a = gain * sqrt(3 / fan) (He et al. 2015)."""
    bound = gain * math.sqrt(3 / _fan(shape, mode))
    return uniform(shape, -bound, bound, rng, dtype)


def he_normal(
    shape: Shape,
    gain: float = math.sqrt(2),
    mode: Mode = "fan_in",
    rng: Rng = None,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """N(0, s^2) with s = gain / sqrt(fan) (He et al. 2015)."""
    return normal(shape, 0.0, gain / math.sqrt(_fan(shape, mode)), rng, dtype)


def lecun_uniform(shape: Shape, rng: Rng = None, dtype: npt.DTypeLike = np.float32) -> Array:
    """U(-a, a) with a = sqrt(3 / fan_in) (LeCun et al. 1998)."""
    return he_uniform(shape, 1.0, "fan_in", rng, dtype)


def lecun_normal(shape: Shape, rng: Rng = None, dtype: npt.DTypeLike = np.float32) -> Array:
    """N(0, 1 / fan_in) (LeCun et al. 1998)."""
    return he_normal(shape, 1.0, "fan_in", rng, dtype)


def orthogonal(shape: Shape, gain: float = 1.0, rng: Rng = None, dtype: npt.DTypeLike = np.float32) -> Array:
    """Rows (or columns, where there are fewer) that are orthonormal, times gain (Saxe et al. 2014)."""
    if len(shape) < 2:
        raise InvalidArgument(f"an orthogonal matrix has two axes or more, not the shape {list(shape)}")
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(generator(rng).standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # makes the distribution uniform over orthogonal matrices
    return ((q if rows >= columns else q.T) * gain).reshape(tuple(shape)).astype(dtype)
