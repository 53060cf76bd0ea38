"""Tensors that hold data: random, constant, or what an array holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx import nn
from sardonyx.compat.oneflow.devices import require_cpu
from sardonyx.graph.tensor import Tensor, data

__all__ = ["arange", "from_numpy", "full", "manual_seed", "ones", "rand", "randint", "randn", "tensor", "zeros"]

_rng = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Makes what is drawn afterwards, initial values of layers included, the same each time."""
    global _rng
    _rng = np.random.default_rng(seed)
    nn.init.seed(seed)


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], Sequence) else size


def randn(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """N(0, 1).

    Example:
        >>> randn(1, 3, 224, 224).shape
        (1, 3, 224, 224)
    """
    require_cpu(device)
    return data(_rng.standard_normal(_shape(size)).astype(dtype))


def rand(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """U(0, 1)."""
    require_cpu(device)
    return data(_rng.random(_shape(size)).astype(dtype))


def randint(low: int, high: int, size: Sequence[int], dtype: npt.DTypeLike = np.int64, device: object = None) -> Tensor:
    """Integers from low to high - 1."""
    require_cpu(device)
    return data(_rng.integers(low, high, tuple(size)).astype(dtype))


def ones(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """1."""
    require_cpu(device)
    return data(np.ones(_shape(size), dtype))


def zeros(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """0."""
    require_cpu(device)
    return data(np.zeros(_shape(size), dtype))


def full(size: Sequence[int], value: float, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """`value`."""
    require_cpu(device)
    return data(np.full(tuple(size), value, dtype))


def arange(
    start: float, end: float | None = None, step: float = 1, dtype: npt.DTypeLike | None = None, device: object = None
) -> Tensor:
    """Numbers from start (0 where only one is given) up to end, without it."""
    require_cpu(device)
    numbers = np.arange(start, step=step) if end is None else np.arange(start, end, step)
    return data(numbers.astype(dtype or (np.float32 if numbers.dtype.kind == "f" else np.int64)))


def tensor(value: npt.ArrayLike, dtype: npt.DTypeLike | None = None, device: object = None) -> Tensor:
    """What a list, number or array holds; Python's fractions become f32."""
    require_cpu(device)
    array = np.array(value, dtype)
    if dtype is None and array.dtype == np.float64 and not isinstance(value, (np.ndarray, np.generic)):
        array = array.astype(np.float32)
    return data(array)


def from_numpy(array: npt.NDArray[Any]) -> Tensor:
    """What an array holds; later changes of the array are seen."""
    return data(array)
