"""SINGA's autograd: operations, layers, and gradients of what they give."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx import graph, losses
from sardonyx.compat.singa import eager
from sardonyx.compat.singa.eager import Operand, Tensor, as_float, call, call_all
from sardonyx.compat.singa.layers import *  # noqa: F403
from sardonyx.compat.singa.layers import BatchNorm2d, Conv2d, Pooling2d
from sardonyx.compat.singa.layers import __all__ as _layers
from sardonyx.errors import InvalidArgument

__all__ = [*_layers, "backward", "gradients", "training"]

training: bool


class _Autograd(ModuleType):
    """This module, with a variable that tensors see."""

    @property
    def training(self) -> bool:
        """Whether operations are a part of training: programs set it."""
        return eager.training

    @training.setter
    def training(self, on: bool) -> None:
        eager.training = on


sys.modules[__name__].__class__ = _Autograd


# --- gradients


def backward(y: Tensor, dy: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """(parameter, gradient) for each tensor with `stores_grad` that y depends on, from the last layer to the first.

    Parameters may be updated within the loop: gradients are those of the values before. Updates are carried out at its
    end.

    Args:
        dy: the gradient of y; ones where none is given.
    """
    if not y.trained:
        raise InvalidArgument(
            "there are no gradients: autograd.training was False when this was computed; set it to True before"
        )
    found = list(reversed(eager.parameters(y)))
    seed = None if dy is None else dy.operand()
    lazy = graph.gradients(y.lazy, [p.lazy for p in found], seed)
    pairs = [(p, Tensor.of(g, p.device)) for p, g in zip(found, lazy, strict=True)]
    pairs.reverse()
    while pairs:
        yield pairs.pop()
    eager.flush()


def gradients(y: Tensor, dy: Tensor | None = None) -> dict[Tensor, Tensor]:
    """The gradient of each parameter."""
    return dict(backward(y, dy))


# --- element by element


def _unary(op: str) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        return call(op, x)

    function.__doc__ = f"ONNX's {op}."
    return function


def _binary(op: str) -> Callable[[Operand, Operand], Tensor]:
    def function(x: Operand, y: Operand) -> Tensor:
        return call(op, x, y)

    function.__doc__ = f"ONNX's {op}."
    return function


def _comparison(op: str) -> Callable[[Operand, Operand], Tensor]:
    def function(x: Operand, y: Operand) -> Tensor:
        return as_float(call(op, x, y))

    function.__doc__ = f"ONNX's {op}, as 1.0 and 0.0."
    return function


def _truth(x: Operand) -> Operand:
    return call("Cast", x, to=np.bool_) if isinstance(x, Tensor) else np.asarray(x, np.bool_)


def _logical(op: str) -> Callable[[Operand, Operand], Tensor]:
    def function(x: Operand, y: Operand) -> Tensor:
        return as_float(call(op, _truth(x), _truth(y)))

    function.__doc__ = f"ONNX's {op} of what is not 0, as 1.0 and 0.0."
    return function


def _variadic(op: str) -> Callable[..., Tensor]:
    def function(*xs: Operand) -> Tensor:
        return call(op, *xs)

    function.__doc__ = f"ONNX's {op}."
    return function


abs = _unary("Abs")
acos = _unary("Acos")
acosh = _unary("Acosh")
asin = _unary("Asin")
asinh = _unary("Asinh")
atan = _unary("Atan")
atanh = _unary("Atanh")
ceil = _unary("Ceil")
cos = _unary("Cos")
cosh = _unary("Cosh")
erf = _unary("Erf")
exp = _unary("Exp")
floor = _unary("Floor")
globalaveragepool = _unary("GlobalAveragePool")
identity = _unary("Identity")
log = _unary("Log")
negative = _unary("Neg")
nonzero = _unary("NonZero")
reciprocal = _unary("Reciprocal")
relu = _unary("Relu")
rounde = _unary("Round")
shape = _unary("Shape")
sigmoid = _unary("Sigmoid")
sign = _unary("Sign")
sin = _unary("Sin")
sinh = _unary("Sinh")
softplus = _unary("Softplus")
softsign = _unary("Softsign")
sqrt = _unary("Sqrt")
tan = _unary("Tan")
tanh = _unary("Tanh")

add = _binary("Add")
div = _binary("Div")
matmul = _binary("MatMul")
mul = _binary("Mul")
pow = _binary("Pow")
prelu = _binary("PRelu")
sub = _binary("Sub")

equal = _comparison("Equal")
greater = _comparison("Greater")
less = _comparison("Less")
_and = _logical("And")
_or = _logical("Or")
_xor = _logical("Xor")

add_all = _variadic("Sum")
max = _variadic("Max")
mean = _variadic("Mean")
min = _variadic("Min")
sum = _variadic("Sum")


def _not(x: Operand) -> Tensor:
    """1.0 where x is 0."""
    return as_float(call("Not", _truth(x)))


def add_bias(x: Tensor, b: Tensor, axis: int = 0) -> Tensor:
    """x plus a number for each column (axis 0) or each row (axis 1)."""
    return x + (b if axis == 0 else b.reshape((-1, 1)))


def clip(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """Bounded by min and max."""
    return call("Clip", x, min, max)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, alpha (e^x - 1) elsewhere."""
    return call("Elu", x, alpha=float(alpha))


