"""Gradients that are asked for, rather than added up by `backward()`."""

from __future__ import annotations

from collections.abc import Sequence

from sardonyx import graph
from sardonyx.compat.oneflow.tensor import Tensor, of

__all__ = ["grad"]


def grad(
    outputs: graph.Tensor,
    inputs: graph.Tensor | Sequence[graph.Tensor],
    grad_outputs: graph.Tensor | None = None,
) -> tuple[Tensor, ...]:
    """The derivative of sum(outputs * grad_outputs) by each input; see `sardonyx.graph.gradients`.

    Example:
        >>> import sardonyx.compat.oneflow as flow
        >>> x = flow.tensor([3.0], requires_grad=True)
        >>> grad(x * x, x)[0].numpy()
        array([6.], dtype=float32)
    """
    given = [inputs] if isinstance(inputs, graph.Tensor) else list(inputs)
    return tuple(of(x) for x in graph.gradients(outputs, given, grad_outputs))
