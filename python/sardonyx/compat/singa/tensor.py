"""SINGA's tensors and the functions on them that are no layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx.compat.singa.device import Device
from sardonyx.compat.singa.eager import Operand, Tensor, as_float, call

__all__ = ["Tensor", "float32", "from_numpy", "int32", "to_numpy"]

float32 = np.float32
int32 = np.int32

Axis = int | Sequence[int] | None


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


def repeat(t: Tensor, repeats: int, axis: int) -> Tensor:
    """Each element so many times along an axis."""
    return Tensor(data=np.repeat(t.numpy(), repeats, axis), device=t.device)


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


def mult(A: Tensor, B: Tensor) -> Tensor:
    """The product of matrices."""
    return A @ B


def einsum(ops: str, *args: Tensor) -> Tensor:
    """Einstein's sum convention."""
    return call("Einsum", *args, equation=ops)


def axpy(alpha: float, x: Tensor, y: Tensor) -> Tensor:
    """y += alpha x."""
    y += x * alpha
    return y


def copy_data_to_from(dst: Tensor, src: Tensor) -> None:
    """Gives dst the elements of src, which has as many."""
    dst.copy_data(src)
