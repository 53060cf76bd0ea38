"""Hetu's `*_op` builders, variables, gradients and executor.

Every builder takes `ctx` too, as Hetu's do; where a node computes is the executor's business, so it changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from sardonyx import losses
from sardonyx.compat.hetu.executor import Executor
from sardonyx.compat.hetu.initializers import Initializer, parameter
from sardonyx.compat.hetu.ndarray import DLContext, NDArray
from sardonyx.errors import InvalidArgument
from sardonyx.graph import executor as graph_executor
from sardonyx.graph.tensor import Tensor, TensorLike, apply, apply_all, constant, placeholder, variable

_Builder = TypeVar("_Builder", bound=Callable[..., Any])
_Ints = Sequence[int]


def _builder(function: _Builder) -> _Builder:
    """Lets a builder take `ctx`, and a `name` for its node's output."""

    @functools.wraps(function)
    def build(*args: Any, ctx: DLContext | None = None, name: str = "", **options: Any) -> Any:
        result = function(*args, **options)
        if name and isinstance(result, Tensor):
            result.name = name
        return result

    return cast(_Builder, build)


def _unary(op: str, meaning: str) -> Callable[..., Tensor]:
    def build(node: Tensor) -> Tensor:
        return apply(op, node)

    build.__doc__ = meaning
    return _builder(build)


def _binary(op: str, meaning: str) -> Callable[..., Tensor]:
    def build(node_A: TensorLike, node_B: TensorLike) -> Tensor:
        return apply(op, node_A, node_B)

    build.__doc__ = meaning
    return _builder(build)


def Variable(
    name: str,
    value: npt.ArrayLike | NDArray | None = None,
    initializer: Initializer | None = None,
    trainable: bool = True,
    dtype: npt.DTypeLike = np.float32,
    ctx: DLContext | None = None,
) -> Tensor:
    """A parameter where it has a value or an initializer; else what each run is fed, of any shape."""
    if value is not None:
        array = np.asarray(value, dtype)
        return variable(array, name, trainable=trainable and np.issubdtype(array.dtype, np.floating))
    if initializer is not None:
        return parameter(initializer, name, trainable, dtype)
    return placeholder(name, dtype)


placeholder_op = Variable


def gradients(
    output_node: Tensor, node_list: Sequence[Tensor], insert_grad: Tensor | None = None, **_: Any
) -> list[Tensor]:
    """The derivative of the sum of `output_node` (times `insert_grad`) by each node."""
    return graph_executor.gradients(output_node, node_list, insert_grad)


def _int64(values: int | _Ints | npt.NDArray[Any]) -> Tensor:
    return constant(np.asarray(values, np.int64).reshape(-1))


def _pair(value: int | _Ints) -> list[int]:
    return [int(value)] * 2 if isinstance(value, (int, np.integer)) else [int(v) for v in value]


def _sides(padding: int | _Ints) -> list[int]:
    """Padding before and behind both axes."""
    return _pair(padding) * 2


def _swapped(node: Tensor) -> Tensor:
    """The last two axes in the other order."""
    perm = list(range(node.rank))
    perm[-2:] = perm[-1], perm[-2]
    return node.transpose(*perm)


def _expect(node: Tensor, *shape: int | str | None) -> Tensor:
    """A variable without a value has the shape that its first reader needs, where that tells one."""
    if node.is_placeholder and node.shape is None:
        node.set_shape(shape)
    return node


def _extent(node: Tensor, axis: int) -> int | str | None:
    return None if node.shape is None else node.shape[axis]


def _integers(node: Tensor) -> Tensor:
    """Hetu feeds indices as floats."""
    return node if np.issubdtype(node.dtype, np.integer) else node.astype(np.int64)


def _booleans(node: Tensor) -> Tensor:
    return node if node.dtype == np.bool_ else node.astype(np.bool_)


# --- element by element

