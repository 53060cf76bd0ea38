"""Models in f16 and bf16 are computed as their f32 twins are: by the same kernels, but for what rounds at the ends."""

from collections import Counter

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.test_precision import session

HALVES = {TensorProto.FLOAT16: np.float16, TensorProto.BFLOAT16: ml_dtypes.bfloat16}
STAY = {"Resize": [2]}  # inputs that are f32 in any case


def twin(nodes: list[NodeProto], shape: list[int], constants: dict[str, np.ndarray], dtype: int) -> ModelProto:
    """The graph from x to y with all its floats of one type."""
    f32 = {node.input[i] for node in nodes for i in STAY.get(node.op_type, [])}
    tensors = []
    for name, value in constants.items():
        if value.dtype == np.float32 and dtype != TensorProto.FLOAT and name not in f32:
            value = value.astype(HALVES[dtype])
        tensors.append(numpy_helper.from_array(value, name))
    x, y = helper.make_tensor_value_info("x", dtype, shape), helper.make_tensor_value_info("y", dtype, None)
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def node(op: str, inputs: str, output: str, **attributes: object) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def normal(*shape: int) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).standard_normal(shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)


def group_norm() -> tuple[list[NodeProto], list[int], dict[str, np.ndarray]]:
    """A convolution and GroupNormalization as torch exports it."""
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("Reshape", "c split", "g"),
        node("InstanceNormalization", "g one zero", "n"),
        node("Reshape", "n join", "r"),
        node("Mul", "r scale", "m"),
        node("Add", "m bias", "a"),
        node("Relu", "a", "y"),
    ]
    constants = {
        "w": normal(32, 16, 3, 3),
        "split": np.array([0, 4, -1]),
        "join": np.array([2, 32, 12, 12]),
        "one": np.ones(4, np.float32),
        "zero": np.zeros(4, np.float32),
        "scale": normal(32, 1, 1),
        "bias": normal(32, 1, 1),
    }
    return nodes, [2, 16, 12, 12], constants


def batch_norm() -> tuple[list[NodeProto], list[int], dict[str, np.ndarray]]:
    """Convolutions with BatchNormalization that no exporter folded, and a Resize between them."""
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c scale bias mean variance", "n"),
        node("Relu", "n", "r"),
        helper.make_node("Resize", ["r", "", "scales"], ["u"], mode="nearest", nearest_mode="floor"),
        node("Conv", "u v", "y", pads=[1, 1, 1, 1]),
    ]
    constants = {
        "w": normal(32, 16, 3, 3),
        "v": normal(16, 32, 3, 3),
        "scale": np.abs(normal(32, 1, 1)).ravel() + 0.5,
        "bias": normal(32, 1, 1).ravel(),
        "mean": normal(32, 2, 1)[:, 0, 0],
        "variance": np.full(32, 0.75, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    return nodes, [2, 16, 12, 12], constants


def embedded() -> tuple[list[NodeProto], list[int], dict[str, np.ndarray]]:
    """Sums and a normalization in front of the first product, a Gelu spelled out and a residual behind it."""
    nodes = [
        node("Add", "x position", "s"),
        node("LayerNormalization", "s scale bias", "n"),
        node("MatMul", "n w", "m"),
        node("Div", "m root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "f"),
        node("Mul", "m f", "p"),
        node("Mul", "p half", "g"),
        node("MatMul", "g v", "o"),
        node("Add", "o n", "t"),
        node("LayerNormalization", "t scale bias", "y"),
    ]
    constants = {
        "position": normal(1, 20, 48),
        "scale": np.abs(normal(48, 1)).ravel() + 0.5,
        "bias": normal(48, 1).ravel(),
        "w": normal(48, 96),
        "v": normal(96, 48),
        "root": np.float32(2**0.5),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    constants = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    return nodes, [3, 20, 48], constants


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("make", [group_norm, batch_norm, embedded])
def test_kernels_are_those_of_the_f32_twin(make, dtype: int) -> None:  # type: ignore[no-untyped-def]
    nodes, shape, constants = make()
    x = np.random.default_rng(3).standard_normal(shape).astype(HALVES[dtype])
    counts, results = [], []
    for each in (TensorProto.FLOAT, dtype):
        made = session(twin(nodes, shape, constants, each), "f32")
        results.append(made.run(None, {"x": x.astype(np.float32) if each == TensorProto.FLOAT else x})[0])
        counts.append(Counter((row.op, row.kernel) for row in made.get_provider_report()))
    casts = {key: counts[1].pop(key) for key in list(counts[1]) if key[0] == "Cast"}
    assert sum(casts.values()) == 2
    assert counts[0] == counts[1]
    rounding = 2.0**-11 if dtype == TensorProto.FLOAT16 else 2.0**-8
    exact, y = results[0].astype(np.float64), results[1].astype(np.float64)
    assert np.abs(y - exact).max() < 10 * rounding * np.abs(exact).max()