def selu(x: Tensor, alpha: float = 1.67326, gamma: float = 1.0507) -> Tensor:
    """gamma x where x > 0, gamma alpha (e^x - 1) elsewhere."""
    return call("Selu", x, alpha=float(alpha), gamma=float(gamma))


def leakyrelu(x: Tensor, a: float = 0.01) -> Tensor:
    """x where x > 0, a x elsewhere."""
    return call("LeakyRelu", x, alpha=float(a))


def hardsigmoid(x: Tensor, alpha: float = 0.2, gamma: float = 0.5) -> Tensor:
    """alpha x + gamma, within 0 and 1."""
    return call("HardSigmoid", x, alpha=float(alpha), beta=float(gamma))


def softmax(x: Tensor, axis: int = 1) -> Tensor:
    """Over an axis."""
    return call("Softmax", x, axis=axis)


def round(x: Tensor) -> Tensor:
    """x rounded, halves away from 0."""
    return call("Sign", x) * call("Floor", call("Abs", x) + 0.5)


def dropout(x: Tensor, ratio: float = 0.5) -> Tensor:
    """In training: drops a share of the elements, and divides the others by what remains."""
    return call("Dropout", x, float(ratio))


def where(x: Operand, y: Operand, condition: Operand) -> Tensor:
    """x where the condition is not 0, y elsewhere."""
    return call("Where", _truth(condition), x, y)


def cast(x: Tensor, to: Any) -> Tensor:
    """Elements of another type, given as NumPy's or by ONNX's number."""
    return call("Cast", x, to=to if isinstance(to, (int, np.integer)) else np.dtype(to))


# --- products and sums


