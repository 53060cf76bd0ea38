"""Operators of users: Python functions, and libraries compiled against `sardonyx/custom_op.h`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from sardonyx import _core
from sardonyx.errors import InvalidArgument

__all__ = [
    "Operator",
    "TensorType",
    "get_include",
    "load_operators",
    "operator",
    "register_operator",
    "registered_operators",
    "unregister_operator",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Dims = Sequence[int | str | None]


@dataclass(frozen=True)
class TensorType:
    """Element type and shape of a tensor, as far as they are known.

    `dtype` is anything that NumPy takes for a dtype; `shape` is None where not even the rank is known, and holds an
    integer, the name of a symbolic extent or None for each axis otherwise.

    Example:
        >>> TensorType("float32", ("batch", 3)).shape
        ('batch', 3)
    """

    dtype: Any
    shape: Dims | None = None


@dataclass(frozen=True)
class Operator:
    """An operator that runs `function(*inputs, **attributes)`; see `register_operator`."""

    domain: str
    name: str
    function: Callable[..., Any]
    since_version: int = 1
    infer: Callable[..., Any] | None = None
    pure: bool = False

    def _core_operator(self) -> _core.Operator:
        if not callable(self.function):
            raise InvalidArgument(f"the function of {self._title()} is a {type(self.function).__name__}")
        if not (self.infer is None or callable(self.infer)):
            raise InvalidArgument(f"infer of {self._title()} is a {type(self.infer).__name__}; a function expected")
        return _core.Operator(
            self.domain, self.name, self.since_version, self.function, self._check(), self._infer(), self.pure
        )

    def _title(self) -> str:
        return f"operator {self.domain}::{self.name}"

    def _check(self) -> Callable[[int, Mapping[str, Any], int], None]:
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # some functions of C do not tell
            return lambda inputs, attributes, outputs: None

        def check(inputs: int, attributes: Mapping[str, Any], outputs: int) -> None:
            signature.bind(*[None] * inputs, **attributes)

        return check

    def _infer(self) -> Callable[[Sequence[Any], Mapping[str, Any]], list[Any]] | None:
        infer = self.infer
        if infer is None:
            return None

        def described(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any]:
            types = infer(*map(_type_from_core, inputs), **attributes)
            return [_type_to_core(kind) for kind in (types if isinstance(types, tuple) else (types,))]

        return described

    def _same_source(self, other: Operator) -> bool:
        names = [(f.__module__, f.__qualname__) for f in (self.function, other.function) if hasattr(f, "__qualname__")]
        return len(names) == 2 and names[0] == names[1] and "<lambda>" not in names[0][1]


def _type_from_core(described: tuple[str, int, Dims | None] | None) -> TensorType | str | None:
    if described is None:
        return None
    name, number, shape = described
    if number == 0:
        return name
    return TensorType(_core.numpy_dtype(number), None if shape is None else tuple(shape))


def _type_to_core(kind: Any) -> Any:
    if kind is None or (isinstance(kind, str) and "(" in kind):
        return None if kind == "unknown" else kind
    shape = None
    if isinstance(kind, TensorType):
        kind, shape = kind.dtype, kind.shape
    try:
        number = _core.onnx_type(np.dtype(kind))
    except TypeError:
        raise TypeError(
            f"an infer function gives a TensorType, a dtype or None for each output, got {kind!r}"
        ) from None
    if number == 0:
        raise TypeError(f"{kind!r} has no ONNX element type")
    return number, None if shape is None else list(shape)


_registered: dict[tuple[str, str, int], Operator] = {}


def register_operator(
    domain: str,
    name: str,
    function: Callable[..., Any],
    *,
    since_version: int = 1,
    infer: Callable[..., Any] | None = None,
    pure: bool = False,
    replace: bool = False,
) -> None:
    """Makes a Python function an operator of every session that is made from now on.

    Args:
        domain, name: what a node of a model says; `com.acme`, `Scale`. No built-in operator can be replaced.
        function: gets the inputs as NumPy arrays (None for an absent optional one, a list for a sequence, a dict for a
            map) and the attributes as keywords, lists of them as tuples; returns the output, or a tuple of outputs.
            The arrays are read-only and share the runtime's memory. They may be kept. The function may be called from
            several threads at a time where sessions are.
        since_version: the version of the domain that brought the operator in this form. A model gets the newest one
            that is not above the version that it imports.
        infer: tells what the outputs will be: called as `function` is, with a TensorType for each tensor (the name of
            the type, such as `seq(tensor(float))`, for anything else), it returns a TensorType, dtype, name of a type
            or None for each output. Without it, and where the model does not declare the types, what follows the
            operator is prepared when a run comes there.
        pure: calls with the same inputs always give the same outputs and do nothing else, so that the operator may be
            computed when the model is loaded, and once for two equal nodes.
        replace: take the place of an operator of that name and version. A function of the same module and name does so
            anyway. Sessions that exist keep theirs.

    Raises:
        InvalidArgument: there is such an operator already.

    Example:
        >>> def scale(x, *, factor=1.0):
        ...     return x * np.float32(factor)
        >>> sx.register_operator("com.acme", "Scale", scale, infer=lambda x, **_: x)
    """
    added = Operator(domain, name, function, since_version, infer, pure)
    key = (domain, name, since_version)
    known = _registered.get(key)
    _core.register_operator(added._core_operator(), replace or (known is not None and added._same_source(known)))
    _registered[key] = added


def operator(domain: str, name: str, **options: Any) -> Callable[[Function], Function]:
    """`register_operator` as a decorator, with the same keywords.

    Example:
        >>> @sx.operator("com.acme", "Scale")
        ... def scale(x, *, factor=1.0):
        ...     return x * np.float32(factor)
    """

    def register(function: Function) -> Function:
        register_operator(domain, name, function, **options)
        return function

    return register


def unregister_operator(domain: str, name: str, since_version: int | None = None) -> None:
    """Removes one version of an operator, or all; sessions that exist keep it.

    Raises:
        InvalidArgument: there is none.
    """
    if _core.unregister_operator(domain, name, since_version or 0) == 0:
        version = f" of version {since_version}" if since_version else ""
        raise InvalidArgument(f"no operator {domain}::{name}{version} is registered")
    for key in [k for k in _registered if k[:2] == (domain, name) and since_version in (None, k[2])]:
        del _registered[key]


def registered_operators() -> list[tuple[str, str, int]]:
    """Domain, name and version of every operator that was registered or loaded for all sessions."""
    return _core.registered_operators()


def load_operators(path: str | os.PathLike[str]) -> list[tuple[str, str, int]]:
    """Loads a library of compiled operators for every session that is made from now on.

    The library is compiled against `sardonyx/custom_op.h` (see `get_include`); loading it again changes nothing.
    Returns domain, name and version of its operators.

    Raises:
        NoSuchFile, InvalidArgument: it cannot be loaded, is no such library, was made for another version of the
            interface, or has an operator that there is already.
    """
    return _core.load_operators(os.fspath(path))


def get_include() -> str:
    """The folder to give to a compiler (`-I`) so that it finds `sardonyx/custom_op.h`."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")
