"""Optimizers and schedules: the step that makes a loss smaller, as a part of the graph.

`minimize(loss)` gives an update that an `Executor` runs beside the loss: forward, backward and update are one plan.

Example:
    >>> x, w = placeholder("x", shape=("batch", 2)), variable([1.0, 2.0], "w")
    >>> loss = ((x * w).sum(1) ** 2.0).mean()
    >>> executor = Executor([loss, SGD(0.1, momentum=0.9).minimize(loss)])
    >>> [round(float(executor.run({x: np.ones((4, 2), np.float32)})[0]), 3) for _ in range(2)]
    [9.0, 3.24]
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument
from sardonyx.graph.build import FLOATS, attribute_proto, sort
from sardonyx.graph.executor import Update, gradients
from sardonyx.graph.registry import operator_rows
from sardonyx.graph.tensor import Node, Tensor, apply, constant, variable

__all__ = [
    "LAMB",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "Slots",
    "Values",
    "cosine",
    "exponential",
    "one_cycle",
    "piecewise",
    "warmup",
]

# The learning rate at a step, which is an f32 scalar that counts from 0.
Schedule: TypeAlias = "Callable[[Tensor], Tensor]"
# Gives one of the variables that an optimizer keeps for another, by its name: zeros of the same shape at first.
Slots: TypeAlias = "Callable[[str], Tensor]"
# The next values of such variables.
Values: TypeAlias = "Mapping[Tensor, Tensor]"


def trainable_variables(y: Tensor) -> list[Tensor]:
    """The trainable variables that `y` depends on, in the order of a walk from it."""
    return [leaf for leaf in sort([y])[1] if leaf.variable is not None and leaf.trainable]


def _is_flat(node: Node) -> bool:
    """Whether the gradient by everything that a node reads is zero: a place, a comparison, a rounding, an integer."""
    if node.op == "Cast" and node.domain == "":
        return attribute_proto("to", node.attributes["to"]).i not in FLOATS
    row = operator_rows().get((node.domain, node.op))
    return row is not None and row["gradient"] == "zero"


def _is_half(x: Tensor) -> bool:
    return x.dtype == np.float16 or x.dtype == ml_dtypes.bfloat16


def _require_slope(loss: Tensor, variables: Sequence[Tensor]) -> None:
    """Raises InvalidArgument where everything between the variables and the loss is flat."""
    moving = set(variables)
    flat: list[Node] = []
    for node in sort([loss])[0]:
        reads = [x for x in (*node.inputs, *node.captures.values(), node.attributes.get("y")) if isinstance(x, Tensor)]
        if any(x in moving for x in reads):
            if _is_flat(node):
                flat.append(node)
            else:
                moving.update(node.outputs)
    if loss not in moving:
        names = ", ".join(dict.fromkeys(node.op for node in flat))
        others = " and others" if len(variables) > 1 else ""
        raise InvalidArgument(
            f"the loss depends on {variables[0]!r}{others} only by way of {names}, whose gradient is zero everywhere: "
            "there is nothing to learn from it"
        )


class Optimizer(abc.ABC):
    """What all optimizers share.

    A variable of half precision has a copy in f32 in the optimizer's state, which is what changes: updates that are too
    small for its own type add up, and the state is f32.

    Args:
        lr: the learning rate, or a schedule.
        clip_norm: scales all gradients down together where their joint Euclidean norm is larger.
        clip_value: bounds each element of a gradient.
        accumulate: changes variables at every so many-th run only, by the mean of the gradients since the last time.

    Attributes:
        state: the optimizer's variables by name, for checkpoints; filled by `minimize`.

    Raises:
        InvalidArgument: an argument is out of its range.
    """

    def __init__(
        self,
        lr: float | Schedule,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
    ) -> None:
        for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if value is not None and not value > 0:
                raise InvalidArgument(f"{name} is {value}; a positive number expected")
        if accumulate < 1:
            raise InvalidArgument(f"accumulate is {accumulate}; a positive number of runs expected")
        if not callable(lr) and not (isinstance(lr, (int, float, np.number)) and math.isfinite(lr) and lr >= 0):
            raise InvalidArgument(f"lr is {lr!r}; a number from 0 on, or a schedule, expected")
        self.lr = lr
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.accumulate = accumulate
        self.state: dict[str, Tensor] = {}

    @abc.abstractmethod
    def step(self, x: Tensor, gradient: Tensor, lr: Tensor, count: Tensor, slot: Slots) -> tuple[Tensor, Values]:
        """The next value of x, and those of its slots.

        Args:
            gradient: of the shape of x, clipped.
            lr: a scalar of the type of x.
            count: the number of this step, from 1 on, as a scalar of the type of x.
            slot: gives a variable of the shape of x by name, zeros at first.
        """

    def minimize(self, loss: Tensor, variables: Sequence[Tensor] | None = None) -> Update:
        """The update that makes `loss` smaller.

        Args:
            loss: a scalar; where it has more elements, their sum is made smaller.
            variables: what to change; by default all trainable variables that the loss depends on.

        Raises:
            InvalidArgument: the loss depends on no trainable variable, or not on one of those named, or only by way of
                operators whose gradient is zero everywhere.
        """
        reached = trainable_variables(loss)
        chosen = reached if variables is None else list(variables)
        if not chosen:
            raise InvalidArgument(
                "the loss depends on no trainable variable: there is nothing to change (were all frozen, or is the "
                "loss computed from placeholders alone?)"
            )
        leaves = set(sort([loss])[1])
        for x in chosen:
            if x not in leaves:
                raise InvalidArgument(f"the loss does not depend on {x!r}")
        _require_slope(loss, chosen)
        return self.update(chosen, gradients(loss, chosen), loss)

    def update(self, variables: Sequence[Tensor], grads: Sequence[Tensor], loss: Tensor | None = None) -> Update:
        """The update of each variable by its gradient. Nothing changes where `loss` is given and not finite."""
        names = _unique_names(variables)
        grads = [g.astype(np.float32) if _is_half(x) else g for x, g in zip(variables, grads, strict=True)]
        count = self._variable("step", np.zeros((), np.float32))
        values: dict[Tensor, Tensor] = {}
        turn = None
        if self.accumulate > 1:
            turn, grads = self._accumulated(variables, names, grads, values)
        next_count = count + 1.0 if turn is None else count + turn.astype(np.float32)
        grads = self._clipped(grads)
        rate = self.lr(count) if callable(self.lr) else constant(self.lr, dtype=np.float32)
        if loss is not None:
            # Every new value depends on the rate, so that a loss that is not finite stops the run before any change.
            rate = apply("CheckFinite", loss, rate, domain="sardonyx")
        values[count] = next_count
        for x, name, gradient in zip(variables, names, grads, strict=True):
            dtype = np.dtype(np.float32) if _is_half(x) else x.dtype
            slots = functools.partial(self._slot, x, name, dtype)
            before, master = x, None
            if _is_half(x):
                master = slots("master")
                # A variable that was given another value since, or never had a master, is what counts.
                before = apply("Where", master.astype(x.dtype).equal(x), master, x.astype(dtype))
            new, states = self.step(before, gradient, rate.astype(dtype), (count + 1.0).astype(dtype), slots)
            changed = {x: new} if master is None else {x: new.astype(x.dtype), master: new}
            for target, value in {**changed, **states}.items():
                values[target] = value if turn is None else apply("Where", turn, value, target)
        return Update(values, loss)

    def _variable(self, name: str, zero: Any) -> Tensor:
        if name not in self.state:
            self.state[name] = variable(zero, name, trainable=False)
        return self.state[name]

    def _slot(self, x: Tensor, name: str, dtype: npt.DTypeLike, slot: str) -> Tensor:
        return self._variable(f"{name}.{slot}", np.zeros(_extents(x), dtype))

    def _accumulated(
        self, variables: Sequence[Tensor], names: Sequence[str], grads: Sequence[Tensor], values: dict[Tensor, Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Whether it is time for a step, and the mean gradients up to now."""
        runs = self._variable("runs", np.zeros((), np.int64))
        values[runs] = runs + 1
        turn = apply("Equal", apply("Mod", runs + 1, self.accumulate), 0)
        means = []
        for x, name, gradient in zip(variables, names, grads, strict=True):
            total = self._variable(f"{name}.sum", np.zeros(_extents(x), gradient.dtype))
            added = total + gradient
            values[total] = apply("Where", turn, constant(0, dtype=gradient.dtype), added)
            means.append(added * (1.0 / self.accumulate))
        return turn, means

    def _clipped(self, grads: Sequence[Tensor]) -> list[Tensor]:
        clipped = list(grads)
        if self.clip_value is not None:
            clipped = [apply("Clip", g, -self.clip_value, self.clip_value) for g in clipped]
        if self.clip_norm is not None:
            squares = [apply("ReduceSumSquare", g, keepdims=0).astype(np.float32) for g in clipped]
            norm = apply("Sqrt", apply("Sum", *squares))
            factor = apply("Min", constant(1.0), constant(self.clip_norm) / (norm + 1e-6))
            clipped = [g * factor.astype(g.dtype) for g in clipped]
        return clipped


