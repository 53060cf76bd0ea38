"""OneFlow's schedules of the learning rate: `step()` in a loop, or one step a call of a graph with
`nn.Graph.add_optimizer(optimizer, lr_sch=...)`."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence

import numpy as np

import sardonyx.optim as _optim
from sardonyx.compat.oneflow.optim.optimizer import Optimizer
from sardonyx.graph.tensor import apply, data

__all__ = ["CosineAnnealingLR", "CosineDecayLR", "ExponentialLR", "LRScheduler", "MultiStepLR", "StepLR"]


class LRScheduler(abc.ABC):
    """What all share.

    Attributes:
        optimizer: whose learning rates these are.
        last_step: how often `step()` was called.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.last_step = 0
        self._rates = [rule.lr for _, rule in optimizer.groups]

    @abc.abstractmethod
    def schedule(self, lr: float) -> _optim.Schedule:
        """The schedule that begins with `lr`."""

    def step(self) -> None:
        """Gives the optimizer the rates that come next."""
        self.last_step += 1
        at = data(np.float32(self.last_step))
        for (_, rule), lr in zip(self.optimizer.groups, self._rates, strict=True):
            assert not callable(lr)
            rule.lr = float(self.schedule(lr)(at))

    def get_last_lr(self) -> list[float]:
        """The rate of each group of parameters."""
        return [float(rule.lr) for _, rule in self.optimizer.groups if not callable(rule.lr)]

    def attach(self) -> None:
        """Gives it to the optimizer."""
        for (_, rule), lr in zip(self.optimizer.groups, self._rates, strict=True):
            assert not callable(lr)
            rule.lr = self.schedule(lr)


class StepLR(LRScheduler):
    """Times gamma after every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size, self.gamma = step_size, gamma

    def schedule(self, lr: float) -> _optim.Schedule:
        """See LRScheduler.schedule."""
        return _optim.exponential(lr, self.gamma, self.step_size)


class ExponentialLR(StepLR):
    """Times gamma after every step."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer, 1, gamma)


class MultiStepLR(LRScheduler):
    """Times gamma at each of the steps `milestones`."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.milestones, self.gamma = list(milestones), gamma

    def schedule(self, lr: float) -> _optim.Schedule:
        """See LRScheduler.schedule."""
        return _optim.piecewise(lr, dict.fromkeys(self.milestones, self.gamma))


class CosineDecayLR(LRScheduler):
    """Down to alpha times the rate along half a cosine wave of `decay_steps` steps, and then on at that."""

    def __init__(self, optimizer: Optimizer, decay_steps: int, alpha: float = 0.0) -> None:
        super().__init__(optimizer)
        self.decay_steps, self.alpha = decay_steps, alpha

    def schedule(self, lr: float) -> _optim.Schedule:
        """See LRScheduler.schedule."""
        return _optim.cosine(lr, self.decay_steps, lr * self.alpha)


class CosineAnnealingLR(LRScheduler):
    """Down to `eta_min` along half a cosine wave of `T_max` steps, up again, and so on."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        self.T_max, self.eta_min = T_max, eta_min

    def schedule(self, lr: float) -> _optim.Schedule:
        """See LRScheduler.schedule."""
        half = (lr - self.eta_min) / 2
        return lambda step: (apply("Cos", step * (math.pi / self.T_max)) + 1.0) * half + self.eta_min
