"""Sums, means, norms, extremes, orders and products, by OneFlow's names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sardonyx.compat.oneflow.elementwise import truth
from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, TensorLike, apply, apply_all, constant

__all__ = [
    "Ordered", "addmm", "all", "amax", "amin", "any", "argmax", "argmin", "argsort", "baddbmm", "bmm", "cumsum", "dot",
    "einsum", "logsumexp", "matmul", "max", "mean", "min", "mm", "norm", "prod", "sort", "std", "sum", "topk", "var",
]  # fmt: skip

Dims = int | Sequence[int] | None


class Ordered(NamedTuple):
    """Elements, and where along the axis they were found (i64)."""

    values: Tensor
    indices: Tensor


def _reduce(op: str, x: TensorLike, dim: Dims, keepdim: bool) -> Tensor:
    axes = None if dim is None else np.atleast_1d(np.asarray(dim, np.int64))
    return apply(op, x, axes, keepdims=int(keepdim))


def _countable(x: Tensor) -> Tensor:
    return apply("Cast", x, to=np.int64) if x.dtype.kind in "biu" and x.dtype != np.int64 else x


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Over axes, or all; integers and truth values are counted in i64."""
    return _reduce("ReduceSum", _countable(input), dim, keepdim)


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Over axes, or all."""
    return _reduce("ReduceMean", input, dim, keepdim)


def prod(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The product over axes, or all; that of integers and truth values in i64."""
    return _reduce("ReduceProd", _countable(input), dim, keepdim)


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The largest element over axes, or all."""
    return _reduce("ReduceMax", input, dim, keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The smallest element over axes, or all."""
    return _reduce("ReduceMin", input, dim, keepdim)


def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes."""
    return _reduce("ReduceLogSumExp", input, dim, keepdim)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether no element over axes, or of all, is 0."""
    return _truth_over("ReduceMin", input, dim, keepdim)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether an element over axes, or of all, is not 0."""
    return _truth_over("ReduceMax", input, dim, keepdim)


def _truth_over(op: str, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    return _reduce(op, apply("Cast", truth(x), to=np.int32), dim, keepdim).astype(np.bool_)


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; along an axis, with its place (`Ordered`); of two tensors, element by element."""
    return _extreme("Max", input, dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; along an axis, with its place (`Ordered`); of two tensors, element by element."""
    return _extreme("Min", input, dim, keepdim)


def _extreme(op: str, x: Tensor, dim: Any, keepdim: bool) -> Tensor | Ordered:
    if isinstance(dim, Tensor):
        return apply(op, x, dim)
    if dim is None:
        return _reduce(f"Reduce{op}", x, None, False)
    places = apply(f"Arg{op}", x, axis=dim, keepdims=int(keepdim))
    return Ordered(_reduce(f"Reduce{op}", x, dim, keepdim), places)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the largest element along an axis, or among all as one vector (i64)."""
    return _place("ArgMax", input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the smallest element along an axis, or among all as one vector (i64)."""
    return _place("ArgMin", input, dim, keepdim)


def _place(op: str, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if dim is None:
        return apply(op, apply("Reshape", x, constant([-1])), axis=0, keepdims=0)
    return apply(op, x, axis=dim, keepdims=int(keepdim))


def var(input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The sum of squared distances from the mean over their number, less one where unbiased; over axes, or all."""
    distance = input - mean(input, dim, keepdim=True)
    squares = distance * distance
    if not unbiased:
        return mean(squares, dim, keepdim)
    shape = apply("Shape", input)
    extents = shape if dim is None else apply("Gather", shape, np.atleast_1d(np.asarray(dim, np.int64)))
    count = apply("ReduceProd", extents, keepdims=0).astype(input.dtype)
    return sum(squares, dim, keepdim) / (count - constant(1, dtype=input.dtype))


def std(input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The root of `var`."""
    return apply("Sqrt", var(input, dim, unbiased, keepdim))


def norm(input: Tensor, p: float | str | None = None, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """sum(|x|^p)^(1/p) over axes, or all: the Euclidean norm where p is None, 2 or "fro"; p may be infinite."""
    if p in (None, "fro", 2):
        return _reduce("ReduceL2", input, dim, keepdim)
    if p == 1:
        return _reduce("ReduceL1", input, dim, keepdim)
    if isinstance(p, str) or p is None:
        raise InvalidArgument(f"norm: p is '{p}'; a number or 'fro' expected")
    size = apply("Abs", input)
    if math.isinf(p):
        return _reduce("ReduceMax" if p > 0 else "ReduceMin", size, dim, keepdim)
    return _reduce("ReduceSum", apply("Pow", size, float(p)), dim, keepdim) ** (1.0 / p)


def cumsum(input: Tensor, dim: int) -> Tensor:
    """The sums of all elements up to each along an axis; integers and truth values are counted in i64."""
    return apply("CumSum", _countable(input), constant(dim))


# --- orders


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Ordered:
    """The k largest or smallest elements along an axis."""
    attributes = {"axis": dim, "largest": int(largest), "sorted": int(sorted)}
    return Ordered(*apply_all("TopK", [input, constant([k])], attributes, outputs=2))


def sort(input: Tensor, dim: int = -1, descending: bool = False) -> Ordered:
    """All elements along an axis, in order."""
    extent = apply("Gather", apply("Shape", input), constant([dim]))
    return Ordered(*apply_all("TopK", [input, extent], {"axis": dim, "largest": int(descending)}, outputs=2))


def argsort(input: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """The places along an axis in the order of their elements."""
    return sort(input, dim, descending).indices


# --- products


def matmul(input: TensorLike, other: TensorLike) -> Tensor:
    """The product of matrices, or of stacks of them."""
    return apply("MatMul", input, other)


mm = bmm = dot = matmul


def addmm(input: TensorLike, mat1: Tensor, mat2: Tensor, *, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """beta * x + alpha * a @ b."""
    return apply("Gemm", mat1, mat2, input, alpha=float(alpha), beta=float(beta))


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """beta * x + alpha * a @ b, for stacks of matrices."""
    return input * beta + apply("MatMul", batch1, batch2) * alpha


def einsum(equation: str, *operands: Any) -> Tensor:
    """Einstein's sum convention, as NumPy's.

    Example:
        >>> einsum("ij,kj->ik", np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)).shape
        (2, 4)
    """
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    return apply("Einsum", *given, equation=equation)
