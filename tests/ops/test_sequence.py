"""Sequences and optionals: making, changing, reading, joining and splitting."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, parser
from onnx.reference import ReferenceEvaluator

from tests.ops.harness import Case, check, compare, const, raises, session

rng = np.random.default_rng(1)


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(1, 100, shape)).astype(dtype)


a, b, c = data((2, 3)), data((4,)), data((2, 3))
test_sequence = check(
    [
        Case("SequenceConstruct", [a, c], expect=lambda *x: [list(x)]),
        Case("SequenceConstruct", [a, b], opset=11, expect=lambda *x: [list(x)]),
        Case("SequenceEmpty", [], {"dtype": TensorProto.INT64}, expect=lambda: [[]]),
        Case("SequenceAt", [[a, b, c], np.array(1)], expect=b),
        Case("SequenceAt", [[a, b, c], np.array(-1, np.int32)], expect=c),
        Case("SequenceInsert", [[a, b], c], expect=[[a, b, c]]),
        Case("SequenceInsert", [[a, b], c, np.array(0)], expect=[[c, a, b]]),
        Case("SequenceInsert", [[a, b], c, np.array(-1)], expect=[[a, c, b]]),
        Case("SequenceInsert", [[a, b], c, np.array(2)], expect=[[a, b, c]]),
        Case("SequenceErase", [[a, b, c]], expect=[[a, b]]),
        Case("SequenceErase", [[a, b, c], np.array(0)], expect=[[b, c]]),
        Case("SequenceErase", [[a, b, c], np.array(-2, np.int32)], expect=[[a, c]]),
        Case("SequenceLength", [[a, b, c]], expect=np.array(3)),
        raises(Case("SequenceAt", [[a, b], np.array(2)]), "position 2 is out of range"),
        raises(Case("SequenceInsert", [[a, b], c, np.array(3)]), "position 3 is out of range"),
        raises(Case("SequenceErase", [[a, b], np.array(-3)]), "position -3 is out of range"),
    ]
)
test_concat = check(
    [
        Case("ConcatFromSequence", [[a, c, a]], {"axis": 0}, expect=np.concatenate([a, c, a])),
        Case("ConcatFromSequence", [[a, data((2, 5))]], {"axis": -1}),
        Case("ConcatFromSequence", [[a, c]], {"axis": 1, "new_axis": 1}, expect=np.stack([a, c], 1)),
        Case("ConcatFromSequence", [[a, c]], {"axis": -1, "new_axis": 1}, expect=np.stack([a, c], -1)),
        Case("ConcatFromSequence", [[b]], {"axis": 0}, expect=b),
        raises(Case("ConcatFromSequence", [[a, b]], {"axis": 0}), "cannot join"),
        raises(Case("ConcatFromSequence", [[a, c]], {"axis": 2}), "axis 2 is out of range"),
    ]
)
x = data((5, 3))
test_split = check(
    [
        Case("SplitToSequence", [x], expect=[[x[i : i + 1] for i in range(5)]]),
        Case("SplitToSequence", [x], {"keepdims": 0, "axis": 1}, expect=[[x[:, i] for i in range(3)]]),
        Case("SplitToSequence", [x, const(2)], expect=[[x[:2], x[2:4], x[4:]]]),
        Case("SplitToSequence", [x, const([1, 4], np.int32)], {"keepdims": 0}, expect=[[x[:1], x[1:]]]),
        Case("SplitToSequence", [x, const([1, 0, 2])], {"axis": -1}, opset=11, expect=[[x[:, :1], x[:, :0], x[:, 1:]]]),
        raises(Case("SplitToSequence", [x, const([1, 2])]), "sum to 5"),
        raises(Case("SplitToSequence", [x, const(0)]), "split is 0"),
    ]
)


def optional_model(with_input):
    """Wraps x, asks whether there is an element and takes it out where there is one."""
    element = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N"])
    nodes = [
        helper.make_node("Optional", ["x"] if with_input else [], ["o"], **({} if with_input else {"type": element})),
        helper.make_node("OptionalHasElement", ["o"], ["has"]),
    ]
    outputs = [helper.make_tensor_value_info("has", TensorProto.BOOL, [])]
    if with_input:
        nodes.append(helper.make_node("OptionalGetElement", ["o"], ["y"]))
        outputs.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])]
    graph = helper.make_graph(nodes, "optional", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_optional(level: str) -> None:
    has, y = session(optional_model(True), level).run(None, {"x": b})
    compare(has, np.array(True))
    compare(y, b)
    (has,) = session(optional_model(False), level).run(None, {"x": b})
    compare(has, np.array(False))


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_sequence_of_intermediate_values(level: str) -> None:
    """A sequence holds on to values whose memory would otherwise be used again."""
    nodes = [helper.make_node("Add", ["x", "x"], ["v0"])]
    nodes += [helper.make_node("Add", [f"v{i}", "x"], [f"v{i + 1}"]) for i in range(6)]
    nodes += [
        helper.make_node("SequenceConstruct", ["v0", "v1", "v2"], ["s"]),
        helper.make_node("SequenceInsert", ["s", "v6"], ["t"]),
        helper.make_node("ConcatFromSequence", ["t"], ["y"], axis=0),
        helper.make_node("Mul", ["v6", "v5"], ["z"]),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "y", "z")]
    graph = helper.make_graph(nodes, "held", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    ready = session(model, level)
    for _ in range(3):
        y, z = ready.run(None, {"x": b})
        compare(y, np.concatenate([2 * b, 3 * b, 4 * b, 8 * b]))
        compare(z, 56 * b * b)


CHAINS = [
    # Appended to twice, read in between.
    "q1 = SequenceInsert(q, x)  n = SequenceLength(q1)  q2 = SequenceInsert(q1, x)",
    # Two readers of one sequence, one of which changes it.
    "q1 = SequenceInsert(q, x)  q2 = SequenceErase(q1)  n = SequenceLength(q1)",
    # A loop that appends to a sequence that lives on.
    """q1 = SequenceInsert(q, x)  n = SequenceLength(q1)
       q2 = Loop(three, yes, q1) <body = b (int64 i, bool c, seq(float[2]) s) => (bool c2, seq(float[2]) s2)
         { c2 = Identity(c)  t = Identity(s)  s1 = SequenceErase(s)  u = SequenceInsert(t, x)
           k = SequenceLength(s1)  even = Mod(k, two)  l = Equal(even, zero)
           s2 = If(l) <then_branch = y () => (seq(float[2]) a) { a = SequenceInsert(u, x) },
                       else_branch = z () => (seq(float[2]) a) { a = Identity(u) }> }>""",
]


@pytest.mark.parametrize("chain", CHAINS, ids=["append", "two-readers", "loop"])
@pytest.mark.parametrize("outputs", ["seq(float[2]) q2, int64 n", "seq(float[2]) q1, seq(float[2]) q2, int64 n"])
def test_a_sequence_that_is_read_again_stays(chain: str, outputs: str) -> None:
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        g (seq(float[2]) q, float[2] x) => ({outputs})
        <int64 three = {{3}}, bool yes = {{1}}, int64 two = {{2}}, int64 zero = {{0}}> {{ {chain} }}"""
    )
    given = [np.float32([1, 2]), np.float32([3, 4])]
    feeds = {"q": list(given), "x": np.float32([5, 6])}
    expected = ReferenceEvaluator(model).run(None, feeds)
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        run = session(model, level)
        for _ in range(3):
            compare(run.run(None, feeds), expected)
    compare(feeds["q"], given)
