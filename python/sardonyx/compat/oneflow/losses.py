"""OneFlow's losses as modules."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from sardonyx import losses
from sardonyx.graph.tensor import Tensor
from sardonyx.losses import Reduction
from sardonyx.nn import Module

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "L1Loss", "MSELoss", "NLLLoss", "SmoothL1Loss"]


class _Loss(Module):
    def __init__(self, function: Callable[..., Tensor], reduction: Reduction) -> None:
        super().__init__()
        self._function, self.reduction = function, reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of `input` where `target` is right."""
        return self._function(input, target, reduction=self.reduction)


class CrossEntropyLoss(_Loss):
    """See sardonyx.losses.softmax_cross_entropy."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        super().__init__(losses.softmax_cross_entropy, reduction)
        self._weight, self.ignore_index = weight, ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """input: [n, classes, ...]; target: classes, or probabilities of the same shape."""
        ignored = self.ignore_index if np.issubdtype(target.dtype, np.integer) else None
        return losses.softmax_cross_entropy(input, target, self.reduction, ignored, self._weight)


class NLLLoss(_Loss):
    """See sardonyx.losses.nll."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        super().__init__(functools.partial(losses.nll, ignore_index=ignore_index, weight=weight), reduction)


class MSELoss(_Loss):
    """See sardonyx.losses.mse."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(losses.mse, reduction)


class L1Loss(_Loss):
    """See sardonyx.losses.l1."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(losses.l1, reduction)


class SmoothL1Loss(_Loss):
    """The loss of Huber over beta: see sardonyx.losses.huber."""

    def __init__(self, reduction: Reduction = "mean", beta: float = 1.0) -> None:
        super().__init__(functools.partial(_smooth_l1, beta=beta), reduction)


def _smooth_l1(x: Tensor, y: Tensor, beta: float, reduction: Reduction) -> Tensor:
    return losses.huber(x, y, beta, reduction) * (1.0 / beta)


class BCEWithLogitsLoss(_Loss):
    """See sardonyx.losses.bce_with_logits."""

    def __init__(
        self, weight: Tensor | None = None, reduction: Reduction = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(functools.partial(losses.bce_with_logits, weight=weight, pos_weight=pos_weight), reduction)
