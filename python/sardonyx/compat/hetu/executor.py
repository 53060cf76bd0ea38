"""Hetu's executor over that of `sardonyx.graph`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

import sardonyx.graph as graph
from sardonyx import checkpoint
from sardonyx.compat.hetu.initializers import settle
from sardonyx.compat.hetu.ndarray import DLContext, NDArray
from sardonyx.errors import InvalidArgument
from sardonyx.graph.build import sort
from sardonyx.graph.executor import Fetch, Update
from sardonyx.graph.tensor import Tensor

__all__ = ["Executor"]

_Lists: TypeAlias = "Sequence[Fetch] | Mapping[str, Sequence[Fetch]]"


class Executor:
    """Runs lists of nodes.

    Args:
        eval_node_dict: the nodes that a run gives; or several such lists by name, such as "train" and "validate".
        ctx: a device; only the processor computes.
        seed: for the first values of parameters and for dropout.
        config: options of Hetu's distributed training, which have no meaning here; so do other keywords.
    """

    def __init__(
        self,
        eval_node_dict: _Lists,
        config: object = None,
        timing: object = None,
        *,
        ctx: DLContext | Sequence[DLContext] | None = None,
        seed: int | None = None,
        **_: Any,
    ) -> None:
        named = eval_node_dict if isinstance(eval_node_dict, Mapping) else {"default": eval_node_dict}
        self.eval_node_dict: dict[str, list[Fetch]] = {name: list(nodes) for name, nodes in named.items()}
        self._executors: dict[tuple[Any, ...], graph.Executor] = {}
        settle(self._variables(), seed)

    def run(
        self,
        name: str = "default",
        eval_node_list: Sequence[Fetch] = (),
        feed_dict: Mapping[Tensor, Any] | None = None,
        convert_to_numpy_ret_vals: bool = False,
        inference: bool | None = None,
    ) -> list[NDArray | npt.NDArray[Any] | None]:
        """Runs a list of nodes.

        Args:
            name: which list, where there are several.
            eval_node_list: other nodes to run in place of the list's.
            feed_dict: an array for each variable without a value that they depend on; takes its element type.
            convert_to_numpy_ret_vals: gives NumPy arrays in place of NDArrays.
            inference: whether batch normalization and dropout compute as in use; by default where no optimizer runs.

        Returns:
            An array for each node, None for an optimizer's.
        """
        if name not in self.eval_node_dict:
            raise InvalidArgument(f"there is no list of nodes named '{name}'; there are {sorted(self.eval_node_dict)}")
        nodes = tuple(eval_node_list or self.eval_node_dict[name])
        key = (nodes, inference)
        if key not in self._executors:
            self._executors[key] = graph.Executor(nodes, training=None if inference is None else not inference)
        feeds = {leaf: np.asarray(value, _dtype(leaf)) for leaf, value in (feed_dict or {}).items()}
        results = self._executors[key].run(feeds)
        return [x if x is None or convert_to_numpy_ret_vals else NDArray(x) for x in results]

    def _variables(self) -> list[Tensor]:
        roots: list[Tensor] = []
        for nodes in self.eval_node_dict.values():
            for node in nodes:
                roots += [*node.values, *node.values.values()] if isinstance(node, Update) else [node]
        return [leaf for leaf in sort(roots)[1] if leaf.variable is not None]

    def _named(self) -> dict[str, Tensor]:
        """Every variable by its name; by name and place where several share one."""
        variables = self._variables()
        names = [x.name or "variable" for x in variables]
        return {
            name if names.count(name) == 1 else f"{name}#{i}": x
            for i, (name, x) in enumerate(zip(names, variables, strict=True))
        }

    def return_tensor_values(self) -> dict[str, npt.NDArray[Any]]:
        """The values of all variables, those of optimizers too."""
        return {name: x.numpy() for name, x in self._named().items()}

    def save(self, file_path: str, file_name: str = "checkpoint") -> None:
        """Writes the values of all variables, those of optimizers too, to a file in a folder."""
        Path(file_path).mkdir(parents=True, exist_ok=True)
        checkpoint.save(Path(file_path) / file_name, self._named())

    def load(self, file_path: str, file_name: str = "checkpoint", consider_splits: bool = False) -> None:
        """Reads what `save` wrote.

        Raises:
            InvalidArgument: the file lacks a variable, or holds one of another shape; nothing has changed.
        """
        checkpoint.load(Path(file_path) / file_name, self._named())

    def load_dict(self, state_dict: Mapping[str, npt.ArrayLike]) -> None:
        """Gives all variables the values of their names."""
        named = self._named()
        for name, x in named.items():
            if name not in state_dict:
                raise InvalidArgument(f"the checkpoint holds no '{name}'; it holds {sorted(state_dict)}")
            if np.shape(state_dict[name]) != x.shape:
                raise InvalidArgument(
                    f"the checkpoint's '{name}' has shape {np.shape(state_dict[name])}; {x.shape} expected"
                )
        for name, x in named.items():
            x.assign(state_dict[name])


def _dtype(leaf: Tensor) -> npt.DTypeLike:
    if not isinstance(leaf, Tensor):
        raise InvalidArgument(f"feed_dict's key {leaf!r} is no node; the nodes that Variable() gave are its keys")
    return leaf.dtype
