"""Losses: what training makes small, as tensors of a graph."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, constant

__all__ = ["bce_with_logits", "huber", "l1", "mse", "nll", "softmax_cross_entropy"]

Reduction = Literal["mean", "sum", "none"]
Weights: TypeAlias = "Tensor | npt.ArrayLike"


def reduced(x: Tensor, reduction: Reduction | str) -> Tensor:
    """The terms of a loss as one: their mean, their sum, or all of them (none)."""
    if reduction not in ("mean", "sum", "none"):
        raise InvalidArgument(f"reduction is '{reduction}'; mean, sum or none expected")
    return x if reduction == "none" else x.mean() if reduction == "mean" else x.sum()


def _holds_classes(targets: Tensor, logits: Tensor) -> bool:
    """Whether the targets are classes, one axis less than the logits: integers in the shape of the logits are rows."""
    same = targets.shape is not None and logits.shape is not None and len(targets.shape) == len(logits.shape)
    return bool(np.issubdtype(targets.dtype, np.integer)) and not same


def _factors(weight: Weights, x: Tensor) -> Tensor:
    """Weights in the type of `x`."""
    return weight.astype(x.dtype) if isinstance(weight, Tensor) else constant(np.asarray(weight, x.dtype))


def _class_weights(weight: Weights | None, x: Tensor) -> Tensor | None:
    """A weight for each class, of the type of `x` [n, classes, ...]."""
    if weight is None:
        return None
    weights = _factors(weight, x)
    classes = None if x.shape is None or len(x.shape) < 2 else x.shape[1]
    shape = weights.shape
    if shape is None or len(shape) != 1 or (isinstance(classes, int) and shape[0] not in (classes, None)):
        raise InvalidArgument(f"weight has shape {shape}; one number for each of the {classes} classes expected")
    return weights


def softmax_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
    weight: Weights | None = None,
) -> Tensor:
    """-log softmax(logits) at the right class, times its weight.

    Args:
        logits: [n, classes, ...].
        targets: classes as integers [n, ...], or probabilities (one-hot rows) of any type in the shape of `logits`.
        reduction: mean over all targets, sum, or none. With integers, the mean is the sum over that of the weights of
            the right classes; those that are ignored do not count.
        ignore_index: a class that does not count; only with integers.
        weight: [classes], how much each class counts; 1 by default.

    Returns:
        A scalar, or [n, ...] without reduction.

    Example:
        >>> from sardonyx.graph import data
        >>> logits, classes = data([[2.0, 0.0], [0.0, 2.0]]), data([0, 0])
        >>> round(softmax_cross_entropy(logits, classes, weight=[3.0, 1.0]).item(), 4)
        1.1269
    """
    weights = _class_weights(weight, logits)
    if _holds_classes(targets, logits):
        return apply(
            "SoftmaxCrossEntropyLoss", logits, targets, weights, reduction=reduction, ignore_index=ignore_index
        )
    if ignore_index is not None:
        raise InvalidArgument("ignore_index needs targets that are classes (integers)")
    rows = targets if targets.dtype == logits.dtype else targets.astype(logits.dtype)
    terms = rows * apply("LogSoftmax", logits, axis=1)
    if weights is not None:
        terms = terms * weights.reshape((-1, *(1 for _ in range(logits.rank - 2))))
    return reduced(-terms.sum(1), reduction)


def nll(
    log_probabilities: Tensor,
    targets: Tensor,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
    weight: Weights | None = None,
) -> Tensor:
    """-log_probabilities at the right class, times its weight; arguments as in `softmax_cross_entropy`, classes as
    integers.

    Example:
        >>> from sardonyx.graph import data
        >>> nll(data(np.log([[0.5, 0.5], [0.25, 0.75]])), data([0, 0]), "none").numpy().round(3)
        array([0.693, 1.386])
    """
    weights = _class_weights(weight, log_probabilities)
    return apply(
        "NegativeLogLikelihoodLoss", log_probabilities, targets, weights, reduction=reduction, ignore_index=ignore_index
    )


def mse(x: Tensor, y: Tensor, reduction: Reduction = "mean") -> Tensor:
    """(x - y)^2.

    Args:
        x, y: floating-point, of shapes that spread to one.
        reduction: mean over all elements, sum, or none.

    Example:
        >>> from sardonyx.graph import data
        >>> mse(data([1.0, 2.0]), data([3.0, 2.0])).item()
        2.0
    """
    difference = x - y
    return reduced(difference * difference, reduction)


def l1(x: Tensor, y: Tensor, reduction: Reduction = "mean") -> Tensor:
    """|x - y|; arguments as in `mse`."""
    return reduced(abs(x - y), reduction)


def huber(x: Tensor, y: Tensor, delta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """(x - y)^2 / 2 where |x - y| <= delta, delta (|x - y| - delta / 2) beyond (Huber 1964).

    Args:
        x, y: floating-point, of shapes that spread to one.
        delta: where the square ends, in the unit of x and y; positive.
        reduction: mean over all elements, sum, or none.

    Raises:
        InvalidArgument: delta is not positive.

    Example:
        >>> from sardonyx.graph import data
        >>> huber(data([0.0, 3.0]), data([1.0, 0.0]), 1.0, "none").numpy()
        array([0.5, 2.5])
    """
    if delta <= 0:
        raise InvalidArgument(f"delta is {delta}; a positive number expected")
    distance = abs(x - y)
    small = apply("Min", distance, delta)
    return reduced(small * (distance - small * 0.5), reduction)


def bce_with_logits(
    logits: Tensor,
    targets: Tensor,
    reduction: Reduction = "mean",
    weight: Weights | None = None,
    pos_weight: Weights | None = None,
) -> Tensor:
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), as
    max(x, 0) - x t + log(1 + exp(-|x|)), which cannot overflow.

    Args:
        logits, targets: of one shape; targets from 0 to 1.
        reduction: mean over all elements, sum, or none.
        weight: factors of the terms, which broadcast to `logits`.
        pos_weight: factors of the first product, which broadcast to `logits`: above 1 where positives are rare.

    Example:
        >>> from sardonyx.graph import data
        >>> round(bce_with_logits(data([0.0, 100.0]), data([1.0, 0.0]), "sum").item(), 4)
        100.6931
    """
    positive = apply("Relu", logits)
    rest = apply("Softplus", -abs(logits))
    if pos_weight is None:
        terms = positive - logits * targets + rest
    else:
        # -log(1 - sigmoid(x)) = max(x, 0) + rest, and -log sigmoid(x) is that less x.
        terms = (1.0 - targets) * logits + (1.0 + (_factors(pos_weight, logits) - 1.0) * targets) * (
            positive - logits + rest
        )
    return reduced(terms if weight is None else terms * _factors(weight, logits), reduction)
