"""SINGA's tensors and the functions on them that are no layers."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx.compat.singa.device import Device
from sardonyx.compat.singa.eager import Operand, Tensor, as_float, call
from sardonyx.errors import InvalidArgument

__all__ = ["Tensor", "float32", "from_numpy", "int32", "to_numpy"]

float32 = np.float32
int32 = np.int32

Axis = int | Sequence[int] | None
PlaceHolder = Tensor
_LETTERS = string.ascii_letters


def from_numpy(np_array: npt.ArrayLike, dev: Device | None = None) -> Tensor:
    """A tensor of an array's elements: f32, or i32 for integers."""
    return Tensor(data=np_array, device=dev)


def to_numpy(t: Tensor) -> npt.NDArray[Any]:
    """The elements."""
    return t.numpy()


def to_host(t: Tensor) -> Tensor:
    """A tensor on the processor with the same elements."""
    return t.clone()


def product(shape: Sequence[int]) -> int:
    """The number of elements of a shape."""
    return int(np.prod(shape))


def sizeof(dtype: npt.DTypeLike) -> int:
    """Bytes of an element."""
    return np.dtype(dtype).itemsize


def zeros_like(t: Tensor) -> Tensor:
    """Zeros of the shape of t."""
    return Tensor(data=np.zeros(t.shape, t.dtype), device=t.device)


def ones_like(t: Tensor) -> Tensor:
    """Ones of the shape of t."""
    return Tensor(data=np.ones(t.shape, t.dtype), device=t.device)


def zeros(shape: Sequence[int], device: Device | None = None) -> Tensor:
    """Zeros."""
    return Tensor(shape, device)


def ones(shape: Sequence[int], device: Device | None = None) -> Tensor:
    """Ones."""
    return Tensor(data=np.ones(tuple(shape), np.float32), device=device)


def random(shape: Sequence[int], device: Device | None = None) -> Tensor:
    """Elements from [0, 1)."""
    return Tensor(shape, device).uniform(0, 1)


def gaussian(mean: float, std: float, t: Tensor) -> Tensor:
    """Fills t from a normal distribution."""
    return t.gaussian(mean, std)


def uniform(low: float, high: float, t: Tensor) -> Tensor:
    """Fills t from [low, high)."""
    return t.uniform(low, high)


def bernoulli(p: float, t: Tensor) -> Tensor:
    """Fills t with numbers that are 1 with probability p, else 0."""
    return t.bernoulli(p)