abs_op = _unary("Abs", "|x|")
ceil_op = _unary("Ceil", "x rounded up")
cos_op = _unary("Cos", "cos x")
exp_op = _unary("Exp", "e^x")
floor_op = _unary("Floor", "x rounded down")
gelu_op = _unary("Gelu", "x times the share of normal numbers below x")
log_op = _unary("Log", "The natural logarithm.")
opposite_op = _unary("Neg", "-x")
relu_op = _unary("Relu", "max(x, 0)")
sigmoid_op = _unary("Sigmoid", "1 / (1 + e^-x)")
sign_op = _unary("Sign", "-1, 0 or 1")
sin_op = _unary("Sin", "sin x")
sqrt_op = _unary("Sqrt", "The square root.")
tanh_op = _unary("Tanh", "tanh x")

add_op = _binary("Add", "a + b")
div_op = _binary("Div", "a / b")
max_op = _binary("Max", "The larger.")
min_op = _binary("Min", "The smaller.")
minus_op = _binary("Sub", "a - b")
mul_op = _binary("Mul", "a b")


@_builder
def addbyconst_op(node: Tensor, const_val: float) -> Tensor:
    """node + const_val."""
    return node + const_val


@_builder
def minus_byconst_op(const_val: float, node: Tensor) -> Tensor:
    """const_val - node."""
    return const_val - node


@_builder
def mul_byconst_op(node: Tensor, const_val: float) -> Tensor:
    """node * const_val."""
    return node * const_val


@_builder
def div_const_op(const_val: float, node: Tensor) -> Tensor:
    """const_val / node."""
    return const_val / node


@_builder
def pow_op(node: Tensor, p: float) -> Tensor:
    """node^p."""
    return node**p


@_builder
def rsqrt_op(node: Tensor) -> Tensor:
    """1 / sqrt(node)."""
    return apply("Reciprocal", apply("Sqrt", node))


