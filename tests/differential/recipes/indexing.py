"""Operators that pick or place elements by index or condition."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.movement import exact, index_array


@recipe("Gather")
def gather(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0))
    axis = d.axis(x.ndim, None if d.version >= 11 else 0)
    n = x.shape[axis]
    indices = index_array(d, d.kind("Tind"), d.shape(0, 3), -n if d.version >= 11 else 0, n - 1)
    attrs = {"axis": axis} if d.chance(0.8) else {}
    if not attrs:
        indices = indices % x.shape[0]
    at = attrs.get("axis", 0)
    return exact([x, indices], attrs, expect=lambda x, i: np.take(x, i, at))


@recipe("GatherElements")
def gather_elements(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0))
    axis = d.axis(x.ndim)
    shape = [d.extent(1, n) for n in x.shape]
    shape[axis] = d.extent(0, 6)
    n = x.shape[axis]
    indices = index_array(d, d.kind("Tind"), shape, -n, n - 1)

    def expect(x: Any, i: Any) -> Any:
        place = list(np.indices(i.shape))
        place[axis] = i
        return x[tuple(place)]

    return exact([x, indices], {"axis": axis}, expect=expect)


@recipe("GatherND")
def gather_nd(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0))
    batch = d.integer(0, x.ndim - 1) if d.has("batch_dims") and d.chance() else 0
    last = d.integer(1, x.ndim - batch)
    middle = d.shape(0, 2)
    if batch == 0 and not middle and d.chance():
        middle = (2,)
    columns = [
        index_array(d, "int64", (*x.shape[:batch], *middle), -x.shape[batch + k], x.shape[batch + k] - 1)
        for k in range(last)
    ]
    indices = np.stack(columns, -1)

    def expect(x: Any, i: Any) -> Any:
        grid = np.ix_(*[np.arange(n) for n in x.shape[:batch]]) if batch else ()
        grid = tuple(g.reshape(*g.shape, *[1] * len(middle)) for g in grid)
        return x[(*grid, *np.moveaxis(i, -1, 0))]

    return exact([x, indices], {"batch_dims": batch} if batch else {}, expect=expect)


def _reduction(d: Draw) -> str:
    if not d.has("reduction"):
        return "none"
    return str(d.choice(["none", "add", "mul"] + (["max", "min"] if d.version >= 18 else [])))


REDUCERS = {
    "none": lambda a, b: b,
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "max": np.maximum,
    "min": np.minimum,
}


def _reduces(d: Draw, reduction: str) -> None:
    """Strings, bool and complex numbers are only replaced."""
    if reduction != "none":
        d.need(d.name() not in ("string", "bool") and not types.is_complex(d.kind()))


@recipe("ScatterElements", "Scatter")
def scatter_elements(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0), -3, 3)
    axis = d.axis(x.ndim, None if d.version >= 11 else 0)
    reduction = _reduction(d)
    _reduces(d, reduction)
    n = x.shape[axis]
    shape = [d.extent(1, k) for k in x.shape]
    low = -n if d.version >= 11 else 0
    if reduction == "none":  # no place twice
        shape[axis] = d.integer(0, n)
        full = np.argsort(d.rng.random((*shape[:axis], n, *shape[axis % x.ndim + 1 :])), axis)
        indices = np.take(full, np.arange(shape[axis]), axis).astype(types.dtype(d.kind("Tind")))
        if low:
            indices = np.where(d.rng.random(indices.shape) < 0.3, indices - n, indices).astype(indices.dtype)
    else:
        shape[axis] = d.extent(0, 6)
        indices = index_array(d, d.kind("Tind"), shape, low, n - 1)
    updates = d.array(d.kind(), shape, -3, 3)
    attrs = {"axis": axis} if axis % x.ndim or d.chance() else {}
    if d.has("reduction") and (reduction != "none" or d.chance()):
        attrs["reduction"] = reduction

    def expect(x: Any, indices: Any, updates: Any) -> Any:
        y = x.astype(np.float64) if types.is_float(d.kind()) else x.copy()
        for place in np.ndindex(*indices.shape):
            at = list(place)
            at[axis] = indices[place]
            y[tuple(at)] = REDUCERS[reduction](
                y[tuple(at)], updates[place].astype(y.dtype) if reduction != "none" else updates[place]
            )
        return y.astype(x.dtype)

    node = exact([x, indices, updates], attrs, expect=expect)
    if reduction in ("add", "mul"):
        node.steps, node.scale, node.widen = 32, 40, True
        node.roundings = 8
    return node


@recipe("ScatterND")
def scatter_nd(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0), -3, 3)
    reduction = _reduction(d)
    _reduces(d, reduction)
    last = d.integer(1, x.ndim)
    places = int(np.prod(x.shape[:last]))
    if reduction == "none":
        count = d.integer(0, min(places, 6))
        flat = d.rng.permutation(places)[:count]
    else:
        flat = d.rng.integers(0, places, d.integer(0, 6))
    indices = np.stack(np.unravel_index(flat, x.shape[:last]), -1).astype(np.int64).reshape(len(flat), last)
    if d.version >= 11 and d.chance(0.3):
        indices = np.where(d.rng.random(indices.shape) < 0.3, indices - np.array(x.shape[:last]), indices)
    if d.chance(0.3):
        indices = indices[None]
    updates = d.array(d.kind(), (*indices.shape[:-1], *x.shape[last:]), -3, 3)
    attrs = {"reduction": reduction} if d.has("reduction") and (reduction != "none" or d.chance()) else {}

    def expect(x: Any, indices: Any, updates: Any) -> Any:
        y = x.astype(np.float64) if types.is_float(d.kind()) else x.copy()
        for place in np.ndindex(*indices.shape[:-1]):
            at = tuple(indices[place])
            y[at] = (
                REDUCERS[reduction](y[at], updates[place].astype(y.dtype)) if reduction != "none" else updates[place]
            )
        return y.astype(x.dtype)

    node = exact([x, indices, updates], attrs, expect=expect)
    if reduction in ("add", "mul"):
        node.steps, node.scale, node.widen = 32, 40, True
        node.roundings = 8
    return node


@recipe("TensorScatter")
def tensor_scatter(d: Draw) -> Node:
    batch = d.extent(1, 3)
    shape = [batch, *d.shape(1, 3, empty=0)]
    axis = d.integer(1, len(shape) - 1)
    most = shape[axis]
    update = list(shape)
    update[axis] = d.integer(1, most)
    circular = d.chance()
    writes = index_array(d, "int64", (batch,), 0, most - 1 if circular else most - update[axis])
    x, u = d.array(d.kind(), shape), d.array(d.kind(), update)
    attrs: dict[str, Any] = {"axis": d.choice([axis, axis - len(shape)])}
    if circular or d.chance():
        attrs["mode"] = "circular" if circular else "linear"
    given = [x, u, writes] if d.chance(0.8) else [x, u]

    def expect(x: Any, u: Any, writes: Any = None) -> Any:
        y = x.copy()
        for b in range(batch):
            for k in range(update[axis]):
                start = 0 if writes is None else int(writes[b])
                to = [slice(None)] * (y.ndim - 1)
                at = list(to)
                to[axis - 1], at[axis - 1] = (start + k) % most, k
                y[(b, *to)] = u[(b, *at)]
        return y

    return exact(given, attrs, expect=expect)


@recipe("OneHot")
def one_hot(d: Draw) -> Node:
    depth = d.integer(1, 6)
    rank = d.integer(0 if d.version >= 11 else 1, 3)
    low, high = (-depth - 1, depth + 1) if d.version >= 11 and not types.is_unsigned(d.kind("T1")) else (0, depth)
    indices = d.array(d.kind("T1"), [d.extent() for _ in range(rank)], low, high)
    if types.is_float(d.kind("T1")):
        indices = np.round(indices.astype(np.float32)).astype(indices.dtype)
    at = types.dtype(d.kind("T2"))
    depth_given = np.array(depth if d.chance() else [depth]).astype(at)
    values = d.array(d.kind("T3"), (2,))
    attrs = d.attributes(axis=lambda: d.integer(-rank - 1 if d.version >= 11 else -1, rank))
    axis = attrs.get("axis", -1)

    def expect(indices: Any, depth_: Any, values: Any) -> Any:
        whole = np.asarray(indices).astype(np.float64).astype(np.int64)
        inside = (whole >= -depth) & (whole < depth)
        whole = np.where(inside, whole % depth, -1)
        hot = np.expand_dims(whole, axis) == np.arange(depth).reshape(
            [depth if i == axis % (rank + 1) else 1 for i in range(rank + 1)]
        )
        return np.where(hot, values[1], values[0]).astype(values.dtype)

    return exact([indices, depth_given, values], attrs, expect=expect)


@recipe("Compress")
def compress(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4))
    axis = d.axis(x.ndim, None if d.version >= 11 else 0) if d.chance(0.7) else None
    n = x.size if axis is None else x.shape[axis]
    keep = d.array("bool", (d.integer(0, n),))
    return exact([x, keep], {} if axis is None else {"axis": axis}, expect=lambda x, c: np.compress(c, x, axis))


@recipe("NonZero")
def non_zero(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4), -2, 2)
    if d.name() != "string":
        x = np.where(d.rng.random(x.shape) < 0.4, np.zeros((), x.dtype), x).astype(x.dtype)
    return exact([x], expect=lambda x: np.array(np.nonzero(x if x.dtype != object else x != ""), np.int64))
