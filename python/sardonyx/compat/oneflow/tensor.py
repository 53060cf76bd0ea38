"""Tensors with OneFlow's methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx import _core, graph
from sardonyx.compat.oneflow import elementwise, movement, reductions
from sardonyx.compat.oneflow.devices import device as Device
from sardonyx.compat.oneflow.devices import require_cpu
from sardonyx.errors import InvalidArgument
from sardonyx.graph.build import sort
from sardonyx.graph.tensor import as_tensor

__all__ = ["Tensor", "of"]

_DEVICES = ("cpu", "cuda")


class Tensor(graph.Tensor):
    """A tensor of `sardonyx.graph` with OneFlow's methods: what is computed from one is one again.

    The functions of tensors are methods too: `x.view(2, -1).softmax(-1)`. `==` compares objects, `eq` elements. Nothing
    is computed before it is asked for, and elements cannot be assigned to.

    Example:
        >>> x = of(graph.data(np.arange(6, dtype=np.float32)))
        >>> values, places = x.view(2, 3).transpose(0, 1).max(dim=0)
        >>> values.tolist(), places.tolist()
        ([2.0, 5.0], [2, 2])
    """

    __slots__ = ()

    def __str__(self) -> str:
        """The elements, computed now; what it is where they depend on a placeholder."""
        try:
            return f"tensor({np.array2string(self.numpy(), separator=', ', prefix='tensor(')}, dtype={self.dtype.name})"
        except InvalidArgument:
            return repr(self)

    # --- what it is

    def size(self, dim: int | None = None) -> Any:
        """The extents, or that of one axis."""
        return self.shape if dim is None else (self.shape or ())[dim]

    def dim(self) -> int:
        """The number of axes."""
        return self.rank

    ndimension = dim

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.rank

    def numel(self) -> int:
        """The number of elements. Raises InvalidArgument where an extent is not known."""
        extents = [extent for extent in self.shape or () if isinstance(extent, int)]
        if self.shape is None or len(extents) != len(self.shape):
            raise InvalidArgument(f"the number of elements of {self!r} is not known: its shape is {self.shape}")
        return int(np.prod(extents))

    nelement = numel

    @property
    def device(self) -> Device:
        """The CPU."""
        return Device("cpu")

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def is_floating_point(self) -> bool:
        """Whether gradients can flow through it."""
        return self.dtype.kind == "f" or self.dtype.name == "bfloat16"

    # --- gradients

    @property
    def requires_grad(self) -> bool:
        """Whether `backward()` of what is computed from it gives gradients: of it, or of what is behind it."""
        return any(leaf.trainable for leaf in ([self] if self.node is None else sort([self])[1]))

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        if self.variable is None and on:
            if self._array is None or not self.is_floating_point():
                raise InvalidArgument("requires_grad can be set where a tensor holds floating-point data of its own")
            self.variable, self._array = _core.Variable(np.ascontiguousarray(self._array)), None
        self.trainable = on

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets `requires_grad`; the tensor itself."""
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """Its elements, computed now, through which no gradient flows."""
        return of(graph.data(self.numpy()))

    @property
    def data(self) -> Tensor:
        """The same as `detach()`."""
        return self.detach()

    # --- elements

    def tolist(self) -> Any:
        """The elements as Python numbers, in nested lists."""
        return self.numpy().tolist()

    def copy_(self, other: graph.Tensor | npt.ArrayLike) -> Tensor:
        """Gives a parameter other elements, which spread to its shape."""
        self.assign(np.broadcast_to(np.asarray(other), self.size()))
        return self

    def fill_(self, value: float) -> Tensor:
        """Makes all elements of a parameter one number."""
        return self.copy_(value)

    def zero_(self) -> Tensor:
        """Makes all elements of a parameter 0."""
        return self.copy_(0.0)

    def clone(self) -> Tensor:
        """The same elements, and gradients flow through."""
        return of(graph.op.Identity(self))

    def contiguous(self) -> Tensor:
        """The tensor itself: all are."""
        return self

    # --- types

    def to(self, *wanted: Any, dtype: npt.DTypeLike | None = None, device: object = None) -> Tensor:
        """Elements of another type: given as such, or as that of a tensor. Raises InvalidArgument for a device that is
        not the CPU."""
        for value in (*wanted, device):
            if isinstance(value, graph.Tensor):
                dtype = value.dtype
            elif value is None or isinstance(value, Device) or str(value).split(":")[0] in _DEVICES:
                require_cpu(value)
            else:
                dtype = value
        return self if dtype is None or self.dtype == np.dtype(dtype) else of(self.astype(dtype))

    def type(self, dtype: npt.DTypeLike) -> Tensor:
        """Elements of another type."""
        return self.to(dtype=dtype)

    def type_as(self, target: graph.Tensor) -> Tensor:
        """Elements of the type of another tensor."""
        return self.to(target)

    # --- where graph.Tensor has a method of the same name and other arguments

    def transpose(self, *axes: Any) -> Tensor:
        """Two axes exchanged; or all axes in the order of more numbers or of a sequence."""
        if len(axes) == 2:
            return of(movement.transpose(self, *axes))
        return of(super().transpose(*axes))

    def view_as(self, other: graph.Tensor) -> Tensor:
        """The same elements under the shape of another tensor."""
        return of(graph.op.Reshape(self, graph.op.Shape(other)))

    reshape_as = view_as

    def where(self, x: Any, y: Any = None) -> Tensor:
        """As a condition, `where(x, y)`; else `x.where(condition, y)`: x where the condition holds, else y."""
        if self.dtype == np.bool_:
            return of(elementwise.where(self, x, y))
        return of(elementwise.where(as_tensor(x), self, y))


def of(x: graph.Tensor) -> Tensor:
    """The tensor itself, with the methods of this class."""
    x.__class__ = Tensor
    assert isinstance(x, Tensor)
    return x


def _cast(dtype: npt.DTypeLike) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor) -> Tensor:
        return self.to(dtype=dtype)

    method.__doc__ = f"Elements as {np.dtype(dtype).name}."
    return method


_CASTS = {
    "bool": np.bool_, "byte": np.uint8, "double": np.float64, "float": np.float32, "half": np.float16, "int": np.int32,
    "long": np.int64,
}  # fmt: skip
for _name, _dtype in _CASTS.items():
    setattr(Tensor, _name, _cast(_dtype))
for _family in (elementwise, movement, reductions):
    for _name in _family.__all__:
        if _name not in vars(Tensor) and _name[0].islower():
            setattr(Tensor, _name, getattr(_family, _name))
