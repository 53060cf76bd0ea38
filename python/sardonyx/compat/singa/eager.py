"""Tensors that behave as if computed at once, over the lazy ones of `sardonyx.graph`.

A result is computed when it is read. An optimizer's updates are collected, and carried out in one compiled run with
every result that the program still holds and that depends on what changes: those keep the values that they had before.
Runs are compiled once for a structure, whichever loop turn it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from sardonyx import graph
from sardonyx.compat.singa.device import Device, get_default_device
from sardonyx.errors import InvalidArgument
from sardonyx.graph.build import sort, training_updates
from sardonyx.graph.tensor import TensorLike, apply_all, is_data

Array: TypeAlias = "npt.NDArray[Any]"

_live: WeakValueDictionary[int, Tensor] = WeakValueDictionary()  # results that no change of a variable has outdated
_owners: WeakValueDictionary[graph.Tensor, Tensor] = WeakValueDictionary()  # tensors by their leaves
_pending: dict[graph.Tensor, graph.Tensor] = {}  # next values of variables
_made = 0
training = False  # whether operations are a part of training; programs set it as `autograd.training`


def _by_vector(op: str, shape: Sequence[int], what: str) -> Any:
    """A method that changes a matrix by a vector."""

    def method(self: Tensor, v: Tensor) -> Tensor:
        return self.become(call(op, self, call("Reshape", v, np.asarray(shape, np.int64))))

    method.__doc__ = f"{what} of the matrix, in place."
    return method


class Tensor:
    """An array, a parameter, or what an operation gives.

    Args:
        shape: extents of a tensor of zeros, where `data` is not given.
        device: where it lives.
        dtype: the element type of floating-point data.
        data: an array, a number or another tensor. Integers and booleans become i32.
        requires_grad: whether gradients are computed for it.
        stores_grad: whether `autograd.backward` gives its gradient: whether it is a parameter.
    """

    def __init__(
        self,
        shape: Sequence[int] = (),
        device: Device | None = None,
        dtype: npt.DTypeLike = np.float32,
        data: npt.ArrayLike | Tensor | None = None,
        requires_grad: bool = True,
        stores_grad: bool = False,
        creator: object = None,
        name: str | None = None,
    ) -> None:
        array = np.zeros(tuple(shape), dtype) if data is None else np.asarray(data)
        array = array.astype(dtype if array.dtype.kind == "f" else np.int32)
        self.device = device or get_default_device()
        self.requires_grad = requires_grad
        self.name = name or ""
        self._stores_grad = stores_grad
        self._array: Array | None = None
        self._frozen: graph.Tensor | None = None
        self._training = False
        self._set_leaf(graph.variable(array, self.name) if stores_grad and array.dtype.kind == "f" else _leaf(array))

    @classmethod
    def of(cls, lazy: graph.Tensor, device: Device | None = None) -> Tensor:
        """The tensor over a lazy one: a result where a node computes it, a parameter where it is a variable."""
        global _made
        tensor = cls.__new__(cls)
        tensor.device = device or get_default_device()
        tensor.requires_grad = lazy.variable is None or lazy.trainable
        tensor.name = lazy.name
        tensor._stores_grad = False
        tensor._array = None
        tensor._frozen = None
        tensor._training = training
        if lazy.node is None:
            tensor._set_leaf(lazy)
        else:
            tensor._lazy = lazy
            _made += 1
            _live[_made] = tensor
        return tensor

    def _set_leaf(self, leaf: graph.Tensor) -> None:
        self._lazy = leaf
        _owners[leaf] = self

    # --- the graph below

    @property
    def lazy(self) -> graph.Tensor:
        """The graph that gives the tensor, from today's variables."""
        return self._lazy

    @property
    def trained(self) -> bool:
        """Whether it came about while `autograd.training` was set."""
        return self._training

    @property
    def stores_grad(self) -> bool:
        """Whether `autograd.backward` gives its gradient."""
        return self._stores_grad

    @stores_grad.setter
    def stores_grad(self, on: bool) -> None:
        self._stores_grad = on

    def operand(self) -> graph.Tensor:
        """What an operation reads: the value that the tensor has now."""
        if self._lazy in _pending:
            flush()
        if self._frozen is not None:
            return self._frozen
        return self._lazy

    def parameter(self) -> graph.Tensor:
        """The variable of a leaf, which it now becomes where it was none."""
        if self._lazy in _pending:
            flush()
        if self._lazy.variable is None:
            self._set_leaf(graph.variable(self.numpy(), self.name))
        return self._lazy

    def numpy(self) -> Array:
        """The elements."""
        if self._array is not None:
            return self._array
        if self._lazy.node is None:
            return self.operand().numpy()
        self._array = graph.evaluate([self._lazy], self._training, move_statistics=False)[0]
        return self._array

    def _outdate(self) -> None:
        """Holds on to its value: variables that it was computed from are about to have other ones."""
        self._frozen = graph.data(self.numpy())

    def become(self, value: Tensor) -> Tensor:
        """Takes the value of another: parameters change, other tensors stand for the other's graph from now on."""
        if self._lazy.variable is not None:
            given = value.operand()
            queue(self.parameter(), given)
        else:
            self._lazy, self._array, self._frozen = value._lazy, value._array, value._frozen
        return self

    def assign(self, array: npt.ArrayLike) -> Tensor:
        """Takes new elements, of the same shape where it is a parameter."""
        value = np.asarray(array)
        if self._lazy.variable is None:
            self._array = self._frozen = None
            self._set_leaf(_leaf(value.astype(value.dtype if value.dtype.kind != "f" else self.dtype)))
            return self
        if self._lazy in _pending:
            flush()
        for tensor in _outdated([self._lazy]):
            tensor._outdate()
        self._lazy.assign(value.reshape(self.shape))
        return self

    # --- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents."""
        if self._array is None and self._lazy.node is None:
            return cast("tuple[int, ...]", self._lazy.shape)
        return self.numpy().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        return self._lazy.dtype

    @property
    def data(self) -> Array:
        """The elements."""
        return self.numpy()

    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    def memsize(self) -> int:
        """The number of bytes."""
        return self.size() * self.dtype.itemsize

    def is_empty(self) -> bool:
        """Whether it has no axes."""
        return self.ndim() == 0

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self.numpy(), dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __float__(self) -> float:
        return float(self.numpy().reshape(()))

    def __repr__(self) -> str:
        return f"Tensor({self.numpy()!r})"

    # --- filling

    def set_value(self, x: float) -> Tensor:
        """Every element becomes x."""
        return self.assign(np.full(self.shape, x, self.dtype))

    def gaussian(self, mean: float, std: float) -> Tensor:
        """Elements from a normal distribution."""
        return self.assign(self.device.random.normal(mean, std, self.shape))

    def uniform(self, low: float, high: float) -> Tensor:
        """Elements from [low, high)."""
        return self.assign(self.device.random.uniform(low, high, self.shape))

    def bernoulli(self, p: float) -> Tensor:
        """Elements that are 1 with probability p, else 0."""
        return self.assign((self.device.random.random(self.shape) < p).astype(np.float32))

    def copy_from_numpy(self, np_array: Array, offset: int = 0) -> None:
        """Takes the elements of an array of as many."""
        if np_array.size != self.size():
            raise InvalidArgument(f"got {np_array.size} elements for a tensor of shape {self.shape}")
        self.assign(np_array.reshape(self.shape))

    def copy_data(self, t: Tensor) -> None:
        """Takes the elements of a tensor of as many."""
        self.copy_from_numpy(t.numpy())

    def copy_from(self, t: Tensor | Array, offset: int = 0) -> None:
        """Takes the elements of a tensor or an array of as many."""
        self.copy_from_numpy(np.asarray(t))

    def clone(self) -> Tensor:
        """A tensor of its own with the same elements."""
        return Tensor(data=self.numpy().copy(), device=self.device, requires_grad=self.requires_grad)

    copy = deepcopy = clone

    def to_device(self, device: Device) -> None:
        """Moves the elements to a device."""
        self.device = device

    def to_host(self) -> None:
        """Moves the elements to the processor."""
        self.device = get_default_device()

    add_column = _by_vector("Add", (-1, 1), "A vector plus each column")
    add_row = _by_vector("Add", (1, -1), "A vector plus each row")
    div_column = _by_vector("Div", (-1, 1), "Each column over a vector")
    div_row = _by_vector("Div", (1, -1), "Each row over a vector")
    mult_column = _by_vector("Mul", (-1, 1), "Each column times a vector")
    mult_row = _by_vector("Mul", (1, -1), "Each row times a vector")

    # --- new tensors

    def contiguous(self) -> Tensor:
        """The tensor itself: all are."""
        return self

    def repeat(self, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
        """Each element so many times along an axis, as numpy.repeat; all in one row where no axis is given."""
        places = np.arange(self.size() if axis is None else self.shape[axis])
        x = self.reshape((-1,)) if axis is None else self
        return call("Gather", x, np.repeat(places, np.asarray(repeats)), axis=axis or 0)

    def reshape(self, shape: Sequence[int]) -> Tensor:
        """The same elements under another shape."""
        return call("Reshape", self, np.asarray(shape, np.int64))

    def transpose(self, axes: Sequence[int] | None = None) -> Tensor:
        """Axes in another order; reversed where none is given."""
        return call("Transpose", self, perm=None if axes is None else list(axes))

    def T(self) -> Tensor:
        """Axes reversed."""
        return self.transpose()

    def as_type(self, dtype: npt.DTypeLike) -> Tensor:
        """Elements of another type."""
        names: dict[Any, npt.DTypeLike] = {"int": np.int32, "float": np.float32}
        return call("Cast", self, to=np.dtype(names.get(dtype, dtype)))

    def l1(self) -> float:
        """The mean of absolute values."""
        return float(np.abs(self.numpy()).mean())

    def l2(self) -> float:
        """The Euclidean norm over the number of elements."""
        return float(np.linalg.norm(self.numpy()) / max(self.size(), 1))

    def __getitem__(self, keys: Any) -> Tensor:
        return Tensor.of(self.operand()[keys], self.device)

    def __add__(self, other: Operand) -> Tensor:
        return call("Add", self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return call("Add", other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return call("Sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return call("Sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return call("Mul", self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return call("Mul", other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return call("Div", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return call("Div", other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return call("Floor", call("Div", self, other))

    def __matmul__(self, other: Operand) -> Tensor:
        return call("MatMul", self, other)

    def __pow__(self, other: Operand) -> Tensor:
        return call("Pow", self, other)

    def __neg__(self) -> Tensor:
        return call("Neg", self)

    def __iadd__(self, other: Operand) -> Tensor:
        return self.become(self + other)

    def __isub__(self, other: Operand) -> Tensor:
        return self.become(self - other)

    def __imul__(self, other: Operand) -> Tensor:
        return self.become(self * other)

    def __itruediv__(self, other: Operand) -> Tensor:
        return self.become(self / other)

    def __lt__(self, other: Operand) -> Tensor:
        return as_float(call("Less", self, other))

    def __le__(self, other: Operand) -> Tensor:
        return as_float(call("LessOrEqual", self, other))

    def __gt__(self, other: Operand) -> Tensor:
        return as_float(call("Greater", self, other))

    def __ge__(self, other: Operand) -> Tensor:
        return as_float(call("GreaterOrEqual", self, other))


Operand: TypeAlias = "Tensor | npt.ArrayLike"


def _leaf(array: Array) -> graph.Tensor:
    return graph.data(array)


def call_all(op: str, inputs: Sequence[Operand | None], outputs: int = 1, **attributes: Any) -> list[Tensor]:
    """One operator of ONNX and its outputs."""
    given: list[TensorLike | None] = [x.operand() if isinstance(x, Tensor) else x for x in inputs]
    of = next((x.device for x in inputs if isinstance(x, Tensor)), None)
    return [Tensor.of(y, of) for y in apply_all(op, given, attributes, outputs=outputs)]


def call(op: str, *inputs: Operand | None, **attributes: Any) -> Tensor:
    """One operator of ONNX with one output."""
    return call_all(op, inputs, **attributes)[0]


def as_float(x: Tensor) -> Tensor:
    """Truth values as 1.0 and 0.0, as SINGA has them."""
    return call("Cast", x, to=np.float32)


def parameters(y: Tensor) -> list[Tensor]:
    """The tensors that a result depends on and whose gradients are to be given, in the order of a walk from it."""
    found = []
    for leaf in sort([y.lazy])[1]:
        owner = _owners.get(leaf)
        if owner is not None and owner.requires_grad and owner.stores_grad and (is_data(leaf) or leaf.trainable):
            found.append(owner)
    return found


# --- updates


def queue(variable: graph.Tensor, value: graph.Tensor) -> None:
    """Gives a variable its next value when the updates are carried out."""
    _pending[variable] = value


def _outdated(changed: Sequence[graph.Tensor]) -> list[Tensor]:
    """Results in use that depend on variables which are about to change; no longer counted as live."""
    outdated = []
    among = set(changed)
    for key, tensor in list(_live.items()):
        if not among.isdisjoint(sort([tensor.lazy])[1]):
            outdated.append(tensor)
            del _live[key]
    return outdated


def flush() -> None:
    """Carries the updates out."""
    if not _pending:
        return
    update = graph.Update(dict(_pending))
    _pending.clear()
    moved = [target for target, _, _ in training_updates(sort(update.values.values())[0])]
    outdated = _outdated([*update.values, *moved])
    together = [t for t in outdated if t._array is None and t.trained]
    for tensor in outdated:
        if tensor not in together:
            tensor._outdate()
    results = graph.evaluate([*(t.lazy for t in together), update], training=True)
    for tensor, result in zip(together, results, strict=False):
        tensor._array = result
        tensor._outdate()
