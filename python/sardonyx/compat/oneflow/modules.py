"""Modules whose parameters have OneFlow's methods, and lists of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from sardonyx import graph, nn
from sardonyx.compat.oneflow.tensor import Tensor, of
from sardonyx.errors import InvalidArgument

__all__ = ["Module", "Parameter", "ParameterList", "as_module"]

M = TypeVar("M", bound="Module")


def Parameter(data: Any, requires_grad: bool = True) -> Tensor:
    """A variable: assigned to an attribute of a module, it is one of its parameters.

    Args:
        data: its first elements, which are copied.
        requires_grad: whether optimizers change it.
    """
    return of(graph.variable(np.asarray(data), trainable=requires_grad))


class Module(nn.Module):
    """A part of a network; see `sardonyx.nn.Module`. Arrays and parameters come as tensors with OneFlow's methods."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, graph.Tensor) and value.variable is not None:
            of(value)
        elif isinstance(value, nn.Module):
            _adopt(value)
        super().__setattr__(name, value)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward`; arrays become tensors that hold data."""
        return super().__call__(*(of(graph.data(x)) if isinstance(x, np.ndarray) else x for x in inputs), **options)

    def __deepcopy__(self: M, memo: dict[int, Any]) -> M:
        """A module with variables of its own."""
        return _adopt(super().__deepcopy__(memo))

    def register_buffer(self, name: str, value: Any, persistent: bool = True) -> None:
        """Adds state that is no parameter, as running statistics are. A tensor is copied."""
        if not persistent:
            raise InvalidArgument(f"buffer '{name}': every buffer is a part of the state; persistent=True expected")
        is_variable = isinstance(value, graph.Tensor) and value.variable is not None
        super().register_buffer(name, value if is_variable else np.asarray(value))

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """Assigns a parameter, or None, to an attribute."""
        setattr(self, name, param)


N = TypeVar("N", bound=nn.Module)


def _adopt(module: N) -> N:
    """The module, whose parameters and buffers now have OneFlow's methods."""
    for tensor in (*module.parameters(), *module.buffers()):
        of(tensor)
    return module


def as_module(layer: type[N]) -> type[N]:
    """A layer of `sardonyx.nn` as a Module of this file."""
    return type(layer.__name__, (layer, Module), {"__doc__": layer.__doc__, "__module__": layer.__module__})


class ParameterList(Module):
    """A list of parameters; it computes nothing by itself."""

    def __init__(self, parameters: Iterable[graph.Tensor] = ()) -> None:
        super().__init__()
        self.extend(parameters)

    def _own(self) -> list[graph.Tensor]:
        return [tensor for _, tensor in self._variables()]

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[graph.Tensor]:
        return iter(self._own())

    def __getitem__(self, place: int) -> graph.Tensor:
        return self._own()[place]

    def append(self, parameter: graph.Tensor) -> ParameterList:
        """Adds a parameter at the end."""
        if not isinstance(parameter, graph.Tensor) or parameter.variable is None:
            raise InvalidArgument(f"a parameter expected, not {parameter!r}")
        setattr(self, str(len(self)), parameter)
        return self

    def extend(self, parameters: Iterable[graph.Tensor]) -> ParameterList:
        """Adds parameters at the end."""
        for parameter in parameters:
            self.append(parameter)
        return self
