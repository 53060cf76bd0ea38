"""y = x W' + b, lookup of rows, dropout, and modules that change shapes."""

from __future__ import annotations

import math

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, constant, variable
from sardonyx.nn import init
from sardonyx.nn.init import Rng
from sardonyx.nn.module import Module

__all__ = ["Dropout", "Embedding", "Flatten", "Identity", "Linear", "linear"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b over the last axis; weight [outputs, inputs]."""
    shape = x.shape
    if shape is not None and len(shape) == 2:
        return apply("Gemm", x, weight, bias, transB=1)
    y = apply("MatMul", x, apply("Transpose", weight, perm=[1, 0]))
    return y if bias is None else apply("Add", y, bias)


class Linear(Module):
    """y = x W' + b over the last axis.

    Args:
        rng: where the initial values come from; see `sardonyx.nn.init`.

    Attributes:
        weight: [out_features, in_features], from U(-a, a) with a = 1 / sqrt(in_features).
        bias: [out_features], likewise; None without bias.

    Example:
        >>> Linear(4, 2)(np.ones((3, 4), np.float32)).numpy().shape
        (3, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, rng: Rng = None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        source = init.generator(rng)
        bound = 1 / math.sqrt(max(in_features, 1))
        self.weight = variable(init.uniform((out_features, in_features), -bound, bound, source))
        self.bias = variable(init.uniform((out_features,), -bound, bound, source)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., in_features]."""
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """Rows of a table.

    Args:
        padding_idx: a row that gives zeros and is not trained.

    Attributes:
        weight: [num_embeddings, embedding_dim], from N(0, 1).

    Example:
        >>> Embedding(10, 4)(np.array([[1, 2, 3]])).numpy().shape
        (1, 3, 4)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, rng: Rng = None
    ) -> None:
        super().__init__()
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise InvalidArgument(f"padding_idx is {padding_idx}; a row of {num_embeddings} expected")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        table = init.normal((num_embeddings, embedding_dim), rng=rng)
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        if self.padding_idx is not None:
            table[self.padding_idx] = 0
        self.weight = variable(table)

    def forward(self, x: Tensor) -> Tensor:
        """x: rows as integers of any shape."""
        rows = apply("Gather", self.weight, x, axis=0)
        if self.padding_idx is None:
            return rows
        keep = init.ones((self.num_embeddings, 1), self.weight.dtype)
        keep[self.padding_idx] = 0
        return apply("Mul", rows, apply("Gather", constant(keep), x, axis=0))

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """In training, zeros with probability p, and all else divided by 1 - p; the input otherwise.

    Args:
        inplace: has no effect; memory is planned when a graph is compiled.

    Example:
        >>> Dropout(0.5)(np.ones(4, np.float32)).numpy()
        array([1., 1., 1., 1.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise InvalidArgument(f"p is {p}; a probability below 1 expected")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return apply("Dropout", x, constant(self.p)) if self.training and self.p else x

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"p={self.p}"


class Flatten(Module):
    """Makes the axes from start_dim to end_dim one.

    Example:
        >>> Flatten()(np.ones((2, 3, 4), np.float32)).numpy().shape
        (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        if (self.start_dim, self.end_dim) == (1, -1):
            return apply("Flatten", x, axis=1)
        rank = x.rank
        start, end = self.start_dim % rank, self.end_dim % rank
        if start >= end:
            return x
        if end == rank - 1:
            return x.reshape([0] * start + [-1])
        shape = apply("Shape", x)
        return x.reshape(apply("Concat", shape[:start], constant([-1]), shape[end + 1 :], axis=0))

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Its input. Takes and ignores any arguments, so that it can stand in for another layer.

    Example:
        >>> Identity()(np.ones(2, np.float32)).numpy()
        array([1., 1.], dtype=float32)
    """

    def __init__(self, *ignored: object, **also_ignored: object) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return x
