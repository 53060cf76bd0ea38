"""Networks whose norms and transposed convolutions run in blocks of channels, beside the nodes as they stand in f64."""

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import sardonyx as sx


def network(rng: np.random.Generator, channels: int, groups: int, grow: tuple[int, int], dtype: type) -> bytes:
    """Conv, GroupNorm as torch exports it, Swish, ConvTranspose with windows side by side, Relu."""
    filters = channels - 3 if channels > 8 else channels + 3
    constants = {
        "w": rng.standard_normal((channels, 9, 3, 3)) / 9,
        "b": rng.standard_normal(channels),
        "one": np.ones(groups),
        "none": np.zeros(groups),
        "scale": rng.standard_normal((channels, 1, 1)),
        "bias": rng.standard_normal((channels, 1, 1)),
        "u": rng.standard_normal((channels, filters, *grow)) / np.sqrt(channels),
        "v": rng.standard_normal(filters),
    }
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["c"], ["back"]),
        helper.make_node("Reshape", ["c", "split"], ["g"]),
        helper.make_node("InstanceNormalization", ["g", "one", "none"], ["i"]),
        helper.make_node("Reshape", ["i", "back"], ["n"]),
        helper.make_node("Mul", ["n", "scale"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["h"]),
        helper.make_node("ConvTranspose", ["h", "u", "v"], ["t"], strides=list(grow)),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(value.astype(dtype), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([0, groups, -1]), "split"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 9, "h", "w"])],
        [helper.make_tensor_value_info("y", kind, None)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    ("channels", "groups", "grow", "size"),
    [
        (32, 8, (2, 2), (13, 17)),
        (48, 3, (2, 2), (7, 5)),
        (40, 5, (1, 3), (5, 9)),
        (5, 1, (3, 2), (4, 70)),
        (17, 17, (2, 2), (64, 64)),
    ],
)
def test_norms_and_transposed_convolutions(
    channels: int, groups: int, grow: tuple[int, int], size: tuple[int, int]
) -> None:
    x = np.random.default_rng(1).standard_normal((3, 9, *size)) + 2
    exact = ReferenceEvaluator(network(np.random.default_rng(channels), channels, groups, grow, np.float64))
    (expected,) = exact.run(None, {"x": x})
    session = sx.InferenceSession(network(np.random.default_rng(channels), channels, groups, grow, np.float32))
    (y,) = session.run(None, {"x": x.astype(np.float32)})
    ops = {row.op for row in session.get_provider_report()}
    assert {"sardonyx::BlockedUpsample", "sardonyx::BlockedGroupNorm"} <= ops
    # Sums of 81 and of `channels` products, between them a norm that divides by a deviation of about 1.
    bound = 2.0**-24 * (np.sqrt(81) + np.sqrt(channels)) * 8 * np.abs(expected).max()
    np.testing.assert_allclose(y, expected, rtol=0, atol=bound)
    # An image's bits do not depend on its neighbours.
    (alone,) = session.run(None, {"x": x[1:2].astype(np.float32)})
    np.testing.assert_array_equal(alone, y[1:2])


def test_no_pixels() -> None:
    session = sx.InferenceSession(network(np.random.default_rng(0), 32, 8, (2, 2), np.float32))
    (y,) = session.run(None, {"x": np.zeros((0, 9, 4, 4), np.float32)})
    assert y.shape == (0, 29, 8, 8)
