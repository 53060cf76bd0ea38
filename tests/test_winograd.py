"""Winograd convolution: how exact it is, and that it can be forbidden."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import sardonyx as sx


def model(weights: np.ndarray) -> bytes:
    filters, channels = weights.shape[:2]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", filters, "h", "w"])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def exact(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    height, width = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((x.shape[0], w.shape[0], height, width))
    for i in range(3):
        for j in range(3):
            y += np.einsum(
                "nchw,kc->nkhw", padded[:, :, i : i + height, j : j + width], w[:, :, i, j].astype(np.float64)
            )
    return y


@pytest.mark.parametrize(("channels", "size"), [(32, 40), (64, 28), (256, 14), (128, 7)])
def test_errors_stay_near_those_of_a_direct_sum(channels: int, size: int) -> None:
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((1, channels, size, size)).astype(np.float32)
    w = rng.standard_normal((48, channels, 3, 3)).astype(np.float32)
    expected = exact(x, w)
    errors = {}
    for winograd in (True, False):
        options = sx.SessionOptions()
        options.winograd = winograd
        session = sx.InferenceSession(model(w), options)
        (y,) = session.run(None, {"x": x})
        kernels = [row.kernel for row in session.get_provider_report()]
        assert any("winograd" in kernel for kernel in kernels) == winograd
        errors[winograd] = np.abs(y - expected)
    # Sums of n products in f32 lose about sqrt(n) * eps / 2 of their magnitude; the transforms add a few roundings to
    # each of the terms.
    scale = np.sqrt(9 * channels) * 2.0**-24
    magnitude = float(np.sqrt(np.mean(expected**2)))
    assert np.sqrt(np.mean(errors[False] ** 2)) < 2 * scale * magnitude
    assert np.sqrt(np.mean(errors[True] ** 2)) < 6 * scale * magnitude
    assert errors[True].max() < 6 * max(errors[False].max(), 2 * scale * magnitude)
