"""Hetu's optimizers: `optim.SGDOptimizer(learning_rate=0.1).minimize(loss)` is a node that an `Executor` runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import sardonyx.optim as _optim
from sardonyx.graph.executor import Update, gradients
from sardonyx.graph.tensor import Tensor
from sardonyx.optim import Schedule

__all__ = [
    "AMSGradOptimizer",
    "AdaGradOptimizer",
    "AdamOptimizer",
    "AdamWOptimizer",
    "LambOptimizer",
    "MomentumOptimizer",
    "Optimizer",
    "SGDOptimizer",
]


class Optimizer:
    """What all share.

    Args:
        rule: the optimizer of `sardonyx.optim` that computes the steps.
        l2reg: adds l2reg * x to the gradient of each variable x.
    """

    def __init__(self, rule: _optim.Optimizer, l2reg: float = 0) -> None:
        self.rule = rule
        self.l2reg = l2reg

    @property
    def learning_rate(self) -> float | Schedule:
        """The learning rate, or the schedule that gives it."""
        return self.rule.lr

    def minimize(self, loss: Tensor, var_list: Sequence[Tensor] | None = None) -> Update:
        """The step that makes a loss smaller.

        Args:
            loss: where it is no scalar, the sum of its elements is made smaller.
            var_list: what to change; by default all trainable variables that the loss depends on.
        """
        if not self.l2reg:
            return self.rule.minimize(loss, var_list)
        chosen = list(_optim.trainable_variables(loss) if var_list is None else var_list)
        grads = [g + x * self.l2reg for x, g in zip(chosen, gradients(loss, chosen), strict=True)]
        return self.rule.update(chosen, grads, loss)


class SGDOptimizer(Optimizer):
    """x -= learning_rate * g."""

    def __init__(self, learning_rate: float | Schedule = 0.01, l2reg: float = 0) -> None:
        super().__init__(_optim.SGD(learning_rate), l2reg)


class MomentumOptimizer(Optimizer):
    """v = momentum * v + g; x -= learning_rate * v."""

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        l2reg: float = 0,
    ) -> None:
        super().__init__(_optim.SGD(learning_rate, momentum, nesterov=nesterov), l2reg)


class AdaGradOptimizer(Optimizer):
    """Duchi et al. 2011, with `initial_accumulator_value` under the sum of squares."""

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-7,
        l2reg: float = 0,
    ) -> None:
        super().__init__(_optim.Adagrad(learning_rate, eps), l2reg)
        self.initial_accumulator_value = initial_accumulator_value

    def minimize(self, loss: Tensor, var_list: Sequence[Tensor] | None = None) -> Update:
        """See Optimizer.minimize."""
        known = set(self.rule.state)
        update = super().minimize(loss, var_list)
        for name, slot in self.rule.state.items():
            if name not in known and name.endswith(".sum") and self.initial_accumulator_value:
                slot.assign(slot.numpy() + self.initial_accumulator_value)
        return update


class AdamOptimizer(Optimizer):
    """Kingma and Ba 2015."""

    _largest: ClassVar[bool] = False

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-7,
        l2reg: float = 0,
        amsgrad: bool = False,
    ) -> None:
        amsgrad = amsgrad or self._largest
        super().__init__(_optim.Adam(learning_rate, (beta1, beta2), epsilon, amsgrad=amsgrad), l2reg)


class AMSGradOptimizer(AdamOptimizer):
    """Adam with the largest second moment so far (Reddi et al. 2018)."""

    _largest = True


class _DecayOptimizer(Optimizer):
    _make: ClassVar[type[_optim.AdamW | _optim.LAMB]]

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
        l2reg: float = 0,
    ) -> None:
        super().__init__(self._make(learning_rate, (beta1, beta2), epsilon, weight_decay=weight_decay), l2reg)


class AdamWOptimizer(_DecayOptimizer):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019)."""

    _make = _optim.AdamW


class LambOptimizer(_DecayOptimizer):
    """You et al. 2020."""

    _make = _optim.LAMB
