"""SINGA's optimizers: `update` collects, `step` carries out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np

import sardonyx.optim as _optim
from sardonyx import graph
from sardonyx.compat.singa import autograd, eager
from sardonyx.compat.singa.eager import Tensor

__all__ = ["SGD", "AdaGrad", "Adam", "Constant", "DecayScheduler", "ExponentialDecay", "Optimizer", "RMSProp"]


class DecayScheduler:
    """The learning rate at a step: `scheduler(step)`."""

    def __init__(self, init_value: float) -> None:
        self.init_value = init_value

    def __call__(self, step: int) -> float:
        """The rate."""
        return self.init_value


class Constant(DecayScheduler):
    """The same at every step."""


class ExponentialDecay(DecayScheduler):
    """init_value * decay_rate ** (step / decay_steps), in steps of `decay_steps` where staircase."""

    def __init__(self, init_value: float, decay_steps: int, decay_rate: float, staircase: bool = False) -> None:
        super().__init__(init_value)
        self.decay_steps, self.decay_rate, self.staircase = decay_steps, decay_rate, staircase

    def __call__(self, step: int) -> float:
        """The rate."""
        power = step // self.decay_steps if self.staircase else step / self.decay_steps
        return float(self.init_value * self.decay_rate**power)


Rate: TypeAlias = "float | Callable[[int], float]"
_Slot: TypeAlias = "tuple[ReferenceType[Optimizer], graph.Tensor]"

# What optimizers keep for a parameter, by its variable. A program that makes an optimizer in each turn of its loop gets
# the variables of the one before, as zeros, so that its graph is the one that was compiled.
_slots: WeakKeyDictionary[graph.Tensor, dict[tuple[type, str], list[_Slot]]] = WeakKeyDictionary()


class Optimizer:
    """What all share.

    Args:
        lr: the learning rate, or a function of the number of steps so far.
        rule: the optimizer of `sardonyx.optim` that computes the steps.
    """

    def __init__(self, lr: Rate, rule: _optim.Optimizer) -> None:
        self.lr = lr
        self.step_counter = 0
        self._rule = rule
        self._scalars: dict[tuple[float, int, str], tuple[graph.Tensor, graph.Tensor]] = {}

    @property
    def lr_value(self) -> float:
        """The learning rate at this step."""
        return self.lr(self.step_counter) if callable(self.lr) else self.lr

    def update(self, param: Tensor, grad: Tensor) -> None:
        """Changes a parameter by its gradient, when `step` is called or the value is needed."""
        x = param.parameter()
        rate, count = self._rate_and_count(x.dtype)
        slots = _Slots(self, x)
        new, states = self._rule.step(x, grad.operand(), rate, count, slots)
        eager.queue(x, new)
        for slot, value in states.items():
            eager.queue(slot, value)

    def step(self) -> None:
        """Carries the updates out, and counts."""
        eager.flush()
        self.step_counter += 1

    def backward_and_update(self, loss: Tensor) -> None:
        """One step for all parameters."""
        for param, grad in autograd.backward(loss):
            self.update(param, grad)
        self.step()

    __call__ = backward_and_update

    def _rate_and_count(self, dtype: np.dtype[Any]) -> tuple[graph.Tensor, graph.Tensor]:
        key = (self.lr_value, self.step_counter, dtype.str)
        if key not in self._scalars:
            values = (graph.data(np.asarray(value, dtype)) for value in (self.lr_value, self.step_counter + 1))
            self._scalars = {key: (next(values), next(values))}
        return self._scalars[key]


class _Slots:
    """The variables that an optimizer keeps for one parameter."""

    def __init__(self, optimizer: Optimizer, x: graph.Tensor) -> None:
        self._optimizer = optimizer
        self._x = x

    def __call__(self, name: str) -> graph.Tensor:
        known = _slots.setdefault(self._x, {}).setdefault((type(self._optimizer), name), [])
        for i, (owner, slot) in enumerate(known):
            if owner() is self._optimizer:
                return slot
            if owner() is None:
                slot.assign(np.zeros_like(slot.numpy()))
                known[i] = (ref(self._optimizer), slot)
                return slot
        slot = graph.variable(np.zeros_like(self._x.numpy()), f"{self._x.name}.{name}", trainable=False)
        known.append((ref(self._optimizer), slot))
        return slot


class SGD(Optimizer):
    """x -= lr * g, with momentum v = momentum * v + (1 - dampening) * g; x -= lr * v on request."""

    def __init__(
        self,
        lr: Rate = 0.1,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        rule = _optim.SGD(momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov)
        super().__init__(lr, rule)


class RMSProp(Optimizer):
    """x -= lr * g / (sqrt(running mean of g^2) + epsilon)."""

    def __init__(self, lr: Rate = 0.1, rho: float = 0.9, epsilon: float = 1e-8, weight_decay: float = 0) -> None:
        super().__init__(lr, _optim.RMSprop(alpha=rho, eps=epsilon, weight_decay=weight_decay))


class AdaGrad(Optimizer):
    """x -= lr * g / (sqrt(sum of g^2) + epsilon)."""

    def __init__(self, lr: Rate = 0.1, epsilon: float = 1e-8, weight_decay: float = 0) -> None:
        super().__init__(lr, _optim.Adagrad(eps=epsilon, weight_decay=weight_decay))


class Adam(Optimizer):
    """Kingma and Ba 2015."""

    def __init__(
        self,
        lr: Rate = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(lr, _optim.Adam(betas=(beta_1, beta_2), eps=epsilon, weight_decay=weight_decay))
