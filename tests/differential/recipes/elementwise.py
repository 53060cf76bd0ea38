"""Functions of single elements, and of broadcast pairs, triples and lists of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node

# Where each function of one argument is drawn: lowest and highest argument, and the chance of NaN, infinities, zeros.
RANGES: dict[str, tuple[float, float, float]] = {
    "Abs": (-9, 9, 0.2), "Acos": (-1, 1, 0), "Acosh": (1, 9, 0), "Asin": (-1, 1, 0), "Asinh": (-9, 9, 0),
    "Atan": (-9, 9, 0.2), "Atanh": (-0.9, 0.9, 0), "Ceil": (-9, 9, 0.2), "Cos": (-9, 9, 0), "Cosh": (-4, 4, 0),
    "Elu": (-4, 4, 0.1), "Erf": (-4, 4, 0.2), "Exp": (-9, 4, 0.2), "Floor": (-9, 9, 0.2), "HardSigmoid": (-9, 9, 0.1),
    "HardSwish": (-9, 9, 0), "LeakyRelu": (-9, 9, 0.1), "Log": (0.01, 9, 0.2), "Mish": (-9, 9, 0), "Neg": (-9, 9, 0.2),
    "Reciprocal": (0.1, 9, 0.2), "Relu": (-9, 9, 0.1), "Round": (-9, 9, 0.2), "Selu": (-4, 4, 0),
    "Sigmoid": (-9, 9, 0.2), "Sign": (-9, 9, 0), "Sin": (-9, 9, 0), "Sinh": (-4, 4, 0), "Softplus": (-9, 9, 0),
    "Softsign": (-9, 9, 0), "Sqrt": (0, 9, 0.2), "Swish": (-9, 9, 0), "Tan": (-1.2, 1.2, 0), "Tanh": (-9, 9, 0.2),
    "ThresholdedRelu": (-4, 4, 0), "Celu": (-4, 4, 0), "Gelu": (-9, 9, 0), "Shrink": (-4, 4, 0), "Not": (0, 1, 0),
    "BitwiseNot": (-99, 99, 0), "IsNaN": (-9, 9, 1), "IsInf": (-9, 9, 1),
}  # fmt: skip


def old_form(d: Draw, inputs: int) -> dict[str, Any]:
    """The attribute that said which inputs may be overwritten, before version 6."""
    if not d.has("consumed_inputs") or not (d.schema.attributes["consumed_inputs"].required or d.chance()):
        return {}
    return {"consumed_inputs": [0] * inputs}


@recipe(*RANGES)
def unary(d: Draw) -> Node:
    low, high, special = RANGES[d.op]
    variable = d.schema.inputs[0].type_str
    if d.kind(variable) in ("tensor(int8)", "tensor(int16)", "tensor(int32)", "tensor(int64)"):
        low, high = -99, 99
    x = d.array(d.kind(variable), d.shape(), low, high, special=special)
    attrs = d.attributes(
        alpha=lambda: d.real(0.1, 2),
        beta=lambda: d.real(0.1, 2),
        gamma=lambda: d.real(0.5, 2),
        lambd=lambda: d.real(0.1, 2),
        bias=lambda: d.real(-1, 1),
        approximate=lambda: d.choice(["none", "tanh"]),
        detect_negative=lambda: d.integer(0, 1),
        detect_positive=lambda: d.integer(0, 1),
    )
    node = Node([x], {**attrs, **old_form(d, 1)}, scale=4)
    if d.op == "Selu":
        alpha, gamma = (1.6732, 1.0507) if d.version < 6 else (1.6732632423543772, 1.0507009873554805)
        alpha, gamma = (float(np.float32(attrs.get(k, v))) for k, v in (("alpha", alpha), ("gamma", gamma)))
        node.only = True

        def selu(x: Any) -> Any:
            wide = x.astype(np.float64)
            return (gamma * np.where(wide > 0, wide, alpha * np.expm1(wide))).astype(x.dtype)

        node.expect = selu
    return node


def old_broadcast(
    d: Draw, kinds: list[str], **range_: Any
) -> tuple[list[np.ndarray], dict[str, Any], list[np.ndarray]]:
    """Two inputs as versions before 7 broadcast them: the attributes, and the inputs as NumPy broadcasts them."""
    shape = d.shape(1, 4)
    attrs: dict[str, Any] = {}
    b_shape = aligned = shape
    if d.chance(0.7):
        attrs["broadcast"] = 1
        start = d.integer(0, len(shape) - 1)
        end = d.integer(start, len(shape))
        b_shape = shape[start:end] or (1,)
        if end == len(shape) and d.chance():
            aligned = b_shape
        elif start == end:
            aligned = (1,)
        else:
            attrs["axis"] = d.choice([start, start - len(shape)]) if d.op != "Pow" else start
            aligned = b_shape + (1,) * (len(shape) - end)
    a, b = d.array(kinds[0], shape, **range_), d.array(kinds[1], b_shape, **range_)
    return [a, b], {**attrs, **old_form(d, 2)}, [a, b.reshape(aligned)]


def pair(d: Draw, kinds: list[str], **range_: Any) -> Node:
    """A node of two inputs that broadcast as this version does."""
    if d.has("broadcast"):
        inputs, attrs, aligned = old_broadcast(d, kinds, **range_)
        return Node(inputs, attrs, like=Node(aligned, version=7, kinds=[types.tensor(types.element(k)) for k in kinds]))
    a, b = d.broadcast(2)
    return Node([d.array(kinds[0], a, **range_), d.array(kinds[1], b, **range_)], old_form(d, 2))


@recipe("Add", "Sub", "Mul", "And", "Or", "Xor", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
def binary(d: Draw) -> Node:
    unsigned = d.op == "Sub" and types.is_unsigned(d.kind())
    node = pair(d, [d.kind()] * 2, low=0 if unsigned else -4, high=5)
    if not unsigned and types.is_integer(d.kind()) and d.chance(0.3):
        node.inputs = [np.asarray(x) for x in node.inputs]
    node.scale = 10
    return node


@recipe("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise(d: Draw) -> Node:
    return pair(d, [d.kind()] * 2, whole=True)


@recipe("Div")
def div(d: Draw) -> Node:
    node = pair(d, [d.kind()] * 2, low=1, high=60)
    if not types.is_unsigned(d.kind()):
        node.inputs[0][...] = node.inputs[0] * d.choice([1, -1])
        if node.like:
            node.like.inputs[0][...] = node.inputs[0]
    return node


@recipe("Mod")
def mod(d: Draw) -> Node:
    node = pair(d, [d.kind()] * 2, low=1, high=60)
    sign = 1 if types.is_unsigned(d.kind()) else d.choice([1, -1])
    fmod = 1 if types.is_float(d.kind()) or d.chance() else 0
    node.inputs[0][...] = node.inputs[0] * sign
    node.attrs["fmod"] = fmod
    node.widen = False
    if types.is_float(d.kind()):
        wide = np.float64
        node.expect = lambda a, b: np.fmod(a.astype(wide), b.astype(wide)).astype(a.dtype)
    return node


@recipe("Pow")
def pow_(d: Draw) -> Node:
    exponent = d.kind("T1") if "T1" in d.kinds else d.kind()
    node = pair(d, [d.kind(), exponent], low=1, high=3)
    node.scale = 27

    def expect(a: Any, b: Any) -> Any:
        return np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)

    if not d.has("broadcast"):
        node.expect = expect
    node.steps = 16
    return node


@recipe("PRelu")
def prelu(d: Draw) -> Node:
    """The slope broadcasts to x, before version 7 along the channels."""
    shape = d.shape(1, 4)
    x_kind = d.kind()
    low = 0 if types.is_unsigned(x_kind) else -9
    x = d.array(x_kind, shape, low, 9)
    if d.version < 7:
        shape = d.shape(2, 4)
        x = d.array(x_kind, shape, low, 9)
        slope = d.array(x_kind, (shape[1],) if d.chance() else (1,), 0, 4)
        aligned = slope.reshape(-1, *[1] * (len(shape) - 2))
        like = Node([x, aligned], version=9, kinds=[x_kind] * 2)
        return Node([x, slope], old_form(d, 2), scale=9, like=like)
    tail = [1 if d.chance(0.3) else n for n in shape][d.integer(0, len(shape) - 1) :]
    return Node([x, d.array(x_kind, tail, 0, 4)], scale=36)


@recipe("BitShift")
def bit_shift(d: Draw) -> Node:
    kind = d.kind()
    bits = types.dtype(kind).itemsize * 8
    a, b = d.broadcast(2)
    x, y = d.array(kind, a, whole=True), d.array(kind, b, 0, bits - 1)
    direction = d.choice(["LEFT", "RIGHT"])
    shift = np.left_shift if direction == "LEFT" else np.right_shift
    return Node([x, y], {"direction": direction}, expect=lambda x, y: shift(x, y))


@recipe("Max", "Min", "Mean", "Sum")
def variadic(d: Draw) -> Node:
    count = d.integer(1, 4)
    if d.version < 8:
        shape = d.shape(0, 4)
        inputs = [d.array(d.kind(), shape, -9, 9) for _ in range(count)]
        return Node(inputs, old_form(d, count), scale=40, roundings=count)
    special = 0.2 if d.op in ("Max", "Min") else 0
    inputs = [d.array(d.kind(), shape, -9, 9, special=special) for shape in d.broadcast(count)]
    return Node(inputs, scale=40, roundings=count)


@recipe("Where")
def where(d: Draw) -> Node:
    shapes = d.broadcast(3)
    inputs = [d.array("bool", shapes[0]), d.array(d.kind(), shapes[1]), d.array(d.kind(), shapes[2])]
    return Node(inputs, steps=0, widen=False)


@recipe("Clip")
def clip(d: Draw) -> Node:
    kind, unsigned = d.kind(), types.is_unsigned(d.kind())
    x = d.array(kind, d.shape(), 0 if unsigned else -9, 9)
    low, high = (1, 5) if unsigned else (-4, 5)
    if d.version < 11:
        bounds: dict[str, Callable[[], Any]] = {"min": lambda: float(low), "max": lambda: float(high)}
        attrs = d.attributes(**bounds)
        dtype = types.dtype(kind)
        inputs = [x, *(np.array(attrs[k], dtype) if k in attrs else None for k in ("min", "max"))]
        like = Node(inputs, version=13, kinds=[kind if v is not None else None for v in inputs])
        return Node([x], {**attrs, **old_form(d, 1)}, steps=0, like=like)
    bounds_ = [d.array(kind, (), low, low) if d.chance(0.7) else None, d.array(kind, (), high, high)]
    return Node([x, *bounds_[: d.integer(0, 2)]], steps=0)


@recipe("SwiGLU")
def swiglu(d: Draw) -> Node:
    shape = d.shape()
    a, b = (d.array(d.kind(), shape) for _ in range(2))
    return Node([a, b], d.attributes(alpha=lambda: d.real(0.5, 2)), scale=16)
