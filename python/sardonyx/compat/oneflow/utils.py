"""Gradients that are bounded between `backward()` and the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from sardonyx import graph
from sardonyx.compat.oneflow.tensor import Tensor, of

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def _with_gradients(parameters: graph.Tensor | Iterable[graph.Tensor]) -> list[tuple[graph.Tensor, graph.Tensor]]:
    given = [parameters] if isinstance(parameters, graph.Tensor) else parameters
    return [(x, x.grad) for x in given if x.grad is not None]


def clip_grad_norm_(
    parameters: graph.Tensor | Iterable[graph.Tensor], max_norm: float, norm_type: float = 2.0
) -> Tensor:
    """Scales all gradients down together where their joint norm is larger than max_norm; returns the norm before.

    Args:
        norm_type: 2 for the Euclidean norm, or another number, infinity included.
    """
    pairs = _with_gradients(parameters)
    sizes = [np.linalg.norm(gradient.numpy().astype(np.float64).ravel(), norm_type) for _, gradient in pairs]
    total = float(np.linalg.norm(sizes, norm_type)) if sizes else 0.0
    if max_norm / (total + 1e-6) < 1 or math.isnan(total):
        for x, gradient in pairs:
            array = gradient.numpy()
            x.grad = of(graph.data((array * (max_norm / (total + 1e-6))).astype(array.dtype)))
    return of(graph.data(np.float32(total)))


def clip_grad_value_(parameters: graph.Tensor | Iterable[graph.Tensor], clip_value: float) -> None:
    """Bounds each element of a gradient by -clip_value and clip_value."""
    for x, gradient in _with_gradients(parameters):
        x.grad = of(graph.data(gradient.numpy().clip(-clip_value, clip_value)))
