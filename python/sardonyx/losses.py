"""Losses: what training makes small, as tensors of a graph."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply

__all__ = ["bce_with_logits", "huber", "l1", "mse", "nll", "softmax_cross_entropy"]

Reduction = Literal["mean", "sum", "none"]


def _reduced(x: Tensor, reduction: Reduction) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise InvalidArgument(f"reduction is '{reduction}'; mean, sum or none expected")
    return x if reduction == "none" else x.mean() if reduction == "mean" else x.sum()


def _holds_classes(targets: Tensor) -> bool:
    return bool(np.issubdtype(targets.dtype, np.integer))


def softmax_cross_entropy(
    logits: Tensor, targets: Tensor, reduction: Reduction = "mean", ignore_index: int | None = None
) -> Tensor:
    """-log softmax(logits) at the right class.

    Args:
        logits: [n, classes, ...].
        targets: classes as integers [n, ...], or probabilities (one-hot rows) of the shape of `logits`.
        reduction: mean over all targets, sum, or none.
        ignore_index: a class that does not count; only with integers.

    Returns:
        A scalar, or [n, ...] without reduction.
    """
    if _holds_classes(targets):
        return apply("SoftmaxCrossEntropyLoss", logits, targets, reduction=reduction, ignore_index=ignore_index)
    if ignore_index is not None:
        raise InvalidArgument("ignore_index needs targets that are classes (integers)")
    return _reduced(-(targets * apply("LogSoftmax", logits, axis=1)).sum(1), reduction)


def nll(log_probabilities: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
    """-log_probabilities at the right class; shapes as in `softmax_cross_entropy`, classes as integers."""
    return apply("NegativeLogLikelihoodLoss", log_probabilities, targets, reduction=reduction)


def mse(x: Tensor, y: Tensor, reduction: Reduction = "mean") -> Tensor:
    """(x - y)^2."""
    difference = x - y
    return _reduced(difference * difference, reduction)


def l1(x: Tensor, y: Tensor, reduction: Reduction = "mean") -> Tensor:
    """|x - y|."""
    return _reduced(abs(x - y), reduction)


def huber(x: Tensor, y: Tensor, delta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """(x - y)^2 / 2 where |x - y| <= delta, delta (|x - y| - delta / 2) beyond (Huber 1964)."""
    if delta <= 0:
        raise InvalidArgument(f"delta is {delta}; a positive number expected")
    distance = abs(x - y)
    small = apply("Min", distance, delta)
    return _reduced(small * (distance - small * 0.5), reduction)


def bce_with_logits(logits: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), as
    max(x, 0) - x t + log(1 + exp(-|x|)), which cannot overflow."""
    positive = apply("Relu", logits)
    rest = apply("Softplus", -abs(logits))
    return _reduced(positive - logits * targets + rest, reduction)
