"""Reductions, scans along an axis, softmaxes, sorting, products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.movement import exact

REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@recipe(*("Reduce" + name for name in REDUCTIONS))
def reduce(d: Draw) -> Node:
    kind = d.kind()
    extreme = d.op in ("ReduceMax", "ReduceMin", "ReduceMean")
    shape = d.shape(1, 4, most=6, empty=0 if extreme else 0.05)
    logs = d.op in ("ReduceLogSum",)
    small = d.op == "ReduceProd"
    low, high = (1, 3) if logs else (0.5, 1.5) if small and types.is_float(kind) else (-4, 4)
    if types.is_integer(kind) and small:
        low, high = 1, 2
    x = d.array(kind, shape, low, high)
    if small and types.is_integer(kind):
        x = np.where(d.rng.random(x.shape) < 10 / max(x.size, 1), x, np.ones((), x.dtype))
    attrs = d.attributes(keepdims=lambda: d.integer(0, 1))
    axes = [int(i) for i in d.some(range(x.ndim), 1)] if d.chance(0.8) else None
    if axes:
        axes = [i - x.ndim if d.version >= 11 and d.chance(0.3) else i for i in axes]
    reduced = [i % x.ndim for i in axes] if axes else list(range(x.ndim))
    count = int(np.prod([x.shape[i] for i in reduced]))
    inputs: list[Any] = [x]
    if d.has("axes"):
        if axes:
            attrs["axes"] = axes
    elif axes:
        inputs.append(np.array(axes, np.int64))
        attrs.update(d.attributes(noop_with_empty_axes=lambda: d.integer(0, 1)))
    else:
        attrs.update(d.attributes(noop_with_empty_axes=lambda: d.integer(0, 1)))
        inputs += d.choice([[], [None], [np.zeros(0, np.int64)]])
    scale = 16 * max(count, 1) if not small else 1.5 ** min(count, 1296)
    node = Node(inputs, attrs, steps=8 + count, scale=scale)
    if "Log" in d.op and types.is_integer(kind):
        d.need(count > 0)
        kept = bool(attrs.get("keepdims", 1))
        nothing = not axes and bool(attrs.get("noop_with_empty_axes"))

        def expect(x: Any, *_: Any) -> Any:
            wide = x.astype(np.float64)
            wide = np.exp(wide) if d.op == "ReduceLogSumExp" else wide
            total = wide if nothing else wide.sum(tuple(reduced), keepdims=kept)
            return np.trunc(np.round(np.log(total), 9)).astype(x.dtype)

        node.expect, node.only = expect, True
    return node


@recipe("ArgMax", "ArgMin")
def arg_reduce(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0), -9, 9)
    attrs = d.attributes(
        axis=lambda: d.axis(x.ndim, None if d.version >= 11 else 0),
        keepdims=lambda: d.integer(0, 1),
        select_last_index=lambda: d.integer(0, 1),
    )
    return Node([x], attrs)


@recipe("CumSum", "CumProd")
def cumulative(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4), *(-4, 4) if d.op == "CumSum" else (0.5, 1.5))
    axis = np.array(d.axis(x.ndim)).astype(types.dtype(d.kind("T2")))
    attrs = d.attributes(exclusive=lambda: d.integer(0, 1), reverse=lambda: d.integer(0, 1))
    n = max(x.shape)
    return Node([x, axis], attrs, steps=8 + n, scale=4 * n if d.op == "CumSum" else 1.5**n)


@recipe("Softmax", "LogSoftmax", "Hardmax")
def softmax(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1 if d.version >= 13 else 2, 4), -9, 9)
    attrs = d.attributes(axis=lambda: d.axis(x.ndim, None if d.version >= 11 else 0))
    axis = attrs.get("axis", -1 if d.version >= 13 else 1) % x.ndim

    def expect(x: Any) -> Any:
        wide = x.astype(np.float64)
        if d.version < 13:
            wide = wide.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))
        at = axis if d.version >= 13 else 1
        if wide.size == 0:
            return x
        if d.op == "Hardmax":
            place = np.expand_dims(np.argmax(wide, at), at)
            y = np.zeros_like(wide)
            np.put_along_axis(y, place, 1, at)
        else:
            y = wide - wide.max(at, keepdims=True)
            total = np.exp(y).sum(at, keepdims=True)
            y = np.exp(y) / total if d.op == "Softmax" else y - np.log(total)
        return y.reshape(x.shape).astype(x.dtype)

    return Node([x], attrs, steps=32, scale=1 if d.op == "Softmax" else 20, expect=expect)


@recipe("TopK")
def top_k(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 4, empty=0), -40, 40)
    attrs = d.attributes(axis=lambda: d.axis(x.ndim, None if d.version >= 11 else 0), largest=lambda: d.integer(0, 1))
    axis = attrs.get("axis", -1)
    n = x.shape[axis]
    k = d.integer(1, n)

    def expect(x: Any, k_: Any = None) -> Any:
        wide = x.astype(np.float64) if types.is_float(d.kind()) else x.astype(object)
        order = np.argsort(-wide if attrs.get("largest", 1) else wide, axis, kind="stable")
        order = np.take(order, np.arange(k), axis).astype(np.int64)
        return [np.take_along_axis(x, order, axis), order]

    if d.has("k"):
        attrs["k"] = k
        return exact([x], attrs, outputs=2, expect=expect)
    return exact([x, np.array([k], np.int64)], attrs, outputs=2, expect=expect)


@recipe("Unique")
def unique(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 3, empty=0), -2, 2)
    if types.is_float(d.kind()):
        x = np.round(x.astype(np.float32)).astype(x.dtype) + np.zeros((), x.dtype)
    attrs = d.attributes(axis=lambda: d.axis(x.ndim), sorted=lambda: d.integer(0, 1))
    wanted = ["y", *(name if d.chance(0.7) else "" for name in ("i", "v", "c"))]
    while not wanted[-1]:
        wanted.pop()
    axis, ordered = attrs.get("axis"), attrs.get("sorted", 1)

    def expect(x: Any) -> Any:
        rows = x.reshape(-1, 1) if axis is None else np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        keys = [tuple((v.real, v.imag) if types.is_complex(d.kind()) else v for v in row.tolist()) for row in rows]
        first: dict[Any, int] = {}
        for i, key in enumerate(keys):
            first.setdefault(key, i)
        distinct = sorted(first) if ordered else list(first)
        places = np.array([first[key] for key in distinct], np.int64)
        y = x.reshape(-1)[places] if axis is None else np.take(x, places, axis)
        number = {key: i for i, key in enumerate(distinct)}
        inverse = np.array([number[key] for key in keys], np.int64)
        answers = [y, places, inverse, np.bincount(inverse, minlength=len(distinct)).astype(np.int64)]
        return [answer for answer, name in zip(answers, wanted) if name]

    return exact([x], attrs, outputs=wanted, expect=expect, only=True)


@recipe("MatMul")
def matmul(d: Draw) -> Node:
    batch = d.broadcast(2, 2, empty=0.05)
    m, k, n = d.wide(1, 20, 200), d.wide(0 if d.chance(0.05) else 1, 40, 400), d.wide(1, 20, 200)
    a, b = (*batch[0], m, k), (*batch[1], k, n)
    if d.chance(0.15):
        a = (k,)
    elif d.chance(0.15):
        b = (k,)
    return Node([d.array(d.kind(), a), d.array(d.kind(), b)], steps=4 + k, scale=16 * max(k, 1))


@recipe("Gemm")
def gemm(d: Draw) -> Node:
    m, k, n = d.wide(1, 20, 200), d.wide(1, 40, 400), d.wide(1, 20, 200)
    attrs = d.attributes(transA=lambda: d.integer(0, 1), transB=lambda: d.integer(0, 1))
    if types.is_float(d.kind()):
        attrs.update(d.attributes(alpha=lambda: d.real(-2, 2), beta=lambda: d.real(-2, 2)))
    elif d.chance():
        attrs.update(alpha=float(d.integer(0, 2)), beta=float(d.integer(0, 2)))
    a = d.array(d.kind(), (k, m) if attrs.get("transA") else (m, k))
    b = d.array(d.kind(), (n, k) if attrs.get("transB") else (k, n))
    c_shape = d.choice([(m, n), (1, n), (n,), (m, 1), (1, 1), (1,), ()])
    if d.has("broadcast"):
        c_shape = d.choice([(m, n), (n,), (1,)])
        if c_shape != (m, n):
            attrs["broadcast"] = 1
    c = [d.array(d.kind(), c_shape)] if d.version < 11 or d.chance(0.7) else []
    node = Node([a, b, *c], attrs, steps=8 + k, scale=32 * k + 8)
    if d.has("broadcast"):
        node.like = Node(node.inputs, {k: v for k, v in attrs.items() if k != "broadcast"}, version=13)
    return node


EQUATIONS = [
    ("ij,jk->ik", 2), ("ij->ji", 1), ("ii->i", 1), ("ij,ij->", 2), ("bij,bjk->bik", 2), ("i,j->ij", 2), ("ij->", 1),
    ("...ij,...jk->...ik", 2), ("abc,cd", 2), ("ij,jk,kl->il", 3), ("...i->...", 1), ("bhid,bhjd->bhij", 2), ("ii", 1),
]  # fmt: skip


@recipe("Einsum")
def einsum(d: Draw) -> Node:
    equation, _ = d.choice(EQUATIONS)
    extents = {letter: d.extent(1, 5) for letter in "abcdefhijkl"}
    batch = d.shape(0, 2, empty=0)
    inputs, total = [], 1
    for term in equation.partition("->")[0].split(","):
        shape = (*(batch if "..." in term else ()), *(extents[c] for c in term if c != "."))
        inputs.append(d.array(d.kind(), shape, -2, 2))
    for letter in set(equation) & set(extents):
        total *= extents[letter]
    return Node(inputs, {"equation": equation}, steps=8 + total, scale=8 * total)


@recipe("Det")
def det(d: Draw) -> Node:
    n = d.extent(1, 4)
    x = d.array(d.kind(), (*d.shape(0, 2), n, n), -2, 2)
    return Node([x], steps=64, scale=64)
