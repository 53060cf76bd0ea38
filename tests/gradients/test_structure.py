"""Gradients of products, reductions and operators that move data."""

from typing import Any

import numpy as np
import pytest
from onnx import helper

import sardonyx as sx
from tests.gradients.harness import TRAINING, Case, away, parametrize, positive

PRODUCTS = [
    Case("MatMul", [away(a, 1), away(b, 2)])
    for a, b in [
        ((2, 3), (3, 4)),
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((2, 2, 3), (3, 4)),
        ((2, 1, 2, 3), (3, 3, 2)),
        ((3,), (2, 3, 2)),
        ((2, 2, 3), (3,)),
        ((2, 0), (0, 3)),
    ]
] + [
    Case(
        "Gemm",
        [away((3, 2) if a else (2, 3), 3), away((4, 3) if b else (3, 4), 4), c],
        {"transA": a, "transB": b, "alpha": 0.7, "beta": beta},
        id=f"{a}{b}-{beta}-{np.shape(c)}",
    )
    for a, b, beta, c in [
        (0, 0, 1.0, away((4,), 5)),
        (1, 0, 0.5, away((2, 4), 5)),
        (0, 1, 2.0, away((2, 1), 5)),
        (1, 1, 1.0, None),
        (0, 0, 1.5, np.float64(0.3)),
    ]
]

I64 = np.int64
REDUCTIONS = [
    Case(op, [positive((2, 3, 4), 6), *axes], {"keepdims": keep}, id=f"{keep}-{axes}")
    for op in (
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
    )
    for keep in (0, 1)
    for axes in ([], [np.array([1], I64)], [np.array([0, -1], I64)])
] + [
    # What a zero does to the other elements' derivatives is cut off.
    Case(
        "ReduceProd",
        [np.array([[0.0, 2.0, 3.0], [0.5, 0.0, 0.0], [1.0, 2.0, 4.0]]), np.array([1], I64)],
        id="zeros",
        second=False,
    ),
    Case("ReduceL2", [away((2, 3), 7), np.array([1], I64)], id="signs"),
    Case("ReduceL1", [away((2, 3), 7), np.array([1], I64)], id="signs"),
    Case("ReduceSum", [away((2, 3), 7)], {"noop_with_empty_axes": 1}, id="noop"),
    Case("ReduceSum", [away((2, 3), 7), np.array([], I64)], id="empty"),
]