def _extents(x: Tensor) -> tuple[int, ...]:
    assert x.variable is not None
    return x.variable.shape


def _unique_names(variables: Sequence[Tensor]) -> list[str]:
    """A name for each variable: its own, with its place where another has the same or it has none."""
    own = [x.name for x in variables]
    return [name if name and own.count(name) == 1 else f"{name or 'variable'}#{i}" for i, name in enumerate(own)]


class SGD(Optimizer):
    """x -= lr * g, or with momentum v = m v + (1 - dampening) g; x -= lr * v (Nesterov: lr * (g + m v)).

    Args:
        momentum: m, from 0 on; 0 keeps no state.
        dampening: the share of a gradient that does not enter v; at the first step v = g.
        weight_decay: adds that many times x to the gradient.
        nesterov: look one step ahead; needs momentum, and no dampening.
        common: clip_norm, clip_value and accumulate, as in Optimizer.

    Example:
        >>> w = variable([1.0], "w")
        >>> evaluate([SGD(0.5).minimize((w * w).sum())])
        [None]
        >>> w.numpy()
        array([0.], dtype=float32)
    """

    def __init__(
        self,
        lr: float | Schedule = 0.01,
        momentum: float = 0.0,
        *,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(lr, **common)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise InvalidArgument("Nesterov momentum needs a positive momentum and no dampening")
        self.momentum, self.dampening = momentum, dampening
        self.weight_decay, self.nesterov = weight_decay, nesterov

    def step(self, x: Tensor, gradient: Tensor, lr: Tensor, count: Tensor, slot: Slots) -> tuple[Tensor, Values]:
        """See Optimizer.step."""
        if self.weight_decay:
            gradient = gradient + x * self.weight_decay
        if not self.momentum:
            return x - gradient * lr, {}
        velocity = slot("momentum")
        share: Tensor | float = 1.0 - self.dampening
        if self.dampening:
            share = apply("Where", count.equal(1.0), constant(1.0, dtype=x.dtype), constant(share, dtype=x.dtype))
        new = velocity * self.momentum + (gradient * share if self.dampening else gradient)
        direction = gradient + new * self.momentum if self.nesterov else new
        return x - direction * lr, {velocity: new}


class Adam(Optimizer):
    """Kingma and Ba, Adam: A Method for Stochastic Optimization (2015).

    Args:
        betas: the shares of themselves that the mean of gradients and that of their squares keep in a step, in [0, 1).
        eps: added to the root of the mean square, in the unit of a gradient.
        weight_decay: adds that many times x to the gradient.
        amsgrad: divide by the largest second moment so far (Reddi et al. 2018).
        common: clip_norm, clip_value and accumulate, as in Optimizer.

    Example:
        >>> w = variable([1.0], "w")
        >>> evaluate([Adam(0.25).minimize((w * w).sum())])
        [None]
        >>> w.numpy().round(3)
        array([0.75], dtype=float32)
    """

    decoupled = False

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(lr, **common)
        if not all(0 <= beta < 1 for beta in betas):
            raise InvalidArgument(f"betas are {betas}; numbers in [0, 1) expected")
        self.betas, self.eps, self.weight_decay, self.amsgrad = betas, eps, weight_decay, amsgrad

    def moments(
        self, gradient: Tensor, count: Tensor, slot: Slots
    ) -> tuple[Tensor, Tensor, Tensor, dict[Tensor, Tensor]]:
        """The first moment, what corrects it (a scalar factor), the root of the corrected second one, and the slots'
        next values."""
        first, second = self.betas
        mean, square = slot("mean"), slot("square")
        new_mean = mean * first + gradient * (1 - first)
        new_square = square * second + gradient * gradient * (1 - second)
        states = {mean: new_mean, square: new_square}
        largest = new_square
        if self.amsgrad:
            top = slot("largest")
            largest = states[top] = apply("Max", top, new_square)
        root = apply("Sqrt", largest) * (1.0 / apply("Sqrt", 1.0 - second**count))
        return new_mean, 1.0 / (1.0 - first**count), root, states

    def step(self, x: Tensor, gradient: Tensor, lr: Tensor, count: Tensor, slot: Slots) -> tuple[Tensor, Values]:
        """See Optimizer.step."""
        if self.weight_decay and not self.decoupled:
            gradient = gradient + x * self.weight_decay
        mean, factor, root, states = self.moments(gradient, count, slot)
        kept = x * (1.0 - lr * self.weight_decay) if self.weight_decay and self.decoupled else x
        return kept - mean * (lr * factor) / (root + self.eps), states


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: x shrinks by lr * weight_decay (Loshchilov and Hutter 2019)."""

    decoupled = True

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.01,
        **common: Any,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay, **common)


class LAMB(Adam):
    """Adam's step, scaled for each variable by |x| / |step| (You et al., Large Batch Optimization, 2020)."""

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        *,
        weight_decay: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay, **common)

    def step(self, x: Tensor, gradient: Tensor, lr: Tensor, count: Tensor, slot: Slots) -> tuple[Tensor, Values]:
        """See Optimizer.step."""
        mean, factor, root, states = self.moments(gradient, count, slot)
        direction = mean * factor / (root + self.eps)
        if self.weight_decay:
            direction = direction + x * self.weight_decay
        sizes: list[Tensor] = [apply("ReduceL2", of, keepdims=0) for of in (x, direction)]
        usable = (sizes[0] > 0.0) & (sizes[1] > 0.0)
        one = constant(1.0, dtype=x.dtype)
        ratio = apply("Where", usable, sizes[0] / apply("Where", usable, sizes[1], one), one)
        return x - direction * (lr * ratio), states


