"""Functions of tensors, by OneFlow's names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt

from sardonyx.graph.tensor import Tensor, TensorLike, apply, as_tensor
from sardonyx.nn import Flatten

__all__ = [
    "abs", "add", "argmax", "cast", "cat", "ceil", "clamp", "concat", "cos", "cosh", "div", "eq", "erf", "exp",
    "flatten", "floor", "gelu", "hardswish", "leaky_relu", "log", "log_softmax", "masked_fill", "matmul", "max",
    "mean", "min", "mish", "mul", "neg", "permute", "pow", "reciprocal", "relu", "relu6", "reshape", "rsqrt",
    "sigmoid", "sign", "silu", "sin", "sinh", "softmax", "softplus", "sqrt", "square", "squeeze", "stack", "sub",
    "sum", "tan", "tanh", "transpose", "unsqueeze", "where",
]  # fmt: skip


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); `inplace` has no effect."""
    return apply("Relu", input)


def abs(input: Tensor) -> Tensor:
    """|x|."""
    return apply("Abs", input)


def ceil(input: Tensor) -> Tensor:
    """The smallest integer from x on."""
    return apply("Ceil", input)


def cos(input: Tensor) -> Tensor:
    """cos(x)."""
    return apply("Cos", input)


def cosh(input: Tensor) -> Tensor:
    """cosh(x)."""
    return apply("Cosh", input)


def erf(input: Tensor) -> Tensor:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return apply("Erf", input)


def exp(input: Tensor) -> Tensor:
    """exp(x)."""
    return apply("Exp", input)


def floor(input: Tensor) -> Tensor:
    """The largest integer up to x."""
    return apply("Floor", input)


def hardswish(input: Tensor) -> Tensor:
    """x * min(max(x + 3, 0), 6) / 6."""
    return apply("HardSwish", input)


def log(input: Tensor) -> Tensor:
    """The natural logarithm."""
    return apply("Log", input)


def mish(input: Tensor) -> Tensor:
    """x * tanh(log(1 + exp(x)))."""
    return apply("Mish", input)


def neg(input: Tensor) -> Tensor:
    """-x."""
    return apply("Neg", input)


def reciprocal(input: Tensor) -> Tensor:
    """1 / x."""
    return apply("Reciprocal", input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return apply("Sigmoid", input)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return apply("Sign", input)


def sin(input: Tensor) -> Tensor:
    """sin(x)."""
    return apply("Sin", input)


def sinh(input: Tensor) -> Tensor:
    """sinh(x)."""
    return apply("Sinh", input)


def softplus(input: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return apply("Softplus", input)


def sqrt(input: Tensor) -> Tensor:
    """The square root."""
    return apply("Sqrt", input)


def tan(input: Tensor) -> Tensor:
    """tan(x)."""
    return apply("Tan", input)


def tanh(input: Tensor) -> Tensor:
    """tanh(x)."""
    return apply("Tanh", input)


def add(input: TensorLike, other: TensorLike) -> Tensor:
    """a + b."""
    return apply("Add", input, other)


def sub(input: TensorLike, other: TensorLike) -> Tensor:
    """a - b."""
    return apply("Sub", input, other)


def mul(input: TensorLike, other: TensorLike) -> Tensor:
    """a * b."""
    return apply("Mul", input, other)


def div(input: TensorLike, other: TensorLike) -> Tensor:
    """a / b."""
    return apply("Div", input, other)


def pow(input: TensorLike, other: TensorLike) -> Tensor:
    """a ^ b."""
    return apply("Pow", input, other)


def matmul(input: TensorLike, other: TensorLike) -> Tensor:
    """The product of matrices, or of stacks of them."""
    return apply("MatMul", input, other)


def eq(input: TensorLike, other: TensorLike) -> Tensor:
    """Whether a equals b."""
    return apply("Equal", input, other)


def square(input: Tensor) -> Tensor:
    """x * x."""
    return apply("Mul", input, input)


def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(x)."""
    return apply("Reciprocal", apply("Sqrt", input))


def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return apply("Mul", input, apply("Sigmoid", input))


def gelu(input: Tensor) -> Tensor:
    """x * Phi(x), with the normal distribution's Phi."""
    return apply("Gelu", input)


def leaky_relu(input: Tensor, alpha: float = 0.01) -> Tensor:
    """x where x > 0, else alpha * x."""
    return apply("LeakyRelu", input, alpha=alpha)


def relu6(input: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return clamp(input, 0.0, 6.0)


def clamp(input: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """min(max(x, min), max); None for no bound."""
    return apply("Clip", input, min, max)


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis."""
    return apply("Softmax", input, axis=dim)


def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """log(softmax(x)) along an axis."""
    return apply("LogSoftmax", input, axis=dim)


def sum(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """Over axes, or all."""
    return input.sum(dim, keepdim)


def mean(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """Over axes, or all."""
    return input.mean(dim, keepdim)


def max(input: Tensor) -> Tensor:
    """The largest element."""
    return input.max()


def min(input: Tensor) -> Tensor:
    """The smallest element."""
    return input.min()


def argmax(input: Tensor, dim: int = -1, keepdim: bool = False) -> Tensor:
    """The place of the largest element along an axis."""
    return input.argmax(dim, keepdim)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One behind the other along an axis."""
    return apply("Concat", *tensors, axis=dim)


concat = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One behind the other along a new axis."""
    return apply("Concat", *(x.unsqueeze(dim) for x in tensors), axis=dim)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Makes the axes from start_dim to end_dim one."""
    return Flatten(start_dim, end_dim)(input)  # type: ignore[no-any-return]


def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements under another shape; -1 for the extent that follows from the others."""
    return input.reshape(list(shape))


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Axes in another order."""
    return input.transpose(*dims)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    order = list(range(input.rank))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return input.transpose(*order)


def squeeze(input: Tensor, dim: int | None = None) -> Tensor:
    """Without an axis of extent 1, or all such."""
    return input.squeeze() if dim is None else input.squeeze(dim)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new axis of extent 1."""
    return input.unsqueeze(dim)


def where(condition: Tensor, x: TensorLike, y: TensorLike) -> Tensor:
    """x where the condition holds, else y."""
    like = next((value for value in (x, y) if isinstance(value, Tensor)), None)
    return apply("Where", condition, *(as_tensor(value, like) for value in (x, y)))


def masked_fill(input: Tensor, mask: Tensor, value: float) -> Tensor:
    """`value` where the mask holds."""
    return where(mask, value, input)


def cast(input: Tensor, dtype: npt.DTypeLike) -> Tensor:
    """Elements of another type."""
    return input.astype(dtype)
