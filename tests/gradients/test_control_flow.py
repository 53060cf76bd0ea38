"""Gradients through If, Loop, Scan, sequences and optionals."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, parser

from tests.gradients.harness import Case, away, parametrize, positive

I64 = np.int64


def body(text: str) -> onnx.GraphProto:
    return parser.parse_graph(text)


def node(op: str, inputs: list[str], outputs: list[str], **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, name=outputs[0], **attrs)


A, B = away((2, 3), 1), away((3,), 2)

THEN = body("then () => (double[2,3] p) { p = Mul(x1, x2) }")
ELSE = body("else () => (double[2,3] q) { s = Sin(x1) q = Add(s, s) }")
NESTED = helper.make_graph(
    [node("If", ["x3"], ["p"], then_branch=THEN, else_branch=ELSE), node("Mul", ["p", "p"], ["r"])],
    "nested", [], [helper.make_tensor_value_info("r", TensorProto.DOUBLE, [2, 3])],
)  # fmt: skip

IFS = [
    *(
        Case(
            "If",
            [np.array(flag), A, B],
            id=str(flag),
            nodes=[node("If", ["x0"], ["y0"], then_branch=THEN, else_branch=ELSE)],
        )
        for flag in (True, False)
    ),
    *(
        Case(
            "If",
            [np.array(flag), A, B, np.array(flag)],
            id=f"nested-{flag}",
            nodes=[node("If", ["x0"], ["y0"], then_branch=NESTED, else_branch=ELSE)],
        )
        for flag in (True, False)
    ),
]

GROW = body(
    """grow (int64 i, bool c, double[2,3] s) => (bool d, double[2,3] t, double[2,3] out)
    { d = Identity(c) a = Mul(s, x3) t = Tanh(a) out = Mul(t, s) }"""
)
# Ends when the state is large, and counts its trips in a state of its own.
UNTIL = body(
    """until (int64 i, bool c, double[2,3] s, int64 n) => (bool d, double[2,3] t, int64 m, double[3] row)
    {
      one = Constant<value_int = 1>()
      m = Add(n, one)
      f = Cast<to = 11>(m)
      a = Mul(x2, f)
      t = Add(s, a)
      top = ReduceMax<keepdims = 0>(t)
      limit = Constant<value = double {4.0}>()
      d = Less(top, limit)
      zero = Constant<value_ints = [0]>()
      row = ReduceSum<keepdims = 0>(t, zero)
    }"""
)
CHAIN = body(
    """chain (int64 i, bool c, double[2,3] s, double[2,3] u) => (bool d, double[2,3] t, double[2,3] v)
    { d = Identity(c) t = Sin(u) v = Mul(s, x2) }"""
)
ONLY_COLLECTS = body(
    """collect (int64 i, bool c) => (bool d, double[2,3] out)
    { d = Identity(c) f = Cast<to = 11>(i) g = Mul(x1, f) out = Exp(g) }"""
)

LOOPS = [
    Case("Loop", [np.array(trips, I64), np.array(True), A, B], id=f"{trips}-trips", outputs=["y0", "y1"],
         nodes=[node("Loop", ["x0", "x1", "x2"], ["y0", "y1"], body=GROW)])
    for trips in (0, 1, 4)
] + [
    Case("Loop", [np.array(3, I64), np.array(True), A, B], id="no-collection",
         nodes=[node("Loop", ["x0", "x1", "x2"], ["y0"], body=GROW)]),
    Case("Loop", [np.array(3, I64), np.array(True), A, B], outputs=["y1"], id="collection-only",
         nodes=[node("Loop", ["x0", "x1", "x2"], ["", "y1"], body=GROW)]),
    Case("Loop", [np.array(9, I64), np.array(0, I64), positive((3,), 3), positive((2, 3), 4)],
         outputs=["y0", "y1", "y2"], id="until",
         nodes=[node("Loop", ["x0", "", "x3", "x1"], ["y0", "y1", "y2"], body=UNTIL)]),
    # The second state depends on the variable only from the second trip on.
    Case("Loop", [np.array(5, I64), A, B, away((2, 3), 5)], outputs=["y0", "y1"], id="chain",
         nodes=[node("Loop", ["x0", "", "x1", "x3"], ["y0", "y1"], body=CHAIN)]),
    Case("Loop", [np.array(5, I64), A, B, away((2, 3), 5)], outputs=["y0", "y1"], fixed=[1, 3], id="chain-inside",
         nodes=[node("Loop", ["x0", "", "x1", "x3"], ["y0", "y1"], body=CHAIN)]),
    Case("Loop", [np.array(3, I64), A], id="stateless",
         nodes=[node("Loop", ["x0", ""], ["y0"], body=ONLY_COLLECTS)]),
]  # fmt: skip

STEP = body(
    """step (double[3] s, double[3] v, double[2] w) => (double[3] t, double[2] out)
    {
      a = Mul(s, v) b = ReduceSum<keepdims = 1>(a) c = Mul(b, x3) d = Tanh(c) t = Add(d, v)
      e = ReduceSum<keepdims = 1>(t) out = Mul(e, w)
    }"""
)
SCANS = [
    Case(
        "Scan",
        [away((3,), 6), away((3, 4), 7) if axes else away((4, 3), 7), away((4, 2), 8), B],
        id=f"{axes}-{directions}",
        outputs=["y0", "y1"],
        nodes=[
            node("Scan", ["x0", "x1", "x2"], ["y0", "y1"], body=STEP, num_scan_inputs=2,
                 **({"scan_input_axes": [1, 0], "scan_output_axes": [-1]} if axes else {}),
                 **({"scan_input_directions": directions, "scan_output_directions": [1]} if directions else {}))
        ],
    )
    for axes in (False, True)
    for directions in (None, [1, 0], [0, 1])
]  # fmt: skip
NO_STATE = body("plain (double[3] v) => (double[3] out) { a = Exp(v) out = Mul(a, x1) }")
SCANS.append(
    Case("Scan", [away((4, 3), 9), B], id="stateless",
         nodes=[node("Scan", ["x0"], ["y0"], body=NO_STATE, num_scan_inputs=1)])
)  # fmt: skip

ITEM = body("item (double[n,3] v, double[3] w) => (double[n,3] out) { a = Mul(v, w) b = Mul(a, v) out = Add(b, x2) }")


def sequences(op: str, inputs: list[np.ndarray], nodes: list[onnx.NodeProto], id: str, outputs: str = "y0") -> Case:
    return Case(op, inputs, nodes=nodes, outputs=outputs.split(), id=id)


def whole(name: str) -> onnx.NodeProto:
    return node("ConcatFromSequence", [name], ["y0"], axis=0)


THREE = [away((1, 3), 10), away((2, 3), 11), away((2, 3), 12)]
MAKE = node("SequenceConstruct", ["x0", "x1", "x2"], ["s"])
SEQUENCES = [
    sequences("SequenceConstruct", THREE, [MAKE, whole("s")], "concat"),
    sequences("ConcatFromSequence", THREE[1:] + [away((2, 3), 13)],
              [MAKE, node("ConcatFromSequence", ["s"], ["y0"], axis=-1, new_axis=1)], "stack"),
    sequences("ConcatFromSequence", [away((2, 1), 13), away((2, 3), 13), away((2, 2), 13)],
              [MAKE, node("ConcatFromSequence", ["s"], ["y0"], axis=-1)], "last-axis"),
    *(
        sequences("SequenceAt", [*THREE, np.array(at, I64)], [MAKE, node("SequenceAt", ["s", "x3"], ["y0"])], str(at))
        for at in (0, 2, -2)
    ),
    *(
        sequences("SequenceInsert", [*THREE, away((1, 3), 14), *position],
                  [MAKE, node("SequenceInsert", ["s", "x3", *(["x4"] if position else [])], ["t"]), whole("t")],
                  str(position))
        for position in ([], [np.array(1, I64)], [np.array(-1, I64)], [np.array(3, I64)])
    ),
    *(
        sequences("SequenceErase", [*THREE, *position],
                  [MAKE, node("SequenceErase", ["s", *(["x3"] if position else [])], ["t"]), whole("t")], str(position))
        for position in ([], [np.array(1, I64)], [np.array(-3, I64)])
    ),
    sequences("SplitToSequence", [away((5, 3), 15), np.array([2, 0, 3], I64), np.array(2, I64)],
              [node("SplitToSequence", ["x0", "x1"], ["s"]), node("SequenceAt", ["s", "x2"], ["y0"])], "lengths"),
    sequences("SplitToSequence", [away((2, 5), 15), np.array(2, I64)],
              [node("SplitToSequence", ["x0", "x1"], ["s"], axis=1),
               node("ConcatFromSequence", ["s"], ["y0"], axis=1)], "length"),
    *(
        sequences("SplitToSequence", [away((3, 2), 15), np.array(-1, I64)],
                  [node("SplitToSequence", ["x0"], ["s"], axis=1, keepdims=keep),
                   node("SequenceAt", ["s", "x1"], ["y0"])], f"ones-{keep}")
        for keep in (0, 1)
    ),
    sequences("SequenceMap", [*THREE, B],
              [MAKE, node("SequenceMap", ["s", "x3"], ["t"],
                          body=body("item (double[n,3] v, double[3] w) => (double[n,3] out) "
                                    "{ a = Mul(v, w) b = Mul(a, v) out = Add(b, x3) }")), whole("t")], "shared"),
    sequences("SequenceMap", THREE,
              [MAKE, node("SequenceMap", ["s", "s"], ["t"],
                          body=body("item (double[n,3] v, double[m,3] w) => (double[n,3] out) { out = Mul(v, w) }")),
               whole("t")], "twice"),
    sequences("Identity", THREE, [MAKE, node("Identity", ["s"], ["t"]), whole("t")], "sequence"),
    sequences("Optional", [A], [node("Optional", ["x0"], ["o"]), node("OptionalGetElement", ["o"], ["y0"])], "tensor"),
    sequences("OptionalGetElement", THREE,
              [MAKE, node("Optional", ["s"], ["o"]), node("OptionalGetElement", ["o"], ["t"]), whole("t")], "sequence"),
]  # fmt: skip


@parametrize(IFS)
def test_if(case: Case) -> None:
    case.run()


@parametrize(LOOPS)
def test_loop(case: Case) -> None:
    case.run()


@parametrize(SCANS)
def test_scan(case: Case) -> None:
    case.run()


@parametrize(SEQUENCES)
def test_sequences(case: Case) -> None:
    case.run()
