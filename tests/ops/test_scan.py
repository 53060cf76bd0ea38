"""Scan: axes and directions of inputs and outputs, empty sequences, and the batched form of version 8."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.ops.harness import VARIANTS, compare, session

LEVELS = sorted({level for level, _, _ in VARIANTS})
F = TensorProto.FLOAT


def info(name, shape=None):
    return helper.make_tensor_value_info(name, F, shape)


def running_sum():
    nodes = [helper.make_node("Add", ["s", "x"], ["t"]), helper.make_node("Identity", ["t"], ["y"])]
    return helper.make_graph(nodes, "body", [info("s"), info("x")], [info("t"), info("y")])


def model(version=21, inputs=("s0", "xs"), feeds=None, **attributes):
    node = helper.make_node("Scan", list(inputs), ["s", "ys"], body=running_sum(), num_scan_inputs=1, **attributes)
    graph = helper.make_graph(
        [node], "g", feeds or [info("s0", ["k"]), info("xs", ["a", "b"])], [info("s"), info("ys")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=4)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("axis_in", [0, 1, -1])
@pytest.mark.parametrize("axis_out", [0, 1, -2])
@pytest.mark.parametrize("back_in", [0, 1])
@pytest.mark.parametrize("back_out", [0, 1])
def test_axes(level, axis_in, axis_out, back_in, back_out):
    m = model(
        scan_input_axes=[axis_in],
        scan_output_axes=[axis_out],
        scan_input_directions=[back_in],
        scan_output_directions=[back_out],
    )
    xs = np.arange(12, dtype=np.float32).reshape(3, 4)
    rows = np.moveaxis(xs, axis_in, 0)
    rows = rows[::-1] if back_in else rows
    s0 = np.ones(rows.shape[1], np.float32)
    sums = s0 + np.cumsum(rows, axis=0)
    s, ys = session(m, level).run(None, {"s0": s0, "xs": xs})
    compare(s, sums[-1])
    compare(ys, np.moveaxis(sums[::-1] if back_out else sums, 0, axis_out))


@pytest.mark.parametrize("version", [9, 11, 16, 19])
def test_versions_and_empty(version):
    run = session(model(version), "ORT_ENABLE_ALL").run
    s0 = np.ones(3, np.float32)
    s, ys = run(None, {"s0": s0, "xs": np.zeros((0, 3), np.float32)})
    compare(s, s0)
    assert ys.shape == (0, 3)
    s, ys = run(None, {"s0": s0, "xs": np.ones((5, 3), np.float32)})
    compare(s, s0 + 5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("back", [0, 1])
def test_batch(level, back):
    feeds = [info("s0", [2, 3]), info("xs", [2, 4, 3])]
    m = model(8, ["", "s0", "xs"], feeds, directions=[back])
    rng = np.random.default_rng(0)
    s0, xs = rng.random((2, 3), np.float32), rng.random((2, 4, 3), np.float32)
    want = s0[:, None] + np.cumsum(xs[:, ::-1] if back else xs, axis=1)
    s, ys = session(m, level).run(None, {"s0": s0, "xs": xs})
    compare(s, want[:, -1], rtol=1e-5)
    compare(ys, want, rtol=1e-5)


def test_batch_lengths():
    lengths = helper.make_tensor_value_info("lens", TensorProto.INT64, [2])
    feeds = [lengths, info("s0", [2, 1]), info("xs", [2, 4, 1])]
    m = model(8, ["lens", "s0", "xs"], feeds)
    xs = np.ones((2, 4, 1), np.float32)
    s, ys = session(m, "ORT_ENABLE_ALL").run(
        None, {"lens": np.array([2, 4]), "s0": np.zeros((2, 1), np.float32), "xs": xs}
    )
    compare(s, np.array([[2.0], [4.0]], np.float32))
    compare(ys[..., 0], np.array([[1, 2, 0, 0], [1, 2, 3, 4]], np.float32))


def test_lengths_differ():
    body = helper.make_graph([helper.make_node("Add", ["x", "z"], ["y"])], "body", [info("x"), info("z")], [info("y")])
    node = helper.make_node("Scan", ["a", "b"], ["ys"], body=body, num_scan_inputs=2)
    graph = helper.make_graph([node], "g", [info("a", ["n", 2]), info("b", ["m", 2])], [info("ys")])
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)
    with pytest.raises(Exception, match="lengths"):
        session(m, "ORT_ENABLE_ALL").run(None, {"a": np.ones((2, 2), np.float32), "b": np.ones((3, 2), np.float32)})
