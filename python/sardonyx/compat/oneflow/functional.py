"""Functions of tensors by OneFlow's names: of elements, shapes and sums, and what layers compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sardonyx import losses, nn
from sardonyx.compat.oneflow import elementwise, movement, reductions
from sardonyx.compat.oneflow.elementwise import *  # noqa: F403
from sardonyx.compat.oneflow.movement import *  # noqa: F403
from sardonyx.compat.oneflow.reductions import *  # noqa: F403
from sardonyx.compat.oneflow.reductions import norm
from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, TensorLike, apply, as_tensor, constant
from sardonyx.losses import Reduction
from sardonyx.nn.linear import linear
from sardonyx.nn.padding import pad
from sardonyx.nn.resample import interpolate
from sardonyx.nn.sizes import Sizes, both_sides, per_axis

__all__ = [
    *elementwise.__all__, *movement.__all__, *reductions.__all__, "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "binary_cross_entropy_with_logits", "conv1d",
    "conv2d", "conv3d", "cosine_similarity", "cross_entropy", "dropout", "embedding", "grid_sample", "group_norm",
    "interpolate", "l1_loss", "l2_normalize", "layer_norm", "linear", "log_sigmoid", "max_pool1d", "max_pool2d",
    "max_pool3d", "mse_loss", "nll_loss", "normalize", "one_hot", "pad", "pixel_shuffle", "smooth_l1_loss", "upsample",
]  # fmt: skip

log_sigmoid = elementwise.logsigmoid


# --- layers


def _layer(kind: Callable[..., nn.Module]) -> Callable[..., Tensor]:
    """A layer without parameters as a function of its input and its arguments."""

    def function(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return kind(*args, **options)(input)  # type: ignore[no-any-return]

    function.__doc__ = f"`nn.{kind.__name__}` of the arguments behind the input."
    return function


adaptive_avg_pool1d = _layer(nn.AdaptiveAvgPool1d)
adaptive_avg_pool2d = _layer(nn.AdaptiveAvgPool2d)
adaptive_avg_pool3d = _layer(nn.AdaptiveAvgPool3d)
avg_pool1d = _layer(nn.AvgPool1d)
avg_pool2d = _layer(nn.AvgPool2d)
avg_pool3d = _layer(nn.AvgPool3d)
max_pool1d = _layer(nn.MaxPool1d)
max_pool2d = _layer(nn.MaxPool2d)
max_pool3d = _layer(nn.MaxPool3d)
pixel_shuffle = _layer(nn.PixelShuffle)
upsample = interpolate


def _convolution(axes: int) -> Callable[..., Tensor]:
    def function(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        return apply(
            "Conv",
            input,
            weight,
            bias,
            strides=list(per_axis(stride, axes, "stride", 1)),
            pads=both_sides(per_axis(padding, axes, "padding")),
            dilations=list(per_axis(dilation, axes, "dilation", 1)),
            group=groups,
        )

    function.__doc__ = f"Convolution over {axes} spatial axes; weight: [outputs, inputs / groups, *kernel]."
    return function


conv1d = _convolution(1)
conv2d = _convolution(2)
conv3d = _convolution(3)


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In a graph that trains, zeros with probability p, and all else divided by 1 - p."""
    return apply("Dropout", input, constant(p)) if training and p else input


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes over the last axes, which have this shape."""
    shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    scale = constant(np.ones(shape, input.dtype)) if weight is None else weight
    return apply("LayerNormalization", input, scale, bias, axis=-len(shape), epsilon=eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalizes groups of channels of [n, channels, ...]."""
    channels = (input.shape or (None, None))[1]
    if not isinstance(channels, int) or channels % num_groups:
        raise InvalidArgument(f"group_norm: {channels} channels cannot be cut into {num_groups} groups")
    scale = constant(np.ones(channels, input.dtype)) if weight is None else weight
    shift = constant(np.zeros(channels, input.dtype)) if bias is None else bias
    return apply("GroupNormalization", input, scale, shift, num_groups=num_groups, epsilon=eps)


def embedding(input: Tensor, weight: Tensor) -> Tensor:
    """Rows of a table."""
    return apply("Gather", weight, input, axis=0)


def one_hot(input: Tensor, num_classes: int = -1, on_value: float = 1, off_value: float = 0) -> Tensor:
    """`on_value` at the place that each integer says, `off_value` elsewhere, along a new last axis.

    Args:
        num_classes: its extent; -1: one more than the largest integer.

    Returns:
        i64 where both values are integers, else f32.
    """
    depth = constant(num_classes) if num_classes != -1 else apply("ReduceMax", input, keepdims=0) + 1
    whole = isinstance(on_value, int) and isinstance(off_value, int)
    values = constant([off_value, on_value], dtype=np.int64 if whole else np.float32)
    return apply("OneHot", input, depth, values, axis=-1)


def normalize(input: Tensor, p: float = 2.0, dim: int = 0, epsilon: float = 1e-12) -> Tensor:
    """x over its norm along an axis, which counts as epsilon at least."""
    return input / apply("Max", norm(input, p, dim, keepdim=True), constant(epsilon, dtype=input.dtype))


def l2_normalize(input: Tensor, dim: int = 0, epsilon: float = 1e-12) -> Tensor:
    """x over its Euclidean norm along an axis, whose square counts as epsilon at least."""
    squares = apply("ReduceSumSquare", input, constant([dim]), keepdims=1)
    return input / apply("Sqrt", apply("Max", squares, constant(epsilon, dtype=input.dtype)))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along an axis; each norm counts as eps at least."""
    product = apply("ReduceSum", x1 * x2, constant([dim]), keepdims=0)
    least = constant(eps, dtype=product.dtype)
    return product / (apply("Max", norm(x1, 2, dim), least) * apply("Max", norm(x2, 2, dim), least))


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> Tensor:
    """Elements of images at places from -1 to 1; grid: [n, *extents, axes], its last axis x, y (, z).

    Args:
        mode: bilinear, nearest or bicubic.
        padding_mode: what is beyond the border: zeros, border or reflection.
    """
    modes = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
    if mode not in modes:
        raise InvalidArgument(f"grid_sample: mode is '{mode}'; one of {', '.join(modes)} expected")
    return apply(
        "GridSample", input, grid, mode=modes[mode], padding_mode=padding_mode, align_corners=int(align_corners)
    )


# --- losses


def _loss(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss of `sardonyx.losses` under its name here."""

    def renamed(input: Tensor, target: TensorLike, reduction: Reduction = "mean") -> Tensor:
        return function(input, as_tensor(target), reduction)

    renamed.__doc__ = f"See sardonyx.losses.{function.__name__}."
    return renamed


mse_loss = _loss(losses.mse)
l1_loss = _loss(losses.l1)


def smooth_l1_loss(input: Tensor, target: Tensor, beta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """The loss of Huber over beta: see sardonyx.losses.huber."""
    return losses.huber(input, target, beta, reduction) * (1.0 / beta)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """See sardonyx.losses.softmax_cross_entropy; target: classes, or probabilities of the input's shape."""
    ignored = ignore_index if np.issubdtype(target.dtype, np.integer) else None
    return losses.softmax_cross_entropy(input, target, reduction, ignored, weight)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """See sardonyx.losses.nll."""
    return losses.nll(input, target, reduction, ignore_index, weight)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """See sardonyx.losses.bce_with_logits."""
    return losses.bce_with_logits(input, target, reduction, weight, pos_weight)