class Adagrad(Optimizer):
    """x -= lr * g / (sqrt(sum of g^2 so far) + eps) (Duchi et al. 2011); `weight_decay` adds to the gradient."""

    def __init__(
        self,
        lr: float | Schedule = 0.01,
        eps: float = 1e-10,
        *,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(lr, **common)
        self.eps, self.lr_decay, self.weight_decay = eps, lr_decay, weight_decay

    def step(self, x: Tensor, gradient: Tensor, lr: Tensor, count: Tensor, slot: Slots) -> tuple[Tensor, Values]:
        """See Optimizer.step."""
        if self.weight_decay:
            gradient = gradient + x * self.weight_decay
        total = slot("sum")
        new = total + gradient * gradient
        rate = lr / ((count - 1.0) * self.lr_decay + 1.0) if self.lr_decay else lr
        root = apply("Sqrt", new)
        return x - gradient / (root + self.eps) * rate, {total: new}


class RMSprop(Optimizer):
    """x -= lr * g / (sqrt(running mean of g^2) + eps) (Hinton, lecture 6e, 2012), with momentum on request."""

    def __init__(
        self,
        lr: float | Schedule = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(lr, **common)
        self.alpha, self.eps, self.momentum, self.weight_decay = alpha, eps, momentum, weight_decay

    def step(self, x: Tensor, gradient: Tensor, lr: Tensor, count: Tensor, slot: Slots) -> tuple[Tensor, Values]:
        """See Optimizer.step."""
        if self.weight_decay:
            gradient = gradient + x * self.weight_decay
        square = slot("square")
        new = square * self.alpha + gradient * gradient * (1 - self.alpha)
        root = apply("Sqrt", new)
        direction = gradient / (root + self.eps)
        if not self.momentum:
            return x - direction * lr, {square: new}
        velocity = slot("momentum")
        moved = velocity * self.momentum + direction
        return x - moved * lr, {square: new, velocity: moved}


# --- schedules


def exponential(lr: float, rate: float, every: int = 1) -> Schedule:
    """lr * rate ** (step // every).

    Example:
        >>> schedule = exponential(0.5, 0.5, every=10)
        >>> [schedule(constant(float(step))).item() for step in (0, 9, 10, 20)]
        [0.5, 0.5, 0.25, 0.125]
    """
    return lambda step: rate ** apply("Floor", step / float(every)) * lr


def piecewise(lr: float, factors: Mapping[int, float]) -> Schedule:
    """lr times the product of the factors of all steps up to now: {1000: 0.1, 2000: 0.1} divides by ten twice."""

    def at(step: Tensor) -> Tensor:
        rate = constant(lr)
        for begin, factor in sorted(factors.items()):
            rate = rate * apply("Where", step >= float(begin), constant(factor), constant(1.0))
        return rate

    return at


def cosine(lr: float, steps: int, floor: float = 0.0) -> Schedule:
    """From lr down to `floor` along half a cosine wave of `steps` steps, and then on at `floor`.

    Example:
        >>> schedule = cosine(1.0, 100)
        >>> [round(schedule(constant(float(step))).item(), 3) for step in (0, 50, 100, 200)]
        [1.0, 0.5, 0.0, 0.0]
    """

    def at(step: Tensor) -> Tensor:
        share = apply("Min", step / float(steps), constant(1.0))
        return (apply("Cos", share * math.pi) + 1.0) * ((lr - floor) / 2) + floor

    return at


def warmup(steps: int, then: float | Schedule) -> Schedule:
    """Rises evenly to `then` over `steps` steps; a schedule begins behind them.

    Example:
        >>> schedule = warmup(4, cosine(1.0, 100))
        >>> [round(schedule(constant(float(step))).item(), 3) for step in (0, 1, 3, 54)]
        [0.25, 0.5, 1.0, 0.5]
    """

    def at(step: Tensor) -> Tensor:
        after = then(apply("Max", step - float(steps), constant(0.0))) if callable(then) else constant(then)
        share = apply("Min", (step + 1.0) / float(steps), constant(1.0))
        return after * share

    return at


def one_cycle(lr: float, steps: int, *, rise: float = 0.3, start: float = 25.0, end: float = 1e4) -> Schedule:
    """Up to lr along half a cosine wave from lr / start, then down to lr / (start * end) (Smith and Topin 2018).

    Args:
        steps: how many there will be; the rate is that of the last one from then on.
        rise: the share of them that goes up.
    """
    up = max(1.0, rise * steps - 1)
    down = max(1.0, steps - up - 1)

    def wave(begin: float, finish: float, share: Tensor) -> Tensor:
        return (apply("Cos", share * math.pi) + 1.0) * ((begin - finish) / 2) + finish

    def at(step: Tensor) -> Tensor:
        rising = wave(lr / start, lr, apply("Min", step / up, constant(1.0)))
        falling = wave(lr, lr / start / end, apply("Min", apply("Max", step - up, 0.0) / down, constant(1.0)))
        return apply("Where", step <= up, rising, falling)

    return at
