"""Tensors of a graph written in Python: placeholders, variables, constants, and what nodes compute from them.

Nothing is computed until it is asked for: an `Executor` runs a graph with placeholders, and `Tensor.numpy()` evaluates
one whose leaves hold data. Both go the same way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, Protocol, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from sardonyx import _core
from sardonyx.errors import InvalidArgument
from sardonyx.graph.indexing import read_index
from sardonyx.graph.registry import DTYPES, operator_rows

__all__ = [
    "Node",
    "Tensor",
    "TensorLike",
    "apply",
    "apply_all",
    "as_tensor",
    "collect_losses",
    "constant",
    "data",
    "placeholder",
    "variable",
]

Extents: TypeAlias = "Sequence[int | str | None]"
Shape: TypeAlias = "tuple[int | str | None, ...]"


class Engine(Protocol):
    """What tensors ask where an answer takes a graph that is built and run."""

    def infer(self, tensor: Tensor) -> tuple[np.dtype[Any], Shape | None]:
        """The element type and the shape of what a node computes."""

    def compute(self, tensor: Tensor) -> npt.NDArray[Any]:
        """The elements."""

    def backward(self, loss: Tensor) -> None:
        """Adds gradients to those of the variables behind a loss."""


class Node:
    """One operator applied to tensors.

    Attributes:
        op, domain: the operator; domain "" is ai.onnx.
        inputs: None where an optional input is left out.
        attributes: Python values; tensors as arrays, bodies of control flow as onnx.GraphProto.
        captures: what the bodies read from the graph around them, by the names they use.
        outputs: the tensors that it computes, of the class of the first input that is of a class derived from Tensor.
        frozen: keeps batch normalization and dropout as they are in inference where a graph is built for training.
        spent: `backward()` went through it; see `graph.eager`.
    """

    __slots__ = ("attributes", "captures", "domain", "frozen", "inputs", "name", "op", "outputs", "spent")

    def __init__(
        self,
        op: str,
        inputs: Sequence[Tensor | None],
        attributes: dict[str, Any] | None = None,
        *,
        outputs: int = 1,
        domain: str = "",
        name: str = "",
        captures: dict[str, Tensor] | None = None,
    ) -> None:
        self.op = op
        self.domain = domain
        self.inputs = list(inputs)
        self.attributes = dict(attributes or {})
        self.captures = dict(captures or {})
        self.name = name
        self.frozen = self.spent = False
        kind = next((type(x) for x in inputs if x is not None and type(x) is not Tensor), Tensor)
        self.outputs = [kind(node=self, index=i) for i in range(outputs)]

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(repr(x.name) if x is not None else 'None' for x in self.inputs)})"


class Tensor:
    """A value of a graph. Arithmetic, comparison, indexing and the methods below add nodes, as NumPy's would compute.

    `==` compares identity, so that tensors can be keys of a `feed_dict`; `equal()` compares elements.

    Attributes:
        name: its name in ONNX; "" where one is to be made up.
        node: what computes it; None for a leaf.
        trainable: whether optimizers change it; only of variables.
        grad: what `backward()` of losses has added up; None before. Only of trainable variables.
        fed_rank: the number of axes that a placeholder without a shape had in the last run.
        engine: what all tensors ask; it stands above them, and the package sets it when it is imported.
    """

    __slots__ = (
        "__weakref__", "_array", "_dtype", "_shape", "fed_rank", "grad", "index", "name", "node", "trainable",
        "variable",
    )  # fmt: skip
    engine: ClassVar[Engine]
    __array_priority__ = 1000  # NumPy leaves `array + tensor` to the tensor

    def __init__(
        self,
        *,
        node: Node | None = None,
        index: int = 0,
        name: str = "",
        dtype: npt.DTypeLike | None = None,
        shape: Extents | None = None,
        array: npt.NDArray[Any] | None = None,
        variable: _core.Variable | None = None,
        trainable: bool = False,
    ) -> None:
        self.node = node
        self.index = index
        self.name = name
        self.variable = variable
        self.trainable = trainable
        self.grad: Tensor | None = None
        self.fed_rank: int | None = None
        self._array = array
        self._dtype = None if dtype is None else np.dtype(dtype)
        self._shape: Shape | None = None if shape is None else tuple(shape)

    # --- what it is

    @property
    def is_placeholder(self) -> bool:
        """Whether a run must be fed it."""
        return self.node is None and self.variable is None and self._array is None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        if self.variable is not None:
            return self.variable.dtype
        if self._array is not None:
            return self._array.dtype
        if self._dtype is None and self.node is not None:
            self._dtype = _dtype_by_ports(self.node, self.index)
        if self._dtype is None:
            self._infer()
        assert self._dtype is not None
        return self._dtype

    @property
    def shape(self) -> Shape | None:
        """The extents: numbers, names of symbols, None where unknown; None altogether where the rank is unknown."""
        if self.variable is not None:
            return self.variable.shape
        if self._array is not None:
            return self._array.shape
        if self._shape is None and self.node is not None:
            self._infer()
        return self._shape

    def set_shape(self, shape: Extents) -> None:
        """Declares the extents of a placeholder whose rank was left open. Raises InvalidArgument for another tensor."""
        if not self.is_placeholder or self._shape is not None:
            raise InvalidArgument(f"the shape of {self!r} is {self.shape}; only that of a placeholder can be declared")
        self._shape = tuple(shape)

    @property
    def rank(self) -> int:
        """The number of axes. Raises InvalidArgument where it is not known."""
        shape = self.shape
        if shape is None:
            raise InvalidArgument(f"the rank of {self!r} must be known here; give its placeholders a shape")
        return len(shape)

    @property
    def is_known_number(self) -> bool:
        """Whether type and shape are known already, and the elements matter to no shape: floating-point numbers."""
        floats = self._dtype is not None and (self._dtype.kind == "f" or self._dtype == ml_dtypes.bfloat16)
        return floats and self._shape is not None

    def _infer(self) -> None:
        if self.node is None:
            raise InvalidArgument(f"the element type of {self!r} is not known")
        self._dtype, self._shape = self.engine.infer(self)

    def __repr__(self) -> str:
        kind = "Tensor" if self.node is not None else "Variable" if self.variable is not None else "Leaf"
        of = f" of {self.node.op}" if self.node is not None else ""
        return f"<{kind} '{self.name}'{of}>"

    # --- data

    def numpy(self) -> npt.NDArray[Any]:
        """The elements: computed now where a node gives them. Raises InvalidArgument where a placeholder is needed."""
        if self.variable is not None:
            return self.variable.get()
        if self._array is not None:
            return self._array
        return self.engine.compute(self)

    def item(self) -> Any:
        """The only element, as a Python number. Raises ValueError where there are more."""
        return self.numpy().item()

    def to(self, device: str) -> Tensor:
        """The tensor itself, which is on the CPU. Raises InvalidArgument for any other device."""
        if str(device).split(":")[0] != "cpu":
            raise InvalidArgument(f"device '{device}' is not available; tensors are on 'cpu'")
        return self

    def cpu(self) -> Tensor:
        """The tensor itself."""
        return self

    def cuda(self, device: int | str | None = None) -> Tensor:
        """Raises InvalidArgument: tensors are on the CPU."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    def backward(self) -> None:
        """Computes the gradients of this scalar, the loss, and adds them to `grad` of the trainable variables that it
        depends on (`graph.eager.backward`). In build() of a `compat.oneflow.nn.Graph` it says what the loss is.

        Raises:
            InvalidArgument: it is no scalar, or depends on no trainable variable.
        """
        losses = _losses.get()
        if losses is None:
            self.engine.backward(self)
        else:
            losses.append(self)

    def __float__(self) -> float:
        return float(self.item())

    def assign(self, value: npt.ArrayLike) -> None:
        """Gives a variable new elements of the same shape, converted to its type.

        Raises:
            InvalidArgument: it is no variable, or the shape is another one.
        """
        if self.variable is None:
            raise InvalidArgument(f"{self!r} is no variable; only variables can be assigned to")
        self.variable.set(np.asarray(value, dtype=self.variable.dtype))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self.numpy(), dtype=dtype)

    def __bool__(self) -> bool:
        raise TypeError("the truth of a lazy tensor is not known; evaluate it with .numpy(), or use op.Where or op.If")

    # --- arithmetic

    def __add__(self, other: TensorLike) -> Tensor:
        return _binary("Add", self, other)

    def __radd__(self, other: TensorLike) -> Tensor:
        return _binary("Add", other, self)

    def __sub__(self, other: TensorLike) -> Tensor:
        return _binary("Sub", self, other)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return _binary("Sub", other, self)

    def __mul__(self, other: TensorLike) -> Tensor:
        return _binary("Mul", self, other)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return _binary("Mul", other, self)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return _binary("Div", self, other)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return _binary("Div", other, self)

    def __pow__(self, other: TensorLike) -> Tensor:
        return _binary("Pow", self, other)

    def __rpow__(self, other: TensorLike) -> Tensor:
        return _binary("Pow", other, self)

    def __matmul__(self, other: TensorLike) -> Tensor:
        return _binary("MatMul", self, other)

    def __rmatmul__(self, other: TensorLike) -> Tensor:
        return _binary("MatMul", other, self)

    def __floordiv__(self, other: TensorLike) -> Tensor:
        return _floor_division(self, other)

    def __rfloordiv__(self, other: TensorLike) -> Tensor:
        return _floor_division(other, self)

    def __mod__(self, other: TensorLike) -> Tensor:
        return _remainder(self, other)

    def __rmod__(self, other: TensorLike) -> Tensor:
        return _remainder(other, self)

    def __pos__(self) -> Tensor:
        return self

    def __neg__(self) -> Tensor:
        return apply("Neg", self)

    def __abs__(self) -> Tensor:
        return apply("Abs", self)

    def __lt__(self, other: TensorLike) -> Tensor:
        return _binary("Less", self, other)

    def __le__(self, other: TensorLike) -> Tensor:
        return _binary("LessOrEqual", self, other)

    def __gt__(self, other: TensorLike) -> Tensor:
        return _binary("Greater", self, other)

    def __ge__(self, other: TensorLike) -> Tensor:
        return _binary("GreaterOrEqual", self, other)

    def __and__(self, other: TensorLike) -> Tensor:
        return _binary("And", self, other)

    def __or__(self, other: TensorLike) -> Tensor:
        return _binary("Or", self, other)

    def __xor__(self, other: TensorLike) -> Tensor:
        return _binary("Xor", self, other)

    def __invert__(self) -> Tensor:
        return apply("Not", self)

    def equal(self, other: TensorLike) -> Tensor:
        """Whether elements are equal, one by one: a tensor of bool."""
        return _binary("Equal", self, other)

    # --- shapes

    def __getitem__(self, key: Any) -> Tensor:
        return _index(self, key)

    def __len__(self) -> int:
        shape = self.shape
        if shape == ():
            raise TypeError("a scalar has no length")
        if shape is None or not isinstance(shape[0], int):
            raise TypeError(f"the extent of the first axis of {self!r} is not known, so it has no length")
        return shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements under another shape; -1 for the extent that follows from the others, 0 to keep one."""
        given = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return apply("Reshape", self, given if isinstance(given, Tensor) else _ints(given))

    def transpose(self, *axes: int | Sequence[int]) -> Tensor:
        """Axes in another order, one by one or as a sequence; reversed where none is given."""
        order = list(axes[0]) if len(axes) == 1 and isinstance(axes[0], Sequence) else list(axes)
        return apply("Transpose", self, perm=order) if order else apply("Transpose", self)

    @property
    def T(self) -> Tensor:
        """Axes reversed."""
        return self.transpose()

    def astype(self, dtype: npt.DTypeLike) -> Tensor:
        """Elements of another type."""
        return apply("Cast", self, to=np.dtype(dtype))

    def flatten(self, axis: int = 1) -> Tensor:
        """Two axes: the extents before `axis` multiplied, and those from it on."""
        return apply("Flatten", self, axis=axis)

    def squeeze(self, *axes: int) -> Tensor:
        """Without the axes given, of extent 1; all such where none is given."""
        return apply("Squeeze", self, _ints(axes)) if axes else apply("Squeeze", self)

    def unsqueeze(self, *axes: int) -> Tensor:
        """With new axes of extent 1."""
        return apply("Unsqueeze", self, _ints(axes))

    # --- reductions

    def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Over the axes, or all."""
        return _reduce("ReduceSum", self, axis, keepdims)

    def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Over the axes, or all."""
        return _reduce("ReduceMean", self, axis, keepdims)

    def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Over the axes, or all."""
        return _reduce("ReduceMax", self, axis, keepdims)

    def min(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """Over the axes, or all."""
        return _reduce("ReduceMin", self, axis, keepdims)

    def prod(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """The product over the axes, or all."""
        return _reduce("ReduceProd", self, axis, keepdims)

    def var(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """The mean of squared distances from the mean, over the axes, or all (divided by their number, as NumPy's)."""
        distance = self - self.mean(axis, keepdims=True)
        return (distance * distance).mean(axis, keepdims)

    def std(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Tensor:
        """The root of `var`."""
        return apply("Sqrt", self.var(axis, keepdims))

    def argmax(self, axis: int = -1, keepdims: bool = False) -> Tensor:
        """The place of the largest element along an axis (i64); the first of several."""
        return apply("ArgMax", self, axis=axis, keepdims=int(keepdims))

    def argmin(self, axis: int = -1, keepdims: bool = False) -> Tensor:
        """The place of the smallest element along an axis (i64); the first of several."""
        return apply("ArgMin", self, axis=axis, keepdims=int(keepdims))

    def clip(self, low: TensorLike | None = None, high: TensorLike | None = None) -> Tensor:
        """Bounded by two scalars; None for no bound."""
        return apply("Clip", self, low, high)


# The tensors whose backward() was called within `collect_losses`.
_losses: ContextVar[list[Tensor] | None] = ContextVar("losses", default=None)


@contextlib.contextmanager
def collect_losses() -> Iterator[list[Tensor]]:
    """Within the block, tensors whose `backward()` is called are added to the list that it gives."""
    losses: list[Tensor] = []
    token = _losses.set(losses)
    try:
        yield losses
    finally:
        _losses.reset(token)


TensorLike: TypeAlias = "Tensor | npt.ArrayLike"


def placeholder(name: str = "", dtype: npt.DTypeLike = np.float32, shape: Extents | None = None) -> Tensor:
    """A leaf that each run is fed.

    Args:
        name: its name in an exported model.
        dtype: the element type of what it is fed; nothing is converted but Python's numbers and lists.
        shape: numbers, names of symbolic extents ("batch") or None for extents that may vary; None: any rank.

    Example:
        >>> x = placeholder("x", shape=("batch", 3))
        >>> (x @ np.ones((3, 2), np.float32)).shape
        ('batch', 2)
    """
    return Tensor(name=name, dtype=dtype, shape=shape)


def variable(
    value: npt.ArrayLike, name: str = "", *, trainable: bool = True, dtype: npt.DTypeLike | None = None
) -> Tensor:
    """A leaf that keeps its elements between runs and that optimizers may change. Copies `value`.

    Only floating-point variables can be trainable. Lists and Python numbers become f32 where no dtype is given.

    Raises:
        InvalidArgument: it is trainable, and its elements are no floating-point numbers.

    Example:
        >>> w = variable([1.0, 2.0], "w")
        >>> w.assign([3.0, 4.0])
        >>> (w * 2.0).numpy()
        array([6., 8.], dtype=float32)
    """
    array = np.asarray(value, dtype=dtype)
    if dtype is None and not isinstance(value, (np.ndarray, np.generic)) and array.dtype == np.float64:
        array = array.astype(np.float32)
    floats = np.issubdtype(array.dtype, np.floating) or array.dtype == ml_dtypes.bfloat16
    if trainable and not floats:
        raise InvalidArgument(
            f"a trainable variable has a floating-point type, not {array.dtype}; pass trainable=False"
        )
    return Tensor(name=name, variable=_core.Variable(np.ascontiguousarray(array)), trainable=trainable)


def constant(value: npt.ArrayLike, name: str = "", dtype: npt.DTypeLike | None = None) -> Tensor:
    """A leaf that is a part of the graph. Python numbers become f32 or i64 where no dtype is given. Copies `value`.

    Example:
        >>> constant([1, 2]).dtype, constant(0.5).dtype
        (dtype('int64'), dtype('float32'))
    """
    array = np.array(value, dtype=dtype)
    if dtype is None and not isinstance(value, (np.ndarray, np.generic)) and array.dtype == np.float64:
        array = array.astype(np.float32)
    array.setflags(write=False)
    return Tensor(name=name, array=array)


def data(value: npt.ArrayLike, name: str = "") -> Tensor:
    """A leaf that holds elements which change from graph to graph, such as a batch: graphs that differ in nothing else
    are compiled once. Shares the memory of an array, and keeps its element type.

    Example:
        >>> data(np.arange(3)).sum().item()
        3
    """
    tensor = Tensor(name=name, array=np.asarray(value))
    tensor._dtype = tensor._array.dtype if tensor._array is not None else None
    return tensor


def is_data(tensor: Tensor) -> bool:
    """Whether `data()` made the tensor."""
    return tensor._array is not None and tensor._dtype is not None


def as_tensor(value: TensorLike, like: Tensor | None = None) -> Tensor:
    """`value` itself, or a constant; Python numbers get the dtype of `like`."""
    if isinstance(value, Tensor):
        return value
    if like is not None and isinstance(value, (bool, int, float)):
        return constant(value, dtype=like.dtype)
    return constant(value)


def apply_all(
    op: str, inputs: Sequence[TensorLike | None], attributes: dict[str, Any], *, outputs: int = 1, domain: str = ""
) -> list[Tensor]:
    """One node and its outputs.

    Arrays become constants, and so do Python numbers, of the element type that the operator wants where other inputs
    tell it. Attributes that are None are left out.
    """
    given = [None if x is None else as_tensor(x, _like(op, domain, inputs, i)) for i, x in enumerate(inputs)]
    while given and given[-1] is None:
        given.pop()
    node = Node(op, given, {k: v for k, v in attributes.items() if v is not None}, outputs=outputs, domain=domain)
    return list(node.outputs)


def _like(op: str, domain: str, inputs: Sequence[TensorLike | None], index: int) -> Tensor | None:
    """The tensor whose element type a Python number at `index` takes: one of the same type variable, or the first one
    of a type that the operator takes there."""
    if not isinstance(inputs[index], (bool, int, float)):
        return None
    tensors = [(i, x) for i, x in enumerate(inputs) if isinstance(x, Tensor)]
    row = operator_rows().get((domain, op))
    if row is None or not row["inputs"]:
        return tensors[0][1] if tensors else None

    def port(i: int) -> _core.PortRow:
        return row["inputs"][min(i, len(row["inputs"]) - 1)]

    wanted = port(index)
    same = [x for i, x in tensors if wanted["variable"] and port(i)["variable"] == wanted["variable"]]
    fitting = (x for _, x in tensors if any(x.dtype == DTYPES[name] for name in wanted["types"] if name in DTYPES))
    return same[0] if same else next(fitting, None)


def apply(op: str, *inputs: TensorLike | None, domain: str = "", **attributes: Any) -> Tensor:
    """One node with a single output."""
    return apply_all(op, inputs, attributes, domain=domain)[0]


def _dtype_by_ports(node: Node, index: int) -> np.dtype[Any] | None:
    """The element type of an output, where the operator's ports alone tell it."""
    row = operator_rows().get((node.domain, node.op))
    if row is None or not row["outputs"]:
        return None
    output = row["outputs"][min(index, len(row["outputs"]) - 1)]
    if output["types"] and len(output["types"]) == 1:
        return np.dtype(DTYPES[output["types"][0]]) if output["types"][0] in DTYPES else None
    for port, x in zip(row["inputs"], node.inputs, strict=False):
        if x is not None and port["variable"] and port["variable"] == output["variable"]:
            return x.dtype
    return None


def _binary(op: str, a: TensorLike, b: TensorLike) -> Tensor:
    return apply(op, a, b)


def _remainder(a: TensorLike, b: TensorLike) -> Tensor:
    """With the sign of the divisor, as Python's."""
    x, y = _pair(a, b)
    if x.dtype.kind in "iu":
        return apply("Mod", x, y)
    rest = apply("Mod", x, y, fmod=1)
    zero = constant(0, dtype=x.dtype)
    wrong = ((rest < zero) ^ (y < zero)) & ~rest.equal(zero)
    return apply("Where", wrong, rest + y, rest)


def _floor_division(a: TensorLike, b: TensorLike) -> Tensor:
    x, y = _pair(a, b)
    whole = (x - _remainder(x, y)) / y
    return whole if x.dtype.kind in "iu" else apply("Round", whole)


def _pair(a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor]:
    """Both as tensors; a Python number takes the other's type."""
    like = next(x for x in (a, b) if isinstance(x, Tensor))
    return as_tensor(a, like), as_tensor(b, like)


def _ints(values: Iterable[int]) -> Tensor:
    return constant(np.array(list(values), np.int64))


def _reduce(op: str, x: Tensor, axis: int | Sequence[int] | None, keepdims: bool) -> Tensor:
    axes = None if axis is None else _ints([axis] if isinstance(axis, int) else axis)
    return apply(op, x, axes, keepdims=int(keepdims))


def _mask(key: Any) -> Tensor | None:
    """An index that holds truth values, as a tensor."""
    if isinstance(key, (list, np.ndarray)) and np.asarray(key).dtype == np.bool_:
        return constant(np.asarray(key))
    return key if isinstance(key, Tensor) and key.dtype == np.bool_ else None


def _index(x: Tensor, key: Any) -> Tensor:
    """Integers, slices, Ellipsis, None, and one tensor or list of integers or truth values, as NumPy reads them."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if len(keys) == 1 and (mask := _mask(keys[0])) is not None:
        return apply("GatherND", x, apply("Transpose", apply("NonZero", mask), perm=[1, 0]))
    index = read_index(keys, lambda: x.rank)
    gathered = [(axis, _chosen(k)) for axis, k in index.gathered]
    if len(gathered) > 1:
        raise TypeError("at most one index may be an array; use op.GatherND for more")
    if index.starts:
        x = apply("Slice", x, *(_ints(values) for values in (index.starts, index.ends, index.axes, index.steps)))
    for axis, chosen in gathered:
        x = apply("Gather", x, chosen, axis=axis)
    if index.dropped:
        x = apply("Squeeze", x, _ints(index.dropped))
    if index.added:
        x = apply("Unsqueeze", x, _ints(index.added))
    return x


def _chosen(k: Any) -> Tensor:
    """The places along an axis that a list, an array or a tensor of integers or truth values stands for."""
    if not isinstance(k, (Tensor, list, np.ndarray)):
        raise TypeError(f"cannot index a tensor with {type(k).__name__}; integers, slices and integer arrays expected")
    if (mask := _mask(k)) is None:
        return k if isinstance(k, Tensor) else constant(np.asarray(k, np.int64))
    if mask.rank != 1:
        raise TypeError("beside other indices, a mask has one axis")
    return apply("NonZero", mask).squeeze(0)
