"""OneFlow's interface: modules, static graphs, tensors and checkpoints, on `sardonyx.graph` and `sardonyx.nn`.

Example:
    >>> import sardonyx.compat.oneflow as flow
    >>> flow.relu(flow.tensor([-1.0, 2.0])).numpy()
    array([0., 2.], dtype=float32)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from sardonyx import graph, weights
from sardonyx.compat.oneflow import autograd, cuda, nn, optim
from sardonyx.compat.oneflow.creation import *  # noqa: F403
from sardonyx.compat.oneflow.creation import __all__ as _creation
from sardonyx.compat.oneflow.devices import device, require_cpu
from sardonyx.compat.oneflow.functional import *  # noqa: F403
from sardonyx.compat.oneflow.functional import __all__ as _functions
from sardonyx.compat.oneflow.tensor import Tensor, of

float16, bfloat16, float32, float64 = (np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
int8, int32, int64, uint8 = (np.dtype(t) for t in (np.int8, np.int32, np.int64, np.uint8))
bool = np.dtype(np.bool_)
float, double, half, long = float32, float64, float16, int64

__all__ = [
    *_creation,
    *_functions,
    "Tensor",
    "bfloat16",
    "bool",
    "cuda",
    "device",
    "double",
    "float",
    "float16",
    "float32",
    "float64",
    "half",
    "int8",
    "int32",
    "int64",
    "load",
    "nn",
    "no_grad",
    "optim",
    "save",
    "uint8",
    "autograd",
    "long",
    "enable_grad",
    "is_tensor",
]


class no_grad(contextlib.ContextDecorator):
    """Nothing changes within, whichever of the two: gradients are computed only where they are asked for."""

    def __enter__(self) -> no_grad:
        return self

    def __exit__(self, *error: object) -> None:
        return None


enable_grad = no_grad


def is_tensor(value: object) -> Any:
    """Whether it is a tensor."""
    return isinstance(value, graph.Tensor)


def load(path: str | os.PathLike[str], map_location: object = None) -> dict[str, Tensor]:
    """Reads a state: a folder with a folder for each variable, or a file of safetensors, NumPy or torch.

    Raises:
        NoSuchFile: there is nothing of that name.
        InvalidArgument: it is none of these.
    """
    require_cpu(map_location)
    return {name: of(graph.data(value, name)) for name, value in weights.load(path).items()}


def save(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a state: to a folder with a folder for each variable, or to .npz or .safetensors by the path's ending."""
    weights.save(path, state)
