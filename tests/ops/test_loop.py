"""Loop: trip counts and conditions, loop-carried values that change shape, scan outputs, hostile counts."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.ops.harness import VARIANTS, compare, session

LEVELS = sorted({level for level, _, _ in VARIANTS})
F, N, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name, kind, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def loop_model(body, inputs, outputs, feeds, *, carried=("x",), version=21):
    node = helper.make_node("Loop", [*inputs, *carried], [name for name, _ in outputs], body=body)
    graph = helper.make_graph([node], "g", feeds, [info(name, kind) for name, kind in outputs])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


def doubling_body(limit=None):
    """x = 2x, and x before that as a scan output; stops once i reaches `limit`."""
    nodes = [helper.make_node("Add", ["x_in", "x_in"], ["x_out"]), helper.make_node("Identity", ["x_in"], ["seen"])]
    if limit is None:
        nodes.append(helper.make_node("Identity", ["c_in"], ["c_out"]))
    else:
        nodes.append(helper.make_node("Constant", [], ["limit"], value_int=limit))
        nodes.append(helper.make_node("Less", ["i", "limit"], ["c_out"]))
    inputs = [info("i", N, []), info("c_in", B, []), info("x_in", F)]
    return helper.make_graph(nodes, "body", inputs, [info("c_out", B, []), info("x_out", F), info("seen", F)])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("version", [11, 13, 21])
def test_trip_count(level, version):
    feeds = [info("m", N, []), info("x", F, ["n"])]
    m = loop_model(doubling_body(), ["m", ""], [("y", F), ("s", F)], feeds, version=version)
    run = session(m, level).run
    x = np.array([1.0, 3.0], np.float32)
    for trips in (3, 0, 40, 1, -2):
        y, s = run(None, {"m": np.array(trips), "x": x})
        count = max(0, trips)
        compare(y, x * np.float32(2.0) ** count)
        if count:
            compare(s, np.stack([x * np.float32(2.0) ** i for i in range(count)]))
        else:
            assert s.shape[0] == 0 and s.ndim == 2 and s.dtype == np.float32


@pytest.mark.parametrize("level", LEVELS)
def test_condition(level):
    feeds = [info("c", B, []), info("x", F, [2])]
    m = loop_model(doubling_body(limit=4), ["", "c"], [("y", F), ("s", F)], feeds)
    run = session(m, level).run
    x = np.ones(2, np.float32)
    y, s = run(None, {"c": np.array(True), "x": x})
    compare(y, x * 32)
    assert s.shape == (5, 2)
    y, s = run(None, {"c": np.array(False), "x": x})
    compare(y, x)
    assert s.shape == (0, 2)


def test_hostile_trip_count():
    feeds = [info("m", N, []), info("x", F, [1000])]
    m = loop_model(doubling_body(limit=2), ["m", ""], [("y", F), ("s", F)], feeds)
    _, s = session(m, "ORT_ENABLE_ALL").run(None, {"m": np.array(2**62), "x": np.ones(1000, np.float32)})
    assert s.shape == (3, 1000)


@pytest.mark.parametrize("level", LEVELS)
def test_growing_state(level):
    body = helper.make_graph(
        [
            helper.make_node("Concat", ["x_in", "x_in"], ["x_out"], axis=0),
            helper.make_node("Size", ["x_in"], ["n"]),
            helper.make_node("Identity", ["c_in"], ["c_out"]),
        ],
        "body",
        [info("i", N, []), info("c_in", B, []), info("x_in", F)],
        [info("c_out", B, []), info("x_out", F), info("n", N)],
    )
    m = loop_model(body, ["m", ""], [("y", F), ("n", N)], [info("m", N, []), info("x", F, [2, 3])])
    y, n = session(m, level).run(None, {"m": np.array(4), "x": np.ones((2, 3), np.float32)})
    compare(y, np.ones((32, 3), np.float32))
    compare(n, np.array([6, 12, 24, 48]))


@pytest.mark.parametrize("level", LEVELS)
def test_captured_and_nested(level):
    inner = helper.make_graph(
        [
            helper.make_node("Add", ["b_in", "x"], ["t"]),
            helper.make_node("Add", ["t", "a_in"], ["b_out"]),
            helper.make_node("Identity", ["ci"], ["co"]),
        ],
        "inner",
        [info("j", N, []), info("ci", B, []), info("b_in", F)],
        [info("co", B, []), info("b_out", F)],
    )
    outer = helper.make_graph(
        [
            helper.make_node("Constant", [], ["two"], value_int=2),
            helper.make_node("Loop", ["two", "", "a_in"], ["a_out"], body=inner),
            helper.make_node("Identity", ["c_in"], ["c_out"]),
        ],
        "outer",
        [info("i", N, []), info("c_in", B, []), info("a_in", F)],
        [info("c_out", B, []), info("a_out", F)],
    )
    m = loop_model(
        outer, ["m", ""], [("y", F)], [info("m", N, []), info("x", F, [2]), info("a", F, [2])], carried=("a",)
    )
    x, a = np.array([1.0, 2.0], np.float32), np.array([0.5, 0.25], np.float32)
    (y,) = session(m, level).run(None, {"m": np.array(3), "x": x, "a": a})
    want = a
    for _ in range(3):
        start = want
        for _ in range(2):
            want = want + x + start
    compare(y, want)


@pytest.mark.parametrize("level", LEVELS)
def test_sequence_state(level):
    seq = helper.make_tensor_sequence_value_info
    body = helper.make_graph(
        [
            helper.make_node("SequenceInsert", ["s_in", "x"], ["s_out"]),
            helper.make_node("Identity", ["c_in"], ["c_out"]),
        ],
        "body",
        [info("i", N, []), info("c_in", B, []), seq("s_in", F, None)],
        [info("c_out", B, []), seq("s_out", F, None)],
    )
    nodes = [
        helper.make_node("SequenceEmpty", [], ["s"]),
        helper.make_node("Loop", ["m", "", "s"], ["t"], body=body),
        helper.make_node("ConcatFromSequence", ["t"], ["y"], axis=0),
    ]
    graph = helper.make_graph(nodes, "g", [info("m", N, []), info("x", F, ["n"])], [info("y", F)])
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)
    x = np.array([1.0, 2.0], np.float32)
    compare(session(m, level).run(None, {"m": np.array(3), "x": x})[0], np.tile(x, 3))


def test_scan_output_of_two_shapes():
    body = helper.make_graph(
        [
            helper.make_node("Concat", ["x_in", "x_in"], ["x_out"], axis=0),
            helper.make_node("Identity", ["x_in"], ["s"]),
            helper.make_node("Identity", ["c_in"], ["c_out"]),
        ],
        "body",
        [info("i", N, []), info("c_in", B, []), info("x_in", F)],
        [info("c_out", B, []), info("x_out", F), info("s", F)],
    )
    m = loop_model(body, ["m", ""], [("y", F), ("s", F)], [info("m", N, []), info("x", F, [1])])
    with pytest.raises(Exception, match="one shape"):
        session(m, "ORT_ENABLE_ALL").run(None, {"m": np.array(2), "x": np.ones(1, np.float32)})
