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


def inverted_residual(
    rng: np.random.Generator, channels: tuple[int, int], kernel: int, stride: int, swish: bool, dtype: type
) -> bytes:
    """What MobileNet and EfficientNet are made of: expansion, depthwise convolution, perhaps a gate, projection."""
    outer, inner = channels
    constants = {
        "w": rng.standard_normal((inner, outer, 1, 1)) / np.sqrt(outer),
        "b": rng.standard_normal(inner),
        "v": rng.standard_normal((inner, 1, kernel, kernel)) / kernel,
        "c": rng.standard_normal(inner),
        "down": rng.standard_normal((4, inner, 1, 1)) / np.sqrt(inner),
        "up": rng.standard_normal((inner, 4, 1, 1)) / 2,
        "p": rng.standard_normal((outer, inner, 1, 1)) / np.sqrt(inner),
    }
    pads = [kernel // 2, kernel // 2, kernel // 2, stride - 1 + kernel // 2]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["e"]),
        helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("Conv", ["f", "v", "c"], ["d"], group=inner, strides=[stride] * 2, pads=pads),
        helper.make_node("Relu", ["d"], ["h"]),
        helper.make_node("Conv", ["h", "p"], ["y"]),
    ]
    if swish:
        nodes[1:2] = [helper.make_node("Sigmoid", ["e"], ["es"]), helper.make_node("Mul", ["e", "es"], ["f"])]
        nodes[-2:] = [
            helper.make_node("Sigmoid", ["d"], ["ds"]),
            helper.make_node("Mul", ["d", "ds"], ["a"]),
            helper.make_node("GlobalAveragePool", ["a"], ["m"]),
            helper.make_node("Conv", ["m", "down"], ["n"]),
            helper.make_node("Relu", ["n"], ["o"]),
            helper.make_node("Conv", ["o", "up"], ["u"]),
            helper.make_node("Sigmoid", ["u"], ["g"]),
            helper.make_node("Mul", ["g", "a"], ["h"]),
            helper.make_node("Conv", ["h", "p"], ["y"]),
        ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", outer, "h", "w"])],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("swish", [False, True])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "size"),
    [
        ((16, 96), 3, 1, (14, 14)),
        ((24, 144), 5, 2, (57, 55)),
        ((9, 33), 3, 2, (1, 17)),
        ((40, 240), 5, 1, (7, 7)),
        ((17, 40), 7, 2, (30, 9)),
        ((8, 48), 3, 1, (70, 130)),
    ],
)
def test_inverted_residuals(
    channels: tuple[int, int], kernel: int, stride: int, size: tuple[int, int], swish: bool, precision: str
) -> None:
    x = np.random.default_rng(1).standard_normal((3, channels[0], *size))
    exact = ReferenceEvaluator(inverted_residual(np.random.default_rng(7), channels, kernel, stride, swish, np.float64))
    (expected,) = exact.run(None, {"x": x})
    options = sx.SessionOptions()
    options.precision = precision
    session = sx.InferenceSession(
        inverted_residual(np.random.default_rng(7), channels, kernel, stride, swish, np.float32), options
    )
    (y,) = session.run(None, {"x": x.astype(np.float32)})
    assert "sardonyx::BlockedExpandConv" in {row.op for row in session.get_provider_report()}
    # Each of the three convolutions keeps values of the order of 1; their errors go on through the later ones.
    bound = 2.0**-24 * (np.sqrt(channels[0]) + kernel + np.sqrt(channels[1])) * 8 * np.abs(expected).max()
    if precision == "bf16":
        # Roundings of each convolution's data and weights average out.
        bound = 2.0**-9 * 8 * np.abs(expected).max()
    np.testing.assert_allclose(y, expected, rtol=0, atol=bound)
    (alone,) = session.run(None, {"x": x[1:2].astype(np.float32)})
    np.testing.assert_array_equal(alone, y[1:2])
