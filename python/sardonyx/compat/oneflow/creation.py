"""Tensors that hold data: random, constant, or what an array holds.

`requires_grad` makes a tensor one to which `backward()` gives a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx import graph, nn
from sardonyx.compat.oneflow.devices import require_cpu
from sardonyx.compat.oneflow.tensor import Tensor, of

__all__ = [
    "arange", "as_tensor", "empty", "eye", "from_numpy", "full", "full_like", "linspace", "manual_seed", "normal",
    "ones", "ones_like", "rand", "randint", "randn", "randn_like", "randperm", "tensor", "zeros", "zeros_like",
]  # fmt: skip

_rng = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Makes what is drawn afterwards, initial values of layers included, the same each time."""
    global _rng
    _rng = np.random.default_rng(seed)
    nn.init.seed(seed)


def _made(array: npt.NDArray[Any], dtype: npt.DTypeLike, device: object, requires_grad: bool = False) -> Tensor:
    require_cpu(device)
    return of(graph.data(array.astype(dtype))).requires_grad_(requires_grad)


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], Sequence) else size


def randn(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None, requires_grad: bool = False) -> Tensor:
    """N(0, 1).

    Example:
        >>> randn(1, 3, 224, 224).shape
        (1, 3, 224, 224)
    """
    return _made(_rng.standard_normal(_shape(size)), dtype, device, requires_grad)


def rand(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None, requires_grad: bool = False) -> Tensor:
    """U(0, 1)."""
    return _made(_rng.random(_shape(size)), dtype, device, requires_grad)


def randint(low: int, high: int, size: Sequence[int], dtype: npt.DTypeLike = np.int64, device: object = None) -> Tensor:
    """Integers from low to high - 1."""
    return _made(_rng.integers(low, high, tuple(size)), dtype, device)


def ones(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None, requires_grad: bool = False) -> Tensor:
    """1."""
    return _made(np.ones(_shape(size)), dtype, device, requires_grad)


def zeros(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None, requires_grad: bool = False) -> Tensor:
    """0."""
    return _made(np.zeros(_shape(size)), dtype, device, requires_grad)


def full(size: Sequence[int], value: float, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """`value`."""
    return _made(np.full(tuple(size), value), dtype, device)


def arange(
    start: float, end: float | None = None, step: float = 1, dtype: npt.DTypeLike | None = None, device: object = None
) -> Tensor:
    """Numbers from start (0 where only one is given) up to end, without it."""
    numbers = np.arange(start, step=step) if end is None else np.arange(start, end, step)
    return _made(numbers, dtype or (np.float32 if numbers.dtype.kind == "f" else np.int64), device)


def tensor(
    value: npt.ArrayLike, dtype: npt.DTypeLike | None = None, device: object = None, requires_grad: bool = False
) -> Tensor:
    """What a list, number or array holds; Python's fractions become f32."""
    array = np.array(value, dtype)
    if dtype is None and array.dtype == np.float64 and not isinstance(value, (np.ndarray, np.generic, graph.Tensor)):
        array = array.astype(np.float32)
    return _made(array, array.dtype, device, requires_grad)


def as_tensor(value: Any, dtype: npt.DTypeLike | None = None, device: object = None) -> Tensor:
    """A tensor itself, or what a list, number or array holds."""
    return value.to(dtype=dtype, device=device) if isinstance(value, Tensor) else tensor(value, dtype, device)


def from_numpy(array: npt.NDArray[Any]) -> Tensor:
    """What an array holds; later changes of the array are seen."""
    return of(graph.data(array))


def empty(*size: Any, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """Some numbers: 0."""
    return zeros(*size, dtype=dtype, device=device)


def eye(n: int, m: int | None = None, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """1 on the diagonal of [n, m], else 0."""
    return _made(np.eye(n, m), dtype, device)


def linspace(
    start: float, end: float, steps: int = 100, dtype: npt.DTypeLike = np.float32, device: object = None
) -> Tensor:
    """`steps` numbers from start to end, equally far apart."""
    return _made(np.linspace(start, end, steps), dtype, device)


def normal(mean: float, std: float, *size: Any, dtype: npt.DTypeLike = np.float32, device: object = None) -> Tensor:
    """N(mean, std^2)."""
    return _made(_rng.normal(mean, std, _shape(size)), dtype, device)


def randperm(n: int, dtype: npt.DTypeLike = np.int64, device: object = None) -> Tensor:
    """The integers below n in a random order."""
    return _made(_rng.permutation(n), dtype, device)


# --- of the shape of others


def _like(x: graph.Tensor) -> tuple[int, ...]:
    return x.numpy().shape if any(not isinstance(n, int) for n in x.shape or (None,)) else tuple(x.shape)  # type: ignore[arg-type]


def zeros_like(input: graph.Tensor, dtype: npt.DTypeLike | None = None) -> Tensor:
    """0 in the shape and the type of another tensor."""
    return _made(np.zeros(_like(input)), dtype or input.dtype, None)


def ones_like(input: graph.Tensor, dtype: npt.DTypeLike | None = None) -> Tensor:
    """1 in the shape and the type of another tensor."""
    return _made(np.ones(_like(input)), dtype or input.dtype, None)


def full_like(input: graph.Tensor, fill_value: float, dtype: npt.DTypeLike | None = None) -> Tensor:
    """A number in the shape and the type of another tensor."""
    return _made(np.full(_like(input), fill_value), dtype or input.dtype, None)


def randn_like(input: graph.Tensor, dtype: npt.DTypeLike | None = None) -> Tensor:
    """N(0, 1) in the shape and the type of another tensor."""
    return _made(_rng.standard_normal(_like(input)), dtype or input.dtype, None)
