"""Pools that run in blocks of channels, beside loops in f64: borders, dilation, padding that counts or not, NaN."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import sardonyx as sx

CHANNELS = 19


def pooled(x: np.ndarray, mean: bool, counts: bool, kernel, strides, dilations, pads) -> np.ndarray:
    out = [
        (x.shape[axis + 2] + pads[axis] + pads[axis + 2] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis]
        + 1
        for axis in range(2)
    ]
    y = np.zeros((*x.shape[:2], *out))
    for row, column in itertools.product(range(out[0]), range(out[1])):
        rows = row * strides[0] - pads[0] + dilations[0] * np.arange(kernel[0])
        columns = column * strides[1] - pads[1] + dilations[1] * np.arange(kernel[1])
        rows = rows[(rows >= 0) & (rows < x.shape[2])]
        columns = columns[(columns >= 0) & (columns < x.shape[3])]
        window = x[:, :, rows][:, :, :, columns]
        taps = kernel[0] * kernel[1] if counts else rows.size * columns.size
        y[:, :, row, column] = window.sum((2, 3)) / taps if mean else window.max((2, 3))
    return y


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "AveragePool counting padding"])
@pytest.mark.parametrize(
    ("kernel", "strides", "dilations", "pads"),
    [
        ((2, 2), (2, 2), (1, 1), (0, 0, 0, 0)),
        ((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
        ((3, 2), (1, 1), (1, 1), (1, 0, 2, 1)),
        ((2, 3), (1, 3), (2, 3), (0, 2, 1, 1)),
        ((5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
        ((1, 4), (3, 1), (1, 2), (0, 3, 0, 3)),
    ],
)
def test_pools(kind: str, kernel, strides, dilations, pads) -> None:
    op = kind.split()[0]
    attributes = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads}
    if "counting" in kind:
        attributes["count_include_pad"] = 1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node(op, ["c"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.eye(CHANNELS, dtype=np.float32)[:, :, None, None], "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = sx.InferenceSession(model.SerializeToString())
    rng = np.random.default_rng(1)
    for height, width in itertools.product([5, 8], [7, 8, 9, 10, 11, 12, 30]):
        x = rng.standard_normal((2, CHANNELS, height, width)).astype(np.float32)
        y = session.run(None, {"x": x})[0]
        expected = pooled(x.astype(np.float64), op != "MaxPool", "counting" in kind, kernel, strides, dilations, pads)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)
    assert "sardonyx::BlockedPool" in {row.op for row in session.get_provider_report()}


def test_a_maximum_keeps_nan() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Conv", ["r", "w"], ["c"])]
        + [helper.make_node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 6, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((16, 16, 1, 1), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = sx.InferenceSession(model.SerializeToString())
    for at in range(9):
        x = np.zeros((1, 16, 6, 9), np.float32)
        x[0, 3, 2, at] = np.nan
        y = session.run(None, {"x": x})[0]
        expected = np.zeros((5, 8), bool)
        expected[1:3, max(at - 1, 0) : at + 1] = True
        np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(expected, y.shape))
