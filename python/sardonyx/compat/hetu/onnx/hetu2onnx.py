"""Nodes to an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sardonyx.compat.hetu.executor import Executor
from sardonyx.graph import export as _export
from sardonyx.graph.tensor import Tensor

__all__ = ["export"]


def export(
    executor: Executor,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    onnx_save_dir: str | os.PathLike[str],
    job_name: str | None = None,
) -> None:
    """Writes the graph from `inputs` to `outputs`; it need not have run before, and the inputs may have any shape.

    Args:
        executor: the one that runs the graph; parameters are written as they are now.
        onnx_save_dir: the file.
        job_name: the name of the graph in the file.
    """
    _export(outputs, onnx_save_dir, inputs=inputs, graph_name=job_name or "hetu")
