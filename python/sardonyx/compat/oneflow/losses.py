"""OneFlow's losses as modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sardonyx import losses
from sardonyx.compat.oneflow import functional
from sardonyx.compat.oneflow.modules import Module
from sardonyx.graph.tensor import Tensor, apply, constant
from sardonyx.losses import Reduction

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "NLLLoss",
    "SmoothL1Loss",
]


class _Loss(Module):
    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, reduction: Reduction, **options: Any) -> None:
        super().__init__()
        self.reduction, self._options = reduction, options

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of `input` where `target` is right."""
        return type(self).function(input, target, reduction=self.reduction, **self._options)


class CrossEntropyLoss(_Loss):
    """See sardonyx.losses.softmax_cross_entropy. input: [n, classes, ...]; target: classes, or probabilities of the
    same shape."""

    function = functional.cross_entropy

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        super().__init__(reduction, ignore_index=ignore_index, weight=weight)


class NLLLoss(_Loss):
    """See sardonyx.losses.nll."""

    function = functional.nll_loss

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        super().__init__(reduction, ignore_index=ignore_index, weight=weight)


class MSELoss(_Loss):
    """See sardonyx.losses.mse."""

    function = functional.mse_loss

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)


class L1Loss(_Loss):
    """See sardonyx.losses.l1."""

    function = functional.l1_loss

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)


class SmoothL1Loss(_Loss):
    """The loss of Huber over beta: see sardonyx.losses.huber."""

    function = functional.smooth_l1_loss

    def __init__(self, reduction: Reduction = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction, beta=beta)


class BCEWithLogitsLoss(_Loss):
    """See sardonyx.losses.bce_with_logits."""

    function = functional.binary_cross_entropy_with_logits

    def __init__(
        self, weight: Tensor | None = None, reduction: Reduction = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(reduction, weight=weight, pos_weight=pos_weight)


class BCELoss(Module):
    """-t log x - (1 - t) log(1 - x) of probabilities; logarithms count as -100 at least."""

    def __init__(self, weight: Tensor | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._weight, self.reduction = weight, reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """input: probabilities; target: from 0 to 1."""
        terms = -(target * _bounded_log(input) + (1.0 - target) * _bounded_log(1.0 - input))
        return losses.reduced(terms if self._weight is None else terms * self._weight, self.reduction)


def _bounded_log(x: Tensor) -> Tensor:
    zero, tiny = constant(0.0, dtype=x.dtype), constant(1e-37, dtype=x.dtype)
    return apply("Where", x > zero, apply("Log", apply("Max", x, tiny)), constant(-100.0, dtype=x.dtype))


class KLDivLoss(Module):
    """target (log(target) - x) for log-probabilities x.

    Args:
        reduction: mean over all elements, sum, none, or batchmean: the sum over the number of rows.
        log_target: whether targets are logarithms too.
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__()
        self.reduction, self.log_target = reduction, log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """input: log-probabilities; target: of the same shape."""
        if self.log_target:
            terms = apply("Exp", target) * (target - input)
        else:
            zero = constant(0.0, dtype=target.dtype)
            terms = apply("Where", target > zero, target * (apply("Log", target) - input), zero)
        if self.reduction == "batchmean":
            rows = apply("Gather", apply("Shape", input), constant(0))
            return apply("ReduceSum", terms, keepdims=0) / rows.astype(terms.dtype)
        return losses.reduced(terms, self.reduction)


class MarginRankingLoss(Module):
    """max(-y (x1 - x2) + margin, 0), where y is 1 for x1 before x2, and -1 for x2 before x1."""

    def __init__(self, margin: float = 0.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.margin, self.reduction = margin, reduction

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """All of one shape."""
        return losses.reduced(apply("Relu", -target * (input1 - input2) + self.margin), self.reduction)