def gemm(
    A: Tensor,
    B: Tensor,
    C: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha A B + beta C, with A and B transposed on request."""
    return call("Gemm", A, B, C, alpha=float(alpha), beta=float(beta), transA=int(transA), transB=int(transB))


def conv2d(handle: Conv2d, x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    """A convolution with the window of a layer and other weights."""
    return call("Conv", x, W, b, **handle.attributes)


def pooling_2d(handle: Pooling2d, x: Tensor) -> Tensor:
    """A layer's pooling."""
    return handle(x)


def batchnorm_2d(
    handle: BatchNorm2d, x: Tensor, scale: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor
) -> Tensor:
    """A normalization with the momentum of a layer and other parameters."""
    return call("BatchNormalization", x, scale, bias, running_mean, running_var, momentum=float(handle.momentum))


def reduce_sum(x: Tensor, axes: Sequence[int] | None = None, keepdims: int = 1) -> Tensor:
    """The sum over axes, or all."""
    return call("ReduceSum", x, _ints(axes), keepdims=int(keepdims))


def reduce_mean(x: Tensor, axes: Sequence[int] | None = None, keepdims: int = 1) -> Tensor:
    """The mean over axes, or all."""
    return call("ReduceMean", x, _ints(axes), keepdims=int(keepdims))


# --- losses


def softmax_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    """-log softmax(x) at the right class, the mean over the batch; t holds one-hot rows or classes. Shape [1]."""
    loss = losses.softmax_cross_entropy(x.operand(), t.operand())
    return Tensor.of(loss.reshape(1), x.device)


def cross_entropy(y: Tensor, t: Tensor) -> Tensor:
    """-log y at the right class of rows of probabilities, the mean over the batch; t holds one-hot rows. Shape [1]."""
    return _of_batch(-(t.operand() * call("Log", y).operand()), y)


def mse_loss(x: Tensor, t: Tensor) -> Tensor:
    """(x - t)^2 / 2, summed, the mean over the batch. Shape [1]."""
    return _of_batch(losses.mse(x.operand(), t.operand(), "none") * 0.5, x)


def binary_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    """-t log x - (1 - t) log(1 - x), summed, the mean over the batch. Shape [1]."""
    p, target = x.operand(), t.operand()
    value = target * graph.op.Log(p) + (1.0 - target) * graph.op.Log(1.0 - p)
    return _of_batch(-value, x)


def ranking_loss(pos: Tensor, neg: Tensor, M: float = 0.2) -> Tensor:
    """max(M - pos + neg, 0), the mean. Shape [1]."""
    loss = graph.op.Relu(M - (pos.operand() - neg.operand())).mean()
    return Tensor.of(loss.reshape(1), pos.device)


def _of_batch(value: graph.Tensor, like: Tensor) -> Tensor:
    return Tensor.of(value.mean(0).sum().reshape(1), like.device)


def cossim(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle between rows."""
    sizes = call("ReduceL2", a, _ints([-1]), keepdims=0) * call("ReduceL2", b, _ints([-1]), keepdims=0)
    return call("ReduceSum", a * b, _ints([-1]), keepdims=0) / sizes


# --- shapes


def _ints(values: Sequence[int] | None) -> npt.NDArray[Any] | None:
    return None if values is None else np.asarray(values, np.int64).reshape(-1)


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements under another shape."""
    return call("Reshape", x, _ints(shape))


def flatten(x: Tensor, axis: int = 1) -> Tensor:
    """Two axes: the extents before `axis` multiplied, and those from it on."""
    return call("Flatten", x, axis=axis)


def transpose(x: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """Axes in another order; reversed where none is given."""
    return call("Transpose", x, perm=None if shape is None else list(shape))


def squeeze(x: Tensor, axis: int | Sequence[int] = ()) -> Tensor:
    """Without axes of extent 1: those given, or all."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    return call("Squeeze", x, _ints(axes) if axes else None)


def unsqueeze(x: Tensor, axis: int | Sequence[int] = -1) -> Tensor:
    """With new axes of extent 1."""
    return call("Unsqueeze", x, _ints([axis] if isinstance(axis, int) else axis))


def cat(xs: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors side by side along an axis."""
    return call("Concat", *xs, axis=axis)


def split(x: Tensor, axis: int, parts: Sequence[int] | None, num_output: int | None = None) -> list[Tensor]:
    """Parts along an axis, of the extents given or of equal ones."""
    if parts is not None:
        return call_all("Split", [x, _ints(parts)], len(parts), axis=axis)
    if num_output is None:
        raise InvalidArgument("split needs the extents of its parts, or num_output")
    return call_all("Split", [x], num_output, axis=axis, num_outputs=num_output)


def slice(
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> Tensor:
    """ONNX's Slice."""
    return call("Slice", x, _ints(starts), _ints(ends), _ints(axes), _ints(steps))


def gather(x: Tensor, axis: int, indices: Operand) -> Tensor:
    """Slices of x along an axis at the indices."""
    chosen = indices if isinstance(indices, Tensor) else np.asarray(indices, np.int64)
    return call("Gather", x, chosen, axis=axis)


def embedding(x: Tensor, w: Tensor) -> Tensor:
    """The rows of the table w at the indices x."""
    return call("Gather", w, call("Cast", x, to=np.int64), axis=0)


def scatter_elements(x: Tensor, indices: Operand, updates: Operand, axis: int = 0) -> Tensor:
    """x with other elements at the indices along an axis."""
    chosen = indices if isinstance(indices, Tensor) else np.asarray(indices, np.int64)
    return call("ScatterElements", x, chosen, updates, axis=axis)


def tile(x: Tensor, repeats: int | Sequence[int]) -> Tensor:
    """So many copies along each axis."""
    return call("Tile", x, _ints([repeats] if isinstance(repeats, int) else repeats))


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Spread to a shape."""
    return call("Expand", x, _ints(shape))


def pad(x: Tensor, mode: str, pads: Sequence[int], constant: float = 0.0) -> Tensor:
    """With more elements before and behind each axis: constant ones, reflected, or those of the edge."""
    return call("Pad", x, _ints(pads), float(constant), mode=mode)


def upsample(x: Tensor, mode: str, scales: Sequence[float]) -> Tensor:
    """Larger by a factor for each axis: nearest or linear."""
    return call(
        "Resize", x, None, np.asarray(scales, np.float32), mode=mode, coordinate_transformation_mode="asymmetric"
    )


def depth_to_space(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels to blocks of pixels."""
    return call("DepthToSpace", x, blocksize=blocksize, mode=mode)


def space_to_depth(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    """Blocks of pixels to channels."""
    if mode != "DCR":
        raise InvalidArgument(f"space_to_depth's mode is '{mode}'; DCR expected")
    return call("SpaceToDepth", x, blocksize=blocksize)


def constant_of_shape(x: Tensor, value: float = 0) -> Tensor:
    """A tensor whose shape are the elements of x, full of a value."""
    return call("ConstantOfShape", call("Cast", x, to=np.int64), value=np.array([value], np.float32))


def onehot(axis: int, indices: Operand, depth: int, values: Sequence[float]) -> Tensor:
    """values[1] at the indices, values[0] elsewhere, along a new axis of extent `depth`."""
    places = call("Cast", indices, to=np.int64) if isinstance(indices, Tensor) else np.asarray(indices, np.int64)
    return call("OneHot", places, np.asarray(depth, np.int64), np.asarray(values, np.float32), axis=axis)
