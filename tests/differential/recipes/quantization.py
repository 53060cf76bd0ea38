"""Casts between types, quantization, integer products."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.movement import exact
from tests.differential.recipes.vision import Window

NUMBERS = ["0", "1", "-1", "3", "12", "7.5", "-2.25", "1e2", "100"]


def _castable(d: Draw, source: str, target: str) -> np.ndarray:
    """Values that the target type can hold, so that no version leaves the result open."""
    name, to = types.element(source), types.element(target)
    shape = d.shape(0, 3)
    if name == "string":
        if to == "bool":
            words = ["0", "1"]
        elif types.is_integer(target):
            least, most = types.limits(target)
            words = [w for w in ("0", "1", "-1", "-2", "3", "12") if least <= int(w) <= most]
        else:
            words = NUMBERS if to in ("float", "double", "float16", "bfloat16", "string") else ["0", "1", "-1", "0.5"]
        if to == "float8e8m0":
            words = ["1", "2", "0.5"]
        return np.array([d.choice(words) for _ in range(int(np.prod(shape)))], object).reshape(shape)
    low, high = -100.0, 100.0
    if types.is_integer(target):
        least, most = types.limits(target)
        low, high = max(low, least), min(high, most)
    if types.is_float(source) and types.is_float(target):
        low, high = {"float4e2m1": (-7.0, 7.0), "float6e2m3": (-8.0, 8.0), "float6e3m2": (-30.0, 30.0)}.get(
            to, (-1000.0, 1000.0) if d.chance(0.3) else (-8.0, 8.0)
        )
    if to == "float8e8m0":
        low, high = 1, 60
    if types.is_integer(source):
        least, most = types.limits(source)
        low, high = max(low, least), min(high, most)
    if name == "float8e8m0" and types.is_integer(target):
        low, high = 1, 1
        return np.ones(shape, types.dtype(source))
    x = d.array(source, shape, low, high)
    if types.is_float(source) and types.is_float(target) and d.chance(0.2):
        x = d.array(source, shape, low, high, special=1)
    return x


NARROW = ("int4", "uint4", "int2", "uint2", "float8e8m0")


def _plain_cast(source: str, target: str) -> Any:
    """NumPy's answer for types that the judges do not know, or None."""
    name, to = types.element(source), types.element(target)
    if name == to:
        return lambda x, *_: x
    if to == "string" and types.is_integer(source):
        return lambda x, *_: np.array([str(int(v)) for v in x.reshape(-1)], object).reshape(x.shape)
    if types.is_integer(target) and (name == "string" or name in NARROW or to in NARROW):

        def to_integers(x: Any, *_: Any) -> Any:
            values = [int(float(v)) for v in x.reshape(-1)]
            return np.array(values, object).astype(np.int64).astype(types.dtype(to)).reshape(x.shape)

        return to_integers
    if name == "string" and types.is_float(target):
        return lambda x, *_: (
            np.array([float(v) for v in x.reshape(-1)], np.float32).astype(types.dtype(to)).reshape(x.shape)
        )
    return None


def _reads_back(x: np.ndarray, *rest: Any) -> None:
    """How many digits a number is written with is open; it must be the same number when it is read."""
    (y,) = rest[-1]
    assert y.shape == x.shape
    for text, value in zip(y.reshape(-1), x.reshape(-1)):
        read = np.array(float(text)).astype(x.dtype)
        assert read == value or (np.isnan(read) and np.isnan(value)), (text, value)


@recipe("Cast", "CastLike")
def cast(d: Draw) -> Node:
    source, target = d.kind("T1"), d.kind("T2")
    x = _castable(d, source, target)
    d.need(x.ndim > 0 or types.element(target) != "float8e8m0")  # the reference casts no scalars to it
    attrs: dict[str, Any] = {}
    if types.element(target).startswith(("float8", "float4", "float6")):
        attrs = d.attributes(saturate=lambda: d.integer(0, 1), round_mode=lambda: d.choice(["up", "down", "nearest"]))
        if types.element(target) != "float8e8m0":
            attrs.pop("round_mode", None)
    number, version = types.number(target), max(d.version, 13 if d.op == "CastLike" else 9)
    like = Node([x], {**attrs, "to": number}, op="Cast", version=version, kinds=[source])
    # The judges know casts of odd types from f32 only.
    odd = types.element(source).startswith(("float8", "float6", "float4", "int4", "uint4", "int2", "uint2", "bool"))
    if odd and source != target and types.element(target).startswith(("float8", "float6", "float4")):
        like = dataclasses.replace(like, inputs=[x.astype(np.float32)], kinds=["tensor(float)"])
    shown = types.element(target) == "string" and types.is_float(source)
    node = exact([x], attrs, like=like, check=_reads_back if shown else None, expect=_plain_cast(source, target))
    node.only = source == target  # the reference saturates infinities even then
    if d.op == "CastLike":
        node.inputs = [x, d.array(target, d.shape(0, 2))]
    else:
        node.attrs["to"] = number if d.version >= 6 else TensorProto.DataType.Name(number)
    return node


