"""Control flow, sequences, optionals and constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.movement import exact


def info(name: str, kind: str) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, types.proto(kind))


def graph(
    nodes: list[onnx.NodeProto], inputs: list[tuple[str, str]], outputs: list[tuple[str, str]]
) -> onnx.GraphProto:
    return helper.make_graph(nodes, "body", [info(*x) for x in inputs], [info(*y) for y in outputs])


def _passable(d: Draw, kind: str) -> None:
    """Bodies pass values with Identity, which learned of sequences in 14 and of optionals in 16."""
    outer = types.split(kind)[0]
    d.need(outer == "tensor" or d.version >= 16)


@recipe("If")
def if_(d: Draw) -> Node:
    cond = np.array(d.chance()) if d.chance() else np.array([d.chance()])
    kind = d.kind("V")
    if kind.startswith("seq") and d.version == 13:
        items = [d.array(kind, d.shape()) for _ in range(2)]
        element = types.tensor(types.element(kind))
        branches = [
            graph([helper.make_node("SequenceConstruct", [name], ["out_" + name])], [], [("out_" + name, kind)])
            for name in ("c0", "c1")
        ]
        captured = {"c0": (items[0], element), "c1": (items[1], element)}
        expected: list[Any] = [[items[0]], [items[1]]]
    else:
        _passable(d, kind)
        expected = [d.value(kind), d.value(kind)]
        captured = {"c0": (expected[0], kind), "c1": (expected[1], kind)}
        branches = [
            graph([helper.make_node("Identity", [name], ["out_" + name])], [], [("out_" + name, kind)])
            for name in captured
        ]
    return exact(
        [cond],
        {"then_branch": branches[0], "else_branch": branches[1]},
        captured=captured,
        out_kinds={0: kind},
        expect=lambda cond: [expected[0 if cond.item() else 1]],
        only=not kind.startswith("tensor"),
    )


@recipe("Loop")
def loop(d: Draw) -> Node:
    kind = d.kind("V")
    count = d.integer(0, 4)
    scanned = kind.startswith("tensor")
    trip: Any = np.array(count, np.int64) if d.chance(0.7) else np.array([count], np.int64)
    cond: Any = np.array(True) if d.chance(0.5) else None
    value = d.value(kind)
    nodes = [helper.make_node("Identity", ["c"], ["c_out"])]
    captured: dict[str, tuple[Any, str]] = {}
    expected: Any = [value]
    if kind.startswith("seq") and d.version == 13:
        element = types.tensor(types.element(kind))
        item = d.array(kind, d.shape())
        captured = {"item": (item, element)}
        nodes.append(helper.make_node("SequenceInsert", ["v", "item"], ["v_out"]))
        expected = [list(value) + [item] * count]
    else:
        _passable(d, kind)
        nodes.append(helper.make_node("Identity", ["v"], ["v_out"]))
    outputs = [("c_out", "tensor(bool)"), ("v_out", kind)]
    if scanned:
        d.need(count > 0)
        nodes.append(helper.make_node("Identity", ["v"], ["s"]))
        outputs.append(("s", kind))
        expected.append(np.stack([value] * count))
    body = graph(nodes, [("i", "tensor(int64)"), ("c", "tensor(bool)"), ("v", kind)], outputs)
    return exact(
        [trip, cond, value],
        {"body": body},
        kinds=["tensor(int64)", "tensor(bool)" if cond is not None else None, kind],
        outputs=len(expected),
        out_kinds=dict.fromkeys(range(len(expected)), kind),
        captured=captured,
        expect=lambda *_: expected,
        only=not scanned,
        variable=() if scanned else (2,),
    )


@recipe("Scan")
def scan(d: Draw) -> Node:
    """The state becomes the element, the element of the output is the state before."""
    kind = d.kind("V")
    length, element = d.extent(1, 4), d.shape(0, 2, empty=0)
    nodes = [helper.make_node("Identity", ["x"], ["s_out"]), helper.make_node("Identity", ["s"], ["y"])]
    body = graph(nodes, [("s", kind), ("x", kind)], [("s_out", kind), ("y", kind)])
    attrs: dict[str, Any] = {"body": body, "num_scan_inputs": 1}
    if d.version == 8:
        batch = d.extent(1, 3)
        state, x = d.array(kind, (batch, *element)), d.array(kind, (batch, length, *element))
        backward = d.chance()
        if backward:
            attrs["directions"] = [1]

        def expect8(lens: Any, s: Any, x: Any) -> Any:
            seen = x[:, ::-1] if backward else x
            return [seen[:, -1], np.concatenate([s[:, None], seen[:, :-1]], 1)]

        return exact(
            [None, state, x], attrs, kinds=[None, kind, kind], outputs=2, out_kinds={0: kind, 1: kind}, expect=expect8
        )
    axis, out_axis = d.integer(0, len(element)), d.integer(0, len(element))
    shape = (*element[:axis], length, *element[axis:])
    backward, out_backward = d.chance(0.3), d.chance(0.3)
    if axis or d.chance(0.3):
        attrs["scan_input_axes"] = [axis - len(shape) if d.version >= 11 and d.chance(0.3) else axis]
    if out_axis or d.chance(0.3):
        attrs["scan_output_axes"] = [out_axis - len(shape) if d.version >= 11 and d.chance(0.3) else out_axis]
    if backward:
        attrs["scan_input_directions"] = [1]
    if out_backward:
        attrs["scan_output_directions"] = [1]

    def expect(s: Any, x: Any) -> Any:
        seen = np.moveaxis(x, axis, 0)
        seen = seen[::-1] if backward else seen
        y = np.concatenate([s[None], seen[:-1]])
        return [seen[-1], np.moveaxis(y[::-1] if out_backward else y, 0, out_axis)]

    return exact(
        [d.array(kind, element), d.array(kind, shape)],
        attrs,
        kinds=[kind, kind],
        outputs=2,
        out_kinds={0: kind, 1: kind},
        expect=expect,
    )


@recipe("SequenceMap")
def sequence_map(d: Draw) -> Node:
    kind, other = d.kind("S"), d.kind("V")
    element = types.split(kind)[1]
    values = d.value(kind)
    extra: Any = (
        d.array(other, d.shape()) if other.startswith("tensor") else [d.array(other, d.shape()) for _ in values]
    )
    inner = other if other.startswith("tensor") else types.split(other)[1]
    nodes = [helper.make_node("Identity", ["a"], ["p"]), helper.make_node("Identity", ["b"], ["q"])]
    body = graph(nodes, [("a", element), ("b", inner)], [("p", element), ("q", inner)])
    return exact(
        [values, extra],
        {"body": body},
        kinds=[kind, other],
        outputs=2,
        out_kinds={0: kind, 1: f"seq({inner})"},
        expect=lambda v, e: [v, e if isinstance(e, list) else [e] * len(v)],
        only=True,
    )


@recipe("SequenceConstruct")
def sequence_construct(d: Draw) -> Node:
    d.bind("S", f"seq({d.kind('T')})")
    return exact([d.array(d.kind(), d.shape()) for _ in range(d.integer(1, 4))], expect=lambda *xs: [list(xs)])


@recipe("SequenceEmpty")
def sequence_empty(d: Draw) -> Node:
    kind = d.kind("S")
    attrs = {"dtype": types.number(kind)} if types.element(kind) != "float" or d.chance() else {}
    return exact([], attrs, expect=lambda: [[]])


def _position(d: Draw, low: int, high: int) -> np.ndarray:
    return np.array(d.integer(low, high)).astype(types.dtype(d.kind("I")))


@recipe("SequenceAt")
def sequence_at(d: Draw) -> Node:
    _pair(d)
    items = d.value(d.kind("S"))
    return exact([items, _position(d, -len(items), len(items) - 1)], expect=lambda s, i: [s[int(i)]])


def _pair(d: Draw) -> None:
    """Elements of the sequence have the type T; either may be the pinned one."""
    if "T" in d.pinned:
        d.bind("S", f"seq({d.kind('T')})")
    else:
        d.bind("T", types.split(d.kind("S"))[1])


@recipe("SequenceErase")
def sequence_erase(d: Draw) -> Node:
    items = d.value(d.kind("S"))
    if d.chance(0.3):
        return exact([items], expect=lambda s: [s[:-1]])
    place = _position(d, -len(items), len(items) - 1)

    def expect(s: Any, i: Any) -> Any:
        del s[int(i)]
        return [s]

    return exact([items, place], expect=expect)


@recipe("SequenceInsert")
def sequence_insert(d: Draw) -> Node:
    _pair(d)
    items = d.value(d.kind("S")) if d.chance(0.9) else []
    item = d.array(d.kind("T"), d.shape())
    if d.chance(0.3):
        return exact([items, item], expect=lambda s, x: [s + [x]])
    place = _position(d, -len(items), len(items))

    def expect(s: Any, x: Any, i: Any) -> Any:
        at = int(i) + len(s) if i < 0 else int(i)
        return [s[:at] + [x] + s[at:]]

    return exact([items, item, place], expect=expect)


@recipe("SequenceLength")
def sequence_length(d: Draw) -> Node:
    return exact([d.value(d.kind("S"))], expect=lambda s: [np.array(len(s), np.int64)])


@recipe("SplitToSequence")
def split_to_sequence(d: Draw) -> Node:
    _pair(d)
    x = d.array(d.kind("T"), d.shape(1, 4, empty=0))
    attrs = d.attributes(axis=lambda: d.axis(x.ndim), keepdims=lambda: d.integer(0, 1))
    axis = attrs.get("axis", 0)
    n = x.shape[axis]
    form = d.choice(["ones", "scalar", "sizes"])
    if form == "ones":

        def ones(x: Any) -> Any:
            parts = np.split(x, n, axis)
            return [[np.squeeze(p, axis) for p in parts] if not attrs.get("keepdims", 1) else parts]

        return exact([x], attrs, expect=ones)
    attrs.pop("keepdims", None)
    itype = types.dtype(d.kind("I"))
    if form == "scalar":
        size = d.integer(1, n + 1)
        bounds = list(range(size, n, size))
        given = np.array(size, itype)
    else:
        bounds = sorted(d.integer(0, n) for _ in range(d.integer(0, 3)))
        given = np.diff([0, *bounds, n]).astype(itype)
    return exact([x, given], attrs, expect=lambda x, _: [np.split(x, bounds, axis)])


@recipe("ConcatFromSequence")
def concat_from_sequence(d: Draw) -> Node:
    if "T" in d.pinned:
        d.bind("S", f"seq({d.kind('T')})")
    else:
        d.bind("T", types.split(d.kind("S"))[1])
    attrs = d.attributes(new_axis=lambda: d.integer(0, 1))
    shape = list(d.shape(0 if attrs.get("new_axis") else 1, 3))
    axis = d.integer(-len(shape) - attrs.get("new_axis", 0), len(shape) - 1 + attrs.get("new_axis", 0))
    attrs["axis"] = axis
    items = []
    for _ in range(d.integer(1, 3)):
        if not attrs.get("new_axis"):
            shape[axis] = d.extent(0, 4)
        items.append(d.array(d.kind("T"), shape))
    join = np.stack if attrs.get("new_axis") else np.concatenate
    return exact([items], attrs, expect=lambda s: [join(s, axis)])


@recipe("Optional")
def optional(d: Draw) -> Node:
    if "O" in d.pinned:
        d.bind("V", types.split(d.kind("O"))[1])
    else:
        d.bind("O", f"optional({d.kind('V')})")
    kind = d.kind("V")
    if d.chance(0.3):
        return exact([], {"type": types.proto(kind)}, out_kinds={0: d.kind("O")}, expect=lambda: [None], only=True)
    return exact([d.value(kind)], out_kinds={0: d.kind("O")}, expect=lambda x: [x], only=True)


@recipe("OptionalGetElement")
def optional_get(d: Draw) -> Node:
    if "V" in d.pinned:
        kind = d.kind("V")
        d.bind("O", kind if d.version >= 18 and d.chance() else f"optional({kind})")
    else:
        kind = d.kind("O")
        d.bind("V", types.split(kind)[1] if kind.startswith("optional") else kind)
    return exact([d.value(d.kind("V"))], expect=lambda x: [x], only=True)


@recipe("OptionalHasElement")
def optional_has(d: Draw) -> Node:
    kind = d.kind("O")
    if d.version >= 18 and d.chance(0.2):
        return exact([None] if d.chance() else [], expect=lambda *_: [np.array(False)], only=True)
    value = d.value(kind) if not kind.startswith("optional") or d.chance(0.7) else None
    return exact([value], kinds=[kind], expect=lambda x: [np.array(x is not None)], only=True)


@recipe("Constant")
def constant(d: Draw) -> Node:
    kind = d.kind()
    forms = ["value"]
    x = d.array(kind, d.shape())
    name = types.element(kind)
    if d.has("value_int") and name in ("int64", "float", "string"):
        forms += ["one", "list"]
    if d.has("sparse_value") and name in ("float", "double", "int64", "int32", "float16", "uint8"):
        forms.append("sparse")
    form = d.choice(forms)
    if form == "sparse":
        shape = d.shape(1, 3, empty=0)
        size = int(np.prod(shape))
        places = np.sort(d.rng.permutation(size)[: d.integer(0, size)]).astype(np.int64)
        values = d.array(kind, (len(places),))
        x = np.zeros(size, types.dtype(kind))
        x[places] = values
        x = x.reshape(shape)
        if d.chance() and len(shape) > 1:
            places = np.stack(np.unravel_index(places, shape), -1).astype(np.int64).reshape(len(places), len(shape))
        sparse = helper.make_sparse_tensor(
            numpy_helper.from_array(values, "v"), numpy_helper.from_array(places, "i"), list(shape)
        )
        return exact([], {"sparse_value": sparse}, expect=lambda: [x], only=True)
    if form == "value":
        return exact([], {"value": numpy_helper.from_array(x)}, expect=lambda: [x])
    word = {"int64": "int", "float": "float", "string": "string"}[name]
    if form == "one":
        x = d.array(kind, ())
        return exact([], {f"value_{word}": x.item()}, expect=lambda: [x])
    x = d.array(kind, (d.integer(1, 4),))
    return exact([], {f"value_{word}s": x.tolist()}, expect=lambda: [x])