def reshape(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements under another shape."""
    return tensor.reshape(shape)


def transpose(t: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Axes in another order; reversed where none is given."""
    return t.transpose(axes)


def concatenate(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors side by side along an axis."""
    return call("Concat", *tensors, axis=axis)


def repeat(t: Tensor, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Each element so many times along an axis; all in one row where none is given."""
    return t.repeat(repeats, axis)


def contiguous(tensor: Tensor) -> Tensor:
    """The tensor itself: all are."""
    return tensor


def abs(t: Tensor) -> Tensor:
    """|t|."""
    return call("Abs", t)


def exp(t: Tensor) -> Tensor:
    """e^t."""
    return call("Exp", t)


def ceil(t: Tensor) -> Tensor:
    """t rounded up."""
    return call("Ceil", t)


def log(t: Tensor) -> Tensor:
    """The natural logarithm."""
    return call("Log", t)


def sigmoid(t: Tensor) -> Tensor:
    """1 / (1 + e^-t)."""
    return call("Sigmoid", t)


def sign(t: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return call("Sign", t)


def sqrt(t: Tensor) -> Tensor:
    """The square root."""
    return call("Sqrt", t)


def square(t: Tensor) -> Tensor:
    """t t."""
    return t * t


def tanh(t: Tensor) -> Tensor:
    """tanh t."""
    return call("Tanh", t)


def relu(t: Tensor) -> Tensor:
    """max(t, 0)."""
    return call("Relu", t)


def softmax(t: Tensor, axis: int = -1) -> Tensor:
    """Over an axis."""
    return call("Softmax", t, axis=axis)


def sum(t: Tensor, axis: Axis = None) -> Tensor:
    """Over axes, or all."""
    return _reduce("ReduceSum", t, axis)


def average(t: Tensor, axis: Axis = None) -> Tensor:
    """The mean over axes, or all."""
    return _reduce("ReduceMean", t, axis)


def _reduce(op: str, t: Tensor, axis: Axis) -> Tensor:
    axes = None if axis is None else np.atleast_1d(np.asarray(axis, np.int64))
    return call(op, t, axes, keepdims=0)


def pow(t: Tensor, x: Operand) -> Tensor:
    """t^x."""
    return t**x


def lt(t: Tensor, x: Operand) -> Tensor:
    """1.0 where t < x."""
    return t < x


def le(t: Tensor, x: Operand) -> Tensor:
    """1.0 where t <= x."""
    return t <= x


def gt(t: Tensor, x: Operand) -> Tensor:
    """1.0 where t > x."""
    return t > x


def ge(t: Tensor, x: Operand) -> Tensor:
    """1.0 where t >= x."""
    return t >= x


def eq(t: Tensor, x: Operand) -> Tensor:
    """1.0 where t equals x."""
    return as_float(call("Equal", t, x))


def add(lhs: Tensor, rhs: Operand) -> Tensor:
    """lhs + rhs."""
    return lhs + rhs


def sub(lhs: Tensor, rhs: Operand) -> Tensor:
    """lhs - rhs."""
    return lhs - rhs


def eltwise_mult(lhs: Tensor, rhs: Operand) -> Tensor:
    """lhs rhs, element by element."""
    return lhs * rhs


def div(lhs: Tensor, rhs: Operand) -> Tensor:
    """lhs / rhs."""
    return lhs / rhs


def mult(A: Tensor, B: Tensor, C: Tensor | None = None, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """The product of matrices, or of stacks of them. With C, C becomes alpha A B + beta C."""
    return A @ B if C is None else C.become(A @ B * alpha + C * beta)


def tensordot(A: Tensor, B: Tensor, axes: int | tuple[Any, Any] = 2) -> Tensor:
    """The sums of products over axes of A and of B, as numpy.tensordot.

    Args:
        axes: how many last axes of A and first ones of B; or an axis or a list of axes of each.
    """
    last = range(A.ndim() - axes, A.ndim()) if isinstance(axes, int) else axes[0]
    first = range(axes) if isinstance(axes, int) else axes[1]
    pairs = [
        (np.atleast_1d(np.asarray(list(x) if isinstance(x, range) else x)) % t.ndim())
        for x, t in ((last, A), (first, B))
    ]
    a = _LETTERS[: A.ndim()]
    shared = {int(j): a[i] for i, j in zip(*pairs, strict=True)}
    b = "".join(shared.get(j, _LETTERS[A.ndim() + j]) for j in range(B.ndim()))
    kept = [x for x in a + b if x not in shared.values()]
    return einsum(f"{a},{b}->{''.join(kept)}", A, B)


def add_column(alpha: float, v: Tensor, beta: float, M: Tensor) -> Tensor:
    """Each column m of M becomes alpha v + beta m."""
    return M.become(M * beta + v.reshape((-1, 1)) * alpha)


def add_row(alpha: float, v: Tensor, beta: float, M: Tensor) -> Tensor:
    """Each row m of M becomes alpha v + beta m."""
    return M.become(M * beta + v * alpha)


def sum_columns(M: Tensor) -> Tensor:
    """The sum of the columns of a matrix, [rows, 1]."""
    return call("ReduceSum", M, np.array([1]), keepdims=1)


def sum_rows(M: Tensor) -> Tensor:
    """The sum of the rows of a matrix, [1, columns]."""
    return call("ReduceSum", M, np.array([0]), keepdims=1)


def einsum(ops: str, *args: Tensor) -> Tensor:
    """Einstein's sum convention."""
    return call("Einsum", *args, equation=ops)


def axpy(alpha: float, x: Tensor, y: Tensor) -> Tensor:
    """y += alpha x."""
    y += x * alpha
    return y


def copy_data_to_from(
    dst: Tensor, src: Tensor, size: int | None = None, dst_offset: int = 0, src_offset: int = 0
) -> None:
    """Gives dst `size` elements of src, or all; both counted row by row, from the offsets on."""
    given = src.numpy().reshape(-1)[src_offset:]
    taken = given if size is None else given[:size]
    elements = dst.numpy().reshape(-1).copy()
    if len(taken) < (size or 0) or dst_offset + len(taken) > len(elements):
        raise InvalidArgument(f"{size} elements from {src_offset} on do not fit {len(elements)} from {dst_offset} on")
    elements[dst_offset : dst_offset + len(taken)] = taken
    dst.copy_from_numpy(elements)