@recipe("BitCast")
def bit_cast(d: Draw) -> Node:
    source, target = d.kind("T1"), d.kind("T2")
    bits = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4e2m1": 4}
    width = [bits.get(types.element(k), types.dtype(k).itemsize * 8) for k in (source, target)]
    if width[0] != width[1] or "bool" in (types.element(source), types.element(target)):
        same = [k for k in _kinds_of_width(d, width[0], source)]
        d.bind("T2", d.choice(same))
        target = d.kind("T2")
    x = d.array(source, d.shape(0, 3), whole=True)
    dtype = types.dtype(target)

    def expect(x: Any) -> Any:
        return x.view(dtype) if x.dtype.itemsize == dtype.itemsize else x.astype(dtype)

    return exact([x], {"to": types.number(target)}, expect=expect)


def _kinds_of_width(d: Draw, width: int, source: str) -> list[str]:
    bits = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4e2m1": 4}
    allowed = next(t.allowed_type_strs for t in d.schema.type_constraints if t.type_param_str == "T2")
    if types.element(source) == "bool":
        return [source]
    return sorted(
        k
        for k in allowed
        if bits.get(types.element(k), types.dtype(k).itemsize * 8) == width and types.element(k) != "bool"
    )


def _scales(d: Draw, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if types.is_integer(kind):
        return d.array(kind, shape, 1, 3)
    if types.element(kind) == "float8e8m0":
        return d.array(kind, shape)
    return np.asarray(d.rng.choice([0.25, 0.5, 1.0, 2.0, 0.125], shape)).astype(types.dtype(kind))


def _layout(d: Draw, shape: tuple[int, ...]) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Shape of the scales and the attributes: per tensor, per axis, or blocked."""
    form = d.choice(["tensor", "axis", "block"])
    if form == "block" and d.has("block_size") and shape:
        axis = d.integer(0, len(shape) - 1)
        block = d.extent(1, 4)
        scales = tuple(-(-n // block) if i == axis else n for i, n in enumerate(shape))
        return scales, {"axis": d.choice([axis, axis - len(shape)]), "block_size": block}
    if form != "tensor" and d.has("axis") and len(shape) > 0:
        axis = d.integer(0, len(shape) - 1)
        given = {"axis": d.choice([axis, axis - len(shape)])} if axis != 1 or d.chance() else {}
        return (shape[axis],), given
    return (), {}


@recipe("QuantizeLinear")
def quantize(d: Draw) -> Node:
    x_kind = d.kind("T1")
    out_variable = "T3" if "T3" in d.kinds else "T2"
    target = d.kind(out_variable)
    scale_kind = x_kind if d.version in (19, 21) else d.kind("T2") if d.version >= 23 else "tensor(float)"
    shape = d.shape(0, 3, empty=0)
    scale_shape, attrs = _layout(d, shape)
    floats = types.is_float(target)
    x = d.array(x_kind, shape, -20, 20)
    scale = _scales(d, scale_kind, scale_shape)
    attrs.update(d.attributes(saturate=lambda: d.integer(0, 1)) if types.element(target).startswith("float8") else {})
    zero: Any = None
    if floats:
        zero = np.zeros(scale_shape, types.dtype(target))
    else:
        least, most = types.limits(target)
        zero = d.array(target, scale_shape, max(least, -9), min(most, 9))
    default = types.element(target) == "uint8"
    if d.has("output_dtype") and d.chance(0.4):
        attrs["output_dtype"] = types.number(target)
        if d.chance():
            zero = None
    elif default and d.chance(0.3):
        zero = None
    inputs = [x, scale] + ([zero] if zero is not None else [])
    kinds = [x_kind, scale_kind] + ([target] if zero is not None else [])
    node = Node(inputs, attrs, kinds=kinds, out_kinds={0: target}, widen=False, steps=0)
    if x_kind != scale_kind and d.version >= 23:

        def expect(x: Any, scale: Any, zero: Any = None) -> Any:
            """The quotient is rounded to the type of the scale."""
            quotient = x.astype(np.float32) / _spread(scale, shape, attrs).astype(np.float32)
            if types.element(scale_kind) in ("float16", "bfloat16"):
                quotient = quotient.astype(types.dtype(scale_kind)).astype(np.float32)
            shift = 0 if zero is None else _spread(zero, shape, attrs).astype(np.float32)
            if floats:
                return np.clip(quotient, *_finite(target)).astype(types.dtype(target))
            return np.clip(np.rint(quotient) + shift, *types.limits(target)).astype(types.dtype(target))

        node.expect = expect
    return node


def _spread(scale: np.ndarray, shape: tuple[int, ...], attrs: dict[str, Any]) -> np.ndarray:
    """Scales or zero points, one for each element."""
    if scale.ndim == 0:
        return np.broadcast_to(scale, shape)
    axis = attrs.get("axis", 1) % len(shape)
    if attrs.get("block_size"):
        return np.take(np.repeat(scale, attrs["block_size"], axis), np.arange(shape[axis]), axis)
    return np.broadcast_to(scale.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


@recipe("DequantizeLinear")
def dequantize(d: Draw) -> Node:
    variable = "T" if d.version < 19 else "T1"
    source = d.kind(variable)
    scale_kind = d.kind("T2") if d.version >= 19 else "tensor(float)"
    shape = d.shape(0, 3, empty=0)
    scale_shape, attrs = _layout(d, shape)
    x = d.array(source, shape, -99, 99)
    scale = _scales(d, scale_kind, scale_shape)
    zero: Any = None
    if types.element(source) == "int32":
        zero = np.zeros(scale_shape, np.int32) if d.chance() else None
    elif types.is_float(source):
        zero = np.zeros(scale_shape, types.dtype(source)) if d.chance() else None
    elif d.chance(0.7):
        zero = d.array(source, scale_shape, -9, 9)
    out = scale_kind
    if d.version >= 23:
        out = d.kind("T3")
        if out != scale_kind or d.chance():
            attrs["output_dtype"] = types.number(out)
    inputs = [x, scale] + ([zero] if zero is not None else [])
    kinds = [source, scale_kind] + ([source] if zero is not None else [])
    return Node(inputs, attrs, kinds=kinds, out_kinds={0: out}, widen=False, steps=4)


@recipe("DynamicQuantizeLinear")
def dynamic_quantize(d: Draw) -> Node:
    return Node([d.array("float", d.shape(0, 4, empty=0), -9, 9)], outputs=3, off=1)


@recipe("MatMulInteger")
def matmul_integer(d: Draw) -> Node:
    batch = d.broadcast(2, 2, empty=0)
    m, k, n = d.wide(1, 9, 100), d.wide(1, 20, 300), d.wide(1, 9, 100)
    a = d.array(d.kind("T1"), (*batch[0], m, k), whole=True)
    b = d.array(d.kind("T2"), (*batch[1], k, n), whole=True)
    zeros: list[Any] = [
        d.array(d.kind("T1"), d.choice([(), (1,)]), whole=True) if d.chance() else None,
        d.array(d.kind("T2"), d.choice([(), (n,)]), whole=True) if d.chance() else None,
    ]

    def expect(a: Any, b: Any, za: Any = None, zb: Any = None) -> Any:
        a = a.astype(np.int32) - (0 if za is None else za.astype(np.int32))
        b = b.astype(np.int32) - (0 if zb is None else zb.astype(np.int32))
        return np.matmul(a, b)

    while zeros and zeros[-1] is None:
        zeros.pop()
    return exact([a, b, *zeros], expect=expect)


@recipe("ConvInteger")
def conv_integer(d: Draw) -> Node:
    w = Window(d, most=2)
    group, c, m = d.choice([1, 2]), d.extent(1, 3), d.extent(1, 3)
    x = d.array(d.kind("T1"), (d.extent(1, 2), c * group, *w.image), whole=True)
    k = d.array(d.kind("T2"), (m * group, c, *w.kernel), whole=True)
    zeros: list[Any] = [
        d.array(d.kind("T1"), (), whole=True) if d.chance() else None,
        d.array(d.kind("T2"), (), whole=True) if d.chance() else None,
    ]
    while zeros and zeros[-1] is None:
        zeros.pop()
    return exact([x, k, *zeros], {**w.attrs, "group": group})


def _quantized(d: Draw, kind: str, shape: Any) -> np.ndarray:
    return d.array(kind, shape, -20, 20, whole=types.is_integer(kind) and types.element(kind).endswith("int8"))


@recipe("QLinearConv")
def qlinear_conv(d: Draw) -> Node:
    w = Window(d, most=2)
    group, c, m = d.choice([1, 2]), d.extent(1, 3), d.extent(1, 3)
    per_channel = d.chance()
    scales = (m * group,) if per_channel else ()
    zero = np.zeros(scales, types.dtype(d.kind("T2")))
    inputs = [
        _quantized(d, d.kind("T1"), (d.extent(1, 2), c * group, *w.image)),
        np.float32(d.real(0.01, 0.1)) * np.ones((), np.float32),
        d.array(d.kind("T1"), (), 0, 9),
        _quantized(d, d.kind("T2"), (m * group, c, *w.kernel)),
        d.array("float", scales, 0.01, 0.1),
        zero if per_channel or d.chance() else d.array(d.kind("T2"), (), 0, 9),
        np.float32(d.real(0.1, 0.5)) * np.ones((), np.float32),
        d.array(d.kind("T3"), (), 0, 9),
    ]
    if d.chance():
        inputs.append(d.array("int32", (m * group,), -500, 500))
    pads = w.explicit(w.attrs).get("pads", [0] * 2 * w.rank)

    def expect(x: Any, sx: Any, zx: Any, k: Any, sk: Any, zk: Any, sy: Any, zy: Any, bias: Any = 0) -> Any:
        channels = [-1] + [1] * w.rank
        wide = (v.astype(np.float64) for v in (x, zx, k, zk))
        total = _convolve(*_shifted(*wide), w.strides, w.dilations, pads, group)
        total = total + np.asarray(bias).reshape(channels if np.ndim(bias) else [1])
        y = total * float(sx) * np.asarray(sk, np.float64).reshape(channels if np.ndim(sk) else [1]) / float(sy)
        return np.clip(np.rint(y) + float(zy), *types.limits(d.kind("T3"))).astype(types.dtype(d.kind("T3")))

    return Node(inputs, {**w.attrs, "group": group}, off=1, widen=False, expect=expect)


def _shifted(x: Any, zx: Any, k: Any, zk: Any) -> tuple[Any, Any]:
    return x - zx, k - (zk.reshape(-1, *[1] * (k.ndim - 1)) if zk.ndim else zk)


def _convolve(x: Any, k: Any, strides: list[int], dilations: list[int], pads: list[int], group: int) -> np.ndarray:
    rank = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:])])
    reach = [(n - 1) * step + 1 for n, step in zip(k.shape[2:], dilations)]
    out = [(n - r) // stride + 1 for n, r, stride in zip(x.shape[2:], reach, strides)]
    y = np.zeros((x.shape[0], k.shape[0], *out))
    c, m = k.shape[1], k.shape[0] // group
    for place in np.ndindex(*out):
        at = [slice(p * s, p * s + r, step) for p, s, r, step in zip(place, strides, reach, dilations)]
        for g in range(group):
            part = x[(slice(None), slice(g * c, (g + 1) * c), *at)].reshape(x.shape[0], -1)
            y[(slice(None), slice(g * m, (g + 1) * m), *place)] = part @ k[g * m : (g + 1) * m].reshape(m, -1).T
    return y


@recipe("QLinearMatMul")
def qlinear_matmul(d: Draw) -> Node:
    batch = d.broadcast(2, 2, empty=0)
    m, k, n = d.wide(1, 9, 100), d.wide(1, 20, 300), d.wide(1, 9, 100)
    scale = d.kind("TS") if "TS" in d.kinds else "tensor(float)"
    inputs: list[Any] = []
    for variable, shape in (("T1", (*batch[0], m, k)), ("T2", (*batch[1], k, n))):
        kind = d.kind(variable)
        inputs.append(_quantized(d, kind, shape))
        inputs.append(np.asarray(d.choice([0.125, 0.25, 0.0625])).astype(types.dtype(scale)))
        inputs.append(np.zeros((), types.dtype(kind)) if types.is_float(kind) else d.array(kind, (), 0, 9))
    kind = d.kind("T3")
    inputs.append(np.asarray(d.choice([0.5, 1.0, 2.0])).astype(types.dtype(scale)))
    inputs.append(np.zeros((), types.dtype(kind)) if types.is_float(kind) else d.array(kind, (), 0, 9))

    def expect(a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any, sy: Any, zy: Any) -> Any:
        a, sa, za, b, sb, zb, sy = (v.astype(np.float64) for v in (a, sa, za, b, sb, zb, sy))
        y = ((a - za) * sa) @ ((b - zb) * sb) / sy
        if types.is_float(kind):
            return np.clip(y, *_finite(kind)).astype(types.dtype(kind))
        return np.clip(np.rint(y) + zy.astype(np.float64), *types.limits(kind)).astype(types.dtype(kind))

    return Node(inputs, off=1, widen=False, expect=expect, steps=64)


def _finite(kind: str) -> tuple[float, float]:
    most = float(ml_dtypes.finfo(types.dtype(kind)).max)
    return -most, most
