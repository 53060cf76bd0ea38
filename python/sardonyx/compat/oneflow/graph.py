"""Graphs: modules whose `build` is compiled once for each set of input shapes, to infer or to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sardonyx.compat.oneflow.modules import Module
from sardonyx.compat.oneflow.optim import Optimizer
from sardonyx.compat.oneflow.optim.lr_scheduler import LRScheduler
from sardonyx.compat.oneflow.tensor import of
from sardonyx.errors import InvalidArgument
from sardonyx.graph import Executor, Tensor, Update, data, placeholder
from sardonyx.graph.tensor import collect_losses

__all__ = ["Graph", "Trace"]


@dataclass
class Trace:
    """A graph for inputs of certain types and shapes.

    Attributes:
        inputs, outputs: its tensors.
        examples: what it was compiled with.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    examples: list[npt.NDArray[Any]]
    structure: Callable[[list[Any]], Any]
    executor: Executor

    def run(self, arrays: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The outputs for other inputs of those types and shapes. In a graph that trains, parameters change."""
        results = self.executor.run(dict(zip(self.inputs, arrays, strict=True)))
        return results[: len(self.outputs)]


def _structure(value: Any, leaves: list[Tensor]) -> Callable[[list[Any]], Any]:
    """Collects the tensors of nested tuples, lists and dicts; what comes back builds the like of other leaves."""
    if isinstance(value, Tensor):
        place = len(leaves)
        leaves.append(value)
        return lambda given: given[place]
    if isinstance(value, dict):
        parts = {key: _structure(x, leaves) for key, x in value.items()}
        return lambda given: {key: part(given) for key, part in parts.items()}
    if isinstance(value, (tuple, list)):
        kind = type(value)
        items = [_structure(x, leaves) for x in value]
        return lambda given: kind(item(given) for item in items)
    raise InvalidArgument(f"build() returned a {type(value).__name__}; tensors, or lists and dicts of them, expected")


class Graph(Module):
    """A static graph: subclasses assign modules to attributes and write `build`.

    Inputs are named `_<class>_<number>-input_<i>/out`, the number counting instances of the class.

    A graph trains where `add_optimizer` was called and `build` calls `backward()` of the loss: a call then is a step.

    Example:
        >>> class Doubled(Graph):
        ...     def build(self, x):
        ...         return x + x
        >>> Doubled()(np.ones(2, np.float32)).numpy()
        array([2., 2.], dtype=float32)
        >>> from sardonyx.compat.oneflow import nn, optim
        >>> class Trained(Graph):
        ...     def __init__(self, model):
        ...         super().__init__()
        ...         self.model = model
        ...         self.add_optimizer(optim.SGD(model.parameters(), lr=0.1))
        ...     def build(self, x, y):
        ...         loss = nn.MSELoss()(self.model(x), y)
        ...         loss.backward()
        ...         return loss
        >>> graph, x = Trained(nn.Linear(2, 1)), np.ones((4, 2), np.float32)
        >>> first, second = (graph(x, x[:, :1]).item() for _ in range(2))
        >>> second < first
        True
    """

    _counts: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        super().__init__()
        kind = type(self).__name__
        number = Graph._counts.get(kind, 0)
        Graph._counts[kind] = number + 1
        self._name = f"{kind}_{number}"
        self._traces: dict[Any, Trace] = {}
        self._optimizers: list[Optimizer] = []

    def add_optimizer(self, optim: Optimizer, *, lr_sch: LRScheduler | None = None) -> None:
        """Makes the graph train: each call changes the optimizer's parameters once.

        Args:
            lr_sch: how the learning rate changes from call to call.
        """
        if self._traces:
            raise InvalidArgument(f"{self.name} is compiled already; add optimizers in __init__, before it is called")
        if lr_sch is not None:
            if lr_sch.optimizer is not optim:
                raise InvalidArgument("lr_sch is the schedule of another optimizer")
            lr_sch.attach()
        self._optimizers.append(optim)

    @property
    def name(self) -> str:
        """The class and the number of the instance."""
        return self._name

    @property
    def first_trace(self) -> Trace:
        """The graph as it was compiled first. Raises InvalidArgument where it was not."""
        if not self._traces:
            raise InvalidArgument(
                f"{self.name} is not compiled: call it, or graph._compile(example), with an input of the right type "
                "and shape before it is exported"
            )
        return next(iter(self._traces.values()))

    def build(self, *inputs: Any) -> Any:
        """What the graph computes; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no build(); write one that returns its outputs")

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """`build`."""
        return self.build(*inputs, **options)

    def _compile(self, *inputs: Any) -> None:
        """Builds the graph for inputs like these."""
        self.trace(*inputs)

    def trace(self, *inputs: Any) -> Trace:
        """The graph for inputs like these, built where there is none yet."""
        if not hasattr(self, "_traces"):
            raise InvalidArgument(f"{type(self).__name__}.__init__ must call super().__init__()")
        arrays = []
        for i, x in enumerate(inputs):
            if not isinstance(x, (Tensor, np.ndarray)):
                raise InvalidArgument(f"input {i} is a {type(x).__name__}; a tensor expected")
            arrays.append(np.asarray(x))
        modes = tuple(module.training for module in self.modules())
        key = (tuple((x.dtype.str, x.shape) for x in arrays), modes)
        if key not in self._traces:
            leaves: list[Tensor] = [
                of(placeholder(f"_{self.name}-input_{i}/out", x.dtype, x.shape)) for i, x in enumerate(arrays)
            ]
            outputs: list[Tensor] = []
            with collect_losses() as losses:
                structure = _structure(super().__call__(*leaves), outputs)
            fetches: list[Tensor | Update] = [*outputs, *self._updates(losses)]
            self._traces[key] = Trace(leaves, outputs, arrays, structure, Executor(fetches))
        return self._traces[key]

    def _updates(self, losses: list[Tensor]) -> list[Update]:
        if not self._optimizers:
            if losses:
                raise InvalidArgument(f"build() of {self.name} calls backward(), but add_optimizer() was not called")
            return []
        if len(losses) != 1:
            raise InvalidArgument(
                f"build() of {self.name} calls backward() {len(losses)} times; once, of the loss, expected in a graph "
                "with an optimizer"
            )
        return [update for optimizer in self._optimizers for update in optimizer.updates(losses[0])]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """The outputs of `build`, computed."""
        trace = self.trace(*inputs, **options)
        results = trace.run([np.asarray(x) for x in inputs])
        return trace.structure([of(data(y)) for y in results])
