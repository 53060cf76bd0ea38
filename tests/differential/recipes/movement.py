"""Operators that move elements without looking at them: reshapes, slices, gathers, scatters, pads, tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.elementwise import old_form


def exact(inputs: list[Any], attrs: dict[str, Any] | None = None, **more: Any) -> Node:
    return Node(inputs, dict(attrs or {}), steps=0, widen=False, **more)


def index_array(d: Draw, kind: str, shape: Any, low: int, high: int) -> np.ndarray:
    """Indices low..high, both included."""
    return np.asarray(d.rng.integers(low, high + 1, shape)).astype(types.dtype(kind))


@recipe("Identity")
def identity(d: Draw) -> Node:
    kind = d.kind(d.schema.inputs[0].type_str)
    return exact([d.value(kind)], expect=lambda x: [x])


@recipe("Reshape")
def reshape(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(0, 4))
    sizes = list(x.shape)
    target: list[int] = []
    while sizes:  # merges of neighbours
        count = d.integer(1, len(sizes))
        target.append(int(np.prod(sizes[:count])))
        sizes = sizes[count:]
    if d.chance(0.3):
        target.insert(d.integer(0, len(target)), 1)
    shape = list(target)
    attrs: dict[str, Any] = {}
    if d.has("allowzero") and d.chance():
        attrs["allowzero"] = 1
    elif 0 in x.shape:
        d.need(all(n != 0 or (i < x.ndim and x.shape[i] == 0) for i, n in enumerate(target)))
    else:
        shape = [0 if i < x.ndim and x.shape[i] == n and d.chance(0.3) else n for i, n in enumerate(shape)]
    if shape and 0 not in x.shape and d.chance(0.4):
        shape[d.integer(0, len(shape) - 1)] = -1
    if d.version < 5:
        d.need(bool(shape))
        attrs["shape"] = shape
        like = Node([x, np.array(shape, np.int64)], version=13)
        return exact([x], {**attrs, **old_form(d, 1)}, expect=lambda x: x.reshape(target), like=like)
    return exact([x, np.array(shape, np.int64)], attrs, expect=lambda x, shape: x.reshape(target))


@recipe("Flatten")
def flatten(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4))
    axis = d.integer(0 if d.version < 11 else -x.ndim, x.ndim)
    given = d.chance(0.8)
    at = axis if given else 1

    def expect(x: Any) -> Any:
        front = int(np.prod(x.shape[: at if at >= 0 else x.ndim + at]))
        return x.reshape(front, int(np.prod(x.shape[at if at >= 0 else x.ndim + at :])))

    return exact([x], {"axis": axis} if given else {}, expect=expect)


@recipe("Squeeze", "Unsqueeze")
def squeeze(d: Draw) -> Node:
    long = [1 if d.chance(0.5) else n for n in d.shape(0 if d.op == "Squeeze" else 1, 5)]
    ones = [i for i, n in enumerate(long) if n == 1]
    chosen = sorted(d.some(ones))
    if d.version < 11 and d.op == "Squeeze":
        d.need(bool(chosen))
    short = tuple(n for i, n in enumerate(long) if i not in chosen)
    axes = [i - len(long) if d.version >= 11 and d.chance() else i for i in d.rng.permutation(chosen).astype(int)]
    axes = [int(axis) for axis in axes]
    if d.op == "Squeeze":
        x, result = d.array(d.kind(), long), short
        if not chosen:
            given = [None] if d.chance() else []
            result = tuple(n for n in long if n != 1)
            return exact([x, *given] if d.version >= 13 else [x], expect=lambda x, *axes: x.reshape(result))
    else:
        d.need(bool(axes))
        x, result = d.array(d.kind(), short), tuple(long)
        if d.version < 11:
            axes.sort()
    if d.version < 13:
        return exact([x], {"axes": axes}, expect=lambda x: x.reshape(result))
    return exact([x, np.array(axes, np.int64)], expect=lambda x, axes: x.reshape(result))


@recipe("Transpose")
def transpose(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(0, 5, most=6))
    if d.chance(0.2):
        return exact([x], expect=np.transpose)
    perm = [int(i) for i in d.rng.permutation(x.ndim)]
    d.need(bool(perm))
    return exact([x], {"perm": perm}, expect=lambda x: np.transpose(x, perm))


@recipe("Concat")
def concat(d: Draw) -> Node:
    shape = list(d.shape(2 if d.version < 4 else 1, 4))
    axis = d.axis(len(shape), None if d.version >= 11 else 0)
    inputs = []
    for _ in range(d.integer(1, 4)):
        shape[axis] = d.extent(0, 5)
        inputs.append(d.array(d.kind(), shape))
    at = axis
    if d.version < 4 and d.chance():
        return exact(inputs, {}, expect=lambda *xs: np.concatenate(xs, 1)) if at == 1 else _first_axis(d, inputs, at)
    return exact(inputs, {"axis": axis}, expect=lambda *xs: np.concatenate(xs, at))


def _first_axis(d: Draw, inputs: list[Any], at: int) -> Node:
    return exact(inputs, {"axis": at}, expect=lambda *xs: np.concatenate(xs, at))


@recipe("Split")
def split(d: Draw) -> Node:
    shape = list(d.shape(1, 4))
    axis = d.axis(len(shape), None if d.version >= 11 else 0)
    attrs: dict[str, Any] = {"axis": axis} if d.chance(0.8) else {}
    axis = axis if attrs else 0
    parts = d.integer(1, 4)
    form = d.choice(["equal", "sizes"] + (["count"] if d.version >= 18 else []))
    inputs: list[Any] = []
    if form == "sizes":
        sizes = [d.extent(0, 4) for _ in range(parts)]
        shape[axis] = sum(sizes)
        if d.version == 1:
            if d.chance():
                attrs["split"] = sizes
            else:
                inputs.append(np.array(sizes).astype(types.dtype(d.kind())))
        elif d.version < 13:
            attrs["split"] = sizes
        else:
            inputs.append(np.array(sizes, np.int64))
    elif form == "equal" and d.version < 18:
        sizes = [d.extent(1, 3)] * parts
        shape[axis] = sum(sizes)
    else:
        attrs["num_outputs"] = parts
        most = d.extent(1, 4)
        rest = d.integer(1, most)
        sizes = [most] * (parts - 1) + [rest]
        d.need(-(-sum(sizes) // parts) == most)
        shape[axis] = sum(sizes)
    if d.version == 1:  # types of a split input are those of the data
        d.need(not inputs or types.is_float(d.kind()))
    bounds = np.cumsum(sizes)[:-1].tolist()
    x = d.array(d.kind(), shape)
    return exact([x, *inputs], attrs, outputs=parts, expect=lambda x, *_: np.split(x, bounds, axis))


@recipe("Slice")
def slice_(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4))
    axes = [int(i) for i in d.some(range(x.ndim), 1)]
    if d.chance(0.2):
        axes = list(range(len(axes)))
    stepped = d.version >= 10 and d.chance(0.7)
    starts, ends, steps = [], [], []
    index: list[Any] = [slice(None)] * x.ndim
    for axis in axes:
        n = x.shape[axis]
        step = d.choice([1, 2, 3, -1, -2]) if stepped else 1
        far = d.choice([n + 3, 2**31 - 1 if d.kinds.get("Tind") == "tensor(int32)" else 2**63 - 1])
        start = d.choice([d.integer(-n - 2, n + 2), 0, far])
        end = d.choice([d.integer(-n - 2, n + 2), far, -far])
        starts.append(start)
        ends.append(end)
        steps.append(step)
        index[axis] = slice(start, end, step)
    ordered = axes == list(range(len(axes))) and d.chance()
    negative = [axis - x.ndim if d.version >= 11 and d.chance(0.3) else axis for axis in axes]

    def expect(x: Any, *_: Any) -> Any:
        return x[tuple(index)]

    if d.version < 10:
        attrs = {"starts": starts, "ends": ends, **({} if ordered else {"axes": axes})}
        return exact([x], attrs, expect=expect)
    tind = types.dtype(d.kind("Tind"))
    given: list[Any] = [np.array(starts, tind), np.array(ends, tind)]
    given.append(None if ordered else np.array(negative, tind))
    given.append(np.array(steps, tind) if stepped else None)
    while given[-1] is None:
        given.pop()
    return exact([x, *given], expect=expect)


@recipe("Tile")
def tile(d: Draw) -> Node:
    if d.version < 6:
        x = d.array(d.kind(), d.shape(1, 3, most=4))
        axis, count = d.integer(0, x.ndim - 1), d.integer(1, 3)
        dtype = types.dtype(d.kind())
        reps = [count if i == axis else 1 for i in range(x.ndim)]
        return exact(
            [x, np.array(count).astype(dtype), np.array(axis).astype(dtype)], expect=lambda x, *_: np.tile(x, reps)
        )
    x = d.array(d.kind(), d.shape(0, 4, most=4))
    reps = [d.integer(0 if d.chance(0.1) else 1, 3) for _ in range(x.ndim)]
    return exact([x, np.array(reps, np.int64)], expect=lambda x, reps: np.tile(x, reps))


@recipe("Expand")
def expand(d: Draw) -> Node:
    a, b = d.broadcast(2)
    return exact(
        [d.array(d.kind(), a), np.array(b, np.int64)],
        expect=lambda x, shape: np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape)))),
    )


@recipe("Pad")
def pad(d: Draw) -> Node:
    modes = ["constant", "reflect", "edge"] + (["wrap"] if d.version >= 19 else [])
    mode = d.choice(modes)
    x = d.array(d.kind(), d.shape(1, 4, most=6, empty=0.06 if mode == "constant" else 0))
    low = -1 if mode == "constant" and d.chance(0.3) else 0
    pads = [
        [d.integer(max(low, -n // 2), 3 if mode in ("constant", "edge") else n - 1) for n in x.shape] for _ in range(2)
    ]
    if mode == "constant":
        pads = [[max(p, 0) if n < 3 else p for p, n in zip(side, x.shape)] for side in pads]
    attrs: dict[str, Any] = {"mode": mode} if mode != "constant" or d.chance() else {}
    fill = d.array(d.kind(), ())

    def padded(x: Any, pads: Any, fill: Any) -> Any:
        cut = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for a, b, n in zip(*pads, x.shape))]
        widths = [(max(a, 0), max(b, 0)) for a, b in zip(*pads)]
        if mode == "constant":
            y = np.full([n + a + b for n, (a, b) in zip(cut.shape, widths)], fill, x.dtype)
            y[tuple(slice(a, a + n) for n, (a, b) in zip(cut.shape, widths))] = cut
            return y
        index = [np.pad(np.arange(n), w, mode=mode) for n, w in zip(cut.shape, widths)]
        return cut[np.ix_(*index)]

    if d.version < 11:
        attrs["pads" if d.version >= 2 else "paddings"] = pads[0] + pads[1]
        value = d.real(-2, 2) if d.chance() else None
        if value is not None:
            attrs["value"] = value
        zero = np.array(0 if value is None else value).astype(x.dtype)
        return exact([x], attrs, expect=lambda x: padded(x, pads, zero))
    given: list[Any] = [np.array(pads[0] + pads[1], np.int64)]
    empty = np.array("" if d.name() == "string" else 0).astype(x.dtype)
    # The default is 0, which float8e8m0 does not have.
    value = fill if mode == "constant" and (d.chance() or d.name() == "float8e8m0") else None
    axes = None
    if d.version >= 18 and d.chance():
        axes = [int(i) for i in d.some(range(x.ndim), 1)]
        given = [np.array([side[i] for side in pads for i in axes], np.int64)]
        pads = [[p if i in axes else 0 for i, p in enumerate(side)] for side in pads]
    final = pads
    given.append(value)
    if axes is not None:
        axes = [i - x.ndim if d.chance(0.3) else i for i in axes]
        given.append(np.array(axes, types.dtype(d.kind("Tind"))))
    while given[-1] is None:
        given.pop()
    return exact([x, *given], attrs, expect=lambda x, *_: padded(x, final, empty if value is None else value))


@recipe("DepthToSpace", "SpaceToDepth")
def depth_to_space(d: Draw) -> Node:
    block = d.integer(1, 3)
    n, c, h, w = d.extent(0 if d.chance(0.1) else 1, 3), d.extent(1, 3), d.extent(1, 4), d.extent(1, 4)
    attrs: dict[str, Any] = {"blocksize": block}
    mode = "DCR"
    if d.has("mode") and d.chance(0.7):
        mode = attrs["mode"] = d.choice(["DCR", "CRD"])
    deep = d.op == "DepthToSpace"
    x = d.array(d.kind(), (n, c * block**2, h, w) if deep else (n, c, h * block, w * block))

    def expect(x: Any) -> Any:
        if deep:
            if mode == "DCR":
                y = x.reshape(n, block, block, c, h, w).transpose(0, 3, 4, 1, 5, 2)
            else:
                y = x.reshape(n, c, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
            return y.reshape(n, c, h * block, w * block)
        y = x.reshape(n, c, h, block, w, block)
        y = y.transpose(0, 3, 5, 1, 2, 4) if mode == "DCR" else y.transpose(0, 1, 3, 5, 2, 4)
        return y.reshape(n, c * block**2, h, w)

    return exact([x], attrs, expect=expect)


@recipe("Shape", "Size")
def shape_of(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(0, 5))
    if d.op == "Size":
        return exact([x], expect=lambda x: np.array(x.size, np.int64))
    attrs = d.attributes(
        start=lambda: d.integer(-x.ndim - 1, x.ndim + 1), end=lambda: d.integer(-x.ndim - 1, x.ndim + 1)
    )
    start, end = attrs.get("start", 0), attrs.get("end", x.ndim)
    start, end = (min(max(v + x.ndim if v < 0 else v, 0), x.ndim) for v in (start, end))
    return exact([x], attrs, expect=lambda x: np.array(x.shape[start : max(start, end)], np.int64))


@recipe("Trilu")
def trilu(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(2, 4))
    attrs = d.attributes(upper=lambda: d.integer(0, 1))
    k = d.choice([[], [np.array(d.integer(-9, 9), np.int64)]])
    keep = np.triu if attrs.get("upper", 1) else np.tril

    def expect(x: Any, k: Any = 0) -> Any:
        mask = keep(np.ones(x.shape[-2:], bool), int(k))
        return np.where(mask, x, np.array("" if x.dtype == object else 0).astype(x.dtype))

    return exact([x, *k], attrs, expect=expect)


@recipe("ReverseSequence")
def reverse_sequence(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(2, 4, empty=0))
    attrs = d.attributes(batch_axis=lambda: 1)
    time = d.integer(0, 1)
    attrs = {"time_axis": time, "batch_axis": 1 - time} if d.chance(0.7) else {}
    time = attrs.get("time_axis", 0)
    lens = index_array(d, "int64", (x.shape[1 - time],), 1, x.shape[time])

    def expect(x: Any, lens: Any) -> Any:
        y = x.copy()
        for b, n in enumerate(lens):
            source = np.take(x, b, 1 - time)
            target = source.copy()
            target[:n] = source[:n][::-1]
            y[(slice(None), b) if time == 0 else (b,)] = target
        return y

    return exact([x, lens], attrs, expect=expect)


@recipe("CenterCropPad")
def center_crop_pad(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0))
    attrs: dict[str, Any] = {}
    axes = list(range(x.ndim))
    if d.chance(0.6):
        axes = [int(i) for i in d.some(axes, 1)]
        attrs["axes"] = [i - x.ndim if d.chance(0.4) else i for i in axes]
    target = np.array([d.extent(1, 9) for _ in axes], types.dtype(d.kind("Tind")))

    def expect(x: Any, target: Any) -> Any:
        for axis, n in zip(axes, target):
            have, n = x.shape[axis], int(n)
            x = np.moveaxis(x, axis, 0)
            if n <= have:
                x = x[(have - n) // 2 : (have - n) // 2 + n]
            else:
                y = np.full((n, *x.shape[1:]), "" if x.dtype == object else 0, object).astype(x.dtype)
                y[(n - have) // 2 : (n - have) // 2 + have] = x
                x = y
            x = np.moveaxis(x, 0, axis)
        return x

    return exact([x, target], attrs, expect=expect)


@recipe("EyeLike")
def eye_like(d: Draw) -> Node:
    kind = d.kind("T1")
    x = d.array(kind, [d.extent(), d.extent()])
    attrs: dict[str, Any] = {"k": d.integer(-9, 9)} if d.chance() else {}
    if d.kind("T2") != kind or d.chance():
        attrs["dtype"] = types.number(d.kind("T2"))
    dtype = types.dtype(d.kind("T2"))
    return exact([x], attrs, expect=lambda x: np.eye(*x.shape, k=attrs.get("k", 0)).astype(dtype))


@recipe("ConstantOfShape")
def constant_of_shape(d: Draw) -> Node:
    shape = np.array(d.shape(0, 4), np.int64)
    kind = d.kind("T2")
    value = d.array(kind, (1,))
    attrs: dict[str, Any] = {"value": numpy_helper.from_array(value)}
    if kind == "tensor(float)" and d.chance():
        attrs, value = {}, np.zeros(1, np.float32)
    return exact([shape], attrs, expect=lambda shape: np.full(tuple(shape), value[0], value.dtype))
