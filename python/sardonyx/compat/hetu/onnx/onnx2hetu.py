"""An ONNX file to nodes."""

from __future__ import annotations

import os
from typing import TypeAlias

from sardonyx.graph import load as _load
from sardonyx.graph.tensor import Tensor

__all__ = ["load_onnx"]

Nodes: TypeAlias = "Tensor | tuple[Tensor, ...]"


def load_onnx(onnx_path: str | os.PathLike[str]) -> tuple[Nodes, Nodes]:
    """The inputs and the outputs of a model: a node where there is one, a tuple where there are more.

    Floating-point weights are parameters, which an optimizer's `minimize` trains.
    """
    model = _load(onnx_path)
    return _one_or_all(model.inputs), _one_or_all(model.outputs)


def _one_or_all(nodes: list[Tensor]) -> Nodes:
    return nodes[0] if len(nodes) == 1 else tuple(nodes)
