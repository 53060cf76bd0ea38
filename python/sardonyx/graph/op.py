"""Every operator of ONNX as a function, by its name: `op.Conv(x, w, b, strides=[2, 2])`.

Inputs come in the order of ONNX's documentation; None leaves an optional one out, numbers and arrays become constants,
and an operator with a list of inputs (Concat, Sum) takes them one by one. Attributes are keywords. The result is one
tensor, or a list of as many as `outputs=` asks for. Operators of other domains: `op.call("Gelu", x,
domain="com.microsoft")`.

Example:
    >>> from sardonyx.graph import op, placeholder
    >>> x = placeholder("x", shape=("batch", 3, 32, 32))
    >>> values, indices = op.TopK(op.Flatten(x), [5], outputs=2)
"""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any

import onnx

from sardonyx import _core
from sardonyx.errors import InvalidArgument
from sardonyx.graph.registry import operator_rows
from sardonyx.graph.tensor import TensorLike, apply_all
from sardonyx.operators import registered_operators

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["call"]

# Nodes that the importer turns into something else, and that a graph may therefore hold though the registry does not.
_IMPORTED = {"Constant", "If", "Loop", "Scan", "SequenceMap"}


def _names(domain: str) -> set[str]:
    """The operators of a domain: those of the registry, and those that Python or a library has registered."""
    own = {name for of, name in operator_rows() if of == domain}
    return own | {name for of, name, _ in registered_operators() if of == domain}


def call(op: str, *inputs: TensorLike | None, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
    """A node of any operator.

    Args:
        op: its name in ONNX.
        inputs: tensors, numbers or arrays, or None where an optional input is left out.
        outputs: how many outputs are wanted.
        attributes: by their names in ONNX; NumPy dtypes stand for element types.

    Returns:
        A Tensor, or a list of them where `outputs` is not 1.

    Raises:
        InvalidArgument: there is no such operator or attribute, or it takes fewer inputs.
    """
    row = operator_rows().get((domain, op))
    if row is None:
        if op not in _IMPORTED | _names(domain):
            near = difflib.get_close_matches(op, _names(domain), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise InvalidArgument(f"there is no operator '{op}' in the domain '{domain or 'ai.onnx'}'{hint}")
    else:
        _check(row, len(inputs), attributes)
    tensors = apply_all(op, inputs, attributes, outputs=outputs, domain=domain)
    return tensors[0] if outputs == 1 else tensors


def _check(row: _core.OperatorRow, inputs: int, attributes: dict[str, Any]) -> None:
    for name in attributes:
        if name not in row["attributes"]:
            near = difflib.get_close_matches(name, row["attributes"], n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            known = ", ".join(row["attributes"]) or "none"
            raise InvalidArgument(f"{row['name']} has no attribute '{name}'{hint} (it has {known})")
    ports = row["inputs"]
    least = sum(port["presence"] == "required" for port in ports)
    most = None if ports and ports[-1]["presence"] == "variadic" else len(ports)
    if inputs < least or (most is not None and inputs > most):
        wanted = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        names = ", ".join(port["name"] for port in ports)
        raise InvalidArgument(f"{row['name']} got {inputs} inputs; {wanted} expected ({names})")


@functools.cache
def _function(name: str) -> Callable[..., Any]:
    """An operator as a function, with what ONNX says of it."""

    def function(*inputs: TensorLike | None, outputs: int = 1, **attributes: Any) -> Any:
        return call(name, *inputs, outputs=outputs, **attributes)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = _documentation(name)
    return function


def _documentation(name: str) -> str:
    row = operator_rows().get(("", name))
    shown = {"required": "{}", "optional": "{}=None", "variadic": "*{}"}
    ports = [] if row is None else [shown[port["presence"]].format(port["name"]) for port in row["inputs"]]
    attributes = [] if row is None else [f"{attribute}=..." for attribute in row["attributes"]]
    star = ["*"] if attributes and not any(port.startswith("*") for port in ports) else []
    text = str(onnx.defs.get_schema(name).doc or "") if onnx.defs.has(name) else ""
    return f"{name}({', '.join([*ports, *star, *attributes])})\n\n{text.strip()}"


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("_") or name not in _names("") | _IMPORTED:
        near = difflib.get_close_matches(name, _names(""), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise AttributeError(f"ONNX has no operator '{name}'{hint}")
    return _function(name)


def __dir__() -> list[str]:
    return sorted(_names("") | _IMPORTED | {"call"})