@_builder
def clamp_op(node: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """Bounded by min and max."""
    return apply("Clip", node, min, max)


@_builder
def leaky_relu_op(node: Tensor, alpha: float = 0.01) -> Tensor:
    """x where x > 0, alpha * x elsewhere."""
    return apply("LeakyRelu", node, alpha=float(alpha))


@_builder
def where_op(cond: Tensor, node_A: TensorLike, node_B: TensorLike) -> Tensor:
    """a where cond is not 0, b elsewhere."""
    return apply("Where", _booleans(cond), node_A, node_B)


@_builder
def bool_op(node_A: TensorLike, node_B: TensorLike) -> Tensor:
    """1.0 where both are equal, 0.0 elsewhere."""
    return apply("Equal", node_A, node_B).astype(np.float32)


@_builder
def oneslike_op(node: Tensor) -> Tensor:
    """Ones of the shape of node."""
    return apply("ConstantOfShape", apply("Shape", node), value=np.ones(1, node.dtype))


@_builder
def zeroslike_op(node: Tensor) -> Tensor:
    """Zeros of the shape of node."""
    return apply("ConstantOfShape", apply("Shape", node), value=np.zeros(1, node.dtype))


@_builder
def dropout_op(node_in: Tensor, keep_prob: float) -> Tensor:
    """In training: drops elements, and divides those kept by keep_prob."""
    return apply("Dropout", node_in, constant(1.0 - keep_prob))


# --- products


@_builder
def matmul_op(node_A: Tensor, node_B: Tensor, trans_A: bool = False, trans_B: bool = False) -> Tensor:
    """The product of two matrices, each transposed on request."""
    inner = _extent(node_B, 1 if trans_B else 0)
    _expect(node_A, *((inner, None) if trans_A else (None, inner)))
    a = node_A.transpose(1, 0) if trans_A else node_A
    b = node_B.transpose(1, 0) if trans_B else node_B
    return a @ b


@_builder
def batch_matmul_op(node_A: Tensor, node_B: Tensor, trans_A: bool = False, trans_B: bool = False) -> Tensor:
    """The products of matrices in the last two axes."""
    return (_swapped(node_A) if trans_A else node_A) @ (_swapped(node_B) if trans_B else node_B)


@_builder
def linear_op(
    node_A: Tensor, node_B: Tensor, bias: Tensor | None = None, trans_A: bool = False, trans_B: bool = False
) -> Tensor:
    """A B + bias."""
    product = matmul_op(node_A, node_B, trans_A, trans_B)
    return product if bias is None else product + bias


@_builder
def addmm_op(input: Tensor, matA: Tensor, matB: Tensor, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """beta * input + alpha * A B."""
    return apply("Gemm", matA, matB, input, alpha=float(alpha), beta=float(beta))


@_builder
def baddbmm_op(input: Tensor, matA: Tensor, matB: Tensor, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """beta * input + alpha * A B, for each matrix of a batch."""
    return input * beta + (matA @ matB) * alpha


@_builder
def conv2d_op(node_A: Tensor, node_B: Tensor, padding: int | _Ints = 0, stride: int | _Ints = 1) -> Tensor:
    """The convolution of images [n, channels, height, width] by filters [out, in, height, width]."""
    _expect(node_A, None, _extent(node_B, 1), None, None)
    return apply("Conv", node_A, node_B, pads=_sides(padding), strides=_pair(stride))


@_builder
def conv2d_add_bias_op(
    node_A: Tensor, node_B: Tensor, bias: Tensor, padding: int | _Ints = 0, stride: int | _Ints = 1
) -> Tensor:
    """`conv2d_op` plus a number for each filter."""
    _expect(node_A, None, _extent(node_B, 1), None, None)
    return apply("Conv", node_A, node_B, bias, pads=_sides(padding), strides=_pair(stride))


@_builder
def conv2d_broadcastto_op(node_A: Tensor, node_B: Tensor) -> Tensor:
    """A number for each channel, spread to the shape of the images node_B."""
    return apply("Expand", node_A.reshape(1, -1, 1, 1), apply("Shape", node_B))


@_builder
def conv2d_reducesum_op(node: Tensor) -> Tensor:
    """The sum of each channel."""
    return node.sum([0, 2, 3])


@_builder
def avg_pool2d_op(node_A: Tensor, kernel_H: int, kernel_W: int, padding: int | _Ints, stride: int | _Ints) -> Tensor:
    """Means of windows; padding counts as zeros."""
    kernel, pads = [kernel_H, kernel_W], _sides(padding)
    return apply(
        "AveragePool",
        _expect(node_A, *[None] * 4),
        kernel_shape=kernel,
        pads=pads,
        strides=_pair(stride),
        count_include_pad=1 if any(pads) else None,
    )


@_builder
def max_pool2d_op(node_A: Tensor, kernel_H: int, kernel_W: int, padding: int | _Ints, stride: int | _Ints) -> Tensor:
    """The largest elements of windows."""
    return apply(
        "MaxPool",
        _expect(node_A, *[None] * 4),
        kernel_shape=[kernel_H, kernel_W],
        pads=_sides(padding),
        strides=_pair(stride),
    )


# --- normalization


@_builder
def batch_normalization_op(
    node_in: Tensor, bn_scale: Tensor, bn_bias: Tensor, momentum: float = 0.1, eps: float = 1e-5
) -> Tensor:
    """In training: by the mean and variance of the batch, a share `momentum` of which moves the running ones, by which
    it normalizes else."""
    scale, bias = (x if x.rank == 1 else x.reshape(-1) for x in (bn_scale, bn_bias))
    channels = int(np.prod([extent for extent in bn_scale.shape or () if isinstance(extent, int)]))
    name = bn_scale.name or "batch_normalization"
    mean = variable(np.zeros(channels, np.float32), f"{name}_running_mean", trainable=False)
    var = variable(np.ones(channels, np.float32), f"{name}_running_var", trainable=False)
    return apply(
        "BatchNormalization", node_in, scale, bias, mean, var, epsilon=float(eps), momentum=float(1 - momentum)
    )


@_builder
def layer_normalization_op(node_in: Tensor, ln_scale: Tensor, ln_bias: Tensor, eps: float = 0.01) -> Tensor:
    """Over the last axis."""
    return apply("LayerNormalization", node_in, ln_scale, ln_bias, axis=-1, epsilon=float(eps))


@_builder
def instance_normalization2d_op(node_in: Tensor, eps: float = 1e-7) -> Tensor:
    """Each channel of each image to mean 0 and variance 1."""
    centered = node_in - node_in.mean([2, 3], keepdims=True)
    return centered / apply("Sqrt", (centered * centered).mean([2, 3], keepdims=True) + eps)


@_builder
def softmax_op(node: Tensor) -> Tensor:
    """Over the last axis."""
    return apply("Softmax", node, axis=-1)


@_builder
def log_softmax_op(node: Tensor) -> Tensor:
    """Over the last axis."""
    return apply("LogSoftmax", node, axis=-1)


# --- losses


@_builder
def softmaxcrossentropy_op(y: Tensor, y_: Tensor, use_cudnn: bool = True) -> Tensor:
    """-log softmax(y) at the right class, for each row; y_ holds one-hot rows."""
    return -(y_ * apply("LogSoftmax", y, axis=-1)).sum(-1)


@_builder
def softmaxcrossentropy_sparse_op(y: Tensor, y_: Tensor, ignored_index: int = -1) -> Tensor:
    """-log softmax(y) at the class y_, for each row; 0 where y_ is `ignored_index`."""
    return losses.softmax_cross_entropy(y, _integers(y_), "none", ignored_index)


@_builder
def crossentropy_op(y: Tensor, y_: Tensor) -> Tensor:
    """-log y at the right class, for each row of probabilities; y_ holds one-hot rows."""
    return -(y_ * apply("Log", y)).sum(-1)


@_builder
def crossentropy_sparse_op(y: Tensor, y_: Tensor, ignored_index: int = -1) -> Tensor:
    """-log y at the class y_, for each row of probabilities; 0 where y_ is `ignored_index`."""
    return apply(
        "NegativeLogLikelihoodLoss", apply("Log", y), _integers(y_), reduction="none", ignore_index=ignored_index
    )


@_builder
def nll_loss_op(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """-input at the class of target; input holds logarithms of probabilities."""
    return losses.nll(input, _integers(target), cast(losses.Reduction, reduction))


@_builder
def binarycrossentropy_op(prediction: Tensor, label: Tensor) -> Tensor:
    """-t log p - (1 - t) log(1 - p), element by element."""
    return -(label * apply("Log", prediction) + (1.0 - label) * apply("Log", 1.0 - prediction))


@_builder
def binarycrossentropywithlogits_op(prediction: Tensor, label: Tensor) -> Tensor:
    """`binarycrossentropy_op` of sigmoid(prediction), element by element."""
    return losses.bce_with_logits(prediction, label, "none")


@_builder
def mseloss_op(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)^2."""
    return losses.mse(input, target, cast(losses.Reduction, reduction))


# --- reductions


def _reduction(op: str, meaning: str) -> Callable[..., Tensor]:
    def build(node: Tensor, axes: int | _Ints, keepdims: bool | Sequence[bool] = False) -> Tensor:
        keep = keepdims if isinstance(keepdims, (bool, int)) else all(keepdims)
        return apply(op, node, _int64(cast(_Ints, axes)), keepdims=int(keep))

    build.__doc__ = meaning
    return _builder(build)


reduce_mean_op = _reduction("ReduceMean", "The mean over axes.")
reduce_min_op = _reduction("ReduceMin", "The smallest over axes.")
reduce_max_op = _reduction("ReduceMax", "The largest over axes.")
reduce_mul_op = _reduction("ReduceProd", "The product over axes.")
reduce_norm1_op = _reduction("ReduceL1", "The sum of absolute values over axes.")
reduce_norm2_op = _reduction("ReduceL2", "The Euclidean norm over axes.")
reduce_sum_op = _reduction("ReduceSum", "The sum over axes.")


@_builder
def reducesumaxiszero_op(node: Tensor) -> Tensor:
    """The sum over the first axis."""
    return node.sum(0)


@_builder
def sum_op(node_list: Sequence[Tensor], sparse: bool = False) -> Tensor:
    """The sum of nodes."""
    return apply("Sum", *node_list)


@_builder
def argmax_op(node: Tensor, dim: int = 0) -> Tensor:
    """The place of the largest along an axis."""
    return node.argmax(dim)


@_builder
def cumsum_with_bias_op(node: Tensor, bias: float = 0, dim: int = 0) -> Tensor:
    """Sums of all elements up to each along an axis, plus bias."""
    return apply("CumSum", node, dim) + bias


# --- shapes


@_builder
def array_reshape_op(node: Tensor, output_shape: _Ints) -> Tensor:
    """The same elements under another shape; -1 for the extent that follows from the others."""
    return node.reshape(_int64(output_shape))


@_builder
def flatten_op(node: Tensor, start: int = 1, end: int = -1) -> Tensor:
    """Axes `start` to `end` as one."""
    if end == -1 and start == 1:
        return apply("Flatten", node, axis=1)
    rank = node.rank
    last = end % rank
    return node.reshape(_int64([0] * start + [-1])) if last == rank - 1 else _flatten_inner(node, start, last)


def _flatten_inner(node: Tensor, start: int, last: int) -> Tensor:
    head, tail = apply("Shape", node, end=start), apply("Shape", node, start=last + 1)
    return node.reshape(apply("Concat", head, _int64(-1), tail, axis=0))


@_builder
def transpose_op(node_A: Tensor, perm: _Ints | None = None) -> Tensor:
    """Axes in another order; reversed where none is given."""
    return node_A.transpose(*(perm or ()))


@_builder
def unsqueeze_op(node: Tensor, axis: int = 0) -> Tensor:
    """With a new axis of extent 1."""
    return node.unsqueeze(axis)


@_builder
def squeeze_op(node: Tensor, axis: int = 0) -> Tensor:
    """Without an axis of extent 1."""
    return node.squeeze(axis)


@_builder
def repeat_op(node: Tensor, shape: _Ints) -> Tensor:
    """So many copies along each axis."""
    return apply("Tile", node, _int64(shape))


@_builder
def broadcastto_op(node_A: Tensor, node_B: Tensor, add_axes: int | _Ints | None = None) -> Tensor:
    """node_A spread to the shape of node_B, with new axes at `add_axes`."""
    spread = node_A if add_axes is None else node_A.unsqueeze(*np.atleast_1d(add_axes).tolist())
    return apply("Expand", spread, apply("Shape", node_B))


@_builder
def broadcast_shape_op(node_A: Tensor, shape: _Ints, add_axes: int | _Ints = ()) -> Tensor:
    """node_A spread to a shape, with new axes at `add_axes`."""
    axes = np.atleast_1d(np.asarray(add_axes, np.int64)).tolist()
    return apply("Expand", node_A.unsqueeze(*axes) if axes else node_A, _int64(shape))


@_builder
def concat_op(node_A: Tensor, node_B: Tensor, axis: int = 0) -> Tensor:
    """Two nodes side by side along an axis."""
    return apply("Concat", node_A, node_B, axis=axis)


@_builder
def concatenate_op(node_list: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Nodes side by side along an axis."""
    return apply("Concat", *node_list, axis=axis)


@_builder
def slice_op(node: Tensor, begin: _Ints, size: _Ints) -> Tensor:
    """`size` elements from `begin` on, for each axis; -1 for all that remain."""
    limit = int(np.iinfo(np.int64).max)
    ends = [limit if extent == -1 else first + extent for first, extent in zip(begin, size, strict=True)]
    return apply("Slice", node, _int64(begin), _int64(ends), _int64(range(len(ends))))


@_builder
def split_op(node: Tensor, axes: _Ints, indices: _Ints, splits: _Ints) -> Tensor:
    """Part `indices[i]` of `splits[i]` equal ones along each axis."""
    for axis, index, parts in zip(axes, indices, splits, strict=True):
        node = apply_all("Split", [node], {"axis": axis, "num_outputs": parts}, outputs=parts)[index]
    return node


@_builder
def pad_op(node_A: Tensor, paddings: Sequence[_Ints], mode: str = "CONSTANT", constant_values: float = 0) -> Tensor:
    """With so many elements before and behind each of the last axes."""
    if mode.upper() not in ("CONSTANT", "REFLECT", "SYMMETRIC"):
        raise InvalidArgument(f"pad_op's mode is '{mode}'; CONSTANT or REFLECT expected")
    if mode.upper() == "SYMMETRIC":
        raise InvalidArgument("pad_op's mode SYMMETRIC has no operator in ONNX; CONSTANT or REFLECT expected")
    pads = [before for before, _ in paddings] + [behind for _, behind in paddings]
    value = constant(constant_values, dtype=node_A.dtype) if mode.upper() == "CONSTANT" else None
    return apply("Pad", node_A, _int64(pads), value, _int64(range(-len(paddings), 0)), mode=mode.lower())


@_builder
def one_hot_op(node: Tensor, num_classes: int) -> Tensor:
    """Rows that are 1.0 at the class and 0.0 elsewhere."""
    return apply("OneHot", _integers(node), _int64(num_classes), constant(np.array([0, 1], np.float32)))


@_builder
def embedding_lookup_op(embedding: Tensor, index: Tensor) -> Tensor:
    """The rows of a table at the indices."""
    return apply("Gather", embedding, _integers(index), axis=0)


@_builder
def gather_op(node: Tensor, dim: int, index: Tensor) -> Tensor:
    """The elements at indices along an axis, one index for each element of the result."""
    return apply("GatherElements", node, _integers(index), axis=dim)


@_builder
def masked_fill_op(input: Tensor, mask: Tensor, val: float = 0.0) -> Tensor:
    """`val` where mask is not 0, the input elsewhere."""
    return apply("Where", _booleans(mask), constant(val, dtype=input.dtype), input)


@_builder
def topk_val_op(node: Tensor, topk_idx: Tensor | None = None, topk: int = 1) -> Tensor:
    """The `topk` largest along the last axis."""
    return apply_all("TopK", [node, _int64(topk)], {"axis": -1}, outputs=2)[0]


@_builder
def topk_idx_op(node: Tensor, topk: int = 1) -> Tensor:
    """The places of the `topk` largest along the last axis."""
    return apply_all("TopK", [node, _int64(topk)], {"axis": -1}, outputs=2)[1]


@_builder
def triu_op(node: Tensor, diagonal: int = 0) -> Tensor:
    """What lies on and above a diagonal; zeros elsewhere."""
    return apply("Trilu", node, constant(np.int64(diagonal)), upper=1)


@_builder
def tril_op(node: Tensor, diagonal: int = 0) -> Tensor:
    """What lies on and below a diagonal; zeros elsewhere."""
    return apply("Trilu", node, constant(np.int64(diagonal)), upper=0)


def __getattr__(name: str) -> Any:
    if name.endswith("_op"):
        raise AttributeError(f"Hetu's builder '{name}' is not offered; sardonyx.graph.op has every operator of ONNX")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


__all__ = [
    "Executor",
    "Variable",
    "gradients",
    *sorted(name for name in globals() if name.endswith("_op") and not name.startswith("_")),
]
