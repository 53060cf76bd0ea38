"""Tensors at once: what they answer when they are asked for their shape, their elements or gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx.errors import InvalidArgument
from sardonyx.graph.build import output_types, sort
from sardonyx.graph.executor import evaluate, gradients
from sardonyx.graph.tensor import Node, Shape, Tensor

__all__ = ["backward", "compute", "infer"]


def infer(tensor: Tensor) -> tuple[np.dtype[Any], Shape | None]:
    """The element type and the shape, by the core's inference; data counts with the extents that it has."""
    return output_types([tensor], exact=True)[0]


def compute(tensor: Tensor) -> npt.NDArray[Any]:
    """The elements. Raises InvalidArgument where a placeholder is needed."""
    result: npt.NDArray[Any] = evaluate([tensor])[0]
    return result


def backward(loss: Tensor) -> None:
    """Adds the gradients of the trainable variables that a scalar depends on to their `grad`, as arrays.

    Batch normalization and dropout in training mode compute as in training. From then on the loss, and what lies
    between it and the last variables on the way (such as the logits), hold the values that they had. What else was
    computed on the way is used up: reading it again raises an error, since variables may change.

    Raises:
        InvalidArgument: the loss is no scalar, depends on no trainable variable or on what is used up.

    Example:
        >>> from sardonyx.graph import variable
        >>> x = variable([3.0])
        >>> backward((x * x).sum())
        >>> x.grad.numpy()
        array([6.], dtype=float32)
    """
    nodes, leaves = sort([loss])
    variables = [x for x in leaves if x.variable is not None and x.trainable]
    if not variables:
        raise InvalidArgument(
            "backward() of a tensor that depends on no trainable variable (are all frozen, or was backward() called "
            "before?)"
        )
    if int(np.prod([extent if isinstance(extent, int) else 1 for extent in loss.shape or ()])) != 1:
        raise InvalidArgument(f"backward() of a tensor of shape {loss.shape}; a scalar expected: take its mean or sum")
    changing, behind = _behind(nodes, loss)
    found = gradients(loss, variables)
    values = evaluate([*behind, *found], training=True)
    for x, value in zip([*behind, *found], values, strict=True):
        x.node, x._array = None, value
    for node in changing:
        node.spent = True
    for x, gradient in zip(variables, found, strict=True):
        if x.grad is not None:
            gradient._array = x.grad.numpy() + gradient.numpy()
        x.grad = gradient


_VIEWS = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def _is_parameter(x: Tensor) -> bool:
    """Whether x is a trainable variable in whatever form."""
    while x.node is not None and x.node.op in _VIEWS and x.node.inputs[0] is not None:
        x = x.node.inputs[0]
    return x.node is None and x.trainable


def _behind(nodes: list[Node], loss: Tensor) -> tuple[list[Node], list[Tensor]]:
    """The nodes that depend on trainable variables; and of what they compute, what no variable is behind."""

    def reads(node: Node) -> list[Tensor]:
        return [x for x in (*node.inputs, *node.captures.values()) if x is not None]

    changing: dict[int, Node] = {}
    for node in nodes:
        if any(x.trainable if x.node is None else id(x.node) in changing for x in reads(node)):
            changing[id(node)] = node
    meets: set[int] = set()  # nodes from which the way to the loss meets a variable
    found: dict[Tensor, None] = {loss: None}
    for node in reversed(list(changing.values())):
        ahead = id(node) in meets or any(_is_parameter(x) for x in reads(node))
        for x in reads(node):
            if x.node is not None and id(x.node) in changing:
                if ahead:
                    meets.add(id(x.node))
                found.setdefault(x)
    return list(changing.values()), [x for x in found if x is loss or id(x.node) not in meets]
