"""What changes parameters: `loss.backward()` and `step()` in a loop, or `nn.Graph.add_optimizer`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import sardonyx.optim as _optim
from sardonyx.errors import InvalidArgument
from sardonyx.graph import Tensor, Update, evaluate

__all__ = ["LAMB", "SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]


class Optimizer:
    """What all share.

    Args:
        params: parameters, or dictionaries with some under "params" and options for those.
        lr: the learning rate.
        options: as the optimizer of that name in `sardonyx.optim` takes them; clip_grad_max_norm bounds the joint norm
            of the gradients.

    Attributes:
        groups: parameters, with the optimizer of `sardonyx.optim` that changes them.

    Example:
        >>> model = Linear(4, 2)
        >>> SGD([{"params": [model.weight], "lr": 0.1}, {"params": [model.bias]}], lr=0.2).groups[1][1].lr
        0.2
        >>> optimizer = SGD(model.parameters(), lr=0.1)
        >>> loss = (model(np.ones((3, 4), np.float32)) ** 2.0).mean()
        >>> optimizer.zero_grad()
        >>> loss.backward()
        >>> optimizer.step()
    """

    make: ClassVar[Callable[..., _optim.Optimizer]]
    usual: ClassVar[dict[str, Any]] = {}

    def __init__(self, params: Iterable[Tensor | Mapping[str, Any]], lr: float = 1e-3, **options: Any) -> None:
        common = {**self.usual, "lr": lr, **options}
        given = list(params)
        if not given:
            raise InvalidArgument("the optimizer got no parameters")
        groups = [dict(x) for x in given if isinstance(x, Mapping)]
        if len(groups) not in (0, len(given)):
            raise InvalidArgument("parameters and dictionaries of them cannot be mixed")
        self.groups: list[tuple[list[Tensor], _optim.Optimizer]] = []
        for group in groups or [{"params": given}]:
            chosen = list(group.pop("params"))
            settings = {**common, **group}
            settings.pop("clip_grad_norm_type", None)
            settings["clip_norm"] = settings.pop("clip_grad_max_norm", None)
            self.groups.append((chosen, type(self).make(**settings)))

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Forgets the gradients of all parameters: `grad` is None then, whatever `set_to_none` says."""
        for params, _ in self.groups:
            for x in params:
                x.grad = None

    def step(self) -> None:
        """Changes the parameters by the gradients that `backward()` gave; those without one stay.

        Raises:
            InvalidArgument: none has a gradient.
        """
        found = []
        for params, rule in self.groups:
            reached = {x: x.grad for x in params if x.grad is not None and x.trainable}
            if reached:
                found.append(rule.update(list(reached), list(reached.values())))
        if not found:
            raise InvalidArgument("no parameter of the optimizer has a gradient: call backward() of the loss first")
        evaluate(found, training=False)

    def updates(self, loss: Tensor) -> list[Update]:
        """The updates of all groups. Parameters that are frozen, or that the loss does not depend on, stay."""
        reached = set(_optim.trainable_variables(loss))
        found = []
        for params, rule in self.groups:
            chosen = [x for x in params if x in reached]
            if chosen:
                found.append(rule.minimize(loss, chosen))
        if not found:
            raise InvalidArgument("the loss depends on none of the optimizer's parameters")
        return found


class SGD(Optimizer):
    """See sardonyx.optim.SGD."""

    make = _optim.SGD


class Adam(Optimizer):
    """See sardonyx.optim.Adam."""

    make = _optim.Adam


class AdamW(Optimizer):
    """See sardonyx.optim.AdamW; without weight decay unless it is given."""

    make = _optim.AdamW
    usual: ClassVar[dict[str, Any]] = {"weight_decay": 0.0}


class Adagrad(Optimizer):
    """See sardonyx.optim.Adagrad."""

    make = _optim.Adagrad


class RMSprop(Optimizer):
    """See sardonyx.optim.RMSprop."""

    make = _optim.RMSprop


class LAMB(Optimizer):
    """See sardonyx.optim.LAMB."""

    make = _optim.LAMB
    usual: ClassVar[dict[str, Any]] = {"eps": 1e-8}