X = away((2, 3, 4), 8)
MOVES = [
    Case("Reshape", [X, np.array([4, -1], I64)]),
    Case("Flatten", [X], {"axis": 2}),
    Case("Squeeze", [away((1, 3, 1), 8), np.array([0], I64)]),
    Case("Unsqueeze", [X, np.array([0, -1], I64)]),
    Case("Transpose", [X]),
    Case("Transpose", [X], {"perm": [1, 2, 0]}, id="perm"),
    Case("Concat", [away((2, 1), 9), away((2, 3), 10), away((2, 2), 11)], {"axis": -1}),
    Case("Concat", [away((2, 3), 9), away((0, 3), 10)], {"axis": 0}, id="empty"),
    Case("Split", [away((5, 2), 12), np.array([2, 0, 3], I64)], outputs=["y0", "y1", "y2"]),
    Case("Split", [away((2, 5), 12)], {"axis": 1, "num_outputs": 2}, outputs=["y0", "y1"], id="equal"),
    Case("Split", [away((4, 2), 12), np.array([1, 3], I64)], outputs=["y0", ""], id="one-wanted"),
    Case("Expand", [away((3, 1), 13), np.array([2, 1, 4], I64)]),
    Case("Tile", [away((2, 3), 14), np.array([3, 2], I64)]),
    Case("Tile", [away((2, 3), 14), np.array([0, 2], I64)], id="none"),
    Case("Slice", [X, np.array([1, 0], I64), np.array([3, 4], I64), np.array([1, 2], I64), np.array([1, 3], I64)]),
    Case("Slice", [X, np.array([-1], I64), np.array([-100], I64), np.array([2], I64), np.array([-2], I64)], id="back"),
    Case("Slice", [X, np.array([5], I64), np.array([9], I64)], id="empty"),
    Case("Gather", [X, np.array([[0, 1], [-1, 1]], I64)], {"axis": 1}),
    Case("Gather", [X, np.array(1, I64)], id="scalar"),
    Case("Gather", [X, np.array([0, 0, 1], np.int32)], {"axis": -1}, id="last"),
    Case("GatherElements", [away((3, 3), 15), np.array([[0, -1, 2], [0, 0, 1]], I64)], {"axis": 0}),
    Case("GatherND", [X, np.array([[0, 1], [1, 2], [0, 1]], I64)]),
    Case("GatherND", [X, np.array([[[1], [2]], [[0], [0]]], I64)], {"batch_dims": 1}, id="batch"),
    Case("Identity", [X]),
    *(
        Case(
            "ScatterElements", [away((3, 3), 16), np.array([[0, -1, 2]], I64), away((1, 3), 17)], {"reduction": r}, id=r
        )
        for r in ("none", "add")
    ),
    *(
        Case("ScatterND", [X, np.array([[0, 1], [1, 2]], I64), away((2, 4), 18)], {"reduction": r}, id=r)
        for r in ("none", "add")
    ),
    Case("ScatterND", [X, np.array([[1], [1]], I64), away((2, 3, 4), 18)], {"reduction": "add"}, id="same"),
    *(
        Case(
            "ScatterElements",
            [away((3, 4), 16), np.array([[0, 2, -1], [0, 1, 2]], I64), away((2, 3), 17)],
            {"reduction": r, "axis": 0},
            id=r,
        )
        for r in ("mul", "max", "min")
    ),
    *(
        Case("ScatterND", [away((3, 4), 16), np.array([[1], [1], [0]], I64), away((3, 4), 18)], {"reduction": r}, id=r)
        for r in ("mul", "max", "min")
    ),
    # What a zero does to the other factors' derivatives is cut off.
    Case(
        "ScatterElements",
        [np.array([0.0, 2.0, 0.0, 3.0]), np.array([0, 1, 1, 2, 3, 3], I64), np.array([3.0, 0.0, 4.0, 0.0, 0.0, 0.0])],
        {"reduction": "mul"},
        second=False,
        id="zeros",
    ),
    Case("Scatter", [away((3, 3), 16), np.array([[0, 1, 2]], I64), away((1, 3), 17)], {"axis": 1}, opset=9),
    Case("TensorScatter", [away((2, 5, 3), 19), away((2, 2, 3), 20), np.array([3, 0], I64)], {"axis": 1}),
    Case(
        "TensorScatter",
        [away((2, 2, 4, 3), 19), away((2, 2, 3, 3), 20), np.array([3, 1], I64)],
        {"mode": "circular"},
        id="circular",
    ),
    Case("TensorScatter", [away((2, 5), 19), away((2, 3), 20)], {"axis": -1}, id="from-0"),
    Case("Compress", [X, np.array([True, False, True])], {"axis": 1}),
    Case("Compress", [X, np.array([False, True, True, False, True])], id="flat"),
    Case("Compress", [X, np.array([False, False])], {"axis": -1}, id="none"),
    Case("Unique", [away((7,), 21)], outputs=["y0", "", "y2"]),
    Case("Unique", [away((2, 3), 21)], {"axis": 1, "sorted": 0}, id="axis"),
    Case("CenterCropPad", [X, np.array([4, 2, 5], I64)]),
    Case("CenterCropPad", [X, np.array([7, 1], I64)], {"axes": [-1, 0]}, id="axes"),
    Case("ReverseSequence", [away((4, 3, 2), 22), np.array([4, 1, 2], I64)]),
    Case("ReverseSequence", [away((3, 4), 22), np.array([3, 0, 2], I64)], {"batch_axis": 0, "time_axis": 1}, id="rows"),
    Case("OneHot", [np.array([[0, 2], [-1, 5]], I64), np.array(4, I64), away((2,), 23)]),
    Case("OneHot", [np.array([1, 0], I64), np.array([3], I64), away((2,), 23)], {"axis": 0}, id="axis"),
    Case("Range", [np.array(0.3), np.array(2.6), np.array(0.5)]),
    Case("Range", [np.array(3.0), np.array(-1.3), np.array(-0.7)], id="down"),
]


@parametrize(PRODUCTS)
def test_products(case: Case) -> None:
    case.run()


@parametrize(REDUCTIONS)
def test_reductions(case: Case) -> None:
    case.run()


@parametrize(MOVES)
def test_moves(case: Case) -> None:
    case.run()


TIES = [
    ("Max", [np.array([1.0, 2.0]), np.array([1.0, 0.0])], {}, [[0.5, 1], [0.5, 0]]),
    ("Min", [np.array([1.0, 2.0]), np.array([1.0, 0.0])], {}, [[0.5, 0], [0.5, 1]]),
    ("ReduceMax", [np.array([3.0, 3.0, 1.0])], {}, [[0.5, 0.5, 0]]),
    ("GlobalMaxPool", [np.array([[[4.0, 4.0, 1.0, 4.0]]])], {}, [[[[1 / 3, 1 / 3, 0, 1 / 3]]]]),
    ("ScatterElements", [np.array([2.0, 1.0]), np.array([0, 0, 1]), np.array([2.0, 2.0, 0.0])], {"reduction": "max"},
     [[1 / 3, 1], [1 / 3, 1 / 3, 0]]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "expected"), TIES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_ties_share(op: str, inputs: list[np.ndarray], attrs: dict[str, Any], expected: list[Any]) -> None:
    case = Case(op, inputs, attrs)
    nodes, infos, feeds = case.graph(False)
    xs = [f"x{i}" for i in case.variables()]
    zs = [name for name in feeds if name not in xs]
    gradients = [f"d{x}" for x in xs]
    nodes.append(
        helper.make_node("Gradient", xs + zs, gradients, domain=TRAINING, xs=xs, y="y0", **({"zs": zs} if zs else {}))
    )
    found = sx.InferenceSession(case.model(nodes, infos, gradients, [])).run(None, feeds)
    for gradient, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, np.array(wanted))
